"""Pictures of a report: spectrograms and figures as small image files."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from asd.evaluation.report.contents import Medium
from asd.evaluation.score_table import FloatArray

_QUALITY = 70  # of WebP, out of 100
_DARKEST_PERCENTILE = 5.0  # below it everything is the same dark
_KIND = "image/webp"


def colour_limits(*levels_db: FloatArray) -> tuple[float, float]:
    """Darkest and brightest level of spectrograms (mels, frames) that are shown beside each other."""
    every = np.concatenate([levels.ravel() for levels in levels_db])
    low, high = np.percentile(every, [_DARKEST_PERCENTILE, 100.0])
    return float(low), float(max(high, low + 1.0))


def spectrogram_picture(levels_db: FloatArray, limits: tuple[float, float]) -> Medium:
    """A spectrogram (mels, frames) without axes, low frequencies at the bottom, a pixel per cell.

    Args:
        levels_db: (mels, frames).
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
