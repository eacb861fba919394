"""The page of the confident-mean-teacher study: a table over methods, and the masses of the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from asd.evaluation.markdown import MISSING
from asd.evaluation.page import Section, as_markdown, plus_minus, spread
from asd.evaluation.style import colours, styled

_MEASURES = {
    ("frames", "f1"): "frame F1",
    ("frames", "macro_f1"): "frame macro F1",
    ("clips", "precision"): "clip precision",
    ("clips", "recall"): "clip recall",
    ("clips", "f1"): "clip F1",
    ("clips", "map"): "clip mAP",
    ("clips", "ece"): "clip ECE",
}

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # method -> {model: {kind: measures}} of each seed


def overview(results: Results, baseline: str) -> str:
    """A table per model: mean and spread over the seeds, and the paired gain in clip F1 over the baseline.

    Args:
        results: by method, one per seed.
        baseline: method that gains are measured from.
    """
    sections = []
    for model in ("student", "teacher"):
        rows = []
        for method, seeds in results.items():
            cells = [plus_minus(spread(_values(seeds, model, *measure)), 3) for measure in _MEASURES]
            f1, usual = (_values(each, model, "clips", "f1") for each in (seeds, results[baseline]))
            gain = MISSING if method == baseline else plus_minus(spread(f1 - usual), 3, sign=True)
            rows.append([method, *cells, gain])
        head = ["method", *_MEASURES.values(), "clip F1 gain"]
        sections.append(Section(model, head=head, rows=rows))
    masses = Section("Confident targets", "Weight mass of the teacher's targets per batch.", figures=["masses"])
    return as_markdown("Confident mean teacher", [], [*sections, masses])


@styled
def masses_figure(epochs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Per method and epoch: weight mass of confident frames per batch, and F1 on validation frames.

    Args:
        epochs: lines of metrics.jsonl by method, of one seed.
    """
    figure = Figure(figsize=(11, 4.4))
    on_masses, on_score = figure.subplots(1, 2)
    shades = colours(list(epochs))
    for method, lines in epochs.items():
        steps, colour = [line["epoch"] for line in lines], shades[method]
        for kind, style in (("positive", "-"), ("negative", "--")):
            name = f"train_{kind}_mass_frames"
            if name in lines[0]:
                on_masses.plot(steps, [line[name] for line in lines], style, color=colour)
        on_score.plot(steps, [line["score"] for line in lines], color=colour, label=method)
        on_score.plot(steps, [line["score_teacher"] for line in lines], ":", color=colour)
    on_masses.set_yscale("symlog", linthresh=1.0)
    on_masses.set(title="solid: positive, dashed: negative", xlabel="epoch")
    on_masses.set_ylabel("mass of confident frames (frames per batch)")
    on_score.set(title="solid: student, dotted: teacher", xlabel="epoch", ylabel="macro F1 of validation frames")
    figure.legend(loc="outside lower center", ncols=len(epochs))
    return figure


def _values(seeds: Sequence[Mapping[str, Any]], model: str, kind: str, measure: str) -> np.ndarray[Any, Any]:
    return np.array([seed[model][kind][measure] for seed in seeds], np.float64)
