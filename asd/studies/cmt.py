"""The confident-mean-teacher study: what a teacher adds where few clips are labelled.

The analysis report of a sound event detection model of 2025-12-04 compares a baseline, cmt_normal and cmt_neg. Here
they are trained on soundscapes with few strong and weak labels and many clips without any, over several seeds, beside a
plain mean teacher and cmt_neg with balanced masses. The same code scores student and teacher, and `sed report` compares
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from asd.evaluation.figures import colours, styled
from asd.evaluation.markdown import MISSING, Section, plus_minus, spread, write_page
from asd.sed.config import Report
from asd.sed.report import compare
from asd.sed.run import SedRun
from asd.studies.config import Cmt
from asd.studies.sed_cell import train_all

METHODS: dict[str, dict[str, Any]] = {
    "baseline": {"method": "none"},
    "mean_teacher": {"method": "mean_teacher"},
    "cmt_normal": {"method": "cmt_normal", "positive": 0.5},
    "cmt_neg": {"method": "cmt_neg", "positive": 0.7, "negative": 0.3},
    "cmt_neg_balanced": {"method": "cmt_neg", "positive": 0.7, "negative": 0.3, "balance": True},
}

_RECIPE = {"duration_ratio": 4.0, "longest_s": 2.0}

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


def run(config: Cmt) -> str:
    """Runs what is missing of the study and writes its page and report; returns them in short."""
    folder = config.runs / "cmt"
    trainings = {method: {"teacher": teacher} for method, teacher in METHODS.items()}
    by_method = train_all(config, folder, _RECIPE, trainings, "CMT study")
    epochs = {method: SedRun(folder / method / f"seed{config.seeds[0]}").epochs() for method in METHODS}
    page, figures = overview(by_method, "baseline"), {"masses": _masses_figure(epochs)}
    text = write_page(folder, "overview", "Confident mean teacher", page, numbers=by_method, figures=figures)
    compared = compare(Report(members=list(METHODS), runs=folder, out=folder / "report"), config.seeds)
    return f"{text}\n{compared}\n{folder}/overview.md, overview.json, masses.png, report/"


def overview(results: Results, baseline: str) -> list[Section]:
    """A table per model: mean and spread over the seeds, and the paired gain in clip F1 over the baseline."""
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
    return [*sections, masses]


@styled
def _masses_figure(epochs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Per method and epoch: weight mass of confident frames per batch, and F1 on validation frames."""
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
