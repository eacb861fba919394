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
        return _nearest(queries, self.points)


class Bandwise:
    """Mean over bands of the distance to the nearest reference in that band alone.

    A fault in one band need not look for a training clip that fits in all others at once. Euclidean
    distance in contiguous blocks of dimensions, each dimension in units of its spread; source and target in
    one memory. Source: BEAM, arXiv 2603.13749, there with cosine distance on the frequency patches of a
    pretrained encoder; on levels, whose directions around a mean are noise, distances tell more.

    Args:
        references: training clips; dimensions are ordered by frequency.
        n_bands: blocks; fewer where there are fewer dimensions.
    """

    def __init__(self, references: References, *, n_bands: int = 16) -> None:
        self.scale = spread_of(references.vectors)
        dims = references.vectors.shape[1]
        self.blocks = np.array_split(np.arange(dims), min(n_bands, dims))
        self.memory = references.vectors / self.scale

    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""
        scaled = queries / self.scale
        return np.mean([_nearest(scaled[:, b], self.memory[:, b]) for b in self.blocks], axis=0)


def _nearest(queries: FloatArray, points: FloatArray) -> FloatArray:
    """Distance of each query to its nearest point, (queries,)."""
    squared = (queries**2).sum(1)[:, None] + (points**2).sum(1)[None] - 2 * queries @ points.T
    return np.sqrt(np.maximum(squared, 0.0).min(1))
