"""Neighbour distances made comparable where references are dense and where they are sparse.

A hundred source clips for each target clip: the nearest reference of a normal target clip is farther away,
and one threshold cannot serve both. Notation: x a query, r_i the n references, d the distance, b_i the mean
distance of r_i to its K nearest other references (large where references are sparse).

    DensityRatio    min_i d(x, r_i) / b_i             no domain labels
    VarMin          min_i d(x, r_i) - alpha b_i       no domain labels
    DomainMedian    min over domains of d(x, domain) / median                (asd.scoring.domains)
    DomainZ         min over domains of (d(x, domain) - mean) / deviation    (asd.scoring.domains)

All share one protocol, `NeighbourScorer`. `score_training` leaves each reference out as a neighbour and out
of every b_i; alpha, median, mean and deviation are single numbers of the whole bank and keep it. Scores are
finite whatever the bank: each class says what duplicates, lone references and constant distances mean.
A bank enlarged by `asd.scoring.oversample` has relatives of each clip in it, so its `score_training` is too
optimistic: there, leave out whole folds before enlarging.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from asd.scoring.bank import Bank
from asd.scoring.space import BLOCK_VALUES, FloatArray, IntArray, Metric
from asd.types import AsdError

Vectors = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

DENSITY_FLOOR = 0.01  # of the median density: duplicates must not turn distances into infinite scores
CONSTANT = 1e-9  # values that vary by less than this, relative to their mean, differ by rounding only
FIRST_NEIGHBOURS = 64  # looked at before asking whether a farther reference could still win
TINY = 1e-100  # scales below count as zero: dividing by them could overflow


@runtime_checkable
class NeighbourScorer(Protocol):
    """Anything that scores by distance to references; higher = more anomalous."""

    def score(self, queries: Vectors) -> FloatArray:
        """Finite scores (q,) of vectors (q, dims)."""
        ...

    def score_training(self) -> FloatArray:
        """Finite scores (n,) of the references themselves, none of which meets itself."""
        ...


class _LocalDensity:
    """The b_i of all references, and the search for the reference that minimises a function of d and b."""

    def __init__(self, vectors: Vectors, k: int, metric: Metric) -> None:
        if k < 1:
            raise AsdError(f"k={k} neighbours define no density; use 1 or more (the papers use 4)")
        self.bank = Bank(vectors, metric=metric)
        self._k = k
        n = len(self.bank)
        reach = min(k + 1, n - 1)  # one more than k, for when one of them is left out
        if reach:
            near = self.bank.search(self.bank.vectors, reach, exclude=np.arange(n))
            self._near, self._near_rows = near.distances, near.indices
        else:
            self._near, self._near_rows = np.zeros((n, 0)), np.zeros((n, 0), dtype=np.int64)
        self.densities = self._mean_of_k(self._near)

    def of(self, rows: IntArray, left_out: IntArray) -> FloatArray:
        """b of `rows` (q, m), as if reference `left_out` (q,) (-1 = none) did not exist."""
        densities = self.densities[rows]
        gone = self._near_rows[rows] == left_out[:, None, None]
        hit = gone.any(-1)
        shape = (int(hit.sum()), max(self._near.shape[1] - 1, 0))
        densities[hit] = self._mean_of_k(self._near[rows[hit]][~gone[hit]].reshape(shape))
        return densities

    def minimum(self, queries: Vectors, exclude: IntArray, slope: _Slope) -> FloatArray:
        """min_i slope.value(d(x, r_i), b_i) over all references, (q,); exact on an exact bank.

        Neighbours are asked for in growing numbers until none farther away could win, whatever its b.
        """
        available = len(self.bank) - bool((exclude >= 0).any())
        result = np.empty(len(queries))
        pending = np.arange(len(queries))
        count = min(max(FIRST_NEIGHBOURS, 2 * self._k), available)
        while len(pending):
            step = max(1, BLOCK_VALUES // (count * (self._k + 1)))
            unsettled = []
            for some in np.split(pending, range(step, len(pending), step)):
                near = self.bank.search(queries[some], count, exclude=exclude[some])
                scores = slope.value(near.distances, self.of(near.indices, exclude[some])).min(1)
                settled = (scores <= slope.least(near.distances[:, -1])) | (count == available)
                result[some] = scores
                unsettled.append(some[~settled])
            pending, count = np.concatenate(unsettled), min(4 * count, available)
        return result

    def bounds(self) -> tuple[float, float]:
        """Least and greatest b, also when any one reference is left out."""
        without_nearest = self._mean_of_k(self._near[:, 1:])
        return float(self.densities.min()), float(np.maximum(self.densities, without_nearest).max())

    def _mean_of_k(self, distances: FloatArray) -> FloatArray:
        """Mean of the first k columns; a reference without others has density zero."""
        return distances[:, : self._k].mean(1) if distances.shape[1] else np.zeros(len(distances))


class _Slope(Protocol):
    """How d and b make a score that grows with d."""

    def value(self, distances: FloatArray, densities: FloatArray) -> FloatArray: ...

    def least(self, distances: FloatArray) -> FloatArray: ...


class DensityRatio:
    """min_i d(x, r_i) / b_i: distance in units of the spacing of references around r_i.

    Source: Wilkinghoff et al., "Keeping the Balance: Anomaly Score Calculation for Domain Generalization",
    ICASSP 2025, and "Local Density-Based Anomaly Score Normalization", 2025; K = 4.

    Degenerate banks: b is raised to 1 % of the median positive b, so that duplicates (b = 0) attract but
    give no infinite score; where no b is positive (one reference, or all equal) the floor is 1 and the
    score is the plain distance. With fewer than K other references, all of them count.

    Args:
        vectors: (n, dims) references.
        is_target: (n,), not used: the density itself tells domains apart.
        k: neighbours that define the density.
        metric: "euclid" or "cosine".
    """

    def __init__(
        self, vectors: Vectors, is_target: Mask | None = None, *, k: int = 4, metric: Metric = "euclid"
    ) -> None:
        self._density = _LocalDensity(vectors, k, metric)
        positive = self._density.densities[self._density.densities > TINY]
        self._floor = DENSITY_FLOOR * float(np.median(positive)) if len(positive) else 1.0
        self._greatest = max(self._density.bounds()[1], self._floor)

    def score(self, queries: Vectors) -> FloatArray:
        """Scores (q,) of vectors (q, dims)."""
        return self._density.minimum(queries, np.full(len(queries), -1), self)

    def score_training(self) -> FloatArray:
        """Leave-one-out scores (n,) of the references; at least two of them are needed."""
        check_leave_one_out(len(self._density.bank))
        vectors = self._density.bank.vectors
        return self._density.minimum(vectors, np.arange(len(vectors)), self)

    def value(self, distances: FloatArray, densities: FloatArray) -> FloatArray:
        """Score that a reference at a distance, with a density, gives."""
        return distances / np.maximum(densities, self._floor)

    def least(self, distances: FloatArray) -> FloatArray:
        """Least score that any reference at this distance or farther could give."""
        return distances / self._greatest


class VarMin:
    """min_i d(x, r_i) - alpha b_i, with the alpha that makes training scores vary least.

    alpha = Cov(d_loo, b) / Var(b) over the references, where d_loo is the distance of a reference to the
    nearest other one and b the density of that other one, both without the reference itself. Source:
    Matsumoto, DCASE Workshop 2025 (variance minimisation); K = 4.

    Degenerate banks: alpha is 0, and the score the plain distance, where b is constant (fewer than three
    references, all equal, or evenly spaced). Scores may be negative.

    Args:
        vectors: (n, dims) references.
        is_target: (n,), not used.
        k: neighbours that define the density.
        metric: "euclid" or "cosine".
    """

    def __init__(
        self, vectors: Vectors, is_target: Mask | None = None, *, k: int = 4, metric: Metric = "euclid"
    ) -> None:
        self._density = _LocalDensity(vectors, k, metric)
        self.alpha = self._fit_alpha()
        least, greatest = self._density.bounds()
        self._offset = self.alpha * (greatest if self.alpha > 0 else least)

    def score(self, queries: Vectors) -> FloatArray:
        """Scores (q,) of vectors (q, dims)."""
        return self._density.minimum(queries, np.full(len(queries), -1), self)

    def score_training(self) -> FloatArray:
        """Leave-one-out scores (n,) of the references; at least two of them are needed."""
        check_leave_one_out(len(self._density.bank))
        vectors = self._density.bank.vectors
        return self._density.minimum(vectors, np.arange(len(vectors)), self)

    def value(self, distances: FloatArray, densities: FloatArray) -> FloatArray:
        """Score that a reference at a distance, with a density, gives."""
        return distances - self.alpha * densities

    def least(self, distances: FloatArray) -> FloatArray:
        """Least score that any reference at this distance or farther could give."""
        return distances - self._offset

    def _fit_alpha(self) -> float:
        bank = self._density.bank
        if len(bank) < 3:
            return 0.0
        itself = np.arange(len(bank))
        nearest = bank.search(bank.vectors, 1, exclude=itself)
        b = self._density.of(nearest.indices, itself)[:, 0]
        if is_constant(b):
            return 0.0
        covariance = np.cov(nearest.distances[:, 0], b)
        return float(covariance[0, 1] / covariance[1, 1])


def is_constant(values: FloatArray) -> bool:
    """Whether values (n,) differ by no more than rounding."""
    if len(values) < 2:
        return True
    return float(values.std()) <= max(CONSTANT * float(np.abs(values).mean()), TINY)


def check_leave_one_out(count: int) -> None:
    """A bank of `count` references can score them only if each has another.

    Raises:
        AsdError: it cannot.
    """
    if count < 2:
        raise AsdError(
            f"a training score needs another clip to compare with, but the bank has {count} vector; "
            "give two training clips or more"
        )
