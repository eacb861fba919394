"""The study of reuse: what averaged weights and an activity head do for an anomaly detector.

Each is switched on by options of `train`, and measured with and without through the real stages: on recorded machines,
the same for every seed, and on synthetic ones, others for every seed. No default was chosen by the numbers of a
single machine: what does not help across them stays off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asd.core.storage import list_names, publish_files
from asd.data.dataset import data_hash, open_data
from asd.evaluation.markdown import Section, plus_minus, spread, write_page
from asd.pipeline import train
from asd.places import spelled
from asd.settings.config import Run
from asd.settings.parsing import parse
from asd.studies.config import Reuse
from asd.studies.grid import Result, chosen, run_grid
from asd.studies.halls import official_score
from asd.synthetic import make_machines
from asd.types import Split

YEAR = 2025  # whose rule is measured by
SCORERS = ("knn", "mahalanobis")

WITHOUT = "bottleneck"  # the encoder, and the method that is the same without what the others switch on
METHODS = {WITHOUT: [], "ema": ["embedding.ema_decay=0.99"], "activity": ["embedding.activity=true"]}

KINDS = ("recorded", "synthetic")
Seeds = Sequence[Mapping[str, Any]]  # what each gave, see `run_cell`
Results = Mapping[str, Seeds]  # by "<kind>/<method>"


def run(config: Reuse) -> str:
    """Runs what is missing of the study and writes its page; returns it."""
    folder = config.runs / "reuse"
    list_names(config.data)
    dataset = open_data(config.data)
    recordings = data_hash(dataset, dataset.machines(), (Split.TRAIN, Split.TEST))
    return write_report(folder, run_grid(cells(config, recordings), run_cell, folder, config, "reuse study"))


def cells(config: Reuse, recordings: str = "") -> dict[str, dict[str, Any]]:
    """Settings of every training by its folder, <recorded or synthetic>/<method>; `recordings` are told by a hash."""
    shared = {"device": config.device, "epochs": config.epochs, "segment_samples": config.segment_samples}
    recorded = {"machines": spelled(str(config.data)), "recordings": recordings}
    return {
        f"{kind}/{name}": {"words": [f"embedding.encoder={WITHOUT}", *METHODS[name]], **of_kind, **shared}
        for kind, of_kind in (("recorded", recorded), ("synthetic", {"machines": config.machines()}))
        for name in chosen(config.methods, METHODS, "methods")
    }


def run_cell(settings: dict[str, Any], folder: Path) -> Result:
    """Trains on one set of machines and scores them.

    Returns:
        {"official": {scorer: per cent}, "machines": {scorer: {machine: per cent}}, "seconds" of one machine}.
    """
    place = folder.parents[2] / "runs" / folder.parents[1].name / folder.name
    config = parse(
        Run,
        [
            *("detector=embedding", f"embedding.backends={','.join(SCORERS)}"),
            *(f"embedding.{name}={settings[name]}" for name in ("epochs", "segment_samples")),
            *settings["words"],
            *(f"seed={settings['seed']}", f"device={settings['device']}", f"data={_data(settings, place)}"),
            *(f"runs={place}", f"name={folder.parent.name}", f"year={YEAR}", "overwrite=true"),
        ],
    )
    runs = train(config)
    tables = {scorer: {run.machine: run.scores.table(scorer) for run in runs} for scorer in SCORERS}
    return {
        "official": {s: official_score([*each.values()], YEAR) for s, each in tables.items()},
        "machines": {s: {m: official_score([table], YEAR) for m, table in each.items()} for s, each in tables.items()},
        "seconds": float(np.mean([run.done()["seconds"] for run in runs])),
    }


def _data(settings: dict[str, Any], place: Path) -> str:
    """Folder of the machines; synthetic ones are made by the cell's seed."""
    if isinstance(settings["machines"], str):
        return settings["machines"]
    make_machines(place / "data", **settings["machines"], seed=settings["seed"])
    publish_files(place / "data")
    return str(place / "data")


def write_report(folder: Path, results: Results) -> str:
    """Writes reuse.md and reuse.json to the study's folder; returns the page and where it lies."""
    about = "Official score in per cent, mean ± standard deviation over seeds."
    page = [Section(text=about), *sections(results)]
    text = write_page(folder, "reuse", "Parts of the core in an anomaly detector", page, numbers=results)
    return f"{text}\n{folder} has reuse.md and reuse.json"


def sections(results: Results) -> list[Section]:
    """A table per kind of machines.

    A row has for each scorer the score, the paired difference from the method without, and in how many of all machines
    and seeds it is higher; then the seconds of one machine.
    """
    scorers = list(next(iter(results.values()))[0]["official"])
    columns = [column for scorer in scorers for column in (scorer, "difference", "higher")]
    found = []
    for kind in KINDS:
        rows = []
        for name in METHODS:
            if own := results.get(f"{kind}/{name}"):
                other = "" if name == WITHOUT else WITHOUT
                rest = results.get(f"{kind}/{other}", [])
                compared = [text for scorer in scorers for text in _compared(own, rest, scorer)]
                rows.append([name, other, *compared, f"{np.mean([seed['seconds'] for seed in own]):.0f}"])
        if rows:
            found.append(Section(head=[f"{kind} machines", "without", *columns, "s"], rows=rows))
    return found


def _compared(own: Seeds, rest: Seeds, scorer: str) -> list[str]:
    """Score, difference and how often it is higher; the last two empty where there is nothing to compare with."""
    score = plus_minus(spread([seed["official"][scorer] for seed in own]), 1)
    if not rest:
        return [score, "", ""]
    both = list(zip(own, rest, strict=True))
    gains = [a["official"][scorer] - b["official"][scorer] for a, b in both]
    pairs = [x - b["machines"][scorer][machine] for a, b in both for machine, x in a["machines"][scorer].items()]
    return [score, plus_minus(spread(gains), 1, sign=True), f"{sum(gain > 0 for gain in pairs)} of {len(pairs)}"]
