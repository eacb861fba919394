"""The page of the reuse study: a table per kind of machines, with and without each part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asd.evaluation.page import Section, as_markdown, plus_minus, spread, write_page

KINDS = ("recorded", "synthetic")

Results = Mapping[str, Mapping[str, Any]]  # "<kind>/<method>/seed<k>" -> result of a cell


def write_report(folder: Path, results: Results, without: Mapping[str, str | None]) -> str:
    """Writes reuse.md and reuse.json to the study's folder; returns the page and where it lies.

    Args:
        folder: of the study.
        results: by cell.
        without: the method that each is compared with.
    """
    about = "Official score in per cent, mean ± standard deviation over seeds."
    text = as_markdown(
        "Parts of the core in an anomaly detector", [], [Section(text=about), *sections(results, without)]
    )
    write_page(folder, "reuse", text, numbers=results)
    return f"{text}\n{folder} has reuse.md and reuse.json"


def sections(results: Results, without: Mapping[str, str | None]) -> list[Section]:
    """A table per kind of machines.

    Args:
        results: of the cells.
        without: by method, the one that is the same without it; None: there is none.

    Returns:
        A row has for each scorer the score, the paired difference from the method without, and in how many of all
        machines and seeds it is higher; then the seconds of one machine.
    """
    scorers = list(next(iter(results.values()))["official"])
    columns = [column for scorer in scorers for column in (scorer, "difference", "higher")]
    found = []
    for kind in KINDS:
        rows = []
        for name, other in without.items():
            if cells := _cells(results, kind, name):
                compared = [
                    text
                    for scorer in scorers
                    for text in _compared(cells, _cells(results, kind, other) if other else {}, scorer)
                ]
                seconds = np.mean([cell["seconds"] for cell in cells.values()])
                rows.append([name, other or "", *compared, f"{seconds:.0f}"])
        if rows:
            found.append(Section(head=[f"{kind} machines", "without", *columns, "s"], rows=rows))
    return found


def _compared(own: Results, rest: Results, scorer: str) -> list[str]:
    """Score, difference and how often it is higher; the last two empty where there is nothing to compare with."""
    score = plus_minus(spread([cell["official"][scorer] for cell in own.values()]), 1)
    seeds = [seed for seed in own if seed in rest]
    if not seeds:
        return [score, "", ""]
    gains = [own[s]["official"][scorer] - rest[s]["official"][scorer] for s in seeds]
    pairs = [
        own[s]["machines"][scorer][machine] - rest[s]["machines"][scorer][machine]
        for s in seeds
        for machine in own[s]["machines"][scorer]
    ]
    return [score, plus_minus(spread(gains), 1, sign=True), f"{sum(gain > 0 for gain in pairs)} of {len(pairs)}"]


def _cells(results: Results, kind: str, name: str) -> dict[str, Mapping[str, Any]]:
    """Results of a method by seed."""
    start = f"{kind}/{name}/"
    return {key.removeprefix(start): cell for key, cell in results.items() if key.startswith(start)}
