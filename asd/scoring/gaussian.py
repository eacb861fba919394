"""How normal vectors scatter, whitening by it, and the Mahalanobis distance in units of it.

Source of the shrinkage: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
matrices", 2004, in the form of `sklearn.covariance.ledoit_wolf`, which the tests compare with.

Whitening asks how unlikely a clip is among normal ones. Where it is known how faults move a vector, the better question
is how much likelier the clip is among faulty ones (`detectors.statistic_groups.fault_covariance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import scipy.linalg

from asd.scoring.backends import Backend
from asd.scoring.references import FloatArray, References
from asd.types import AsdError, one_of

Share = Literal["all", "domain", "condition"]
Axes = tuple[FloatArray, FloatArray, FloatArray]  # axes, gains and rest of a `Whitening`

_LEAST_SPREAD = 0.05  # of the median: keeps a band that never moved in training from deciding alone
_LEAST_VARIANCE = 1e-9  # of the mean variance, along any axis
_ROUNDING = 1e-12  # residuals below, relative to the vectors, come from rounding a mean
_NUISANCE_VARIANCE = 0.1  # of each kind, per dimension, in units of the variance of normal clips


@dataclass(frozen=True, slots=True)
class Groups:
    """References around the means of their groups.

    Attributes:
        means: (groups, dims).
        sizes: (groups,) clips.
        residuals: (clips, dims) vectors less the mean of their group.
    """

    means: FloatArray
    sizes: npt.NDArray[np.int64]
    residuals: FloatArray

    @property
    def spread(self) -> FloatArray:
        """Spread of each dimension within groups, (dims,), see `spread_of`."""
        return spread_of(self.residuals, len(self.means))

    @classmethod
    def of(cls, references: References, share: Share) -> Groups:
        """Groups of clips that share a mean: "all", a "domain", or a "condition".

        Where no clip differs from the mean of its group (one clip per domain, say), a coarser grouping
        takes its place: conditions, then domains, then all.

        Args:
            references: training clips.
            share: "all", "domain" or "condition".
        """
        every = {
            "condition": references.conditions,
            "domain": references.is_target.astype(np.int64),
            "all": np.zeros(len(references), np.int64),
        }
        shares = list(every)
        for name in shares[shares.index(one_of(share, shares, "means")) :]:
            _, index, sizes = np.unique(every[name], return_inverse=True, return_counts=True)
            means = np.stack([references.vectors[index == group].mean(0) for group in range(len(sizes))])
            residuals = references.vectors - means[index]
            if np.abs(residuals).max() > _ROUNDING * np.abs(references.vectors).max():
                break
        return cls(means, sizes, residuals)


@dataclass(frozen=True, slots=True)
class Whitening:
    """Map to coordinates in which the scatter of normal clips within groups is a sphere.

    With |w|² = x^T S^-1 x for S the covariance, shrunk towards a sphere, of vectors in units of their spread.
    Where clips are fewer than dimensions they span a few axes, and at right angles to these S is the sphere
    alone, so that no (dims, dims) matrix is ever formed.

    With a covariance F of what faults add, |w|² = x^T (S^-1 - (S + F)^-1) x: up to a constant, twice the logarithm of
    how much likelier x is with a fault than without. On axes that make S a sphere and F diagonal, with entries f, each
    axis counts by f / (1 + f): by the share of a faulty clip's variance that is the fault's.

    Attributes:
        scale: (dims,) spread of each dimension.
        axes: (dims, axes) directions in which S is not the sphere; with faults (dims, dims), see above.
        gains: (axes,) factors along them.
        rest: factor () at right angles to all of them.
    """

    scale: FloatArray
    axes: FloatArray
    gains: FloatArray
    rest: FloatArray

    @classmethod
    def of(
        cls,
        groups: Groups,
        shrinkage: float,
        faults: FloatArray | None = None,
        between: float = 0.0,
        nuisances: Sequence[FloatArray] = (),
    ) -> Self:
        """Fitted to the residuals of groups.

        Args:
            groups: at least one clip differs from the mean of its group.
            shrinkage: factor on the Ledoit-Wolf intensity; its derivation assumes independent clips, while
                recordings of one machine come in runs, so it errs towards too little.
            faults: (dims, dims) covariance of what a fault adds, in units of the spread; None: anything at all.
            between: share of the scatter of the groups' means that counts beside that within them.
            nuisances: kinds of normal scatter besides, each (directions, dims) of any length; only with faults.

        Raises:
            AsdError: the clips do not differ at all.
        """
        scale = groups.spread
        residuals = groups.residuals / scale
        intensity = min(1.0, shrinkage * ledoit_wolf_intensity(residuals))
        freedom = max(len(residuals) - len(groups.means), 1)
        within = residuals / np.sqrt(freedom)
        apart = (groups.means - np.average(groups.means, axis=0, weights=groups.sizes)) / scale
        apart *= np.sqrt(between * groups.sizes / freedom)[:, None]
        if faults is None:
            return cls(scale, *_axes_of_scatter(within, apart if between else apart[:0], intensity))
        moves = [directions / scale for directions in nuisances]
        return cls(scale, *_axes_of_faults(faults, within, apart, intensity, moves))

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Whitened vectors, (n, dims) -> (n, dims)."""
        scaled = vectors / self.scale
        if self.axes.shape[0] == self.axes.shape[1]:
            return scaled @ self.axes * self.gains
        return self.rest * scaled + scaled @ self.axes * (self.gains - self.rest) @ self.axes.T

    def clearest(self, n: int) -> FloatArray:
        """The `n` axes along which faults stand out most, (dims, n): `vectors @ axes` are whitened coordinates.

        Only where faults are known; the axes are ordered by how many times its normal variance a fault would add.
        """
        return self.axes[:, -n:] * self.gains[-n:] / self.scale[:, None]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Its arrays by name, the arguments that make it again."""
        return {name: getattr(self, name) for name in self.__slots__}


def _axes_of_scatter(within: FloatArray, apart: FloatArray, intensity: float) -> Axes:
    """Axes, gains and rest of a `Whitening`; within.T @ within is the scatter within groups, apart's of their means."""
    rows, dims = np.concatenate([within, apart]) if len(apart) else within, within.shape[1]
    if dims <= len(rows):
        squares, axes = np.linalg.eigh(rows.T @ rows)
    else:
        squares, mixtures = np.linalg.eigh(rows @ rows.T)
        held = squares > 1e-12 * squares[-1]
        squares, axes = squares[held], rows.T @ (mixtures[:, held] / np.sqrt(squares[held]))
    sphere = (squares.sum() - np.square(apart).sum()) / dims
    variances = (1 - intensity) * np.append(squares, 0.0) + intensity * sphere
    gains = 1 / np.sqrt(np.maximum(variances, _LEAST_VARIANCE * sphere))
    return axes, gains[:-1], gains[-1:].reshape(())


