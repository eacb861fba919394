"""What the studies of microphones and of supplemental recordings share: machines in halls of known noise.

A cell makes one set of synthetic machines, at one ratio and by one seed, and sends every method through the real
stage `train`: what is measured is what a user gets. The seed draws machines, halls, clips and the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asd.core.storage import publish_files
from asd.evaluation.markdown import Section, plus_minus, spread, write_page
from asd.metrics import evaluate_table
from asd.pipeline import train
from asd.settings.config import Run
from asd.settings.parsing import parse
from asd.studies.config import Halls
from asd.studies.grid import Result, chosen, run_grid
from asd.synthetic import make_machines

YEAR = 2026  # its rule, which is that of 2025, too

DETECTORS = {
    "statistics": ["detector=statistics"],
    "nearest": ["detector=statistics", "statistics.views=log_mel128", "statistics.backend=knn"],
    "autoencoder": ["detector=autoencoder", "training.epochs=10"],
    "embedding": ["detector=embedding", "embedding.encoder=multires_cnn"],
}
SCORERS = {"statistics": "ensemble", "nearest": "ensemble", "autoencoder": "mahalanobis", "embedding": "knn"}

Methods = Mapping[str, Sequence[str]]  # name of a method -> its options
Results = Mapping[str, Sequence[Result]]  # ratio -> what each seed gave


def compare(
    config: Halls, name: str, title: str, hall: Mapping[str, Any], methods: Mapping[str, Methods], usual: str
) -> str:
    """Runs what is missing of a study, and writes its page and numbers beside the cells; returns the page.

    `hall` goes to `synthetic.make_machines` besides ratio and seed; `usual` is what other methods are compared with.
    """
    folder, detectors = config.runs / name, chosen(config.detectors, methods, "detectors")
    cells = {
        f"{snr_db:g}dB": {
            "machines": {**config.machines(), **hall, "snr_db": float(snr_db)},
            "methods": {detector: dict(methods[detector]) for detector in detectors},
            "device": config.device,
        }
        for snr_db in config.snrs_db
    }
    results = run_grid(cells, run_methods, folder, config, f"{name} study")
    about = "Official score in per cent: mean ± standard deviation over seeds (mean difference)."
    page = [Section(text=about), *sections(config, results, usual)]
    return f"{write_page(folder, 'table', title, page, numbers=results)}\nwritten to {folder / 'table.md'}"


def run_methods(settings: dict[str, Any], folder: Path) -> Result:
    """Official score in per cent of every method on one set of machines."""
    data = folder / "data"
    make_machines(data, **settings["machines"], seed=settings["seed"])
    publish_files(data)
    result: Result = {}
    for detector, methods in settings["methods"].items():
        result[detector] = {}
        for method, options in methods.items():
            place = [f"data={data}", f"runs={folder / 'runs'}", f"name={detector}-{method}".replace(" ", "_")]
            about = [f"seed={settings['seed']}", f"device={settings['device']}"]
            runs = train(parse(Run, [*DETECTORS[detector], *options, *place, *about]))
            result[detector][method] = official_score([run.scores.table(SCORERS[detector]) for run in runs], YEAR)
    return result


def official_score(tables: Sequence[pd.DataFrame], year: int) -> float:
    """Of all sections of the score tables together, in per cent."""
    return 100.0 * float(evaluate_table(pd.concat(tables, ignore_index=True), year)["official_score"])


def sections(config: Halls, results: Results, usual: str) -> list[Section]:
    """A table per detector: rows are methods, columns are ratios.

    A cell has the mean and the standard deviation over seeds; for all methods but the usual one then the mean
    difference from it on the same machines.
    """
    found = []
    for detector in config.detectors:
        by_ratio = [
            pd.DataFrame([of_seed[detector] for of_seed in results[f"{snr_db:g}dB"]]) for snr_db in config.snrs_db
        ]
        rows = [[str(m), *(_cell(scores, str(m), usual) for scores in by_ratio)] for m in by_ratio[0].columns]
        found.append(Section(head=[detector, *(f"{snr_db:g} dB" for snr_db in config.snrs_db)], rows=rows))
    return found


def _cell(scores: pd.DataFrame, method: str, usual: str) -> str:
    values = scores[method].to_numpy(float)
    gain = "" if method == usual else f" ({np.mean(values - scores[usual].to_numpy(float)):+.1f})"
    return plus_minus(spread(values), 1) + gain
