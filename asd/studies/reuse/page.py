"""The study of reuse as a person reads it: tables with and without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.evaluation.markdown import signed, table
from asd.runs import write_json, write_text

KINDS = ("recorded", "synthetic")

Results = Mapping[str, Mapping[str, Any]]  # "<kind>/<method>/seed<k>" -> result of a cell
Scores = npt.NDArray[np.float64]


def write_report(folder: Path, results: Results, without: Mapping[str, str | None]) -> str:
    """Writes reuse.md and reuse.json to the study's folder; returns the tables and where they lie."""
    text = "\n\n".join("\n".join(lines) for lines in tables(results, without).values())
    write_text(folder / "reuse.md", text + "\n")
    write_json(folder / "reuse.json", dict(results))
    return f"{text}\n\nper cent; mean ± standard deviation over seeds; {folder} has reuse.md and reuse.json"


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
