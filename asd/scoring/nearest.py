"""k-NN back ends by plain distance: to the training clips, to points made from them, or band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from asd.core.runtime import log
from asd.scoring.base import NeighbourBackend
from asd.scoring.covariance import spread_of
from asd.scoring.references import FloatArray, References
from asd.types import one_of


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
        """What a meta file calls it."""
        return "k-means" if self.made == "kmeans" else "k-NN"

    def _learn(self, references: References) -> None:
        references = references.sorted()
        source = references.vectors[~references.is_target]
        target = references.vectors[references.is_target]
        make = {"smote": self._smote, "memmixup": self._mem_mixup, "kmeans": _centres_of_source}
        self.points = make[one_of(self.made, [*make], "made")](source, target)

    def leave_one_out(self) -> FloatArray | None:
        """Nothing: the relatives of a clip would stay in."""
        return None

    def _smote(self, source: FloatArray, target: FloatArray, share: float = 0.2) -> FloatArray:
        every = np.concatenate([source, target])
        if len(target) < 2 or not len(source):
            log.warning("SMOTE leaves %d source and %d target clips as they are", len(source), len(target))
            return every
        if int(len(source) * share) <= len(target):
            return every
        from imblearn.over_sampling import SMOTE  # takes a second to import

        sampler = SMOTE(sampling_strategy=share, k_neighbors=min(2, len(target) - 1), random_state=0)
        return np.asarray(sampler.fit_resample(every, np.arange(len(every)) >= len(source))[0])

    def _mem_mixup(self, source: FloatArray, target: FloatArray, weight: float = 0.9) -> FloatArray:
        every = np.concatenate([source, target])
        if not len(source) or not len(target):
            log.warning("MemMixup leaves %d source and %d target clips as they are", len(source), len(target))
            return every
        near = source[self.bank(source).search(target, min(990, len(source))).rows]
        mixed = weight * target[:, None] + (1.0 - weight) * near
        return np.concatenate([every, mixed.reshape(-1, every.shape[1])])


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


def _centres_of_source(source: FloatArray, target: FloatArray, count: int = 16) -> FloatArray:
    """k-means centres of the source clips, or these where they are few; then the target clips."""
    if len(np.unique(source, axis=0)) > count:
        from sklearn.cluster import KMeans  # takes half a second to import

        source = KMeans(count, n_init=4, random_state=0).fit(source).cluster_centers_
    return np.concatenate([source, target])
