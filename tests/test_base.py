from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.scoring.base import FUSIONS, ScoreNormalizer, fuse_rank, fuse_z

RNG = np.random.default_rng(0)
TRAINING = [RNG.gamma(2.0, size=50), 100.0 + 5.0 * RNG.normal(size=50)]
SCORES = [RNG.gamma(2.0, size=9), 100.0 + 5.0 * RNG.normal(size=9)]


def test_z_is_the_mean_of_standardised_scores() -> None:
    expected = [(s - t.mean()) / t.std() for s, t in zip(SCORES, TRAINING, strict=True)]
    np.testing.assert_allclose(fuse_z(SCORES, TRAINING), np.mean(expected, axis=0))


@pytest.mark.parametrize("method", sorted(FUSIONS))
def test_every_member_moves_the_result_by_its_share(method: str) -> None:
    """A mean, not a median: a third member that rises lifts the fused score however the others stand."""
    training = [*TRAINING, RNG.normal(size=50)]
    low, high = [np.full(4, np.quantile(training[2], q)) for q in (0.1, 0.9)]
    first, second = (s[:4] for s in SCORES)
    fused = [FUSIONS[method]([first, second, third], training) for third in (low, high)]
    alone = [FUSIONS[method]([third], training[2:]) for third in (low, high)]
    np.testing.assert_allclose(fused[1] - fused[0], (alone[1] - alone[0]) / 3)


@settings(derandomize=True, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(-100.0, 100.0), st.sampled_from(sorted(FUSIONS)))
def test_units_of_a_member_change_nothing(factor: float, shift: float, method: str) -> None:
    fuse = FUSIONS[method]
    scaled = [factor * SCORES[0] + shift, SCORES[1]], [factor * TRAINING[0] + shift, TRAINING[1]]
    np.testing.assert_allclose(fuse(*scaled), fuse(SCORES, TRAINING), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", sorted(FUSIONS))
def test_a_clip_does_not_depend_on_the_others(method: str) -> None:
    together = FUSIONS[method](SCORES, TRAINING)
    alone = FUSIONS[method]([s[4:5] for s in SCORES], TRAINING)
    np.testing.assert_allclose(alone, together[4:5])


def test_ranks_are_robust_to_one_wild_member() -> None:
    wild = [SCORES[0].copy(), SCORES[1]]
    wild[0][0] = 1e9
    assert fuse_rank(wild, TRAINING)[0] < 1e4
    assert fuse_z(wild, TRAINING)[0] > 1e6


def test_order_beyond_all_training_scores_is_kept_by_rank() -> None:
    far = np.array([1e3, 2e3, 3e3])
    assert (np.diff(fuse_rank([far], [TRAINING[0]])) > 0).all()


def test_equal_training_scores_do_not_divide_by_zero() -> None:
    assert ScoreNormalizer.of(np.full(5, 3.0)) == ScoreNormalizer(3.0, 1.0)
    assert np.isfinite(fuse_z([np.array([4.0])], [np.full(5, 3.0)])).all()
