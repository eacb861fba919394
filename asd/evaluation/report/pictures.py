"""Pictures and maps of a report: spectrograms and figures as small image files, vectors of clips in two dimensions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from asd.evaluation.report.contents import Medium
from asd.evaluation.score_table import FloatArray

_QUALITY = 70  # of WebP, out of 100
_KIND = "image/webp"

_COMPONENTS = 30  # that t-SNE looks at
_PERPLEXITY = 30.0
LEAST_CLIPS = 5  # fewer make no map


def spectrogram_picture(levels_db: FloatArray, limits: tuple[float, float]) -> Medium:
    """A spectrogram (mels, frames) without axes, low frequencies at the bottom, a pixel per cell.

    Args:
        limits: levels in dB of the darkest and of the brightest colour.
    """
    file = io.BytesIO()
    low, high = limits
    imsave(
        file,
        levels_db,
        vmin=low,
        vmax=high,
        cmap="magma",
        origin="lower",
        format="webp",
        pil_kwargs={"quality": _QUALITY},
    )
    return Medium(file.getvalue(), _KIND)


def figure_picture(figure: Figure) -> Medium:
    """A figure as it is."""
    file = io.BytesIO()
    figure.savefig(file, format="webp", dpi=90, pil_kwargs={"quality": _QUALITY})
    return Medium(file.getvalue(), _KIND)


def projections(vectors: FloatArray) -> dict[str, FloatArray]:
    """Maps of clips by PCA and t-SNE, {method: (clips, 2)}, each axis of unit spread; {} for a few clips.

    Neighbours in a t-SNE map are neighbours; distances between groups in it mean little. Both are functions of the
    vectors alone.

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
