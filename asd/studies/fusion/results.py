"""Results of the fusion study to what they mean: means, spreads, differences with intervals, findings.

Every network is judged on the test sequences that have all modalities at every step ("complete"); those of all
modalities also on all test sequences with whatever they lack ("all"). All sequences count the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from asd.core.networks.gated_fusion import FUSIONS
from asd.evaluation.explain import FloatArray
from asd.evaluation.markdown import signed
from asd.studies.fusion.tracks import MODALITIES
from asd.studies.fusion.training import TERMS

COLUMNS = ("total", *TERMS, "active_right", "asset_right")
_N_RESAMPLES = 2000

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # cell -> what each seed gave


def summarise(results: Results, settings: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """All numbers of the report.

    Args:
        results: of `cell.run_cell`.
        settings: words of the study.
        seeds: in the order of the results.

    Returns:
        "cells" (means and standard deviations over seeds), "differences", "best" (cell and place of its best seed),
        "frequencies", "coverage", "gates" (mean over seeds), "withheld", and of the best seeds' networks "epochs",
        "attention", "worst", "example"; plain values only.
    """
    cells = {cell: _cell(runs) for cell, runs in results.items()}
    best = min(FUSIONS, key=lambda cell: cells[cell]["complete"]["mean"]["total"])
    place = int(np.argmin([np.mean(run["complete"]["total"]) for run in results[best]]))
    gated = int(np.argmin([np.mean(run["complete"]["total"]) for run in results["gated"]]))
    return {
        "settings": dict(settings),
        "seeds": list(seeds),
        "cells": cells,
        "differences": _differences(results),
        "best": {"cell": best, "seed": seeds[place], "gated_seed": seeds[gated]},
        "frequencies": results["gated"][0]["frequencies"],
        "n_complete": len(results["gated"][0]["complete"]["total"]),
        "coverage": results["gated"][0]["coverage"],
        "gates": _gates([run["gates"] for run in results["gated"]]),
        "withheld": {
            cell: {
                name: _spread([run["withheld"][name]["total"] for run in results[cell]])
                for name in MODALITIES
            }
            for cell in FUSIONS
        },
        "epochs": {cell: [run["epochs"] for run in runs] for cell, runs in results.items()},
        "best_epochs": results[best][place]["epochs"],
        "attention": results[best][place]["attention"],
        "worst": results[best][place]["worst"],
        "example": results["gated"][gated]["example"],
    }


def headline(summary: Mapping[str, Any]) -> str:
    """The study in a few lines: total loss of every cell, and what can be told apart."""
    cells = summary["cells"]
    width = max(map(len, cells))
    rows = [
        f"  {cell:{width}}  {found['complete']['mean']['total']:.3f} ± {found['complete']['std']['total']:.3f}"
        for cell, found in sorted(cells.items(), key=lambda item: item[1]["complete"]["mean"]["total"])
    ]
    head = f"loss on {summary['n_complete']} complete test sequences, mean of {len(summary['seeds'])} seeds:"
    return "\n".join([head, *rows, *findings(summary)[:2]])


def findings(summary: Mapping[str, Any]) -> list[str]:
    """What the numbers say, a sentence each."""
    cells, best = summary["cells"], summary["best"]["cell"]
    total = {cell: found["complete"]["mean"]["total"] for cell, found in cells.items()}
    alone = min(MODALITIES, key=lambda name: total[name])
    cost = {name: found["mean"] - total[best] for name, found in summary["withheld"][best].items()}
    dearest = max(cost, key=lambda name: cost[name])
    left = {
        name: cells[best]["complete"]["mean"][name] / summary["frequencies"][name]
        for name in TERMS
        if summary["frequencies"][name] > 0
    }
    hardest = max(left, key=lambda name: left[name])
    last = summary["best_epochs"][-1]
    said = [
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
            said.append(
                f"The gate of {name} is open by {gate['open_trouble']['mean']:.2f} under {trouble} and by "
                f"{gate['open_else']['mean']:.2f} elsewhere."
            )
    return said


def _fusion_finding(summary: Mapping[str, Any]) -> str:
    fusions = [row for row in summary["differences"] if row["on"] == "complete" and row["b"] in FUSIONS]
    settled = [row for row in fusions if row["verdict"] != "tie"]
    if not settled:
        return "Which fusion is best cannot be told: every difference between them is a tie."
    words = [
        f"{row['verdict']} beats {row['b'] if row['verdict'] == row['a'] else row['a']}" for row in settled
    ]
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
            spreads = {name: _spread([float(np.mean(run[kind][name])) for run in runs]) for name in COLUMNS}
            found[kind] = {key: {name: s[key] for name, s in spreads.items()} for key in ("mean", "std")}
    return found


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds, 0 for one."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def _gates(found: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {key: _spread([gates[name][key] for gates in found]) for key in values}
        for name, values in found[0].items()
    }


def _differences(results: Results) -> list[dict[str, Any]]:
    """Total losses compared in pairs: the fusions on both kinds of sequences, and gated against each alone."""
    pairs = [(a, b, on) for on in ("complete", "all") for a, b in combinations(FUSIONS, 2)]
    pairs += [("gated", name, "complete") for name in MODALITIES]
    rows = []
    for a, b, on in pairs:
        losses = [np.array([run[on]["total"] for run in results[cell]]) for cell in (a, b)]
        difference, low, high = paired_bootstrap(*losses)
        verdict = a if high < 0 else b if low > 0 else "tie"
        rows.append(
            {"a": a, "b": b, "on": on, "difference": difference, "low": low, "high": high, "verdict": verdict}
        )
    return rows


def paired_bootstrap(a: FloatArray, b: FloatArray) -> tuple[float, float, float]:
    """Mean of a minus that of b, both (seeds, sequences), with the interval of 95 % of resampled means.

    Sequences are resampled together for a and b, which met the same ones; seeds for each on its own.
    """
    rng = np.random.default_rng(0)
    n = a.shape[1]
    share = rng.multinomial(n, np.full(n, 1 / n), _N_RESAMPLES) / n
    means = []
    for losses in (a, b):
        k = len(losses)
        seeds = rng.multinomial(k, np.full(k, 1 / k), _N_RESAMPLES) / k
        means.append(((seeds @ losses) * share).sum(1))
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    return float(a.mean() - b.mean()), float(low), float(high)
