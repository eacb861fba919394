"""The detector of tests/loudness.py through the real command, without an edit of the package."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asd import detectors
from asd.core.files import load_tensors
from asd.data.recordings import Recordings
from asd.detectors.base import Scores
from asd.types import AsdError, Split
from tests import loudness
from tests.command import asd, refuses, succeeds
from tests.loudness import Loudness, LoudnessSettings
from tests.machines import recordings, run_context, tone_machine

OWN = "detector=tests.loudness:Loudness"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tone_machine(tmp_path / "data", n_train=6, n_target=2, n_test=2)


def test_it_scores_and_is_read_back(data: Path, tmp_path: Path) -> None:
    detector, again = Loudness(run_context(tmp_path)), Loudness(run_context(tmp_path))
    detector.fit(recordings(data))
    detector.save(tmp_path)
    again.load(tmp_path)
    test = recordings(data, split=Split.TEST)
    np.testing.assert_array_equal(detector.score(test)["level"], again.score(test)["level"])
    assert detector.score(test)["level"].shape == (len(test),)


def test_the_command_trains_it_with_its_options(data: Path) -> None:
    succeeds("train", "data=data", OWN, "floor_db=-5")
    floor = pd.read_csv("runs/loudness/fan/seed0/scores/level.csv")["score"]
    assert (floor == 0).all()  # every level is below the floor
    succeeds("train", "data=data", OWN, "name=usual")
    succeeds("score", "data=data", OWN, "name=usual")
    assert pd.read_csv("runs/usual/fan/seed0/scores/level.csv")["score"].gt(0).any()
    succeeds("evaluate", "name=usual")
    refuses("train", "data=data", OWN, "floor_bd=1", saying=r"unknown key 'floor_bd': did you mean floor_db\?")
    assert "floor_db=-120.0" in succeeds("train", OWN, "--help").out


def test_an_entry_point_gives_it_a_name(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("loud", "tests.loudness:Loudness", "asd.detectors")
    monkeypatch.setattr(detectors, "entry_points", lambda group: [point] * (group == "asd.detectors"))
    assert detectors.detector_class("loud") is Loudness
    succeeds("train", "data=data", "detector=loud", "loud.floor_db=-5")
    assert Path("runs/loud/fan/seed0/DONE").exists()


def test_scores_of_training_clips_come_before_the_model_is_written(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(self: Loudness, recordings: Recordings) -> Scores:
        self.usual_db = 7.0
        return self.score(recordings)

    monkeypatch.setattr(Loudness, "score_training", scored)
    succeeds("train", "data=data", OWN)
    assert load_tensors(Path("runs/loudness/fan/seed0/model/weights.safetensors"))[0]["usual_db"] == 7

    def fails(self: Loudness, recordings: Recordings) -> Scores:
        raise FileNotFoundError(2, "No such file or directory", "usual.txt")

    monkeypatch.setattr(Loudness, "score_training", fails)
    refuses("train", "data=data", OWN, "name=b", saying="No such file or directory: 'usual.txt'")  # not: cannot write


def _now_with(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes the detector to a module beside the data, with distances so many times as large."""
    text = Path(loudness.__file__).read_text()
    Path("mine.py").write_text(text.replace("np.abs(", f"{factor} * np.abs("))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    importlib.invalidate_caches()


def _levels(run: str) -> pd.Series[float]:
    return pd.read_csv(f"runs/{run}/fan/seed0/scores/level.csv")["score"]


def test_code_that_has_changed_is_never_done_already(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    words = ("data=data", "detector=mine:Loudness", "name=mine")
    _now_with(1, monkeypatch)
    succeeds("train", *words)
    assert "done already" in succeeds("train", *words).err
    before = _levels("mine")
    _now_with(20, monkeypatch)
    refuses(
        "train",
        *words,
        saying="seed0/model was made by other code or weights: .*changed since; train again with overwrite",
    )
    succeeds("train", *words, "overwrite=true")
    assert _levels("mine").to_numpy() == pytest.approx(20 * before.to_numpy())
    _now_with(300, monkeypatch)
    assert "made by other code" in succeeds("score", "data=data", "name=mine").err  # a model may have taken hours
    assert _levels("mine").to_numpy() == pytest.approx(300 * before.to_numpy())
    assert "made by other code" in succeeds("predict", "name=mine", "audio=data/fan/test").err


def test_a_run_of_a_package_that_is_missing_is_not_trained_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    _now_with(1, monkeypatch)
    succeeds("train", "data=data", "detector=mine:Loudness", "name=mine")
    Path("mine.py").unlink()
    monkeypatch.delitem(sys.modules, "mine")
    importlib.invalidate_caches()
    said = refuses("predict", "name=mine", "audio=data/fan/test", saying="mine:Loudness cannot be imported")
    assert "overwrite" not in said


def test_what_a_detector_declares_is_submitted_as_far_as_it_goes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loudness, "facts", lambda self: {"total_parameters": np.int64(7), "parameters": 1})
    succeeds("train", "data=data", OWN, "name=a")
    monkeypatch.setattr(Loudness, "facts", lambda self: {})
    succeeds("train", "data=data", OWN, "name=b")
    succeeds("fuse", "members=a,b", "name=both")
    for name in ("a", "b", "both"):
        found = asd("submit", f"name={name}", "machine=fan", "year=2025", "label=A_B_task2_1")
        assert ("declares parameters, which no meta file asks for" in found.err) == (name == "a")
        assert "machine_learning_method still says '<method>'" in found.out
        assert ("total_parameters is empty" in found.out) == (name != "a") == (found.code == 1)


def test_a_detector_without_scorers_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Loudness, "scorers")
    refuses("train", "data=data", OWN, saying=r"Loudness.score has to give 8 scores.* scorers \(\); it gave")


def test_a_class_of_a_script_is_nobody_elses() -> None:
    with pytest.raises(AsdError, match=r"detector=__main__:Loudness cannot .*: put the class into a module"):
        detectors.detector_class("__main__:Loudness")


def test_its_options_are_checked() -> None:
    assert LoudnessSettings().floor_db == -120.0
    refuses("train", OWN, "loudness.floor_db=low", saying="loudness.floor_db=low does not fit: .*number")
