"""The confident-mean-teacher study as a person reads it: a table over methods, and the masses of the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from asd.evaluation.markdown import signed, table

_MEASURES = {
    "frames": (("f1", "frame F1"), ("macro_f1", "frame macro F1")),
    "clips": (
        ("precision", "clip precision"),
        ("recall", "clip recall"),
        ("f1", "clip F1"),
        ("map", "clip mAP"),
        ("ece", "clip ECE"),
    ),
}
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#222222")  # Okabe and Ito

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # method -> {model: {kind: measures}} of each seed


def overview(results: Results, baseline: str) -> str:
    """A table per model: mean and spread over the seeds, and the paired gain in clip F1 over the baseline."""
    lines = []
    for model in ("student", "teacher"):
        head = ["method", *(title for kind in _MEASURES.values() for _, title in kind), "clip F1 gain"]
        usual = _values(results[baseline], model, "clips", "f1")
        rows = []
        for method, seeds in results.items():
            cells = [
                _cell(_values(seeds, model, kind, measure))
                for kind, measures in _MEASURES.items()
                for measure, _ in measures
            ]
            gains = _values(seeds, model, "clips", "f1") - usual
            rows.append([method, *cells, "–" if method == baseline else _gain(gains)])
        lines += [f"{model}:", "", *table(head, rows), ""]
    return "\n".join(lines)


def masses_figure(epochs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Per method and epoch: weight mass of confident frames per batch, and F1 on validation frames.

    Args:
        epochs: lines of metrics.jsonl by method, of one seed.
    """
    figure = Figure(figsize=(11, 4), layout="constrained", facecolor="white")
    on_masses, on_score = figure.subplots(1, 2)
    for colour, (method, lines) in zip(_COLOURS, epochs.items(), strict=False):
        steps = [line["epoch"] for line in lines]
        for kind, style in (("positive", "-"), ("negative", "--")):
            name = f"train_{kind}_mass_frames"
            if name in lines[0]:
                values = [line[name] for line in lines]
                on_masses.plot(steps, values, style, color=colour, label=f"{method}, {kind}")
        on_score.plot(steps, [line["score"] for line in lines], color=colour, label=f"{method}, student")
        on_score.plot(steps, [line["score_teacher"] for line in lines], ":", color=colour)
    on_masses.set_yscale("symlog", linthresh=1.0)
    on_masses.set(xlabel="epoch", ylabel="weight mass of confident frames, per batch")
    on_score.set(xlabel="epoch", ylabel="macro F1 of validation frames (dotted: teacher)")
    for axes in (on_masses, on_score):
        axes.legend(fontsize=7)
    return figure


def _values(seeds: Sequence[Mapping[str, Any]], model: str, kind: str, measure: str) -> np.ndarray[Any, Any]:
    return np.array([seed[model][kind][measure] for seed in seeds], np.float64)


def _cell(values: np.ndarray[Any, Any]) -> str:
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.3f} ± {spread:.3f}"


def _gain(gains: np.ndarray[Any, Any]) -> str:
    spread = gains.std(ddof=1) if len(gains) > 1 else 0.0
    return f"{signed(float(gains.mean()), 3)} ± {spread:.3f}"
