"""Vectors of clips in two dimensions, to be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

FloatArray = NDArray[np.float64]

_COMPONENTS = 30  # that t-SNE looks at
_PERPLEXITY = 30.0
LEAST_CLIPS = 5  # fewer make no map


def projections(vectors: FloatArray) -> dict[str, FloatArray]:
    """Maps of clips by PCA and t-SNE, {method: (clips, 2)}, each axis of unit spread; {} for a few clips.

    Neighbours in a t-SNE map are neighbours; distances between groups in it mean little. Both are functions of the
    vectors alone.

    Args:
        vectors: (clips, dims).

    Source: L. van der Maaten and G. Hinton, "Visualizing data using t-SNE", JMLR 9 (2008); by scikit-learn.
    """
    n_clips, n_dims = vectors.shape
    if n_clips < LEAST_CLIPS or not vectors.std(axis=0).any():
        return {}
    components = PCA(min(_COMPONENTS, n_clips, n_dims), svd_solver="full").fit_transform(vectors)
    perplexity = min(_PERPLEXITY, (n_clips - 1) / 3)
    embedded: Any = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components)
    plane = np.zeros((n_clips, 2))
    plane[:, : min(2, components.shape[1])] = components[:, :2]
    return {"t-SNE": _of_unit_spread(embedded), "PCA": _of_unit_spread(plane)}


def _of_unit_spread(points: FloatArray) -> FloatArray:
    centred = np.asarray(points, np.float64) - points.mean(axis=0)
    return np.asarray(centred / max(float(centred.std()), 1e-12))
