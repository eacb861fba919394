"""Figures of the fusion study: losses by term, training, gates along a sequence, attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asd.core.networks.gated_fusion import FUSIONS
from asd.studies.fusion.tracks import MODALITIES
from asd.studies.fusion.training import TERMS

# Okabe and Ito's colours, safe for the colour-blind.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")


def losses_figure(summary: Mapping[str, Any]) -> Figure:
    """Total loss of every network, stacked by term, with its spread over seeds."""
    figure = Figure(figsize=(8, 4), layout="constrained", facecolor="white")
    axes = figure.add_subplot(label="losses")
    weights, cells = summary["settings"]["weights"], summary["cells"]
    names = [*cells, "without looking"]
    values = [found["complete"]["mean"] for found in cells.values()] + [summary["frequencies"]]
    bottom = np.zeros(len(names))
    for term, colour in zip(TERMS, _COLOURS, strict=True):
        height = np.array([weights[term] * value[term] for value in values])
        axes.bar(names, height, bottom=bottom, color=colour, label=term)
        bottom += height
    spread = [found["complete"]["std"]["total"] for found in cells.values()]
    axes.errorbar(names[:-1], bottom[:-1], spread, fmt="none", ecolor="#222222", capsize=4)
    axes.set_ylabel("loss, complete test sequences")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def training_figure(summary: Mapping[str, Any]) -> Figure:
    """Training and validation loss of the fusions by epoch, a line per seed; and the learning rate."""
    figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
    on_loss, on_rate = figure.subplots(1, 2, width_ratios=(2.2, 1))
    for cell, colour in zip(FUSIONS, _COLOURS, strict=False):
        for k, rows in enumerate(summary["epochs"][cell]):
            epochs = [row["epoch"] for row in rows]
            on_loss.plot(epochs, [row["train_loss"] for row in rows], ":", color=colour, linewidth=1)
            label = f"{cell} (dotted: training)" if k == 0 else None
            on_loss.plot(epochs, [row["valid_loss"] for row in rows], color=colour, linewidth=1, label=label)
    on_loss.set(xlabel="epoch", ylabel="loss")
    on_loss.legend(frameon=False)
    on_loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    rows = summary["best_epochs"]
    on_rate.plot([row["epoch"] for row in rows], [row["learning_rate"] for row in rows], color="#222222")
    on_rate.set(xlabel="epoch", ylabel="learning rate")
    _plain(on_loss)
    _plain(on_rate)
    return figure


def gates_figure(summary: Mapping[str, Any]) -> Figure:
    """Mean gate of each modality along one sequence, over its music, darkness and cuts."""
    example = summary["example"]
    figure = Figure(figsize=(9, 3.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot(label="gates")
    steps = np.arange(len(example["cut"]))
    for name, colour in zip(MODALITIES, _COLOURS, strict=False):
        axes.step(steps, example["gates"][name], where="mid", color=colour, label=name)
    for name, low, shade in (("music", 0.5, "#f3e3bd"), ("dark", 0.0, "#cfcfcf")):
        on = np.array(example[name])
        if on.any():
            axes.fill_between(
                steps, low, low + 0.5, where=on.tolist(), step="mid", color=shade, zorder=0, label=name,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    for step in np.flatnonzero(example["cut"]):
        axes.axvline(float(step), color="#222222", linewidth=0.7, linestyle=(0, (2, 3)))
    axes.set(xlabel="step (dashed: a cut)", ylabel="mean gate, 0 where absent", ylim=(0, 1))
    axes.legend(frameon=False, ncols=5, loc="upper right")
    _plain(axes)
    return figure


def attention_figure(summary: Mapping[str, Any]) -> Figure:
    """Mean attention weights of each layer, on one scale."""
    layers = summary["attention"]["layers"]
    figure = Figure(figsize=(3.4 * len(layers) + 0.8, 4.0), layout="constrained", facecolor="white")
    largest = max(np.max(layer["map"]) for layer in layers)
    for k, layer in enumerate(layers):
        axes = figure.add_subplot(1, len(layers), k + 1, label=f"layer {k + 1}")
        image = axes.imshow(layer["map"], cmap="magma", vmin=0, vmax=largest)
        axes.set(title=f"layer {k + 1}", xlabel="looks at step", ylabel="step" if k == 0 else "")
    figure.colorbar(image, ax=figure.axes, label="mean weight")
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
