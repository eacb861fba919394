"""The fusion study: single modalities and three ways to join them, on synthetic multi-track sequences.

Three fusions of all modalities, and each modality alone, over several seeds, on the synthetic sequences of
`asd.synthetic.tracks`. The page has the parts of the report "Multimodal learning experiment" of 2025-12-14, and those
that the report names as missing: comparisons, contributions, attention, worst cases. Every network is judged on the
test sequences that have all modalities at every step ("complete"); those of all modalities also on all test sequences
with whatever they lack ("all"). All sequences count the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from asd.core.files import save_tensors
from asd.core.networks.gated_fusion import FUSIONS
from asd.core.runtime import fingerprint, pick_device
from asd.core.update import learning_rate_at
from asd.evaluation.confidence import difference_interval
from asd.evaluation.markdown import signed, spread
from asd.runs import TrainingDirectory
from asd.studies.config import Fusion
from asd.studies.fusion import analysis, training
from asd.studies.fusion.training import COLUMNS, TERMS
from asd.studies.grid import run_grid
from asd.synthetic.tracks import MODALITIES, VERSION, make_sequences

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # cell -> what each seed gave
Summary = Mapping[str, Any]


def run(config: Fusion) -> str:
    """Runs what is missing of the study and writes its page; returns the headline."""
    from asd.studies.fusion.page import write_report

    folder = config.runs / "fusion"
    results = run_grid(cells(config), run_cell, folder, config, "fusion study")
    summary = summarise(results, config)
    write_report(folder, summary)
    return (
        f"{headline(summary)}\nReport: {folder / 'report.md'}, tables in *.csv, all numbers in report.json, "
        f"figures in *.png; a cell's epochs lie in {folder}/<cell>/seed<k>/metrics.jsonl"
    )


def cells(config: Fusion) -> dict[str, dict[str, Any]]:
    """Settings of every experiment by its folder: each fusion of all modalities, and each modality alone."""
    kinds = {fusion: (fusion, MODALITIES) for fusion in FUSIONS} | {name: ("gated", (name,)) for name in MODALITIES}
    return {
        cell: {"fusion": fusion, "modalities": modalities, "sequences": VERSION, "study": config.settings()}
        for cell, (fusion, modalities) in kinds.items()
    }


def run_cell(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Trains a network and finds out what it does; resumes where it was stopped.

    Settings are "fusion", "modalities", "seed", and "study", its options. The folder receives metrics.jsonl and
    weights.safetensors.

    Returns:
        "parameters", "n_training", "best_epoch", "epochs" (one dictionary each), "seconds", "complete" (losses of
        each test sequence with all modalities), "frequencies" (what is lost there without looking), "coverage";
        of a network with all modalities also "withheld", "all" (losses of every test sequence), "worst",
        "attention", and "gates" and "example" where it has gates.
    """
    started = time.perf_counter()
    config, modalities = Fusion.model_validate(settings["study"]), settings["modalities"]
    TrainingDirectory(folder).make_way(fingerprint(settings), overwrite=True)
    device, splits = pick_device(config.device), training.split_indices(config)
    sequences = make_sequences(training.layout_of(config), config.data_seed, range(sum(map(len, splits.values()))))
    scales = training.measure_scales(sequences, config.n_train)
    data = training.prepare(sequences, scales, modalities, config.n_assets, device)
    net = training.build_network(config, modalities, settings["fusion"], settings["seed"]).to(device)
    n_training = len(training.usable(data, splits["training"], "training"))
    result = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "n_training": n_training,
        "best_epoch": training.fit(net, data, config, settings["seed"], folder, fingerprint(settings)),
        "epochs": _epochs(folder, config, n_training),
        "coverage": {name: analysis.coverage(sequences.at(indices.numpy())) for name, indices in splits.items()},
        **analysis.on_complete(net, data, sequences, config),
    }
    if len(modalities) == len(MODALITIES):
        result |= analysis.on_all(net, data, sequences, config)
    save_tensors(folder / "weights.safetensors", net.state_dict())
    TrainingDirectory(folder).end_training()
    return result | {"seconds": time.perf_counter() - started}


def _epochs(folder: Path, config: Fusion, n_training: int) -> list[dict[str, float]]:
    """Losses of every epoch, with the learning rate at its end."""
    settings = training.train_settings(config)
    n_batches = n_training // config.batch_size + (n_training % config.batch_size > 1)
    return [
        {**row, "learning_rate": learning_rate_at(settings, (k + 1) * n_batches - 1, config.epochs * n_batches)}
        for k, row in enumerate(TrainingDirectory(folder).epochs())
    ]


