"""Every registered back end through the same suite: a new one is tested by being registered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from asd.detectors import SearchSettings
from asd.scoring.backends import BACKENDS, LEAST_CLIPS, PerSectionScorer, backend_named
from asd.scoring.gaussian import Mahalanobis
from asd.scoring.nearest import RelativeNearest
from asd.scoring.references import References
from asd.scoring.variants import DomainNearest, NearestOfMade
from asd.types import AsdError
from tests.machines import references

ANGULAR = {"knn_cosine"}  # a vector far out in a known direction is near for these

KNN = backend_named("knn")


def conditioned() -> References:
    """Three conditions of twenty clips, one after the other."""
    conditions = np.repeat(np.arange(3), 20)
    return References(references(n=60).vectors + 5.0 * conditions[:, None], conditions, conditions == 2)


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - ANGULAR))
def test_far_scores_higher_than_near(name: str) -> None:
    refs = references()
    scorer = backend_named(name).fit(refs)
    assert scorer.score(refs.vectors + 40.0).min() > scorer.score(refs.vectors).max()


@pytest.mark.parametrize("name", sorted(BACKENDS))
class TestEveryBackend:
    def test_training_scores_leave_the_clip_out(self, name: str) -> None:
        refs = references(n=40)
        outlier = refs.vectors.copy()
        outlier[0] += 100.0
        scores = backend_named(name).fit(refs.replace(outlier)).score_training()
        assert np.isfinite(scores).all()
        if name not in ANGULAR:
            assert scores.argmax() == 0

    def test_training_scores_leave_a_run_of_clips_out(self, name: str) -> None:
        refs = conditioned()
        expected = np.empty(60)
        for fold in range(5):  # each condition has 20 clips: runs of four, and every condition starts one fold later
            held_out = (np.arange(60) % 20 // 4 + refs.conditions) % 5 == fold
            rest = backend_named(name).fit(refs[~held_out])
            expected[held_out] = rest.score(refs.vectors[held_out])
        np.testing.assert_array_equal(backend_named(name).fit(refs).score_training(), expected)

    def test_order_of_references_changes_nothing(self, name: str) -> None:
        refs = references()
        order = np.random.default_rng(0).permutation(len(refs))
        queries = references(seed=5).vectors
        a, b = (backend_named(name).fit(part).score(queries) for part in (refs, refs[order]))
        np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_company_changes_nothing(self, name: str) -> None:
        fitted, queries = backend_named(name).fit(references()), references(seed=5).vectors
        alone = np.concatenate([fitted.score(query[None]) for query in queries])
        np.testing.assert_allclose(fitted.score(queries), alone, rtol=1e-9)

    def test_one_domain_only_works(self, name: str) -> None:
        for refs in (references(n_target=0), references(n=30, n_target=30)):
            assert np.isfinite(backend_named(name).fit(refs).score(refs.vectors)).all()

    @pytest.mark.parametrize("n_target", [0, 1, 2, 3])
    @pytest.mark.parametrize("n", [3, 4, 6, 9])
    def test_few_clips_work(self, name: str, n: int, n_target: int) -> None:
        refs = references(n=n, n_target=n_target)
        fitted = backend_named(name).fit(refs)
        assert np.isfinite(fitted.score(references(seed=5).vectors)).all()
        if n > 4 or name.startswith("knn"):
            assert np.isfinite(fitted.score_training()).all()

    def test_duplicates_give_finite_scores(self, name: str) -> None:
        refs = references(n=30)
        doubled = References(np.repeat(refs.vectors, 2, 0), np.repeat(refs.conditions, 2), np.repeat(refs.is_target, 2))
        fitted = backend_named(name).fit(doubled)
        assert np.isfinite(fitted.score(refs.vectors)).all()
        assert np.isfinite(fitted.score_training()).all()

    def test_what_was_stored_scores_as_what_was_fitted(self, name: str) -> None:
        fitted = backend_named(name).fit(references())
        restored = backend_named(name).restore(fitted.state())
        queries = references(seed=5).vectors
        np.testing.assert_array_equal(restored.score(queries), fitted.score(queries))
        np.testing.assert_array_equal(restored.score_training(), fitted.score_training())
        assert all(array.dtype.kind in "fib" for array in fitted.state().values())
        arrays = fitted.state()
        del arrays["training"]
        with pytest.raises(AsdError, match="no array training; train it again"):
            backend_named(name).restore(arrays)


def test_unknown_backends_and_options_are_refused() -> None:
    with pytest.raises(AsdError, match="backend=magic is unknown"):
        backend_named("magic")
    with pytest.raises(AsdError, match="the back end gaussian has no option neighbours=; it has device, means"):
        backend_named("gaussian", neighbours=2)
    with pytest.raises(AsdError, match="neighbours=0 gives no distance"):
        backend_named("knn", neighbours=0)


def test_options_win_over_what_the_name_stands_for() -> None:
    refs, queries = references(), references(seed=5).vectors
    near, far = (backend_named("knn", neighbours=k).fit(refs).score(queries) for k in (1, 3))
    assert (near < far).all()
    assert backend_named("knn_density", density=0.3).density == 0.3  # type: ignore[attr-defined]


def test_two_clips_are_too_few_only_where_parts_must_be_left_out() -> None:
    pair = references(n=2, n_target=0)
    apart = np.linalg.norm(pair.vectors[0] - pair.vectors[1])
    np.testing.assert_allclose(backend_named("knn").fit(pair).score_training(), [apart, apart])
    assert np.isfinite(backend_named("knn_relative").fit(pair).score_training()).all()
    with pytest.raises(AsdError, match="2 training clips are too few for this back end"):
        backend_named("gaussian").fit(pair).score_training()


def test_clips_that_are_the_same_but_for_one_are_not_called_the_same() -> None:
    vectors = np.zeros((10, 3))
    vectors[4] = 1.0
    refs = References(vectors, np.zeros(10, np.int64), np.zeros(10, bool))
    with pytest.raises(AsdError, match=r"part of the 10 training clips, and without 9 of them no model"):
        backend_named("gaussian").fit(refs).score_training()


@pytest.mark.parametrize(
    ("name", "method"),
    [("gmm", "GMM"), ("kmeans", "k-means"), ("gaussian", "Mahalanobis distance"), ("knn_relative", "k-NN")],
)
def test_methods_have_the_organisers_tags(name: str, method: str) -> None:
    assert backend_named(name).method == method


def test_options_of_the_search_go_to_the_back_ends_that_search() -> None:
    names = ["knn_relative", "mahalanobis", "bandwise"]
    options = SearchSettings(neighbours=3, index="flat").search_options(names)
    assert options == {
        "knn_relative": {"device": "cpu", "neighbours": 3, "index": "flat"},
        "mahalanobis": {"device": "cpu"},
        "bandwise": {"device": "cpu", "neighbours": 3, "index": "flat"},
    }
    assert SearchSettings().search_options(["knn"], "cuda:1") == {"knn": {"device": "cuda:1"}}
    with pytest.raises(AsdError, match="neighbours=3 is for k-NN back ends, and gaussian, gmm searches no"):
        SearchSettings(neighbours=3).search_options(["gaussian", "gmm"])
    with pytest.raises(AsdError, match="index=ivf is for k-NN back ends"):
        SearchSettings(index="ivf").search_options(["gaussian"])
    with pytest.raises(AsdError, match="backend=magic is unknown"):
        SearchSettings().search_options(["magic"])


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


@pytest.mark.parametrize(
    ("fit", "saying"),
    [
        (lambda: NearestOfMade(made="adasyn").fit(references()), "made=adasyn is unknown"),
        (lambda: DomainNearest(statistic="mean").fit(references()), "statistic=mean is unknown"),
        (lambda: Mahalanobis(means="section").fit(references()), "means=section is unknown"),
        (lambda: RelativeNearest(metric="manhattan").fit(references()), "metric=manhattan is unknown"),
        (lambda: RelativeNearest(index="hnsw").fit(references()), "index=hnsw is unknown"),
    ],
)
def test_a_name_that_is_unknown_is_refused(fit: Callable[[], object], saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        fit()


def test_clips_of_several_sections_are_scored_each_by_its_own_part() -> None:
    refs = two_sections()
    sections = np.arange(len(refs)) % 2
    queries = refs.vectors[np.random.default_rng(0).permutation(len(refs))] + 0.5
    model = PerSectionScorer(KNN).fit(refs)
    for of_all, of_part in ((model.score, KNN.score), (model.z, lambda x: KNN.normalizer.z(KNN.score(x)))):
        found = of_all(queries, sections)
        for section in (0, 1):
            KNN.fit(refs[refs.sections == section])
            np.testing.assert_allclose(found[sections == section], of_part(queries[sections == section]))
    parts = [KNN.fit(refs[refs.sections == section]).score_training() for section in (0, 1)]
    np.testing.assert_allclose(model.score_training(), np.concatenate(parts))
