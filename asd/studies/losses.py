"""The loss study: losses of event detection where classes differ in length and frequency and most frames are silent.

The losses of Imoto, "Sound event detection and scene classification using properties of environmental sounds" (slides,
Doshisha University, 2021), with their hyper-parameters, on a CNN-BiGRU and a CNN-Transformer over several seeds, on
soundscapes of spoken digits whose classes differ in length and in frequency. Every cell goes through the stages
`sed train` and `sed evaluate`. The page compares the order with the published one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from asd.evaluation.figures import INK, colours, styled
from asd.evaluation.markdown import MISSING, Section, plus_minus, signed, spread, write_page
from asd.studies.config import Losses
from asd.studies.grid import chosen
from asd.studies.sed_cell import train_all

NETWORKS = ["crnn", "transformer"]

# Imoto, 2021, whose losses are sums and ours means over frames and classes. Their GLR weight, 1e-5 with 500
# frames and 25 classes, is 1e-5 x 500 / 25 = 2e-4 on means. They do not give the weight of SAD: 1 on sums is 0.1 on
# means over the 10 classes here. Nor do they give IFL's gamma, which here is 1.
LOSSES: dict[str, dict[str, Any]] = {
    "bce": {"name": "bce"},
    "srl": {"name": "srl", "alpha": 1.0, "beta": 0.3535},
    "ifl": {"name": "ifl", "constant": 500.0, "gamma": 1.0},
    "afl": {"name": "afl", "gamma": 0.0625, "zeta": 1.0},
    "dice": {"name": "dice"},
    "fbtl": {"name": "fbtl", "alpha": 0.6, "beta": 0.4, "gamma": 0.001, "eta": 1.0},
    "glr": {"name": "bce", "graph": 2e-4},
    "sad": {"name": "bce", "activity": 0.1},
}

# What the slides leave open, on the CNN-BiGRU only: a smaller gamma, a GLR that is not 1e-4 of the total.
VARIANTS: dict[str, dict[str, Any]] = {
    "ifl_weak": {"name": "ifl", "constant": 500.0, "gamma": 0.125},
    "glr_strong": {"name": "bce", "graph": 0.1},
}

# Imoto, 2021, per cent: micro and macro F1 over frames. GLR was measured in another experiment, with only
# a micro F1: 41.24 without and 49.16 with.
PUBLISHED: dict[str, dict[str, tuple[float, float | None]]] = {
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
Summary = dict[str, dict[str, dict[str, Any]]]


def run(config: Losses) -> str:
    """Runs what is missing of the study and writes its page; returns it."""
    folder = config.runs / "losses"
    return write_report(folder, summarise(train_all(config, folder, {}, trainings(config), "loss study")))


def trainings(config: Losses) -> dict[str, dict[str, Any]]:
    """What makes every training different, by <network>/<loss>."""
    known = LOSSES | VARIANTS
    return {
        f"{network}/{name}": {
            "network": {"kind": network},
            "loss": {"weak": 0.0, **known[name]},
            "teacher": {"method": "none"},
        }
        for network in chosen(config.networks, NETWORKS, "networks")
        for name in chosen(config.losses, known, "losses")
        if network == "crnn" or name in LOSSES
    }


def summarise(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Summary:
    """Per cent by network, loss and measure: {"mean", "std", "gain", "gain_std", "seeds_up", "n_seeds"}.

    The gain is over BCE of the same network and seed; `seeds_up` counts the seeds in which there is one. Results are
    {"<network>/<loss>": [{model: {kind: measures}} of each seed]}.
    """
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for key, seeds in results.items():
        network, loss = key.split("/")
        values.setdefault(network, {})[loss] = {
            name: [100 * seed["student"][kind][name.removeprefix("tuned_")] for seed in seeds]
            for name, (kind, _) in MEASURES.items()
        }
    return {
        network: {
            loss: {name: _with_gain(lists[name], losses.get("bce", {}).get(name)) for name in MEASURES}
            for loss, lists in losses.items()
        }
        for network, losses in values.items()
    }


def _with_gain(values: list[float], usual: list[float] | None) -> dict[str, float]:
    gains = np.subtract(values, usual) if usual else np.full(len(values), np.nan)
    gain = spread(gains)
    more = {"gain": gain["mean"], "gain_std": gain["std"], "seeds_up": float((gains > 0).sum())}
    return {**spread(values), **more, "n_seeds": float(len(values))}


def verdicts(summary: Summary) -> list[str]:
    """For each published gain over BCE a sentence: the same direction here, another one, or unsettled.

    A direction is settled where all seeds agree on it.
    """
    sentences = []
    for network, published in PUBLISHED.items():
        for loss in [name for name in published if name != "bce" and name in summary.get(network, {})]:
            for k, measure in enumerate(("f1", "macro_f1")):
                value, usual = published[loss][k], published["bce"][k]
                if value is None or usual is None:
                    continue
                found = summary[network][loss][measure]
                here = plus_minus({"mean": found["gain"], "std": found["gain_std"]}, 1, sign=True)
                sentences.append(
                    f"{network}, {loss}, {MEASURES[measure][1]}: {signed(value - usual, 1)} points there, {here} here: "
                    f"{_verdict(found, value - usual)}."
                )
    return sentences


def _verdict(ours: Mapping[str, float], theirs: float) -> str:
    if 0 < ours["seeds_up"] < ours["n_seeds"]:
        return "not settled, the seeds disagree"
    return "the same direction" if (ours["seeds_up"] > 0) == (theirs > 0) else "the other direction"


def sections(summary: Summary) -> list[Section]:
    """A table per network, best macro F1 first, and the comparison with the published gains."""
    head = ["loss", *(title for _, title in MEASURES.values()), "macro F1 over BCE", "seeds better"]
    found = []
    for network, losses in summary.items():
        rows = []
        for loss in sorted(losses, key=lambda name: -losses[name]["macro_f1"]["mean"]):
            macro = losses[loss]["macro_f1"]
            gain = plus_minus({"mean": macro["gain"], "std": macro["gain_std"]}, 1, sign=True)
            better = [MISSING] * 2 if loss == "bce" else [gain, f"{macro['seeds_up']:.0f} of {macro['n_seeds']:.0f}"]
            rows.append([loss, *(plus_minus(losses[loss][name], 1) for name in MEASURES), *better])
        found.append(Section(network, head=head, rows=rows))
    found[-1] = replace(found[-1], figures=["losses"])
    return [*found, Section("Against the published gains", points=verdicts(summary))]


@styled
def figure(summary: Summary) -> Figure:
    """Micro and macro F1 of every loss, with spread over the seeds; crosses are the published values."""
    losses = list(next(iter(summary.values())))
    shades = colours(list(summary))
    drawn = Figure(figsize=(11, 4.2))
    for k, measure in enumerate(("f1", "macro_f1")):
        axes = drawn.add_subplot(1, 2, k + 1, label=measure)
        for i, (network, results) in enumerate(summary.items()):
            shift = 0.4 * (i - (len(summary) - 1) / 2)
            places = {loss: losses.index(loss) + shift for loss in losses if loss in results}
            found = [results[loss][measure] for loss in places]
            means, spreads = [value["mean"] for value in found], [value["std"] for value in found]
            axes.bar(list(places.values()), means, 0.38, yerr=spreads, color=shades[network], label=network,
                     error_kw={"lw": 1})  # fmt: skip
            published = {loss: PUBLISHED.get(network, {}).get(loss, (None, None))[k] for loss in places}
            crosses = [(places[loss], value) for loss, value in published.items() if value]
            axes.plot(*zip(*crosses, strict=True) if crosses else ([], []), "x", color=INK, ms=5)
            for (loss, place), value in zip(places.items(), found, strict=True):
                if not value["mean"]:
                    above, why = published[loss] or 0.0, " 0: no frame above 0.5"
                    axes.text(place, above, why, rotation=90, fontsize=7, ha="center", va="bottom")
        axes.set_xticks(range(len(losses)), losses, rotation=40, ha="right")
        axes.set(ylabel=f"{MEASURES[measure][1]} over frames (%)")
    bars = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(*bars, title="x: published values", loc="outside lower center", ncols=len(summary))
    return drawn


def write_report(folder: Path, summary: Summary) -> str:
    """Writes losses.md, losses.json and losses.png, and returns the text."""
    page, figures = sections(summary), {"losses": figure(summary)}
    text = write_page(folder, "losses", "Losses of event detection", page, numbers=summary, figures=figures)
    return f"{text}\n{folder}/losses.md, losses.json, losses.png"