def _axes_of_faults(
    faults: FloatArray, within: FloatArray, apart: FloatArray, intensity: float, nuisances: Sequence[FloatArray]
) -> Axes:
    """Axes, gains and rest of a `Whitening` by the covariance of faults; within, apart, intensity as above."""
    covariance, dims = within.T @ within, within.shape[1]
    sphere = np.trace(covariance) / dims * np.eye(dims)
    normal = (1 - intensity) * (covariance + apart.T @ apart) + max(intensity, _LEAST_VARIANCE) * sphere
    for moves in nuisances:
        normal += moves.T @ moves * (_NUISANCE_VARIANCE * dims / np.square(moves).sum())
    ratios, axes = scipy.linalg.eigh(faults, normal, overwrite_b=True, check_finite=False)
    ratios = np.maximum(ratios, 0.0)
    return np.ascontiguousarray(axes), np.sqrt(ratios / (1 + ratios)), np.zeros(())


def spread_of(vectors: FloatArray, n_means: int = 0) -> FloatArray:
    """Standard deviation of each dimension, (dims,), never far below the typical one.

    Args:
        vectors: (clips, dims); residuals around `n_means` means of theirs, or with 0 the vectors themselves.
        n_means: number of means that were taken off already.

    Raises:
        AsdError: the clips do not differ at all.
    """
    residuals = vectors if n_means else vectors - vectors.mean(0)
    spread = np.sqrt((residuals**2).sum(0) / max(len(residuals) - max(n_means, 1), 1))
    moving = spread[spread > 0]
    if not len(moving):
        raise AsdError(
            f"the vectors of {len(residuals)} training clips are all the same: there is nothing to measure a "
            f"deviation against; give recordings that differ, or check the encoder"
        )
    return np.sqrt(spread**2 + (_LEAST_SPREAD * float(np.median(moving))) ** 2)