def summarise(results: Results, config: Fusion) -> dict[str, Any]:
    """All numbers of the page.

    Returns:
        "cells" (means and standard deviations over seeds), "differences", "best" (cell and place of its best seed),
        "frequencies", "coverage", "gates" (mean over seeds), "withheld", and of the best seeds' networks "epochs",
        "attention", "worst", "example"; plain values only.
    """
    cells = {cell: _cell(runs) for cell, runs in results.items()}
    best = min(FUSIONS, key=lambda cell: cells[cell]["complete"]["mean"]["total"])
    place, gated = (
        int(np.argmin([np.mean(run["complete"]["total"]) for run in results[cell]])) for cell in (best, "gated")
    )
    gates = [run["gates"] for run in results["gated"]]
    return {
        "settings": config.settings(),
        "seeds": list(config.seeds),
        "cells": cells,
        "differences": _differences(results),
        "best": {"cell": best, "seed": config.seeds[place], "gated_seed": config.seeds[gated]},
        "frequencies": results["gated"][0]["frequencies"],
        "n_complete": len(results["gated"][0]["complete"]["total"]),
        "coverage": results["gated"][0]["coverage"],
        "gates": {
            name: {key: spread([of_seed[name][key] for of_seed in gates]) for key in values}
            for name, values in gates[0].items()
        },
        "withheld": {
            cell: {name: spread([run["withheld"][name]["total"] for run in results[cell]]) for name in MODALITIES}
            for cell in FUSIONS
        },
        "epochs": {cell: [run["epochs"] for run in runs] for cell, runs in results.items()},
        "best_epochs": results[best][place]["epochs"],
        "attention": results[best][place]["attention"],
        "worst": results[best][place]["worst"],
        "example": results["gated"][gated]["example"],
    }


def headline(summary: Summary) -> str:
    """The study in a few lines: total loss of every cell, and which differences are settled."""
    cells = {cell: found["complete"] for cell, found in summary["cells"].items()}
    width = max(map(len, cells))
    rows = [
        f"  {cell:{width}}  {found['mean']['total']:.3f} ± {found['std']['total']:.3f}"
        for cell, found in sorted(cells.items(), key=lambda item: item[1]["mean"]["total"])
    ]
    head = f"loss on {summary['n_complete']} complete test sequences, mean of {len(summary['seeds'])} seeds:"
    return "\n".join([head, *rows, *findings(summary)[:2]])


def findings(summary: Summary) -> list[str]:
    """What the numbers say, a sentence each."""
    cells, best = summary["cells"], summary["best"]["cell"]
    total = {cell: found["complete"]["mean"]["total"] for cell, found in cells.items()}
    alone = min(MODALITIES, key=lambda name: total[name])
    cost = {name: found["mean"] - total[best] for name, found in summary["withheld"][best].items()}
    dearest = max(cost, key=lambda name: cost[name])
    losses, usual = cells[best]["complete"]["mean"], summary["frequencies"]
    left = {name: losses[name] / usual[name] for name in TERMS if usual[name] > 0}
    hardest = max(left, key=lambda name: left[name])
    last = summary["best_epochs"][-1]
    sentences = [
        _fusion_finding(summary),
        f"All modalities, {best}, lose {total[best]:.3f}; the best one alone, {alone}, {total[alone]:.3f}.",
        f"Withheld from the trained {best} network, {dearest} is missed most: {signed(cost[dearest], 3)}.",
        f"The hardest term is {hardest}: {100 * left[hardest]:.0f} % of what one loses without looking is left.",
        f"At the last epoch the {best} network loses {last['train_loss']:.3f} in training and "
        f"{last['valid_loss']:.3f} in validation.",
    ]
    for name, trouble in (("audio", "music"), ("video", "darkness")):
        gate = summary["gates"][name]
        if "open_trouble" in gate:
            sentences.append(
                f"The gate of {name} is open by {gate['open_trouble']['mean']:.2f} under {trouble} and by "
                f"{gate['open_else']['mean']:.2f} elsewhere."
            )
    return sentences


def _fusion_finding(summary: Summary) -> str:
    fusions = [row for row in summary["differences"] if row["on"] == "complete" and row["b"] in FUSIONS]
    settled = [row for row in fusions if row["verdict"] != "tie"]
    if not settled:
        return "Which fusion is best is not settled: every difference between them is a tie."
    words = [f"{row['verdict']} beats {row['b'] if row['verdict'] == row['a'] else row['a']}" for row in settled]
    ties = [f"{row['a']} and {row['b']} tie" for row in fusions if row["verdict"] == "tie"]
    return f"Among the fusions {', '.join([*words, *ties])}."


def _cell(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and spreads of one network over its seeds."""
    found: dict[str, Any] = {
        "parameters": runs[0]["parameters"],
        "n_training": runs[0]["n_training"],
        "best_epochs": [run["best_epoch"] for run in runs],
        "seconds": float(np.mean([run["seconds"] for run in runs])),
    }
    for kind in ("complete", "all"):
        if kind in runs[0]:
            spreads = {name: spread([float(np.mean(run[kind][name])) for run in runs]) for name in COLUMNS}
            found[kind] = {key: {name: s[key] for name, s in spreads.items()} for key in ("mean", "std")}
    return found


def _differences(results: Results) -> list[dict[str, Any]]:
    """Total losses compared in pairs: the fusions on both kinds of sequences, and gated against each alone."""
    pairs = [(a, b, on) for on in ("complete", "all") for a, b in combinations(FUSIONS, 2)]
    pairs += [("gated", name, "complete") for name in MODALITIES]
    rows = []
    for a, b, on in pairs:
        of_a, of_b = (np.array([run[on]["total"] for run in results[cell]]) for cell in (a, b))
        difference = float(of_a.mean() - of_b.mean())
        low, high = difference_interval((of_a, np.ones_like(of_a)), (of_b, np.ones_like(of_b)))
        verdict = a if high < 0 else b if low > 0 else "tie"
        rows.append({"a": a, "b": b, "on": on, "difference": difference, "low": low, "high": high, "verdict": verdict})
    return rows
