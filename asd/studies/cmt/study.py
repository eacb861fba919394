"""The confident-mean-teacher study: what a teacher adds where few clips are labelled.

The analysis report of a sound event detection model of 2025-12-04 compares a baseline, cmt_normal and cmt_neg. Here
they are trained on soundscapes with few strong and weak labels and many clips without any, over several seeds, beside a
plain mean teacher and cmt_neg with balanced masses. The same code scores student and teacher, and `sed report` compares
them.
"""

from __future__ import annotations

from typing import Any

from asd.evaluation.page import write_page
from asd.sed.run import SedRun
from asd.studies.config import Cmt
from asd.studies.grid import run_grid
from asd.studies.sed_cell import Cell, cell, run_cell, soundscapes

METHODS: dict[str, dict[str, Any]] = {
    "baseline": {"method": "none"},
    "mean_teacher": {"method": "mean_teacher"},
    "cmt_normal": {"method": "cmt_normal", "positive": 0.5},
    "cmt_neg": {"method": "cmt_neg", "positive": 0.7, "negative": 0.3},
    "cmt_neg_balanced": {"method": "cmt_neg", "positive": 0.7, "negative": 0.3, "balance": True},
}

_RECIPE = {
    "sample_rate_hz": 8000,
    "most_events": 4,
    "least_snr_db": 10.0,
    "most_snr_db": 30.0,
    "duration_ratio": 4.0,
    "longest_s": 2.0,
}


def run(config: Cmt) -> str:
    """Runs what is missing of the study and writes its page and report; returns them in short.

    Raises:
        AsdError: events that no soundscape can be made of.
    """
    from asd.sed.report import compare
    from asd.studies.cmt.page import masses_figure, overview

    folder = config.runs / "cmt"
    data = soundscapes(config, _RECIPE, folder / "soundscapes")
    results = run_grid(cells(config, data), run_cell, folder, config, device=config.device, label="CMT study")
    by_method = {method: [results[f"{method}/seed{seed}"] for seed in config.seeds] for method in METHODS}
    text = overview(by_method, "baseline")
    epochs = {method: SedRun(folder / method / f"seed{config.seeds[0]}").epochs() for method in METHODS}
    write_page(folder, "overview", text, numbers=by_method, figures={"masses": masses_figure(epochs)})
    compared = compare(list(METHODS), folder, ["test"], folder / "report", seeds=config.seeds)
    return f"{text}\n{compared}\n{folder}/overview.md, overview.json, masses.png, report/"


def cells(config: Cmt, data: dict[str, Any]) -> dict[str, Cell]:
    """Settings of every training by its folder, <method>/seed<k>.

    Args:
        config: of the study.
        data: recipe and folder of the soundscapes.
    """
    training = config.model_dump(include={"epochs", "learning_rate", "batch_size"})
    return {
        f"{method}/seed{seed}": cell(data, seed, config.device, {"teacher": teacher, "training": training})
        for method, teacher in METHODS.items()
        for seed in config.seeds
    }