def ledoit_wolf_intensity(residuals: FloatArray) -> float:
    """Intensity in [0, 1] of the shrinkage for residuals (clips, dims).

    The squared norm of the covariance is taken from the smaller of R^T R and R R^T, which share it.
    """
    n, dims = residuals.shape
    squares = np.square(residuals).sum(1)
    products = residuals.T @ residuals if dims <= n else residuals @ residuals.T
    covariance = np.square(products).sum() / n**2
    spread = covariance - (squares.sum() / n) ** 2 / dims  # distance of the estimate from the sphere
    noise = (np.square(squares).sum() / n - covariance) / n  # distance expected from sampling alone
    return float(min(1.0, noise / spread)) if spread > 0 else 0.0


def nuisance_directions(noise: FloatArray, share: float = 0.5) -> FloatArray:
    """The fewest axes that hold `share` of the variance: (clips, dims) of noise -> (directions, dims), orthonormal.

    What lies along the main axes in which recordings of the noise alone vary is taken out of every vector
    before anything is measured, so that no back end mistakes it for a fault. Source: Solomonoff, Campbell and
    Boardman, "Advances in channel compensation for SVM speaker recognition", ICASSP 2005.

    Args:
        noise: (clips, dims), recordings without the machine.
        share: of their variance, in (0, 1]; the rest of the axes are the machine's as well.

    Raises:
        AsdError: too few recordings to vary.
    """
    if len(noise) < 2:
        raise AsdError(
            f"how noise varies shows in two noise-only recordings or more, got {len(noise)}; give more in "
            f"supplemental/, or set supplemental.noise=ignore"
        )
    _, spread, axes = np.linalg.svd(noise - noise.mean(0), full_matrices=False)
    held = np.cumsum(np.square(spread))
    return np.asarray(axes[: 1 + int(np.searchsorted(held, share * held[-1]))])


def without_directions(vectors: FloatArray, directions: FloatArray) -> FloatArray:
    """Vectors projected onto what is at right angles to the directions, (n, dims).

    Args:
        vectors: (n, dims).
        directions: (k, dims), orthonormal.
    """
    return vectors - vectors @ directions.T @ directions


@dataclass(eq=False, kw_only=True)
class Mahalanobis(Backend):
    """Squared distance per dimension to the nearest mean under one shrunk covariance shared by all.

    The covariance is that of the clips around the mean of their group, so that the shift between groups
    does not widen it: within domains or conditions it knows what varies at one speed and load. Each
    dimension is first divided by its own spread within groups, so that shrinkage treats loud and quiet
    bands alike. The distance to the mean of a small group is divided by 1 + 1/n: such a mean is uncertain,
    and without that, few target clips would make normal target clips look far.

    Args:
        means: whose clips share a mean: "all", "domain" or "condition" (section x domain x attributes).
        shrinkage: factor on the Ledoit-Wolf intensity, see `Whitening`.
    """

    means: Share = "condition"
    shrinkage: float = 1.0

    method: ClassVar[str] = "Mahalanobis distance"
    fitted: ClassVar[tuple[str, ...]] = ("scale", "axes", "gains", "rest", "centres", "uncertainty")

    def _learn(self, references: References) -> None:
        groups = Groups.of(references, self.means)
        whitening = Whitening.of(groups, self.shrinkage)
        self.scale, self.axes, self.gains, self.rest = whitening.state().values()
        self.centres = whitening(groups.means)
        self.uncertainty = 1.0 + 1.0 / groups.sizes

    def _prepare(self) -> None:
        self.whitening = Whitening(self.scale, self.axes, self.gains, self.rest)

    def score(self, queries: FloatArray) -> FloatArray:
        """Distances (queries,) of vectors (queries, dims)."""
        white = self.whitening(queries)
        squared = (white**2).sum(1)[:, None] + (self.centres**2).sum(1) - 2 * white @ self.centres.T
        return (np.maximum(squared, 0.0) / self.uncertainty).min(1) / white.shape[1]
