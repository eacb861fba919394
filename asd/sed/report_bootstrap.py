"""Whether a difference of two models' F1 is more than the choice of clips and seeds: a paired bootstrap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

N_RESAMPLES = 2000

FloatArray = npt.NDArray[np.float64]
ClipCounts = tuple[FloatArray, FloatArray]  # hits, and said + true, both (seeds, clips)


def clip_counts(probabilities: FloatArray, targets: FloatArray, threshold: float) -> ClipCounts:
    """What the micro F1 is made of, clip by clip.

    Args:
        probabilities: (seeds, clips, classes).
        targets: (clips, classes).
        threshold: above which a probability is a yes.
    """
    said, true = probabilities > threshold, targets > 0.5
    return (said & true).sum(-1).astype(float), (said.sum(-1) + true.sum(-1)).astype(float)


def f1_difference_interval(a: ClipCounts, b: ClipCounts, *, same_seeds: bool = False) -> tuple[float, float]:
    """Where the micro F1 of a minus that of b lies in 95 % of resampled sets of clips and seeds.

    Args:
        a, b: of the same clips, which are resampled together.
        same_seeds: whether the seeds are too, as those of a student and its teacher, or each on their own.
    """
    rng = np.random.default_rng(0)
    n_clips = a[0].shape[1]
    clips = rng.multinomial(n_clips, np.full(n_clips, 1 / n_clips), N_RESAMPLES).astype(float)
    seeds_of_a, seeds_of_b = (_shares(len(hits), rng) for hits, _ in (a, b))
    differences = _resampled_f1(a, clips, seeds_of_a) - _resampled_f1(
        b, clips, seeds_of_a if same_seeds else seeds_of_b
    )
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def _shares(n_seeds: int, rng: np.random.Generator) -> FloatArray:
    """How much each seed counts, (resamples, seeds)."""
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), N_RESAMPLES) / n_seeds


def _resampled_f1(counts: ClipCounts, clips: FloatArray, seeds: FloatArray) -> FloatArray:
    hits, total = counts
    return (seeds * 2 * (clips @ hits.T) / np.maximum(clips @ total.T, 1)).sum(1)


def verdict(low: float, high: float) -> str:
    """What an interval of a difference settles: better, worse, or a tie where it contains 0."""
    return "better" if low > 0 else "worse" if high < 0 else "tie"
