"""The style of figures: one style sheet, and one colour per method wherever it appears.

The colours are those of Okabe and Ito, "Color Universal Design", 2008, which colour-blind people can tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from importlib.resources import as_file, files
from typing import ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

INK, GREY = "#222222", "#999999"
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"
FOR, AGAINST = VERMILION, BLUE  # what raises a score or the evidence for a class, and the opposite

# A method has its colour in every figure; names that compete in one figure differ.
_COLOURS = {
    "baseline": INK, "mean_teacher": VERMILION, "cmt_normal": BLUE, "cmt_neg": GREEN, "cmt_neg_balanced": PURPLE,
    "crnn": BLUE, "transformer": VERMILION,
    "gated": BLUE, "concatenated": ORANGE, "added": GREEN,
    "audio": BLUE, "video": ORANGE, "track": GREEN,
    "active": BLUE, "asset": ORANGE, "scale": GREEN, "position": VERMILION, "crop": PURPLE,
}  # fmt: skip
_PALETTE = (INK, VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, YELLOW, GREY)

_DARKEST_PERCENTILE = 5.0  # below it everything is the same dark: half-empty bands would take all the range

P = ParamSpec("P")
T = TypeVar("T")


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: its own, or the next of the palette that no other name here has."""
    found = {name: _COLOURS[name] for name in names if name in _COLOURS}
    rest = [colour for colour in _PALETTE if colour not in found.values()] or list(_PALETTE)
    others = [name for name in names if name not in found]
    return {**found, **{name: rest[k % len(rest)] for k, name in enumerate(others)}}


def colour_limits(*levels_db: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Darkest and brightest level of spectrograms (mels, frames) that are shown beside each other."""
    every = np.concatenate([levels.ravel() for levels in levels_db])
    low, high = np.percentile(every, [_DARKEST_PERCENTILE, 100.0])
    return float(low), float(max(high, low + 1.0))


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """A function that draws a figure, with the style sheet in force."""

    @wraps(draw)
    def drawn(*arguments: P.args, **keywords: P.kwargs) -> T:
        with as_file(files("asd.evaluation") / "asd.mplstyle") as sheet, mpl.rc_context(fname=sheet):
            return draw(*arguments, **keywords)

    return drawn
