"""The document of the fusion study: report.md, report.json, tables as CSV and figures as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from asd.core.networks.gated_fusion import FUSIONS
from asd.core.runtime import atomic
from asd.evaluation.markdown import signed
from asd.runs import write_json, write_text
from asd.studies.fusion.figures import attention_figure, gates_figure, losses_figure, training_figure
from asd.studies.fusion.results import COLUMNS, findings
from asd.studies.fusion.tracks import MODALITIES
from asd.studies.fusion.training import TERMS

_ALIKE = "looks everywhere alike"


def write_report(folder: Path, summary: Mapping[str, Any]) -> None:
    """Writes all files of the report into `folder`, each whole or not at all.

    Raises:
        AsdError: the place cannot be written.
    """
    write_json(folder / "report.json", summary)
    for name, table in tables(summary).items():
        with atomic(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    figures = {
        "losses": losses_figure(summary),
        "training": training_figure(summary),
        "gates": gates_figure(summary),
        "attention": attention_figure(summary),
    }
    for name, figure in figures.items():
        with atomic(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=100)
    write_text(folder / "report.md", markdown(summary))


def tables(summary: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
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
    worst = [
        {key: value for key, value in case.items() if key != "present"}
        | {f"{name}_present": share for name, share in case["present"].items()}
        for case in summary["worst"]
    ]
    return {
        "losses": pd.DataFrame(losses),
        "epochs": pd.DataFrame(epochs),
        "differences": pd.DataFrame(summary["differences"]),
        "worst": pd.DataFrame(worst),
    }


def markdown(summary: Mapping[str, Any]) -> str:
    """The report as a page."""
    best = summary["best"]
    parts = [
        "# Fusion study",
        "\n".join(f"- {sentence}" for sentence in findings(summary)),
        "## Setup",
        _setup(summary),
        "## Losses on complete test sequences",
        f"{summary['n_complete']} sequences with every modality at every step. Loss per term, mean ± standard "
        f"deviation over the seeds {', '.join(map(str, summary['seeds']))}; tracks that are not active count for "
        "*active* only. A network of one modality can learn only from the sequences that have it throughout. "
        "*without looking*: each track's frequencies and means in training.",
        _losses(summary, "complete"),
        "![losses](losses.png)",
        "## Losses on all test sequences",
        "With whatever modalities they lack.",
        _losses(summary, "all"),
        "## What can be told apart",
        "Difference of the total loss (a minus b) with the interval of 95 % of bootstrap resamples of sequences and "
        "seeds; a tie where it holds zero.",
        _differences(summary),
        "## Epochs",
        f"The {best['cell']} network of seed {best['seed']}. The weights kept are those of the epoch with the lowest "
        "validation loss.",
        _epochs(summary["best_epochs"]),
        "![training](training.png)",
        "## Modality coverage",
        _coverage(summary),
        "## Modality contributions",
        "Total loss on complete sequences when a modality is withheld from the trained network, and what that costs.",
        _withheld(summary),
        "## Gates",
        "*open*: mean gate over dimensions and steps. *share*: part of the length of all gated embeddings. "
        "*in trouble*: under music (audio), in darkness (video).",
        _gates(summary),
        f"![gates](gates.png)\n\nSequence {summary['example']['sequence']}, seed {best['gated_seed']}.",
        "## Attention",
        f"The {best['cell']} network of seed {best['seed']}, mean over heads and test sequences.",
        _attention(summary["attention"]),
        "![attention](attention.png)",
        "## Worst cases",
        f"Of all test sequences, for the {best['cell']} network of seed {best['seed']}. *largest*: the term "
        "that is most above its mean.",
        _worst(summary["worst"]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _setup(summary: Mapping[str, Any]) -> str:
    s, gated = summary["settings"], summary["cells"]["gated"]
    weights = ", ".join(f"{name} {value:g}" for name, value in s["weights"].items())
    return _table(
        ["", ""],
        [
            ["network", f"{s['n_layers']} encoder layers of width {s['n_dims']}, {s['n_heads']} heads, feed-forward "
             f"{s['n_feedforward']}, dropout {s['dropout']}; gated: {gated['parameters']:,} parameters"],
            ["optimiser", f"Adam {s['learning_rate']:g}, weight decay {s['weight_decay']:g}, gradients clipped to "
             f"{s['clip_norm']:g}, {s['warmup_epochs']} epochs of warm-up, cosine to {s['floor']:g}"],
            ["training", f"{s['epochs']} epochs in batches of {s['batch_size']}; modality dropout "
             f"{s['modality_dropout']:g}"],
            ["weights of the terms", weights],
            ["sequences", f"{s['n_train']} training, {s['n_valid']} validation, {s['n_test']} test, of {s['n_steps']} "
             f"steps and {s['n_tracks']} tracks"],
        ],
    )  # fmt: skip


def _losses(summary: Mapping[str, Any], on: str) -> str:
    rows = []
    for cell, found in summary["cells"].items():
        if on in found:
            mean, std = found[on]["mean"], found[on]["std"]
            rows.append(
                [cell, f"{found['n_training']}", *(f"{mean[name]:.3f} ± {std[name]:.3f}" for name in COLUMNS)]
            )
    if on == "complete":
        rows.append(["without looking", "", *(f"{summary['frequencies'][name]:.3f}" for name in COLUMNS)])
    head = ["network", "training sequences", "total", *TERMS, "active right", "asset right"]
    return _table(head, rows)


def _differences(summary: Mapping[str, Any]) -> str:
    return _table(
        ["a", "b", "sequences", "a - b", "95 %", "better"],
        [
            [row["a"], row["b"], row["on"], signed(row["difference"], 3),
             f"{signed(row['low'], 3)} to {signed(row['high'], 3)}", row["verdict"]]
            for row in summary["differences"]
        ],
    )  # fmt: skip


def _epochs(rows: Sequence[Mapping[str, float]]) -> str:
    head = [
        "epoch",
        "training",
        "validation",
        *(f"{name}, validation" for name in TERMS),
        "learning rate",
        "s",
    ]
    kept = min(rows, key=lambda row: row["valid_loss"])
    return _table(
        head,
        [
            [f"**{row['epoch']:.0f}**" if row is kept else f"{row['epoch']:.0f}", f"{row['train_loss']:.3f}",
             f"{row['valid_loss']:.3f}", *(f"{row[f'valid_{name}']:.3f}" for name in TERMS),
             f"{row['learning_rate']:.2g}", f"{row['seconds']:.1f}"]
            for row in rows
        ],
    )  # fmt: skip


def _coverage(summary: Mapping[str, Any]) -> str:
    rows = [
        [
            split,
            name,
            f"{100 * c['steps']:.1f} %",
            f"{100 * c['sequences']:.1f} %",
            f"{100 * c['nan_values']:.1f} %",
        ]
        for split, found in summary["coverage"].items()
        for name, c in found.items()
    ]
    head = ["sequences", "modality", "steps with it", "sequences with it throughout", "NaN among its values"]
    return _table(head, rows)


def _withheld(summary: Mapping[str, Any]) -> str:
    rows = []
    for cell in FUSIONS:
        total = summary["cells"][cell]["complete"]["mean"]["total"]
        less = [summary["withheld"][cell][name]["mean"] for name in MODALITIES]
        rows.append([cell, f"{total:.3f}", *(f"{loss:.3f} ({signed(loss - total, 3)})" for loss in less)])
    return _table(["fusion", "all", *(f"without {name}" for name in MODALITIES)], rows)


def _gates(summary: Mapping[str, Any]) -> str:
    keys = {
        "open": "open",
        "share": "share",
        "open_trouble": "open in trouble",
        "open_else": "open elsewhere",
    }
    rows = [
        [name, *(f"{found[k]['mean']:.2f} ± {found[k]['std']:.2f}" if k in found else "" for k in keys)]
        for name, found in summary["gates"].items()
    ]
    return _table(["modality", *keys.values()], rows)


def _attention(found: Mapping[str, Any]) -> str:
    layers = {f"layer {k + 1}": layer for k, layer in enumerate(found["layers"])}
    rows = [
        [name, f"{x['own']:.3f}", f"{x['distance']:.1f}", f"{x['same_scene']:.2f}"]
        for name, x in (layers | {_ALIKE: found["uniform"]}).items()
    ]
    return _table(["", "weight on itself", "mean distance (steps)", "weight on its own scene"], rows)


def _worst(cases: Sequence[Mapping[str, Any]]) -> str:
    head = ["sequence", "total", *TERMS, "largest", *(f"{name} present" for name in MODALITIES)]
    head += ["steps of music", "of darkness", "cuts", "tracks active"]
    rows = [
        [str(c["sequence"]), *(f"{c[name]:.2f}" for name in ("total", *TERMS)), c["largest"],
         *(f"{100 * c['present'][name]:.0f} %" for name in MODALITIES),
         str(c["music_steps"]), str(c["dark_steps"]), str(c["cuts"]), f"{100 * c['active']:.0f} %"]
        for c in cases
    ]  # fmt: skip
    return _table(head, rows)
