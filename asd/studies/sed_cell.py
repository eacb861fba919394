"""What the studies of event detection share: soundscapes made once, and trainings that go through the real stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asd.core.files import alone, read_json
from asd.core.storage import read_bytes
from asd.sed.config import MakeSoundscapes, Train
from asd.sed.evaluation import evaluate_run
from asd.sed.pipeline import make_soundscapes, train
from asd.sed.run import find_runs
from asd.studies.config import SedStudy
from asd.studies.grid import Result, run_grid

# 40 ms windows every 40 ms, and a network of a fifteenth of the published size (Imoto, 2021): a cell is to cost half a
# minute of one core.
SMALL: dict[str, Any] = {
    "features": {"sample_rate_hz": 8000, "n_fft": 512, "hop_samples": 320, "n_mels": 40},
    "network": {"channels": [16, 16, 32], "pools": [5, 4, 2], "n_heads": 8, "n_feedforward": 64},
}

RECIPE = {"sample_rate_hz": 8000, "most_events": 4, "least_snr_db": 10.0, "most_snr_db": 30.0}  # of soundscapes

Sections = Mapping[str, Mapping[str, Any]]  # of `sed train`


def train_all(
    config: SedStudy, folder: Path, recipe: Mapping[str, Any], trainings: Mapping[str, Sections], label: str
) -> dict[str, list[Result]]:
    """Measures of the test for every training and seed, {name: [{model: {"frames_half", "frames", "clips"}}]}.

    The recipe has options of `sed make-soundscapes` besides those of the study and `RECIPE`; trainings say what makes
    each different from the small form. The folder gets soundscapes/ and <name>/seed<k>/.
    """
    own = {"seed": config.data_seed, "out": folder / "soundscapes", "overwrite": True}
    made = MakeSoundscapes.model_validate({**config.own(MakeSoundscapes), **RECIPE, **recipe, **own})
    with alone(made.out):
        make_soundscapes(made)
    data = made.model_dump(mode="json", exclude={"overwrite"})
    data |= read_json(made.out / "soundscapes.json", read=read_bytes)["words"]  # and the hash of the recordings
    cells = {name: {"soundscapes": data, "train": settings(config, data, each)} for name, each in trainings.items()}
    return run_grid(cells, run_cell, folder, config, label)


def settings(config: SedStudy, data: Mapping[str, Any], sections: Sections) -> dict[str, Any]:
    """Options of a training: the small form, and the sections that make it different."""
    training = config.model_dump(include={"epochs", "learning_rate", "batch_size"})
    merged: dict[str, Any] = {"data": data["out"], "device": config.device, "training": training, **SMALL}
    for name, values in sections.items():
        merged[name] = {**merged.get(name, {}), **values}
    return Train.model_validate(merged).model_dump(mode="json", exclude={"seeds"})


def run_cell(settings: dict[str, Any], folder: Path) -> Result:
    """Trains, and measures the test: {model: {"frames_half", "frames", "clips": measures}}."""
    runs, name = (folder.parent.parent, folder.parent.name)  # the cell's folder <name>/seed<k> is that of its run
    own = {"name": name, "runs": runs, "seeds": [settings["seed"]], "overwrite": True}
    config = Train.model_validate({**settings["train"], **own})
    train(config)
    (run,) = find_runs(runs, name, config.seeds)
    return evaluate_run(run, "test", with_events=False)
