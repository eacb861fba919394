"""Figures, drawn without a display: their style, one colour per method, and those of `explain` and `sweep`.

The colours are those of Okabe and Ito, "Color Universal Design", 2008, which colour-blind people can tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from asd.evaluation.explain import Effects, FloatArray, hz_to_mel

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

_TICKS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)
_DARKEST_PERCENTILE = 5.0  # below it everything is the same dark: half-empty bands would take all the range

styled = mpl.rc_context(fname=Path(__file__).with_name("asd.mplstyle"))  # decorates functions that draw a figure


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: its own, or the next of the palette that no other name here has."""
    found = {name: _COLOURS[name] for name in names if name in _COLOURS}
    rest = [colour for colour in _PALETTE if colour not in found.values()] or list(_PALETTE)
    others = [name for name in names if name not in found]
    return {**found, **{name: rest[k % len(rest)] for k, name in enumerate(others)}}


def colour_limits(*levels_db: FloatArray) -> tuple[float, float]:
    """Darkest and brightest level of spectrograms (mels, frames) that are shown beside each other."""
    every = np.concatenate([levels.ravel() for levels in levels_db])
    low, high = np.percentile(every, [_DARKEST_PERCENTILE, 100.0])
    return float(low), float(max(high, low + 1.0))


def save(figure: Figure, file: Path | BinaryIO, **how: Any) -> None:
    """Writes a figure. A letter of a name that the font does not have is a box, and no warning of matplotlib's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(file, **how)


@dataclass(frozen=True, slots=True)
class Picture:
    """A log-mel spectrogram and what to call it."""

    name: str  # heading
    levels_db: FloatArray  # (mels, frames), bands equally spaced in mel from 0 Hz to half the sample rate
    duration_s: float  # of the clip
    start_s: float = 0.0  # where it begins in its recording


@styled
def explanation_figure(title: str, subtitle: str, clip: Picture, neighbour: Picture, effects: Effects) -> Figure:
    """A clip beside its normal neighbour, and what its bands and stretches did to the score.

    Effects are bars: of the bands beside the clip's frequency axis, of the stretches below its time axis. The axes are
    labelled "clip", "bands", "neighbour", "stretches", "words" and "colours".
    """
    figure = Figure(figsize=(13, 7))
    figure.set_layout_engine("none")  # the places of the axes are given
    grid = figure.add_gridspec(
        2, 4, width_ratios=(5, 1.8, 5, 0.14), height_ratios=(4, 1.2), left=0.075, right=0.935, bottom=0.08,
        top=0.82, wspace=0.1, hspace=0.2,
    )  # fmt: skip
    on_clip = figure.add_subplot(grid[0, 0], label="clip")
    on_bands = figure.add_subplot(grid[0, 1], label="bands", sharey=on_clip)
    on_neighbour = figure.add_subplot(grid[0, 2], label="neighbour", sharey=on_clip)
    on_stretches = figure.add_subplot(grid[1, 0], label="stretches", sharex=on_clip)
    limits = colour_limits(clip.levels_db, neighbour.levels_db)
    image = _spectrogram(on_clip, clip, effects, limits)
    _spectrogram(on_neighbour, neighbour, effects, limits)
    on_clip.set_ylabel("frequency (Hz), mel scale")
    on_clip.tick_params(labelbottom=False)
    on_neighbour.tick_params(labelleft=False)
    on_neighbour.set_xlabel("time (s)")
    _band_bars(on_bands, effects)
    _stretch_bars(on_stretches, effects)
    _words(figure.add_subplot(grid[1, 1:], label="words"), effects)
    on_colours = figure.add_subplot(grid[0, 3], label="colours")
    figure.colorbar(image, cax=on_colours, label="level of a mel band (dB)")
    figure.text(0.075, 0.955, title, fontsize=14, fontweight="bold", color=INK, parse_math=False)  # $ in a name is $
    figure.text(0.075, 0.917, subtitle, fontsize=11, color=INK, parse_math=False)
    return figure


def _spectrogram(axes: Axes, picture: Picture, effects: Effects, limits: tuple[float, float]) -> AxesImage:
    top_mel = float(hz_to_mel(effects.bands_hz[-1]))
    n_mels = len(picture.levels_db)
    half_mel = 0.5 * top_mel / (n_mels + 1)  # centres of the filters are 1, 2, ... of n_mels + 1 parts
    extent = (picture.start_s, picture.start_s + picture.duration_s, half_mel, top_mel - half_mel)
    image = axes.imshow(picture.levels_db, vmin=limits[0], vmax=limits[1], extent=extent)
    shown = [hz for hz in _TICKS_HZ if hz <= 1.001 * effects.bands_hz[-1]]
    axes.set_yticks(hz_to_mel(shown), [f"{hz:,}" for hz in shown])
    axes.set_ylim(0.0, top_mel)
    axes.set_facecolor("black")
    axes.set_title(picture.name, loc="left", fontsize=10, color=INK, parse_math=False)
    for low_hz, high_hz, _ in effects.top_bands(1):  # thin lines around the band that raised the score most
        for mel in hz_to_mel([low_hz, high_hz]):
            axes.axhline(mel, color="white", linewidth=0.9, linestyle=(0, (4, 3)))
    return image


def _band_bars(axes: Axes, effects: Effects) -> None:
    edges, values = hz_to_mel(effects.bands_hz), effects.by_band
    axes.barh(edges[:-1], values, height=0.92 * np.diff(edges), align="edge", color=_bar_colours(values))
    axes.set_title("effect of each band", loc="left", fontsize=10, color=INK)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.tick_params(labelleft=False, left=False)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.spines["left"].set_visible(False)


def _stretch_bars(axes: Axes, effects: Effects) -> None:
    edges, values = effects.stretches_s, effects.by_stretch
    axes.bar(edges[:-1], values, width=0.92 * np.diff(edges), align="edge", color=_bar_colours(values))
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("effect of\neach stretch")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.spines["bottom"].set_visible(False)


def _bar_colours(effects: FloatArray) -> list[str]:
    return [FOR if effect > 0 else AGAINST for effect in effects]


def _words(axes: Axes, effects: Effects) -> None:
    """How to read the bars, and the strongest of them in words."""
    axes.set_axis_off()
    bands = [f"{low:,.0f} to {high:,.0f} Hz {effect:+.2g}" for low, high, effect in effects.top_bands()]
    stretches = [f"{start:.2f} to {end:.2f} s {effect:+.2g}" for start, end, effect in effects.top_stretches(3)]
    level = f"{abs(effects.louder_db):.2f} dB {'louder' if effects.louder_db >= 0 else 'quieter'}"
    lines = [
        [(INK, "effect: how far the score falls when the part is replaced by the neighbour's")],
        [(FOR, "\u25a0 the part raised the score"), (AGAINST, "\u25a0 the part lowered it")],
        [(INK, f"bands: {',  '.join(bands) or 'none raised the score'}")],
        [(INK, f"stretches: {',  '.join(stretches) or 'none raised the score'}")],
        [(INK, f"level: {level} than the neighbour, effect {effects.by_level:+.2g}")],
    ]
    for row, parts in enumerate(lines):
        for column, (colour, words) in enumerate(parts):
            place = (0.02 + 0.36 * column, 0.84 - 0.21 * row)
            axes.text(*place, words, color=colour, fontsize=9.5, transform=axes.transAxes, va="top")


@styled
def importance_figure(table: pd.DataFrame, shares: dict[str, float]) -> Figure:
    """A bar per option, and the score of every configuration (a row each) against each of the first five options."""
    shown = list(shares)[:5]
    figure = Figure(figsize=(3.2 * (1 + len(shown)), 3.4), layout="constrained")
    bars, *scatters = figure.subplots(1, 1 + len(shown))
    names = list(shares)[::-1]
    bars.barh([name.split(".")[-1] for name in names], [shares[name] for name in names], color=BLUE)
    bars.set_xlabel("share of the importance")
    for axes, key in zip(scatters, shown, strict=True):
        values = table[key]
        is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        places = values if is_number else values.astype(str)
        axes.scatter(places, 100 * table["score"], color=BLUE, edgecolor=GREY)
        axes.set_xlabel(key.split(".")[-1])
        axes.tick_params(axis="x", rotation=0 if is_number else 30)
    scatters[0].set_ylabel("official score in per cent")
    return figure
