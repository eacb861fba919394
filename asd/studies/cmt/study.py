"""The confident-mean-teacher study: what does a teacher add where few clips are labelled?

Founding document 000 compares a baseline, cmt_normal and cmt_neg. Here they are trained on soundscapes with few
strong and weak labels and many clips without any, over several seeds, beside a plain mean teacher and cmt_neg with
balanced masses. Student and teacher are scored by the same code, and the document is that of `sed report`.
"""

from __future__ import annotations

from typing import Any

from asd.core.runtime import atomic
from asd.runs import write_text
from asd.sed.folders import SedRun
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

_DATA_WORDS = (
    "events",
    "background",
    "classes",
    "strong",
    "weak",
    "unlabelled",
    "validation",
    "test",
    "duration_s",
)
_RECIPE = {
    "sample_rate_hz": 8000,
    "most_events": 4,
    "least_snr_db": 10.0,
    "most_snr_db": 30.0,
    "duration_ratio": 4.0,
    "longest_s": 2.0,
}


def run(config: Cmt) -> str:
    """Runs what is missing of the study and writes its tables, figure and report; returns what there is to say.

    Raises:
        AsdError: events that no soundscape can be made of.
    """
    from asd.sed.comparison import compare
    from asd.studies.cmt.page import masses_figure, overview

    folder = config.runs / "cmt"
    words = config.model_dump(include={*_DATA_WORDS})
    data = soundscapes({**words, **_RECIPE, "seed": config.data_seed}, folder / "soundscapes")
    results = run_grid(
        cells(config, data), run_cell, folder, workers=config.workers, device=config.device, label="CMT study"
    )
    by_method = {method: [results[f"{method}/seed{seed}"] for seed in config.seeds] for method in METHODS}
    text = overview(by_method, "baseline")
    write_text(folder / "overview.md", text)
    first = f"seed{config.seeds[0]}"
    epochs = {method: SedRun(folder / method / first).epochs() for method in METHODS}
    with atomic(folder / "masses.png") as temporary:
        masses_figure(epochs).savefig(temporary, format="png", dpi=100)
    said = compare(list(METHODS), folder, ["test"], folder / "report", seeds=config.seeds)
    return f"{text}\n{said}\n{folder}/overview.md, masses.png, report/"


def cells(config: Cmt, data: dict[str, Any]) -> dict[str, Cell]:
    """Settings of every training by its folder, <method>/seed<k>."""
    training = config.model_dump(include={"epochs", "learning_rate", "batch_size"})
    return {
        f"{method}/seed{seed}": cell(data, seed, config.device, {"teacher": teacher, "training": training})
        for method, teacher in METHODS.items()
        for seed in config.seeds
    }
