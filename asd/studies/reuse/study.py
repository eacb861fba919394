"""The study of reuse: what averaged weights and an activity head do for an anomaly detector.

Each is switched on by options of `train`, and measured with and without through the real stages: on recorded machines,
the same for every seed, and on synthetic ones, others for every seed. No default was chosen by the numbers of a
single machine: what does not help across them stays off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from asd.studies.config import Reuse
from asd.studies.grid import Result, run_grid
from asd.types import AsdError

YEAR = 2025  # whose rule is measured by
SCORERS = ("knn", "mahalanobis")

_MLP = "embedding.encoder=bottleneck"


class Method(NamedTuple):
    """Words of `train`, and the method that is the same without what they switch on."""

    words: tuple[str, ...]
    without: str | None


METHODS = {
    "bottleneck": Method((_MLP,), None),
    "ema": Method((_MLP, "embedding.ema_decay=0.99"), "bottleneck"),
    "activity": Method((_MLP, "embedding.activity=true"), "bottleneck"),
}


def run(config: Reuse) -> str:
    """Runs what is missing of the study and writes its page; returns it.

    Raises:
        AsdError: an unknown method, or what a cell raised.
    """
    from asd.studies.reuse.page import write_report

    folder = config.runs / "reuse"
    results = run_grid(cells(config), run_cell, folder, config, device=config.device, label="reuse study")
    return write_report(folder, results, {name: method.without for name, method in METHODS.items()})


def cells(config: Reuse) -> dict[str, dict[str, Any]]:
    """Settings of every training by its folder, <recorded or synthetic>/<method>/seed<k>.

    Raises:
        AsdError: a method that is not of the study.
    """
    chosen = config.methods or list(METHODS)
    if unknown := [name for name in chosen if name not in METHODS]:
        raise AsdError(f"methods={unknown[0]} is none of the study's methods {', '.join(METHODS)}")
    shared = {"device": config.device, "epochs": config.epochs, "segment_samples": config.segment_samples}
    return {
        f"{kind}/{name}/seed{seed}": {"machines": machines, "words": list(METHODS[name].words), "seed": seed, **shared}
        for kind, machines in (("recorded", str(config.data)), ("synthetic", config.machines()))
        for name in chosen
        for seed in config.seeds
    }


def run_cell(settings: dict[str, Any], folder: Path) -> Result:
    """Trains on one set of machines and scores them.

    Args:
        settings: of `cells`.
        folder: of the cell.

    Returns:
        {"official": {scorer: per cent}, "machines": {scorer: {machine: per cent}}, "seconds" of one machine,"""
    import numpy as np
    import pandas as pd

    from asd.metrics import evaluate_table
    from asd.pipeline import train
    from asd.settings.config import Run
    from asd.settings.parsing import parse

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

    def score(table: pd.DataFrame) -> float:
        return 100.0 * float(evaluate_table(table, YEAR)["official_score"])

    return {
        "official": {s: score(pd.concat(each.values(), ignore_index=True)) for s, each in tables.items()},
        "machines": {s: {name: score(table) for name, table in each.items()} for s, each in tables.items()},
        "seconds": float(np.mean([run.done()["seconds"] for run in runs])),
    }


def _data(settings: dict[str, Any], place: Path) -> str:
    """Folder of the machines; synthetic ones are made by the cell's seed."""
    if isinstance(settings["machines"], str):
        return settings["machines"]
    from asd.synthetic import make_machines

    make_machines(place / "data", **settings["machines"], seed=settings["seed"])
    return str(place / "data")
