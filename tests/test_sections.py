from __future__ import annotations

import numpy as np
import pytest

from asd.scoring.backends import backend_named
from asd.scoring.references import References
from asd.scoring.sections import LEAST_CLIPS, PerSectionScorer
from asd.types import AsdError
from tests.machines import references

KNN = backend_named("knn")


def two_sections(n_second: int = 30) -> References:
    """Section 0 around 0 and section 1 around 50."""
    first, second = references(n=40, shift=0.0), references(n=40, seed=1, shift=0.0)
    keep = np.arange(n_second)
    vectors = np.concatenate([first.vectors, second.vectors[keep] + 50.0])
    zeros = np.zeros(len(vectors), bool)
    sections = np.repeat([0, 1], [40, n_second])
    return References(vectors, sections.astype(np.int64), zeros, sections)


def test_one_section_is_the_back_end_itself() -> None:
    refs = references()
    queries, zeros = refs.vectors + 1.0, np.zeros(len(refs), np.int64)
    model = PerSectionScorer(KNN).fit(refs)
    np.testing.assert_array_equal(model.score(queries, zeros), KNN.fit(refs).score(queries))
    np.testing.assert_array_equal(model.score_training(), KNN.score_training())
    others = KNN.fit(refs).leave_one_out()
    np.testing.assert_allclose(model.z(queries, zeros), (KNN.score(queries) - others.mean()) / others.std())
    np.testing.assert_allclose(model.z_training(), (KNN.score_training() - others.mean()) / others.std())


def test_normal_for_a_neighbour_is_no_excuse() -> None:
    refs = two_sections()
    model = PerSectionScorer(KNN).fit(refs)
    like_section_one = refs.vectors[-5:]
    ones = np.ones(5, np.int64)
    assert model.score(like_section_one, ones).max() == 0.0
    assert model.score(like_section_one, 0 * ones).min() > 50.0
    assert model.z(like_section_one, 0 * ones).min() > 10 * abs(model.z(like_section_one, ones)).max()


def test_an_unknown_section_gets_the_most_forgiving_answer() -> None:
    refs = two_sections()
    model = PerSectionScorer(KNN).fit(refs)
    unknown = np.full(len(refs), 7)
    np.testing.assert_allclose(model.score(refs.vectors, unknown), 0.0)


@pytest.mark.parametrize("name", ["gaussian", "knn", "knn_density"])
def test_a_tiny_section_is_compared_with_all(name: str) -> None:
    refs = two_sections(n_second=LEAST_CLIPS - 1)
    model = PerSectionScorer(backend_named(name)).fit(refs)
    assert set(model.parts) == {-1, 0}
    assert np.isfinite(model.z(refs.vectors, refs.sections)).all()
    assert np.isfinite(model.z_training()).all()


@pytest.mark.parametrize(("n_second", "parts"), [(LEAST_CLIPS, {0, 1}), (LEAST_CLIPS - 1, {-1, 0})])
def test_a_section_of_eight_clips_stands_alone(n_second: int, parts: set[int]) -> None:
    assert set(PerSectionScorer(KNN).fit(two_sections(n_second)).parts) == parts


def test_held_out_scores_are_those_of_unseen_clips() -> None:
    refs = two_sections()
    model = PerSectionScorer(KNN).fit(refs)
    assert model.held_out(refs.vectors).min() > model.z(refs.vectors, refs.sections).min()
    assert model.held_out(refs.vectors + 30.0).min() > model.held_out(refs.vectors).max()


@pytest.mark.parametrize("n_second", [30, LEAST_CLIPS - 1])
def test_a_stored_scorer_scores_as_the_fitted_one(n_second: int) -> None:
    refs = two_sections(n_second)
    fitted = PerSectionScorer(backend_named("knn_relative", neighbours=2)).fit(refs)
    restored = PerSectionScorer(backend_named("knn_relative", neighbours=2)).restore(fitted.state())
    sections = np.repeat([0, 1, 7], 10)
    queries = references(n=30).vectors
    np.testing.assert_array_equal(restored.score(queries, sections), fitted.score(queries, sections))
    np.testing.assert_array_equal(restored.z(queries, sections), fitted.z(queries, sections))
    np.testing.assert_array_equal(restored.z_training(), fitted.z_training())
    with pytest.raises(AsdError, match="no training clips to leave out"):
        restored.held_out(refs.vectors)
    with pytest.raises(AsdError, match="no array sections"):
        PerSectionScorer(KNN).restore({})
