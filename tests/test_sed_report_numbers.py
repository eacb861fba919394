"""Tests of asd.sed.report_numbers, by theory and by its own claims on made-up models."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from asd.evaluation.confidence import difference_interval
from asd.sed.report_numbers import clip_counts, verdict


def decisions(n_clips: int, right: float, seed: int, n_seeds: int = 1) -> npt.NDArray[np.float64]:
    """Clips that all have the one class, found with the probability `right`."""
    return (np.random.default_rng(seed).random((n_seeds, n_clips, 1)) < right).astype(float)


def test_counts_are_those_of_each_clip() -> None:
    hits, total = clip_counts(np.array([[[0.9, 0.2, 0.8], [0.5, 0.1, 0.1]]]), np.array([[1, 1, 0], [1, 0, 0.0]]))
    assert hits.tolist() == [[2, 0]]
    assert total.tolist() == [[4, 1]]


def test_the_interval_is_as_wide_as_theory_says() -> None:
    """Without false alarms F1 is 2r / (1 + r), whose derivative by the recall r is 2 / (1 + r)^2."""
    n_clips, right = 2000, 0.6
    truth = np.ones((n_clips, 1))
    a, b = (clip_counts(decisions(n_clips, right, seed), truth) for seed in (1, 2))
    low, high = difference_interval(a, b)
    standard_error = np.sqrt(2 * right * (1 - right) / n_clips) * 2 / (1 + right) ** 2
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_an_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    truth = np.ones((80, 1))
    verdicts = [
        verdict(*difference_interval(*(clip_counts(decisions(80, 0.6, 2 * k + side), truth) for side in (0, 1))))
        for k in range(100)
    ]
    assert 88 <= verdicts.count("tie") <= 99


def test_seeds_widen_it_unless_they_are_the_same() -> None:
    truth = np.ones((400, 1))
    uneven = np.concatenate([decisions(400, right, k) for k, right in enumerate((0.3, 0.6, 0.9))])
    counts = clip_counts(uneven, truth)
    low, high = difference_interval(counts, counts)
    assert low < -0.1 < 0.1 < high
    assert difference_interval(counts, counts, same_seeds=True) == (0.0, 0.0)


def test_an_interval_that_touches_zero_settles_nothing() -> None:
    assert [verdict(0.1, 0.2), verdict(-0.2, -0.1), verdict(-0.1, 0.1), verdict(0.0, 0.1)] == [
        "better", "worse", "tie", "tie",
    ]  # fmt: skip
