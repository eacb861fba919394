"""What the studies of event detection share: soundscapes made once, and a cell that goes through the real stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asd.sed.config import MakeSoundscapes, Train
from asd.sed.evaluation import evaluate_run
from asd.sed.pipeline import make_soundscapes, train
from asd.sed.run import find_runs
from asd.studies.config import SedStudy

# 40 ms windows every 40 ms, and a network of a fifteenth of the published size (Imoto, 2021): a cell is to cost half a
# minute of one core.
SMALL: dict[str, Any] = {
    "features": {"sample_rate_hz": 8000, "n_fft": 512, "hop_samples": 320, "n_mels": 40},
    "network": {"channels": [16, 16, 32], "pools": [5, 4, 2], "n_heads": 8, "n_feedforward": 64},
}

Cell = dict[str, Any]


def soundscapes(config: SedStudy, recipe: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Makes the data folder of a study, or finds it made; returns the options that made it."""
    own = {"seed": config.data_seed, "out": out, "overwrite": True}
    made = MakeSoundscapes.model_validate({**config.own(MakeSoundscapes), **recipe, **own})
    make_soundscapes(made)
    return made.model_dump(mode="json", exclude={"overwrite"})


def cell(data: Mapping[str, Any], seed: int, device: str, *words: Mapping[str, Any]) -> Cell:
    """Settings of one training: the small form, and what makes this cell different.

    Args:
        words: sections of `sed train`, later ones on top.
    """
    merged: dict[str, Any] = {"data": data["out"], "seeds": [seed], "device": device}
    for sections in (SMALL, *words):
        for name, values in sections.items():
            merged[name] = {**merged.get(name, {}), **values}
    return {"soundscapes": dict(data), "train": Train.model_validate(merged).model_dump(mode="json")}


def run_cell(settings: Cell, folder: Path) -> dict[str, Any]:
    """Trains, and measures the test: {model: {"frames_half", "frames", "clips": measures}}."""
    runs, name = (folder.parent.parent, folder.parent.name)  # the cell's folder <name>/seed<k> is that of its run
    config = Train.model_validate({**settings["train"], "name": name, "runs": runs, "overwrite": True})
    train(config)
    (run,) = find_runs(runs, name, config.seeds)
    return evaluate_run(run, "test", with_events=False)
