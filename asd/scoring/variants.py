"""Back ends of published systems: neighbours of made points, by bands or by domains; Gaussians by domain or mixed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from asd.core.runtime import log
from asd.scoring.backends import Arrays, Backend, nested, part_of
from asd.scoring.gaussian import Mahalanobis, spread_of
from asd.scoring.nearest import CONSTANT, Nearest, NeighbourBackend
from asd.scoring.references import FloatArray, References
from asd.types import one_of

_TARGET_SHARE = 0.2  # smote: target clips for each source clip
_MIXED_CLIPS, _OWN_SHARE = 990, 0.9  # memmixup: source clips for each target clip, and what stays of the latter
_CENTRES = 16  # kmeans: of the source clips


@cache
def _warn_of_one_domain(method: str) -> None:
    """Says once that nothing is made: each fold of each vector's part is fitted anew."""
    log.warning("%s makes points of clips of both domains; where one has too few, the clips stay as they are", method)


@dataclass(eq=False, kw_only=True)
class NearestOfMade(Nearest):
    """Mean distance to the nearest of points that were made from the references.

    "smote" (Chawla et al. 2002): target points on lines between target clips, until there are a fifth as
    many as source clips; the settings are those of a public toolkit's k-NN back end. "memmixup" (GenRep,
    Saengthong and Shinozaki 2024): target clips drawn a little, by 0.1, towards each of the 990 nearest
    source clips. "kmeans" (Wilkinghoff, DCASE 2023): 16 centres of the source clips, and the target clips.

    Made points are relatives of each clip, so training scores leave whole folds out before they are made.

    Args:
        made: "smote", "memmixup" or "kmeans".
    """

    made: Literal["smote", "memmixup", "kmeans"] = "smote"

    @property
    def method(self) -> str:  # type: ignore[override]
        """Its name in a meta file."""
        return "k-means" if self.made == "kmeans" else "k-NN"

    def _learn(self, references: References) -> None:
        references = references.sorted()
        source = references.vectors[~references.is_target]
        target = references.vectors[references.is_target]
        make = {"smote": self._smote, "memmixup": self._mem_mixup, "kmeans": _centres_of_source}
        self.points = make[one_of(self.made, [*make], "made")](source, target)

    leave_one_out = Backend.leave_one_out  # not possible: the relatives of a clip would stay in

    def _smote(self, source: FloatArray, target: FloatArray) -> FloatArray:
        every = np.concatenate([source, target])
        if len(target) < 2 or not len(source):
            _warn_of_one_domain("SMOTE")
            return every
        if int(len(source) * _TARGET_SHARE) <= len(target):
            return every
        from imblearn.over_sampling import SMOTE  # takes a second to import

        sampler = SMOTE(sampling_strategy=_TARGET_SHARE, k_neighbors=min(2, len(target) - 1), random_state=0)
        return np.asarray(sampler.fit_resample(every, np.arange(len(every)) >= len(source))[0])

    def _mem_mixup(self, source: FloatArray, target: FloatArray) -> FloatArray:
        every = np.concatenate([source, target])
        if not len(source) or not len(target):
            _warn_of_one_domain("MemMixup")
            return every
        near = source[self.bank(source).search(target, min(_MIXED_CLIPS, len(source))).rows]
        mixed = _OWN_SHARE * target[:, None] + (1.0 - _OWN_SHARE) * near
        return np.concatenate([every, mixed.reshape(-1, every.shape[1])])


def _centres_of_source(source: FloatArray, target: FloatArray) -> FloatArray:
    """k-means centres of the source clips, or these where they are few; then the target clips."""
    if len(np.unique(source, axis=0)) > _CENTRES:
        from sklearn.cluster import KMeans  # takes half a second to import

        source = KMeans(_CENTRES, n_init=4, random_state=0).fit(source).cluster_centers_
    return np.concatenate([source, target])


