"""Nearest-neighbour back ends over `References`: plain, whitened, enlarged or thinned banks."""

from __future__ import annotations

import numpy as np

from asd.scoring.bank import Bank
from asd.scoring.coreset import k_centre_greedy
from asd.scoring.gaussian import Mahalanobis
from asd.scoring.oversample import mem_mixup, smote
from asd.scoring.references import FloatArray, References
from asd.scoring.space import Metric


class Nearest:
    """Mean distance to the k nearest references, source and target in one memory.

    Args:
        references: training clips.
        k: neighbours; all references where there are fewer.
        metric: "euclid" or "cosine".
    """

    def __init__(self, references: References, *, k: int = 1, metric: Metric = "euclid") -> None:
        self.bank = Bank(references.vectors, metric=metric)
        self.k = k

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        return self.bank.search(queries, min(self.k, len(self.bank))).distances.mean(1)

    def score_training(self) -> FloatArray:
        """Scores of the references, each without itself."""
        k = min(self.k, len(self.bank) - 1)
        own = np.arange(len(self.bank))
        return self.bank.search(self.bank.vectors, k, exclude=own).distances.mean(1)


class Whitened:
    """Distance to the nearest reference where normal scatter within conditions is a sphere."""

    def __init__(self, references: References) -> None:
        self.space = Mahalanobis(references)
        self.nearest = Nearest(references.replace(self.space.whiten(references.vectors)))

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        return self.nearest.score(self.space.whiten(queries))


class NearestOfOthers:
    """Distance to the nearest of points that were made from the references.

    Without leave-one-out: such points are relatives of each clip, so whole folds must be left out before
    they are made (`backends.training_scores` does).
    """

    def __init__(self, points: FloatArray) -> None:
        self.bank = Bank(points)

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        return self.bank.search(queries, 1).distances[:, 0]


def nearest_after_smote(references: References) -> NearestOfOthers:
    """Nearest reference of a bank whose target domain is enlarged by SMOTE."""
    references = references.sorted()
    return NearestOfOthers(smote(references.vectors, references.is_target)[0])


def nearest_after_mem_mixup(references: References) -> NearestOfOthers:
    """Nearest reference of a bank whose target domain is enlarged by MemMixup."""
    return NearestOfOthers(mem_mixup(references.vectors, references.is_target)[0])


def nearest_of_coreset(references: References, *, share: float = 0.25) -> NearestOfOthers:
    """Nearest of the references that cover all others best, a share of them and at least two."""
    vectors = references.sorted().vectors
    return NearestOfOthers(vectors[k_centre_greedy(vectors, max(2, round(share * len(vectors))))])
