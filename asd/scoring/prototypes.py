"""Back ends that summarise the references by a few points instead of keeping every clip."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from asd.scoring.references import FloatArray, References, spread_of


class Mixture:
    """Negative log-likelihood under a mixture of Gaussians, per dimension.

    As in TWFR-GMM (Guan et al., ICASSP 2023), but with vectors in units of their spread and a floor of a
    tenth of it under every variance: there are seldom more clips than dimensions.

    Args:
        references: training clips.
        n_components: Gaussians; fewer where there are fewer than ten clips for each.
    """

    def __init__(self, references: References, *, n_components: int = 2) -> None:
        self.scale = spread_of(references.vectors)
        n = max(1, min(n_components, len(references) // 10))
        vectors = references.sorted().vectors / self.scale
        self.mixture = GaussianMixture(n, reg_covar=0.1, random_state=0).fit(vectors)

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        return -self.mixture.score_samples(queries / self.scale) / queries.shape[1]


class Prototypes:
    """Euclidean distance to the nearest of k-means centres of the source, or to any target clip.

    The few target clips stay as they are (Wilkinghoff's DCASE 2023 system, with cosine there).

    Args:
        references: training clips.
        n_prototypes: centres of the source; all its clips where there are fewer.
    """

    def __init__(self, references: References, *, n_prototypes: int = 16) -> None:
        references = references.sorted()
        source = references.vectors[~references.is_target]
        target = references.vectors[references.is_target]
        if len(np.unique(source, axis=0)) > n_prototypes:
            source = KMeans(n_prototypes, n_init=4, random_state=0).fit(source).cluster_centers_
        self.points = np.concatenate([source, target])

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        squared = (queries**2).sum(1)[:, None] + (self.points**2).sum(1)[None] - 2 * queries @ self.points.T
        return np.sqrt(np.maximum(squared, 0.0).min(1))


class Bandwise:
    """Mean over bands of the distance to the nearest reference in that band alone.

    A fault in one band need not look for a training clip that fits in all others at once. Cosine distance
    in contiguous blocks of dimensions, each around its mean over the references; source and target in one
    memory. Source: BEAM, arXiv 2603.13749, there on the frequency patches of a pretrained encoder.

    Args:
        references: training clips; dimensions are ordered by frequency.
        n_bands: blocks; fewer where a block would have less than two dimensions, too few for a direction.
    """

    def __init__(self, references: References, *, n_bands: int = 16) -> None:
        self.centre = references.vectors.mean(0)
        dims = references.vectors.shape[1]
        self.blocks = np.array_split(np.arange(dims), max(1, min(n_bands, dims // 2)))
        self.memory = [self._unit(references.vectors, block) for block in self.blocks]

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        parts = [
            0.5 * (1.0 - (self._unit(queries, block) @ memory.T).max(1))
            for block, memory in zip(self.blocks, self.memory, strict=True)
        ]
        return np.mean(parts, axis=0)

    def _unit(self, vectors: FloatArray, block: np.ndarray) -> FloatArray:
        """Directions of one block; a block without any deviation has no direction and matches nothing."""
        part = vectors[:, block] - self.centre[block]
        return part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
