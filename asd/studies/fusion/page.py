"""The page of the fusion study: sections with tables, and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asd.core.networks.gated_fusion import FUSIONS
from asd.evaluation.figures import INK, colours, styled
from asd.evaluation.markdown import Section, plus_minus, signed, write_page
from asd.studies.fusion import findings
from asd.studies.fusion.training import COLUMNS, TERMS
from asd.synthetic.tracks import MODALITIES

Summary = Mapping[str, Any]


def write_report(folder: Path, summary: Summary) -> None:
    """Writes all files of the report into `folder`, each whole or not at all."""
    figures = {
        "losses": _losses_figure(summary),
        "training": _training_figure(summary),
        "gates": _gates_figure(summary),
        "attention": _attention_figure(summary),
    }
    page = [Section(points=findings(summary)), *sections(summary)]
    write_page(folder, "report", "Fusion study", page, numbers=summary, tables=tables(summary), figures=figures)


def tables(summary: Summary) -> dict[str, pd.DataFrame]:
    """Tables by file name: a row per cell and kind of sequences, per epoch, per pair, per worst sequence."""
    losses = [
        {"cell": cell, "on": on, "parameters": found["parameters"], "n_training": found["n_training"]}
        | {f"{name}_{key}": found[on][key][name] for name in COLUMNS for key in ("mean", "std")}
        for cell, found in summary["cells"].items()
        for on in ("complete", "all")
        if on in found
    ]
    epochs = [
        {"cell": cell, "seed": seed, **row}
        for cell, runs in summary["epochs"].items()
        for seed, rows in zip(summary["seeds"], runs, strict=True)
        for row in rows
    ]
    rows = {"losses": losses, "epochs": epochs, "differences": summary["differences"]}
    worst = pd.json_normalize(summary["worst"]).rename(columns=lambda name: "_".join(name.split(".")[::-1]))
    return {name: pd.DataFrame(each) for name, each in rows.items()} | {"worst": worst}


def sections(summary: Summary) -> list[Section]:
    """All of them, in order."""
    best, seeds = summary["best"], ", ".join(map(str, summary["seeds"]))
    network = f"The {best['cell']} network of seed {best['seed']}"
    return [
        _setup(summary),
        _losses(
            summary,
            "complete",
            f"{summary['n_complete']} sequences with every modality at every step. Loss per term, mean ± standard "
            f"deviation over the seeds {seeds}; tracks that are not active count for *active* only. A network of one "
            "modality can learn only from the sequences that have it throughout. *without looking*: each track's "
            "frequencies and means in training.",
        ),
        _losses(summary, "all", "With whatever modalities they lack."),
        Section(
            "What is settled",
            "Difference of the total loss (a minus b) with the interval of 95 % of bootstrap resamples of sequences "
            "and seeds; a tie where it holds zero.",
            head=["a", "b", "sequences", "a - b", "95 %", "better"],
            rows=[
                [row["a"], row["b"], row["on"], signed(row["difference"], 3),
                 f"{signed(row['low'], 3)} to {signed(row['high'], 3)}", row["verdict"]]
                for row in summary["differences"]
            ],
        ),
        _epochs(summary, network),
        Section(
            "Modality coverage",
            head=["sequences", "modality", "steps with it", "sequences with it throughout", "NaN among its values"],
            rows=[
                [split, name, *(f"{100 * c[key]:.1f} %" for key in ("steps", "sequences", "nan_values"))]
                for split, found in summary["coverage"].items()
                for name, c in found.items()
            ],
        ),
        _contributions(summary),
        _gates(summary),
        _attention(summary, network),
        _worst_cases(summary, best),
    ]  # fmt: skip


def _setup(summary: Summary) -> Section:
    s, gated = summary["settings"], summary["cells"]["gated"]
    return Section(
        "Setup",
        head=["", ""],
        rows=[
            ["network", f"{s['n_layers']} encoder layers of width {s['n_dims']}, {s['n_heads']} heads, feed-forward "
             f"{s['n_feedforward']}, dropout {s['dropout']}; gated: {gated['parameters']:,} parameters"],
            ["optimiser", f"Adam {s['learning_rate']:g}, weight decay {s['weight_decay']:g}, gradients clipped to "
             f"{s['clip_norm']:g}, {s['warmup_epochs']} epochs of warm-up, cosine to {s['floor']:g}"],
            ["training", f"{s['epochs']} epochs in batches of {s['batch_size']}; modality dropout "
             f"{s['modality_dropout']:g}"],
            ["weights of the terms", ", ".join(f"{name} {value:g}" for name, value in s["weights"].items())],
            ["sequences", f"{s['n_train']} training, {s['n_valid']} validation, {s['n_test']} test, of {s['n_steps']} "
             f"steps and {s['n_tracks']} tracks"],
        ],
    )  # fmt: skip


def _losses(summary: Summary, on: str, text: str) -> Section:
    rows = [
        [cell, f"{found['n_training']}",
         *(plus_minus({key: found[on][key][name] for key in ("mean", "std")}, 3) for name in COLUMNS)]
        for cell, found in summary["cells"].items()
        if on in found
    ]  # fmt: skip
    head, figures = ["network", "training sequences", "total", *TERMS, "active right", "asset right"], []
    if on == "complete":
        rows.append(["without looking", "", *(f"{summary['frequencies'][name]:.3f}" for name in COLUMNS)])
        figures = ["losses"]
    return Section(f"Losses on {on} test sequences", text, head=head, rows=rows, figures=figures)


def _epochs(summary: Summary, network: str) -> Section:
    rows = summary["best_epochs"]
    kept = min(rows, key=lambda row: row["valid_loss"])
    return Section(
        "Epochs",
        f"{network}. The weights kept are those of the epoch with the lowest validation loss.",
        head=["epoch", "training", "validation", *(f"{name}, validation" for name in TERMS), "learning rate", "s"],
        rows=[
            [f"**{row['epoch']:.0f}**" if row is kept else f"{row['epoch']:.0f}", f"{row['train_loss']:.3f}",
             f"{row['valid_loss']:.3f}", *(f"{row[f'valid_{name}']:.3f}" for name in TERMS),
             f"{row['learning_rate']:.2g}", f"{row['seconds']:.1f}"]
            for row in rows
        ],
        figures=["training"],
    )  # fmt: skip


def _contributions(summary: Summary) -> Section:
    rows = []
    for cell in FUSIONS:
        total = summary["cells"][cell]["complete"]["mean"]["total"]
        less = [summary["withheld"][cell][name]["mean"] for name in MODALITIES]
        rows.append([cell, f"{total:.3f}", *(f"{loss:.3f} ({signed(loss - total, 3)})" for loss in less)])
    return Section(
        "Modality contributions",
        "Total loss on complete sequences when a modality is withheld from the trained network, and what that costs.",
        head=["fusion", "all", *(f"without {name}" for name in MODALITIES)],
        rows=rows,
    )


def _gates(summary: Summary) -> Section:
    keys = {"open": "open", "share": "share", "open_trouble": "open in trouble", "open_else": "open elsewhere"}
    return Section(
        "Gates",
        "*open*: mean gate over dimensions and steps. *share*: part of the length of all gated embeddings. *in "
        "trouble*: under music (audio), in darkness (video).",
        head=["modality", *keys.values()],
        rows=[
            [name, *(plus_minus(found[key], 2) if key in found else "" for key in keys)]
            for name, found in summary["gates"].items()
        ],
        figures=["gates"],
        note=f"Sequence {summary['example']['sequence']}, seed {summary['best']['gated_seed']}.",
    )


def _attention(summary: Summary, network: str) -> Section:
    found = summary["attention"]
    layers = {f"layer {k + 1}": layer for k, layer in enumerate(found["layers"])}
    return Section(
        "Attention",
        f"{network}, mean over heads and test sequences. A uniform layer weighs all steps alike.",
        head=["", "weight on itself", "mean distance (steps)", "weight on its own scene"],
        rows=[
            [name, f"{x['own']:.3f}", f"{x['distance']:.1f}", f"{x['same_scene']:.2f}"]
            for name, x in {**layers, "uniform": found["uniform"]}.items()
        ],
        figures=["attention"],
    )


def _worst_cases(summary: Summary, best: Mapping[str, Any]) -> Section:
    return Section(
        "Worst cases",
        f"Of all test sequences, for the {best['cell']} network of seed {best['seed']}. *largest*: the term that is "
        "most above its mean.",
        head=["sequence", "total", *TERMS, "largest", *(f"{name} present" for name in MODALITIES), "steps of music",
              "of darkness", "cuts", "tracks active"],
        rows=[
            [str(c["sequence"]), *(f"{c[name]:.2f}" for name in ("total", *TERMS)), c["largest"],
             *(f"{100 * c['present'][name]:.0f} %" for name in MODALITIES),
             str(c["music_steps"]), str(c["dark_steps"]), str(c["cuts"]), f"{100 * c['active']:.0f} %"]
            for c in summary["worst"]
        ],
    )  # fmt: skip


@styled
def _losses_figure(summary: Mapping[str, Any]) -> Figure:
    """Total loss of every network, stacked by term, with its spread over seeds."""
    figure = Figure(figsize=(8, 4))
    axes = figure.add_subplot(label="losses")
    weights, cells = summary["settings"]["weights"], summary["cells"]
    names = [*cells, "without looking"]
    values = [found["complete"]["mean"] for found in cells.values()] + [summary["frequencies"]]
    bottom = np.zeros(len(names))
    for term, colour in colours(TERMS).items():
        height = np.array([weights[term] * value[term] for value in values])
        axes.bar(names, height, bottom=bottom, color=colour, label=term)
        bottom += height
    spread = [found["complete"]["std"]["total"] for found in cells.values()]
    axes.errorbar(names[:-1], bottom[:-1], spread, fmt="none", ecolor=INK, capsize=4)
    axes.set_ylabel("loss, complete test sequences")
    figure.legend(loc="outside right center")
    return figure


@styled
def _training_figure(summary: Mapping[str, Any]) -> Figure:
    """Training and validation loss of the fusions by epoch, a line per seed; and the learning rate."""
    figure = Figure(figsize=(9, 3.6))
    on_loss, on_rate = figure.subplots(1, 2, width_ratios=(2.2, 1))
    for cell, colour in colours(FUSIONS).items():
        for k, rows in enumerate(summary["epochs"][cell]):
            epochs = [row["epoch"] for row in rows]
            on_loss.plot(epochs, [row["train_loss"] for row in rows], ":", color=colour, linewidth=1)
            label = f"{cell} (dotted: training)" if k == 0 else None
            on_loss.plot(epochs, [row["valid_loss"] for row in rows], color=colour, linewidth=1, label=label)
    on_loss.set(xlabel="epoch", ylabel="loss (sum of the terms)")
    figure.legend(loc="outside lower center", ncols=len(FUSIONS))
    on_loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    rows = summary["best_epochs"]
    on_rate.plot([row["epoch"] for row in rows], [row["learning_rate"] for row in rows], color=INK)
    on_rate.set(xlabel="epoch", ylabel="learning rate")
    return figure


@styled
def _gates_figure(summary: Mapping[str, Any]) -> Figure:
    """Mean gate of each modality along one sequence, over its music, darkness and cuts."""
    example = summary["example"]
    figure = Figure(figsize=(9, 3.2))
    axes = figure.add_subplot(label="gates")
    steps = np.arange(len(example["cut"]))
    for name, colour in colours(MODALITIES).items():
        axes.step(steps, example["gates"][name], where="mid", color=colour, label=name)
    for name, low, shade in (("music", 0.5, "#f3e3bd"), ("dark", 0.0, "#cfcfcf")):
        on = np.array(example[name])
        if on.any():
            axes.fill_between(
                steps, low, low + 0.5, where=on.tolist(), step="mid", color=shade, zorder=0, label=name,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    for step in np.flatnonzero(example["cut"]):
        axes.axvline(float(step), color=INK, linewidth=0.7, linestyle=(0, (2, 3)))
    axes.set(xlabel="step (dashed: a cut)", ylabel="mean gate, 0 where absent", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=5)
    return figure


@styled
def _attention_figure(summary: Mapping[str, Any]) -> Figure:
    """Mean attention weights of each layer, on one scale."""
    layers = summary["attention"]["layers"]
    figure = Figure(figsize=(3.4 * len(layers) + 0.8, 4.0))
    largest = max(np.max(layer["map"]) for layer in layers)
    for k, layer in enumerate(layers):
        axes = figure.add_subplot(1, len(layers), k + 1, label=f"layer {k + 1}")
        image = axes.imshow(layer["map"], vmin=0, vmax=largest, origin="upper", aspect="equal")
        axes.set(title=f"layer {k + 1}", xlabel="looks at step", ylabel="step" if k == 0 else "")
    figure.colorbar(image, ax=figure.axes, label="mean weight")
    return figure
