"""Figures of the digits study: confusions, first filters, activation maps, evidence beside the spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from asd.studies.digits.results import SPLITS, Filters, Heard, Hearing, percent

_FOR, _AGAINST, _INK = "#D55E00", "#0072B2", "#222222"  # Okabe and Ito's vermilion and blue
_N_CURVES = 8  # filters shown one by one


def confusion_figure(summary: Mapping[str, Any]) -> Figure:
    """Confusion matrices of known and unseen speakers, in per cent of the actual word, all seeds together."""
    classes = summary["classes"]
    figure = Figure(figsize=(12, 5.6), layout="constrained", facecolor="white")
    for k, (part, title) in enumerate(SPLITS.items()):
        counts = np.array(summary[part]["confusion"], np.float64)
        shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes = figure.add_subplot(1, len(SPLITS), k + 1, label=part)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                axes.text(
                    column, row, f"{share:.1f}" if share < 99.95 else "100", ha="center", va="center", fontsize=8,
                    color="white" if share > 50 else _INK,
                )  # fmt: skip
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(title=f"{title}: {percent(summary[part]['accuracy'])}", xlabel="called", ylabel="actual")
    figure.colorbar(image, ax=figure.axes, label="% of the actual word")
    return figure


def filters_figure(filters: Filters, sample_rate_hz: int) -> Figure:
    """Frequency responses of all first filters by centre frequency, and some of them one by one.

    The responses say what the network hears only up to the first ReLU, and the caption says so.
    """
    n_filters, n_taps = filters.taps.shape
    shown = np.unique(np.linspace(0, n_filters - 1, min(n_filters, _N_CURVES)).round().astype(int))
    frequencies_hz = np.linspace(0, sample_rate_hz / 2, filters.response_db.shape[1])
    figure = Figure(figsize=(12, 1.1 * len(shown) + 1.6), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(len(shown), 3, width_ratios=(1.6, 1, 1.6))
    axes = figure.add_subplot(grid[:, 0], label="responses")
    image = axes.imshow(
        filters.response_db, aspect="auto", origin="lower", cmap="magma", vmin=-40, vmax=0,
        extent=(0, sample_rate_hz / 2, -0.5, n_filters - 0.5), interpolation="nearest",
    )  # fmt: skip
    axes.plot(
        filters.centres_hz, np.arange(n_filters), "o", color="white", markeredgecolor=_INK, markersize=4
    )
    axes.set(xlabel="frequency (Hz)", ylabel="filter, by centre frequency (dot)", title="all first filters")
    figure.colorbar(image, ax=axes, label="gain (dB below its largest)", location="bottom")
    for row, k in enumerate(shown[::-1]):
        on_taps = figure.add_subplot(grid[row, 1], label=f"taps {k}")
        on_taps.plot(1000 * np.arange(n_taps) / sample_rate_hz, filters.taps[k], color=_INK, linewidth=1)
        on_taps.axhline(0, color=_INK, linewidth=0.4)
        on_response = figure.add_subplot(grid[row, 2], label=f"response {k}")
        on_response.plot(frequencies_hz, filters.response_db[k], color=_AGAINST)
        on_response.axvline(filters.centres_hz[k], color=_FOR, linewidth=1)
        on_response.set_ylim(-40, 3)
        on_taps.set_ylabel(f"{filters.centres_hz[k]:,.0f} Hz", rotation=0, ha="right", va="center")
        for panel in (on_taps, on_response):
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(labelbottom=row == len(shown) - 1)
    on_taps.set_xlabel("time (ms)")
    on_response.set_xlabel("frequency (Hz); gain in dB")
    figure.suptitle("Filters of the first convolution: linear, so that they have a frequency response, "
                    "only before the first ReLU", fontsize=11)  # fmt: skip
    return figure


def maps_figure(heard: Heard, sample_rate_hz: int) -> Figure:
    """A recording and the activation map that every block makes of it."""
    duration_s = len(heard.waveform) / sample_rate_hz
    figure = Figure(figsize=(9, 1.3 * (len(heard.maps) + 1) + 0.6), layout="constrained", facecolor="white")
    axes = figure.subplots(len(heard.maps) + 1, 1)
    axes[0].plot(np.arange(len(heard.waveform)) / sample_rate_hz, heard.waveform, color=_INK, linewidth=0.4)
    axes[0].set(xlim=(0, duration_s), ylabel="waveform", title=f"“{heard.word}”, called “{heard.said}”")
    for k, (panel, x) in enumerate(zip(axes[1:], heard.maps, strict=True), start=1):
        panel.imshow(
            x, aspect="auto", origin="lower", cmap="magma", extent=(0, duration_s, 0, len(x)),
            interpolation="nearest", vmax=max(float(np.percentile(x, 99.5)), 1e-9),
        )  # fmt: skip
        silent = 100 * float(np.mean(x == 0))
        panel.set_ylabel(f"block {k}\n{x.shape[0]} x {x.shape[1]}\n{silent:.0f} % zero", fontsize=8)
    for panel in axes[:-1]:
        panel.tick_params(labelbottom=False)
    axes[-1].set_xlabel("time (s); maps: channels x steps, black is what ReLU removed")
    return figure


def evidence_figure(hearing: Hearing) -> Figure:
    """Every word as STFT (512/128), and below it the waveform with what speaks for the word and against it."""
    n_columns = min(5, len(hearing.heard))
    n_rows = -(-len(hearing.heard) // n_columns)
    figure = Figure(figsize=(2.6 * n_columns + 0.4, 3.4 * n_rows), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2 * n_rows, n_columns, height_ratios=(1.5, 1) * n_rows)
    for k, heard in enumerate(hearing.heard):
        row, column = divmod(k, n_columns)
        duration_s = len(heard.waveform) / hearing.sample_rate_hz
        above = figure.add_subplot(grid[2 * row, column], label=f"STFT {heard.word}")
        above.imshow(
            heard.spectrogram_db, aspect="auto", origin="lower", cmap="magma", vmin=-70, vmax=0,
            extent=(0, duration_s, 0, hearing.sample_rate_hz / 2000),
        )  # fmt: skip
        right = "" if heard.said == heard.word else f", called “{heard.said}”"
        above.set_title(f"“{heard.word}”{right}", fontsize=10)
        below = figure.add_subplot(grid[2 * row + 1, column], label=f"evidence {heard.word}", sharex=above)
        n_steps = len(heard.evidence)
        times_s = (np.arange(n_steps) + 0.5) * duration_s / n_steps
        size = max(float(np.abs(heard.evidence).max()), 1e-9)
        loudest = max(float(np.abs(heard.waveform).max()), 1e-9)
        below.plot(
            np.arange(len(heard.waveform)) / hearing.sample_rate_hz, heard.waveform / loudest, color="#bbbbbb",
            linewidth=0.3,
        )  # fmt: skip
        colours = [_FOR if value > 0 else _AGAINST for value in heard.evidence]
        below.bar(times_s, heard.evidence / size, width=duration_s / n_steps, color=colours, zorder=2)
        below.set(ylim=(-1.05, 1.05), yticks=[])
        above.tick_params(labelbottom=False)
        if column == 0:
            above.set_ylabel("frequency (kHz)")
            below.set_ylabel("for / against")
        if row == n_rows - 1:
            below.set_xlabel("time (s)")
    return figure
