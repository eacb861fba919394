"""Gaussian back ends: how far is a vector from normal, in units of how normal clips scatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from asd.scoring.base import Arrays, Backend, nested, part_of
from asd.scoring.covariance import Groups, Share, Whitening, spread_of
from asd.scoring.references import FloatArray, References


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
        shrinkage: factor on the Ledoit-Wolf intensity, see `covariance.Whitening`.
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
        self.whiten = Whitening(self.scale, self.axes, self.gains, self.rest)

    def score(self, queries: FloatArray) -> FloatArray:
        """Distances (queries,) of vectors (queries, dims)."""
        white = self.whiten(queries)
        distances = _squared_distances(white, self.centres) / self.uncertainty
        nearest: FloatArray = distances.min(1) / white.shape[1]
        return nearest


@dataclass(eq=False, kw_only=True)
class SelectiveMahalanobis(Backend):
    """Distance to the nearer domain, each with its own mean and its own shrunk covariance.

    With ten target clips the target covariance is mostly shrinkage. A domain without two different clips
    has no scatter and takes no part; where neither has, all clips are one domain.
    """

    method: ClassVar[str] = "Mahalanobis distance"
    fitted: ClassVar[tuple[str, ...]] = ()

    def _learn(self, references: References) -> None:
        masks = [references.is_target == domain for domain in (False, True)]
        scattered = [mask for mask in masks if len(np.unique(references.vectors[mask], axis=0)) > 1]
        parts = [references[mask] for mask in scattered] or [references]
        self.parts = [Mahalanobis(means="all").fit(part) for part in parts]

    def score(self, queries: FloatArray) -> FloatArray:
        """Distances (queries,) of vectors (queries, dims)."""
        return np.min([part.score(queries) for part in self.parts], axis=0)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of each domain's part."""
        parts = [nested(str(number), part.state()) for number, part in enumerate(self.parts)]
        return super().state() | {name: array for part in parts for name, array in part.items()}

    def restore(self, arrays: Arrays) -> Self:
        """Takes what `state` gave."""
        stored = [part for number in range(2) if (part := part_of(str(number), arrays))]
        self.parts = [Mahalanobis(means="all").restore(part) for part in stored]
        return super().restore(arrays)


@dataclass(eq=False, kw_only=True)
class Mixture(Backend):
    """Negative log-likelihood under a mixture of Gaussians, per dimension.

    As in TWFR-GMM (Guan et al., ICASSP 2023), but with vectors in units of their spread and a floor of a
    tenth of it under every variance: there are seldom more clips than dimensions.

    Args:
        components: Gaussians; fewer where there are fewer than ten clips for each.
    """

    components: int = 2

    method: ClassVar[str] = "GMM"
    fitted: ClassVar[tuple[str, ...]] = ("scale", "weights", "means", "precisions")

    def _learn(self, references: References) -> None:
        from sklearn.mixture import GaussianMixture  # takes half a second to import

        self.scale = spread_of(references.vectors)
        n = max(1, min(self.components, len(references) // 10))
        vectors = references.sorted().vectors / self.scale
        mixture = GaussianMixture(n, reg_covar=0.1, random_state=0).fit(vectors)
        self.weights, self.means = mixture.weights_, mixture.means_
        self.precisions = mixture.precisions_cholesky_  # upper triangles U with U U^T = inverse covariance

    def _prepare(self) -> None:
        from sklearn.mixture import GaussianMixture

        self.mixture = GaussianMixture(len(self.weights))
        self.mixture.weights_, self.mixture.means_ = self.weights, self.means
        self.mixture.precisions_cholesky_ = self.precisions

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        return -self.mixture.score_samples(queries / self.scale) / queries.shape[1]


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """All squared Euclidean distances: (n, dims), (m, dims) -> (n, m)."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.maximum(squared, 0.0)
