"""Several scores of one clip to one score: each is first brought to a common scale by training scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asd.scoring.references import FloatArray


@dataclass(frozen=True, slots=True)
class ScoreNormalizer:
    """Where normal scores lie: what is needed to make scores of different origin comparable.

    Attributes:
        mean, deviation: of the scores of training clips none of which met itself.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, training: FloatArray) -> ScoreNormalizer:
        """Of training scores (clips,); equal scores have deviation 1, so they stay what they are."""
        deviation = float(np.std(training))
        return cls(float(np.mean(training)), deviation if deviation > 0 else 1.0)

    def z(self, scores: FloatArray) -> FloatArray:
        """Scores in deviations above the mean of normal ones."""
        return (scores - self.mean) / self.deviation


def fuse_z(scores: Sequence[FloatArray], training: Sequence[FloatArray]) -> FloatArray:
    """Mean of z scores: one (clips,) array per member, and the training scores that scale it."""
    return np.mean([ScoreNormalizer.of(t).z(s) for s, t in zip(scores, training, strict=True)], axis=0)


def fuse_rank(scores: Sequence[FloatArray], training: Sequence[FloatArray]) -> FloatArray:
    """Mean rank among the training scores, in [0, 1]; beyond all of them the z score decides, scaled small.

    Robust to members whose scores have long tails, but coarse: n training clips give n + 1 ranks.
    """
    ranks = [
        np.searchsorted(np.sort(t), s, side="left") / len(t) + 1e-6 * ScoreNormalizer.of(t).z(s)
        for s, t in zip(scores, training, strict=True)
    ]
    return np.mean(ranks, axis=0)


FUSIONS = {"z": fuse_z, "rank": fuse_rank}
