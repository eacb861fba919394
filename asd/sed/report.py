"""The stage `sed report`: trained runs on the same clips side by side, as a page, tables, numbers and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from asd.evaluation.figures import GREY, colours, styled
from asd.evaluation.markdown import write_page
from asd.options import flattened
from asd.places import spelled
from asd.sed.config import Report, Train
from asd.sed.dataset import read_part
from asd.sed.evaluation import evaluate_run
from asd.sed.labels import clip_targets
from asd.sed.report_numbers import Networks, Predictions, summarise
from asd.sed.report_page import figure_name, findings, sections_of
from asd.sed.run import MODELS, SedRun, find_runs

_MARKERS = "osD^vPX"
_MEASURES = {"frames": ("f1", "macro_f1"), "events": ("segment_f1", "event_f1", "intersection_f1", "psds1", "psds2")}


def compare(config: Report, seeds: Sequence[int] | None = None) -> str:
    """Writes the analysis report of runs, all seeds or some, on parts of their data; returns its findings."""
    found = {name: find_runs(config.runs, name, seeds) for name in config.members}
    networks: dict[str, dict[str, dict[str, Predictions]]] = {model: {name: {} for name in found} for model in MODELS}
    for name, trained in found.items():
        for part in config.parts:
            measured = [evaluate_run(run, part, with_events=config.events) for run in trained]
            for model in MODELS:
                networks[model][name][part] = _predictions(trained, model, part, [seed[model] for seed in measured])
    facts = {name: _facts(trained) for name, trained in found.items()}
    return write_report(networks, config.out, config.members[0], facts)


def _predictions(runs: Sequence[SedRun], model: str, part: str, measured: Sequence[Mapping[str, Any]]) -> Predictions:
    """Predictions of one model of all seeds for the clips of a part, with the labels of its table."""
    config = runs[0].settings()
    truth = read_part(config.data, part, config.classes, config.features.sample_rate_hz)
    assert truth.events is not None  # a scored part has a strong table
    labels = truth.events.groupby("filename")["event_label"].agg(list)
    tables = [run.clips(model, part) for run in runs]
    names = list(tables[0].index)
    return Predictions(
        np.stack([table.loc[names, config.classes].to_numpy(np.float64) for table in tables]),
        np.stack([clip_targets(labels[name], config.classes) for name in names]).astype(np.float64),
        names,
        config.classes,
        {
            f"{kind} {measure}": [seed[kind][measure] for seed in measured]
            for kind, measures in _MEASURES.items()
            if kind in measured[0]
            for measure in measures
        },
    )


def _facts(runs: Sequence[SedRun]) -> dict[str, str]:
    """What identifies a run: its place, its seeds, and its options other than the defaults."""
    own, usual = (dict(flattened(each.decisive())) for each in (runs[0].settings(), Train()))
    changed = {key: value for key, value in own.items() if "." in key and value != usual[key]}
    return {
        "runs": spelled(str(runs[0].path.parent)),
        "seeds": ", ".join(str(run.seed) for run in runs),
        "settings": yaml.safe_dump(changed, default_flow_style=True, width=10_000, sort_keys=False).strip(),
    }


def write_report(
    networks: Networks, folder: Path, baseline: str, facts: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Writes all files of the report, each whole or not at all; the findings, as text for the terminal.

    Student and teacher have the same models and data; facts are what there is to know of each model.
    """
    summary, facts, figures = summarise(networks, baseline), facts or {}, {}
    rows: list[tuple[dict[str, str], dict[str, Any]]] = []  # what is measured, and what was found
    for network, by in summary["found"].items():
        for dataset, models in by.items():
            heading = f"{dataset}, {network}"
            figures[figure_name("reliability", network, dataset)] = _reliability_figure(heading, models)
            figures[figure_name("classes", network, dataset)] = _classes_figure(heading, models, baseline)
            rows += [({"network": network, "dataset": dataset, "model": m}, values) for m, values in models.items()]
    tables = {
        "overall": pd.DataFrame({**named, **_overall(values)} for named, values in rows),
        "classes": pd.DataFrame(
            {**named, "class": name, **row} for named, values in rows for name, row in values["classes"].items()
        ),
        "differences": pd.DataFrame(summary["differences"]),
        "networks": pd.DataFrame(summary["networks"]),
    }
    sentences = findings(summary)
    numbers = {**summary, "facts": facts, "findings": sentences}
    title, page = "Sound event detection: analysis", sections_of(summary, facts)
    write_page(folder, "report", title, page, numbers=numbers, tables=tables, figures=figures)
    lines = [line for name, each in sentences.items() for line in (name, *(f"  {one}" for one in each))]
    return "\n".join([*lines, "", f"written: {folder / 'report.md'}, report.json, CSV and PNG beside it"])


def _overall(values: Mapping[str, Any]) -> dict[str, float]:
    """Each measure of a model and, as <measure>_std, its spread over seeds."""
    row = {"n_seeds": values["n_seeds"]}
    for measured in (values["overall"], values["events"]):
        row |= {name: spread["mean"] for name, spread in measured.items()}
        row |= {f"{name}_std": spread["std"] for name, spread in measured.items()}
    return row


@styled
def _reliability_figure(title: str, models: Mapping[str, Any]) -> Figure:
    """How often a class occurs by its predicted probability, above how many labels have that probability."""
    figure = Figure(figsize=(6, 6.6))
    on_lines, on_counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    on_lines.set_label("reliability")
    on_counts.set_label("counts")
    styles = _styles(list(models))
    on_lines.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    for model, values in models.items():
        bins, style = values["reliability"], styles[model]
        error = values["overall"]["ece"]["mean"]
        on_lines.plot(bins["confidence"], bins["frequency"], markersize=5, label=f"{model}, ECE {error:.4f}", **style)
        # An empty bin is no zero on a scale of powers of ten, but a gap.
        counts = np.where(np.array(bins["n"]) > 0, bins["n"], np.nan)
        on_counts.plot((np.array(bins["low"]) + bins["high"]) / 2, counts, markersize=3, **style)
    on_lines.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of labels that are positive", title=title)
    figure.legend(*on_lines.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    on_counts.set(yscale="log", xlabel="probability", ylabel="labels in the bin")
    on_counts.yaxis.set_minor_formatter(NullFormatter())
    return figure


@styled
def _classes_figure(title: str, models: Mapping[str, Any], baseline: str) -> Figure:
    """F1 and calibration error of each class by each model, best class of the baseline on top."""
    rows = {name: row for name, row in models[baseline]["classes"].items() if row["n_positive"]}
    order = sorted(rows, key=lambda name: float(rows[name]["f1"]))
    figure = Figure(figsize=(10, 1.9 + 0.32 * len(order)))
    panels = figure.subplots(1, 2, sharey=True)
    styles = _styles(list(models))
    for axes, measure, name in zip(panels, ("f1", "ece"), ("F1", "ECE, the smaller the better"), strict=True):
        axes.set_label(measure)
        for model, values in models.items():
            found = [values["classes"][each][measure] for each in order]
            axes.plot(found, range(len(order)), **styles[model], linestyle="none", label=model)
        axes.set(xlabel=name, xlim=(-0.01, 1.01) if measure == "f1" else (-0.003, None))
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.spines["left"].set_visible(False)
    panels[0].set_yticks(range(len(order)), [f"{each} ({rows[each]['n_positive']:.0f})" for each in order])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(title)
    return figure


def _styles(models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each model."""
    shades = colours(models)
    return {
        model: {"color": shades[model], "marker": _MARKERS[k % len(_MARKERS)], "alpha": 0.85}
        for k, model in enumerate(models)
    }
