"""Figures of the analysis report: numbers in, a matplotlib figure out; drawn without a display.

Colours are those of Okabe and Ito, safe for the colour-blind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

_COLOURS = ("#222222", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vPX"


def reliability_figure(title: str, models: Mapping[str, Any]) -> Figure:
    """How often a class is there, by the probability it was given, above how often that was given.

    Args:
        title: heading.
        models: values of `report_numbers.summarise` per model.

    Returns:
        A figure with the axes (by label) "reliability" and "counts".
    """
    figure = Figure(figsize=(6, 6.6), facecolor="white", layout="constrained")
    on_lines, on_counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    on_lines.set_label("reliability")
    on_counts.set_label("counts")
    on_lines.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1, label="as it says")
    for k, (model, values) in enumerate(models.items()):
        bins, style = values["reliability"], _style(k)
        error = values["overall"]["ece"]["mean"]
        on_lines.plot(
            bins["confidence"], bins["frequency"], markersize=5, label=f"{model}, ECE {error:.4f}", **style
        )
        # An empty bin is no zero on a scale of powers of ten, but a gap.
        counts = np.where(np.array(bins["n"]) > 0, bins["n"], np.nan)
        on_counts.plot((np.array(bins["low"]) + bins["high"]) / 2, counts, markersize=3, **style)
    on_lines.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of labels that are positive", title=title)
    on_lines.legend(loc="upper left", fontsize=8, frameon=False)
    on_counts.set(yscale="log", xlabel="probability", ylabel="labels in the bin")
    on_counts.yaxis.set_minor_formatter(NullFormatter())
    for axes in (on_lines, on_counts):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def classes_figure(title: str, models: Mapping[str, Any], baseline: str) -> Figure:
    """F1 and calibration error of each class by each model, best class of the baseline on top.

    Args:
        title: heading.
        models: values of `report_numbers.summarise` per model.
        baseline: whose F1 orders the classes.

    Returns:
        A figure with the axes (by label) "f1" and "ece".
    """
    rows = {name: row for name, row in models[baseline]["classes"].items() if row["n_positive"]}
    order = sorted(rows, key=lambda name: float(rows[name]["f1"]))
    figure = Figure(figsize=(10, 1.9 + 0.32 * len(order)), facecolor="white", layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, measure, name in zip(panels, ("f1", "ece"), ("F1", "ECE, the smaller the better"), strict=True):
        axes.set_label(measure)
        for k, (model, values) in enumerate(models.items()):
            found = [values["classes"][each][measure] for each in order]
            axes.plot(found, range(len(order)), **{**_style(k), "linestyle": "none"}, label=model)
        axes.set(xlabel=name, xlim=(-0.01, 1.01) if measure == "f1" else (-0.003, None))
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(order)), [f"{each} ({rows[each]['n_positive']:.0f})" for each in order])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title)
    return figure


def _style(k: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[k % len(_COLOURS)],
        "marker": _MARKERS[k % len(_MARKERS)],
        "linewidth": 1.2,
        "alpha": 0.85,
    }
