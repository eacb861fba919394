"""The loss study as a person reads it: a table, a figure, and what became of the founding document's order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from asd.core.runtime import atomic
from asd.evaluation.markdown import signed, table
from asd.runs import write_json, write_text

# Founding document 001, per cent: micro and macro F1 over frames. GLR was measured in another experiment, with
# only a micro F1: 41.24 without and 49.16 with.
FOUNDING: dict[str, dict[str, tuple[float, float | None]]] = {
    "crnn": {
        "bce": (40.10, 7.39),
        "srl": (46.44, 10.34),
        "ifl": (41.89, 7.57),
        "afl": (48.29, 10.46),
        "dice": (45.06, 9.79),
        "fbtl": (46.97, 10.28),
        "sad": (43.35, 8.64),
        "glr": (40.10 + 49.16 - 41.24, None),
    },
    "transformer": {"bce": (45.15, 9.27), "afl": (49.14, 11.11)},
}
MEASURES = {
    "f1": ("frames_half", "micro F1"),
    "macro_f1": ("frames_half", "macro F1"),
    "roc_auc": ("frames_half", "micro AUC"),
    "macro_roc_auc": ("frames_half", "macro AUC"),
    "tuned_macro_f1": ("frames", "macro F1, tuned"),
}
_COLOURS = {"crnn": "#0072B2", "transformer": "#D55E00"}

Summary = dict[str, dict[str, dict[str, Any]]]


def summarise(results: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Per cent by network, loss and measure: {"mean", "std", "gain", "gain_std", "seeds_up", "n_seeds"}.

    The gain is over BCE of the same network and seed; `seeds_up` counts the seeds in which there is one.

    Args:
        results: {"<network>/<loss>/seed<k>": {model: {kind: measures}}}.
    """
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for key, result in results.items():
        network, loss, _ = key.split("/")
        lists = values.setdefault(network, {}).setdefault(loss, {name: [] for name in MEASURES})
        for name, (kind, _) in MEASURES.items():
            lists[name].append(100 * result["student"][kind][name.removeprefix("tuned_")])
    return {
        network: {
            loss: {
                name: _spread(lists[name], losses["bce"][name] if "bce" in losses else None)
                for name in MEASURES
            }
            for loss, lists in losses.items()
        }
        for network, losses in values.items()
    }


def _spread(values: list[float], usual: list[float] | None) -> dict[str, float]:
    gains = np.subtract(values, usual) if usual else np.full(len(values), np.nan)
    several = len(values) > 1
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if several else 0.0,
        "gain": float(np.mean(gains)),
        "gain_std": float(np.std(gains, ddof=1)) if several else 0.0,
        "seeds_up": float((gains > 0).sum()),
        "n_seeds": float(len(values)),
    }


def verdicts(summary: Summary) -> list[str]:
    """For each loss that the founding document measured, a sentence: the same direction, another one, or unsettled.

    A direction is settled where all seeds agree on it.
    """
    sentences = []
    for network, founding in FOUNDING.items():
        for loss, (micro, macro) in founding.items():
            if loss == "bce" or loss not in summary.get(network, {}):
                continue
            for measure, theirs, usual in (
                ("f1", micro, founding["bce"][0]),
                ("macro_f1", macro, founding["bce"][1]),
            ):
                if theirs is None or usual is None:
                    continue
                ours = summary[network][loss][measure]
                sentences.append(
                    f"{network}, {loss}, {MEASURES[measure][1]}: {signed(theirs - usual, 1)} points there, "
                    f"{signed(ours['gain'], 1)} ± {ours['gain_std']:.1f} here: {_verdict(ours, theirs - usual)}."
                )
    return sentences


def _verdict(ours: Mapping[str, float], theirs: float) -> str:
    if 0 < ours["seeds_up"] < ours["n_seeds"]:
        return "not settled, the seeds disagree"
    return "the same direction" if (ours["seeds_up"] > 0) == (theirs > 0) else "the other direction"


def tables(summary: Summary) -> str:
    """A table per network, best macro F1 first."""
    lines = []
    for network, losses in summary.items():
        head = ["loss", *(title for _, title in MEASURES.values()), "macro F1 over BCE", "seeds better"]
        rows = []
        for loss in sorted(losses, key=lambda name: -losses[name]["macro_f1"]["mean"]):
            macro = losses[loss]["macro_f1"]
            cells = [
                f"{losses[loss][name]['mean']:.1f} ± {losses[loss][name]['std']:.1f}" for name in MEASURES
            ]
            gain = f"{signed(macro['gain'], 1)} ± {macro['gain_std']:.1f}" if loss != "bce" else "–"
            better = f"{macro['seeds_up']:.0f} of {macro['n_seeds']:.0f}" if loss != "bce" else "–"
            rows.append([loss, *cells, gain, better])
        lines += [f"{network}:", "", *table(head, rows), ""]
    return "\n".join(lines)


def figure(summary: Summary) -> Figure:
    """Micro and macro F1 of every loss, with spread over the seeds; crosses are the founding document's."""
    losses = list(next(iter(summary.values())))
    drawn = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
    for k, measure in enumerate(("f1", "macro_f1")):
        axes = drawn.add_subplot(1, 2, k + 1, label=measure)
        for i, (network, results) in enumerate(summary.items()):
            names = [loss for loss in losses if loss in results]
            places = np.array([losses.index(loss) for loss in names]) + 0.4 * (i - (len(summary) - 1) / 2)
            means = [results[loss][measure]["mean"] for loss in names]
            spreads = [results[loss][measure]["std"] for loss in names]
            colour = _COLOURS.get(network, "#555555")
            axes.bar(places, means, 0.38, yerr=spreads, color=colour, label=network, error_kw={"lw": 1})
            theirs = {loss: FOUNDING.get(network, {}).get(loss, (None, None))[k] for loss in names}
            crosses = [(place, value) for place, value in zip(places, theirs.values(), strict=True) if value]
            if crosses:
                axes.plot(*zip(*crosses, strict=True), "x", color="black", ms=5)
        axes.set_xticks(range(len(losses)), losses, rotation=40, ha="right")
        axes.set(ylabel=f"{MEASURES[measure][1]} over frames, %")
        axes.margins(y=0.25)  # room for the legend
        axes.legend(title="x: founding document 001", fontsize=8)
    return drawn


def write_report(folder: Path, summary: Summary) -> str:
    """Writes losses.md, losses.json and losses.png, and returns the text."""
    text = (
        tables(summary)
        + "\nAgainst founding document 001:\n\n"
        + "\n".join(f"- {s}" for s in verdicts(summary))
    )
    write_json(folder / "losses.json", summary)
    write_text(folder / "losses.md", text + "\n")
    with atomic(folder / "losses.png") as temporary:
        figure(summary).savefig(temporary, format="png", dpi=100)
    return f"{text}\n\n{folder}/losses.md, losses.json, losses.png"
