"""k-NN back ends by the distance to the nearest training clip: plain, or relative to how dense normal clips lie there.

Plain distances do not suit both domains: with a hundred source clips for each target clip, the nearest reference of a
normal target clip is farther away than that of a normal source clip, and one threshold cannot serve both.

Args:
    bank: of rows to search.
    queries: vectors (queries, dims).
    points: vectors (n, dims).
    weights: factors (n,) of the distances to them; None: 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from asd.scoring.backends import Backend
from asd.scoring.gaussian import Groups, Whitening
from asd.scoring.neighbours import IndexName, NeighbourBank, Neighbours
from asd.scoring.references import FloatArray, IntArray, Metric, References
from asd.types import AsdError

_LOG_LEAST = math.log(0.1)  # distances below a tenth of the usual one count as that: a near copy decides no more
CONSTANT = 1e-9  # values that vary by less than this, relative to their mean, differ by rounding only


@dataclass(eq=False, kw_only=True)
class NeighbourBackend(Backend):
    """Base of back ends that search a bank.

    Args:
        neighbours: how many count; all references where there are fewer.
        metric: "euclid" or "cosine".
        index: of `neighbours.NeighbourBank`.
    """

    neighbours: int = 1
    metric: Metric = "euclid"
    index: IndexName = "auto"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise AsdError(f"neighbours={self.neighbours} gives no distance; use 1 or more")

    def bank(self, points: FloatArray, weights: FloatArray | None = None) -> NeighbourBank:
        """A bank of points (n, dims) with the options of the back end; distances are multiplied by weights (n,)."""
        return NeighbourBank(points, metric=self.metric, index=self.index, device=self.device, weights=weights)

    def mean_distance(self, bank: NeighbourBank, queries: FloatArray) -> FloatArray:
        """Mean distance of each query (queries, dims) to its nearest rows, (queries,)."""
        return bank.search(queries, min(self.neighbours, len(bank))).distances.mean(1)

    def mean_distance_of_others(self, bank: NeighbourBank) -> FloatArray:
        """Mean distance of each row to its nearest other rows, (rows,); infinite for a lone row."""
        if len(bank) == 1:
            return np.array([np.inf])
        k = min(self.neighbours, len(bank) - 1)
        return bank.search(bank.vectors, k, exclude=np.arange(len(bank))).distances.mean(1)


@dataclass(eq=False, kw_only=True)
class Nearest(NeighbourBackend):
    """Mean distance to the nearest references, source and target in one memory."""

    fitted: ClassVar[tuple[str, ...]] = ("points",)

    def _learn(self, references: References) -> None:
        self.points = references.vectors

    def _prepare(self) -> None:
        self._bank = self.bank(self.points)

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        return self.mean_distance(self._bank, queries)

    def leave_one_out(self) -> FloatArray | None:
        """Scores (references,) of the training clips, each without itself."""
        return self.mean_distance_of_others(self._bank)


@dataclass(eq=False, kw_only=True)
class RelativeNearest(NeighbourBackend):
    """Whitened, density-relative k-NN: min over references y of log d(x, y) - a log b(y) - o(y).

    d is the distance after whitening by the scatter within conditions, b(y) the mean distance of y to its
    nearest other references, as many as y's condition has but `neighbours` at most, a the share of density that
    counts, and o the offset of y's condition: how much higher its n clips score by the others than all clips do,
    times n / (n + `offset_clips`).

    References that are copies of each other count once, and a copy is left out with the clip itself. Scores
    and densities below a tenth of the usual one count as that tenth: near copies attract queries, but not
    without bound. The scores behind an offset also count as ten times the usual one at most.

    Sources: local density, Wilkinghoff et al., "Keeping the Balance: Anomaly Score Calculation for Domain
    Generalization", ICASSP 2025; variance minimisation in log space, arXiv 2603.04605.

    Args:
        neighbours: at most, that define the density.
        density: the exponent a; None fits it so that training distances vary least, a = Cov(log d, log b) /
            Var(log b) over the training clips and their nearest others.
        whiten: whether to whiten at all.
        shrinkage: factor on the Ledoit-Wolf intensity of the whitening.
        between: share of the scatter between conditions that counts as normal in the whitening: what tells two
            conditions apart is no fault, and a condition that is to come may lie farther the same way.
        offset_clips: clips of a condition at which half of its offset counts; None: conditions count for nothing, so
            every density has as many neighbours.
        offset: factor on the offsets.
        faults: covariance (dims, dims) of what a fault adds to a vector, in units of the spread within conditions, see
            `gaussian.Whitening`; None: whitening as it is.
        tilt: (bands,) how the levels of a spectrum, with which vectors begin, move when it tilts: where training clips
            do not show how domains differ, normal clips may scatter that way; None: no levels.
        levels: (bands,) units of these levels: a small change of speed, which moves all of them along the frequency
            axis, is normal; None: no levels, or none that tell it.
    """

    density: float | None = 0.5
    whiten: bool = True
    shrinkage: float = 2.0
    between: float = 0.0
    offset_clips: float | None = 5.0
    offset: float = 1.0
    faults: FloatArray | None = None
    tilt: FloatArray | None = None
    levels: FloatArray | None = None

    fitted: ClassVar[tuple[str, ...]] = (
        "scale", "axes", "gains", "rest",  # the whitening
        "points", "copy_of", "log_scales", "least",
    )  # fmt: skip

    def _learn(self, references: References) -> None:
        first, self.copy_of = references.distinct()
        if len(first) < 2:
            raise AsdError(
                f"the vectors of {len(references)} training clips are all the same: there is nothing to "
                f"measure a distance against; give recordings that differ, or check the encoder"
            )
        distinct = references[first]
        whitening = self._whitening(distinct)
        self.scale, self.axes, self.gains, self.rest = whitening.state().values()
        self.points = whitening(distinct.vectors)
        self.log_scales = self._log_densities(distinct.conditions)
        others = self._others(self._weighted())
        usual = np.median(others)
        self.least = np.asarray(usual + _LOG_LEAST)
        bounded = np.clip(others, self.least, usual - _LOG_LEAST)
        self.log_scales = self.log_scales + self._offsets(bounded, distinct.conditions)

    def _prepare(self) -> None:
        self.whitening = Whitening(self.scale, self.axes, self.gains, self.rest)
        self._bank = self._weighted()

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        nearest = self._bank.search(self.whitening(queries), 1)
        return np.maximum(self._logarithms(nearest.distances[:, 0]), self.least)

    def leave_one_out(self) -> FloatArray | None:
        """Scores (references,) of the training clips, each without itself and its copies."""
        return np.maximum(self._others(self._bank), self.least)[self.copy_of]

    def _whitening(self, references: References) -> Whitening:
        if self.whiten:
            groups = Groups.of(references, "condition")
            return Whitening.of(groups, self.shrinkage, self.faults, self.between, self._nuisances(references))
        dims = references.vectors.shape[1]
        return Whitening(np.ones(dims), np.empty((dims, 0)), np.empty(0), np.array(1.0))

    def _nuisances(self, references: References) -> list[FloatArray]:
        """How normal vectors scatter beyond what the references show, each (directions, dims)."""
        found = []
        if self.levels is not None:
            slopes = np.gradient(references.vectors[:, : len(self.levels)] * self.levels, axis=1)
            found.append((slopes - slopes.mean(1, keepdims=True)) / self.levels)
        if self.tilt is not None and not references.shift_is_known.all():
            found.append(self.tilt[None])
        dims = references.vectors.shape[1]
        return [np.pad(moves, [(0, 0), (0, dims - moves.shape[1])]) for moves in found if moves.any()]

    def _weighted(self) -> NeighbourBank:
        """The points, with distances divided by their scales."""
        return self.bank(self.points, np.exp(self.log_scales.min() - self.log_scales))

    def _logarithms(self, weighted: FloatArray) -> FloatArray:
        """log d - log scale from distances of the weighted bank."""
        with np.errstate(divide="ignore"):
            return np.log(weighted) - self.log_scales.min()

    def _others(self, bank: NeighbourBank) -> FloatArray:
        """Scores (points,) of the points in a weighted bank, each by the others."""
        nearest = bank.search(self.points, 1, exclude=np.arange(len(self.points)))
        return self._logarithms(nearest.distances[:, 0])

    def _log_densities(self, conditions: IntArray) -> FloatArray:
        """a log b of each point, (points,); conditions (points,)."""
        n = len(self.points)
        if self.density == 0.0:
            return np.zeros(n)
        reach = min(self.neighbours + 1, n - 1)  # one more, for when one of them is left out
        near = self.bank(self.points).search(self.points, reach, exclude=np.arange(n))
        most = np.full(n, min(self.neighbours, n - 1))
        if self.offset_clips is not None:
            _, own, sizes = np.unique(conditions, return_inverse=True, return_counts=True)
            most = np.clip(sizes[own] - 1, 1, most)
        spacing = _means_of_first(near.distances, most)
        spacing = np.maximum(spacing, math.exp(_LOG_LEAST) * np.median(spacing))
        density = _fitted_density(near, most) if self.density is None else self.density
        return density * np.log(spacing)

    def _offsets(self, others: FloatArray, conditions: IntArray) -> FloatArray:
        """How much higher the condition of each point scores than all do, drawn to 0 where it has few."""
        offsets = np.zeros(len(others))
        if self.offset_clips is not None:
            for condition in np.unique(conditions):
                own = conditions == condition
                if own.sum() == 1:
                    continue  # how the others score one clip says nothing of its condition
                share = self.offset * own.sum() / (own.sum() + self.offset_clips)
                offsets[own] = share * (others[own].mean() - others.mean())
        return offsets


def _fitted_density(near: Neighbours, counts: IntArray) -> float:
    """The exponent a that makes log d - a log b vary least, b that of a point's nearest other, without the point."""
    other, points = near.rows[:, 0], np.arange(len(near.rows))
    kept = np.argsort(near.rows[other] == points[:, None], axis=1, kind="stable")  # the point itself goes last
    b = _means_of_first(np.take_along_axis(near.distances[other], kept, 1), counts[other])
    return _slope(np.log(b), np.log(near.distances[:, 0]))


def _means_of_first(values: FloatArray, counts: IntArray) -> FloatArray:
    """Mean of the first few values of each row, (rows, columns) and (rows,) -> (rows,)."""
    return np.asarray(values.cumsum(1)[np.arange(len(values)), counts - 1] / counts)


def _slope(x: FloatArray, y: FloatArray) -> float:
    """Slope of the line through y over x by least squares; 0 where x is constant or has two values at most."""
    if len(x) < 3 or x.std() <= CONSTANT:
        return 0.0
    covariance = np.cov(x, y)
    return float(covariance[0, 1] / covariance[0, 0])
