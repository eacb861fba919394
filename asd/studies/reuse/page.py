"""The study of reuse as a person reads it: tables with and without, and gates and shares by machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from asd.core.runtime import atomic
from asd.evaluation.markdown import signed, table
from asd.runs import write_json, write_text

KINDS = ("recorded", "synthetic")
_COLOURS = {"log_mel": "#0072B2", "spectrum": "#E69F00", "attribute": "#009E73"}

Results = Mapping[str, Mapping[str, Any]]  # "<kind>/<method>/seed<k>" -> result of a cell
Scores = npt.NDArray[np.float64]


def write_report(folder: Path, results: Results, without: Mapping[str, str | None]) -> str:
    """Writes reuse.md, reuse.json and gates.png to the study's folder; returns the tables and where they lie."""
    text = "\n\n".join("\n".join(lines) for lines in tables(results, without).values())
    write_text(folder / "reuse.md", text + "\n")
    write_json(folder / "reuse.json", dict(results))
    listening = mean_listening(results)
    if listening:
        with atomic(folder / "gates.png") as path:
            gates_figure(listening).savefig(path, dpi=110, format="png")
    files = "reuse.md, reuse.json" + (" and gates.png" if listening else "")
    return f"{text}\n\nper cent; mean ± standard deviation over seeds; {folder} has {files}"


def tables(results: Results, without: Mapping[str, str | None]) -> dict[str, list[str]]:
    """A table per kind of machines.

    Args:
        results: of the cells.
        without: by method, the one that is the same without it; None: there is none.

    Returns:
        Lines by kind. A row has for each scorer the score, the paired difference from the method without, and in
        how many of all machines and seeds it is higher; then the seconds of one machine.
    """
    found = {}
    for kind in KINDS:
        names = [name for name in without if any(key.startswith(f"{kind}/{name}/") for key in results)]
        if not names:
            continue
        scorers = list(next(iter(results.values()))["official"])
        head = [f"{kind} machines", "without"]
        for scorer in scorers:
            head += [scorer, "difference", "higher"]
        rows = []
        for name in names:
            row = [name, without[name] or ""]
            for scorer in scorers:
                row += _compared(results, kind, name, without[name], scorer)
            seconds = [cell["seconds"] for cell in _cells(results, kind, name).values()]
            rows.append([*row, f"{np.mean(seconds):.0f}"])
        found[kind] = table([*head, "s"], rows)
    return found


def mean_listening(results: Results) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """{machine: {"gate" or "share": {"not told" or "told": {modality: mean over seeds}}}}.

    Of the method that is told attributes in training; synthetic machines of one name are other machines under
    each seed, and their mean is taken all the same.
    """
    every: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {}
    for key, cell in results.items():
        if key.split("/")[1] != "gated_attribute":
            continue
        for machine, by_told in cell["listening"].items():
            for told, modalities in by_told.items():
                for modality, values in modalities.items():
                    for what, value in values.items():
                        lists = every.setdefault(machine, {}).setdefault(what, {}).setdefault(told, {})
                        lists.setdefault(modality, []).append(value)
    return {
        machine: {
            what: {
                told: {name: float(np.mean(x)) for name, x in values.items()}
                for told, values in by_told.items()
            }
            for what, by_told in measures.items()
        }
        for machine, measures in every.items()
    }


def gates_figure(listening: Mapping[str, Any]) -> Figure:
    """Mean gate, and share of the vector, of each modality by machine: attributes not told, and told (pale)."""
    figure = Figure(figsize=(9, 5.6), layout="constrained", facecolor="white")
    names = {"gate": "mean gate, 0 where absent", "share": "share of the vector"}
    for axes, (what, label) in zip(figure.subplots(2, 1, sharex=True), names.items(), strict=True):
        for shift, told in ((-0.2, "not told"), (0.2, "told")):
            for i, (modality, colour) in enumerate(_COLOURS.items()):
                values = [listening[machine][what].get(told, {}).get(modality, 0.0) for machine in listening]
                places = np.arange(len(values)) + shift + 0.12 * (i - 1)
                alpha = 1.0 if told == "not told" else 0.45
                text = f"{modality}, attributes {told}"
                axes.bar(places, values, 0.11, color=colour, alpha=alpha, label=text)
        axes.set_xticks(range(len(listening)), list(listening))
        axes.set_ylabel(label)
        axes.axhline(0, color="#222222", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=2, loc="outside lower center")
    return figure


def _compared(results: Results, kind: str, name: str, other: str | None, scorer: str) -> list[str]:
    """Score, difference and how often it is higher; the last two empty where there is nothing to compare with."""
    own = _cells(results, kind, name)
    score = _spread(np.array([cell["official"][scorer] for cell in own.values()]), "")
    rest = _cells(results, kind, other) if other else {}
    seeds = [seed for seed in own if seed in rest]
    if not seeds:
        return [score, "", ""]
    gains = np.array([own[s]["official"][scorer] - rest[s]["official"][scorer] for s in seeds])
    pairs = [
        own[s]["machines"][scorer][machine] - rest[s]["machines"][scorer][machine]
        for s in seeds
        for machine in own[s]["machines"][scorer]
    ]
    return [score, _spread(gains, "+"), f"{sum(gain > 0 for gain in pairs)} of {len(pairs)}"]


def _cells(results: Results, kind: str, name: str) -> dict[str, Mapping[str, Any]]:
    """Results of a method by seed."""
    start = f"{kind}/{name}/"
    return {key.removeprefix(start): cell for key, cell in results.items() if key.startswith(start)}


def _spread(values: Scores, sign: str) -> str:
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    mean = float(values.mean())
    return f"{signed(mean, 1) if sign else f'{mean:.1f}'} ± {spread:.1f}"