@dataclass(eq=False, kw_only=True)
class Bandwise(NeighbourBackend):
    """Mean over bands of the distance to the nearest references in that band alone.

    A fault in one band need not look for a training clip that fits in all others at once. Distances in
    contiguous blocks of dimensions, each dimension in units of its spread; source and target in one memory.
    Source: BEAM, arXiv 2603.13749, there with cosine distance on the frequency patches of a pretrained
    encoder; on levels, whose directions around a mean are noise, distances tell more.

    Args:
        bands: blocks; fewer where there are fewer dimensions.
    """

    bands: int = 16

    fitted: ClassVar[tuple[str, ...]] = ("scale", "points")

    def _learn(self, references: References) -> None:
        self.scale = spread_of(references.vectors)
        self.points = references.vectors / self.scale

    def _prepare(self) -> None:
        self._banks = [self.bank(part) for part in self._blocks(self.points)]

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        parts = zip(self._banks, self._blocks(queries / self.scale), strict=True)
        return np.mean([self.mean_distance(bank, part) for bank, part in parts], axis=0)

    def leave_one_out(self) -> FloatArray | None:
        """Scores (references,) of the training clips, each without itself."""
        return np.mean([self.mean_distance_of_others(bank) for bank in self._banks], axis=0)

    def _blocks(self, vectors: FloatArray) -> list[FloatArray]:
        return np.array_split(vectors, min(self.bands, vectors.shape[1]), axis=1)


@dataclass(eq=False, kw_only=True)
class DomainNearest(NeighbourBackend):
    """min over domains of (d(x, domain) - location) / scale, d the mean distance to its nearest references.

    "z": mean and deviation of the domain's own references, each scored without itself: the domain
    normalisation of GenRep (Saengthong and Shinozaki 2024), which takes those of the test set instead.
    "median": 0 and their median.

    A domain of one reference, or with nothing to divide by (constant distances, a median of zero), takes the
    statistic over all references together; if that gives nothing either, the scale is 1.

    Args:
        statistic: "z" or "median".
    """

    statistic: Literal["z", "median"] = "z"

    fitted: ClassVar[tuple[str, ...]] = ("points", "is_target", "locations", "scales")

    def _learn(self, references: References) -> None:
        self.points, self.is_target = references.vectors, references.is_target
        self._prepare()
        statistics = {"z": _moments, "median": _median}
        statistic = statistics[one_of(self.statistic, [*statistics], "statistic")]
        own = [self.mean_distance_of_others(bank) for bank in self._banks]
        every = self.mean_distance_of_others(self.bank(self.points))
        otherwise = (float(every.mean()) if self.statistic == "z" else 0.0, 1.0)
        found = [statistic(values) or statistic(every) or otherwise for values in own]
        self.locations, self.scales = np.array(found).T

    def _prepare(self) -> None:
        masks = (~self.is_target, self.is_target)
        self._members = [np.flatnonzero(mask) for mask in masks if mask.any()]
        self._banks = [self.bank(self.points[rows]) for rows in self._members]

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        distances = np.stack([self.mean_distance(bank, queries) for bank in self._banks], axis=1)
        return ((distances - self.locations) / self.scales).min(1)

    def leave_one_out(self) -> FloatArray | None:
        """Scores (references,) of the training clips, each without itself."""
        distances = np.stack([self.mean_distance(bank, self.points) for bank in self._banks], axis=1)
        for domain, (rows, bank) in enumerate(zip(self._members, self._banks, strict=True)):
            distances[rows, domain] = self.mean_distance_of_others(bank)
        return ((distances - self.locations) / self.scales).min(1)


def _moments(distances: FloatArray) -> tuple[float, float] | None:
    """Mean and deviation, or nothing where they do not vary."""
    if not np.isfinite(distances).all() or distances.std() <= CONSTANT * distances.mean():
        return None
    return float(distances.mean()), float(distances.std())


def _median(distances: FloatArray) -> tuple[float, float] | None:
    """Zero and the median, or nothing where that is zero."""
    median = float(np.median(distances))
    return (0.0, median) if 0.0 < median < np.inf else None


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
