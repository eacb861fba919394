"""Every registered back end through the same suite: a new one is tested by being registered."""

from __future__ import annotations

import numpy as np
import pytest

from asd.scoring.backends import BACKENDS, backend_named, training_scores
from asd.scoring.references import References
from asd.types import AsdError
from tests.machines import references

ANGULAR = {"knn_cosine"}  # a vector far out in a known direction is near for these


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - ANGULAR))
def test_far_scores_higher_than_near(name: str) -> None:
    refs = references()
    scorer = backend_named(name)(refs)
    assert scorer.score(refs.vectors + 40.0).min() > scorer.score(refs.vectors).max()


@pytest.mark.parametrize("name", sorted(BACKENDS))
class TestEveryBackend:
    def test_training_scores_leave_the_clip_out(self, name: str) -> None:
        refs = references(n=40)
        outlier = refs.vectors.copy()
        outlier[0] += 100.0
        scores = training_scores(backend_named(name), refs.replace(outlier))
        assert np.isfinite(scores).all()
        if name not in ANGULAR:
            assert scores.argmax() == 0

    def test_order_of_references_changes_nothing(self, name: str) -> None:
        refs = references()
        order = np.random.default_rng(0).permutation(len(refs))
        queries = references(seed=5).vectors
        a, b = (backend_named(name)(part).score(queries) for part in (refs, refs[order]))
        np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_one_domain_only_works(self, name: str) -> None:
        refs = references(n_target=0)
        assert np.isfinite(backend_named(name)(refs).score(refs.vectors)).all()

    def test_duplicates_give_finite_scores(self, name: str) -> None:
        refs = references(n=30)
        doubled = References(
            np.repeat(refs.vectors, 2, 0), np.repeat(refs.conditions, 2), np.repeat(refs.is_target, 2)
        )
        assert np.isfinite(backend_named(name)(doubled).score(refs.vectors)).all()
        assert np.isfinite(training_scores(backend_named(name), doubled)).all()


def test_unknown_backend() -> None:
    with pytest.raises(AsdError, match="backend=magic is unknown"):
        backend_named("magic")
