from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from asd.scoring.oversample import mem_mixup, smote
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def bank(n_source: int, n_target: int) -> tuple[FloatArray, Mask]:
    rng = np.random.default_rng(0)
    is_target = rng.permutation(np.arange(n_source + n_target) >= n_source)
    return rng.normal(size=(n_source + n_target, 4)) + 9.0 * is_target[:, None], is_target


def test_smote_fills_up_the_target_domain_between_its_clips() -> None:
    vectors, is_target = bank(99, 10)
    enlarged, flags = smote(vectors, is_target, ratio=0.25, neighbours=3, seed=1)
    assert flags.sum() == 24
    np.testing.assert_array_equal(enlarged[:109], vectors)
    np.testing.assert_array_equal(flags[:109], is_target)
    assert flags[109:].all()
    target = vectors[is_target]
    for made in enlarged[109:]:  # on a line between two target clips: |a - m| + |m - b| = |a - b|
        reach = np.linalg.norm(target - made, axis=1)
        span = np.linalg.norm(target[:, None] - target, axis=2)
        np.fill_diagonal(span, -np.inf)
        assert np.abs(reach[:, None] + reach - span).min() < 1e-9


def test_smote_follows_its_seed() -> None:
    vectors, is_target = bank(60, 5)
    first, again, other = (smote(vectors, is_target, seed=seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_smote_with_fewer_target_clips_than_neighbours_takes_them_all() -> None:
    vectors, is_target = bank(50, 2)
    enlarged, flags = smote(vectors, is_target, ratio=0.2, neighbours=5)
    assert flags.sum() == 10
    assert np.isfinite(enlarged).all()


def test_smote_adds_nothing_to_enough_target_clips() -> None:
    for sizes in ((50, 10), (10, 50), (10, 10)):
        vectors, is_target = bank(*sizes)
        assert smote(vectors, is_target, ratio=0.2)[0] is vectors


def test_mem_mixup_is_its_formula() -> None:
    vectors, is_target = bank(30, 3)
    enlarged, flags = mem_mixup(vectors, is_target, neighbours=4, weight=0.9)
    assert (len(enlarged), flags.sum()) == (33 + 12, 3 + 12)
    np.testing.assert_array_equal(enlarged[:33], vectors)
    source, target = vectors[~is_target], vectors[is_target]
    for t, made in zip(target, enlarged[33:].reshape(3, 4, 4), strict=True):
        near = source[np.argsort(np.linalg.norm(source - t, axis=1))[:4]]
        np.testing.assert_allclose(made, 0.9 * t + 0.1 * near)


def test_mem_mixup_with_fewer_source_clips_takes_them_all() -> None:
    vectors, is_target = bank(7, 2)
    single = vectors.astype(np.float32)
    enlarged, flags = mem_mixup(single, is_target)  # type: ignore[arg-type]
    assert flags.sum() == 2 + 14
    assert enlarged.dtype == np.float32


@pytest.mark.parametrize(
    ("function", "sizes"),
    [(smote, (9, 1)), (smote, (9, 0)), (smote, (0, 9)), (mem_mixup, (9, 0)), (mem_mixup, (0, 9))],
)
def test_a_missing_domain_leaves_the_bank_and_says_so(
    function: Callable[[FloatArray, Mask], tuple[FloatArray, Mask]],
    sizes: tuple[int, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    vectors, is_target = bank(*sizes)
    with caplog.at_level(logging.WARNING, logger="asd"):
        enlarged, flags = function(vectors, is_target)
    assert enlarged is vectors
    assert flags is is_target
    assert f"{sizes[0]} source and {sizes[1]} target clips" in caplog.text


def test_settings_out_of_range_are_sentences() -> None:
    vectors, is_target = bank(9, 3)
    with pytest.raises(AsdError, match=r"a ratio in \(0, 1\] and 1 or more neighbours, got 1\.5 and 2"):
        smote(vectors, is_target, ratio=1.5)
    with pytest.raises(AsdError, match=r"got 0\.2 and 0"):
        smote(vectors, is_target, neighbours=0)
    with pytest.raises(AsdError, match=r"a weight in \(0, 1\) and 1 or more neighbours, got 1 and 990"):
        mem_mixup(vectors, is_target, weight=1.0)
