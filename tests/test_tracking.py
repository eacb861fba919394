"""`track=`: parameters, curves, results and the report in trackers of experiments, none of which is needed."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.command import contents, refuses, short_training, succeeds
from tests.machines import tone_machine
from tests.sounds import SOUNDSCAPES, TRAIN, write_events

RUN = Path("runs/autoencoder/fan/seed0")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tone_machine(Path("data"), n_train=8, n_target=2, n_test=2)
    return tmp_path


def epochs() -> list[dict[str, float]]:
    return [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]


class Writer:
    """Stands in for TensorBoard's."""

    notes: list[Any]

    def __init__(self, folder: str) -> None:
        Writer.notes.append(("folder", folder))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.notes.append((name, value, step))

    def add_text(self, name: str, text: str) -> None:
        self.notes.append((name, text))

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_tensorboard_gets_options_curves_and_results(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    Writer.notes = []
    succeeds(*short_training("track=tensorboard"))
    (line,) = epochs()
    assert Writer.notes[0] == ("folder", str(RUN / "tensorboard"))
    assert ("train_loss", line["train_loss"], 1) in Writer.notes
    rates = [note[1] for note in Writer.notes if note[0] == "learning_rate"]
    assert rates == [pytest.approx(1e-3)]
    assert any("autoencoder.training.epochs | 1 |" in note[1] for note in Writer.notes if note[0] == "options")
    assert any(note[0] == "auc/mse" for note in Writer.notes)
    before = contents(Path("runs"))
    succeeds(*short_training())  # the same run without it is done already
    assert contents(Path("runs")) == before


def test_event_detection_is_tracked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    monkeypatch.chdir(tmp_path)
    Writer.notes = []
    succeeds("sed", "make-soundscapes", f"events={write_events(Path('events'))}", *SOUNDSCAPES, "out=data")
    train = ("sed", "train", "data=data", "runs=runs", "name=one", *TRAIN)
    succeeds(*train, "track=tensorboard")
    (line, *_) = (json.loads(line) for line in Path("runs/one/seed0/metrics.jsonl").read_text().splitlines())
    assert Writer.notes[0] == ("folder", "runs/one/seed0/tensorboard")
    assert ("score", line["score"], 1) in Writer.notes
    assert "| training.epochs |" in Writer.notes[1][1]
    assert "is done already" in succeeds(*train).err


def test_mlflow_keeps_them_in_a_folder_and_the_report(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    Path("it's").mkdir()  # a folder whose name ends a text of MLflow's search
    Path("it's/data").symlink_to(place / "data")
    monkeypatch.chdir("it's")
    succeeds(*short_training("track=mlflow"))
    succeeds("report", "name=autoencoder", "clips=0", "out=page.html")
    client = mlflow.MlflowClient(Path("mlruns").resolve().as_uri())
    experiment = client.get_experiment_by_name("autoencoder")
    (run,) = client.search_runs([experiment.experiment_id])  # the report goes to the run of the training
    assert run.data.tags["mlflow.runName"] == "fan/seed0"
    assert run.data.params["autoencoder.training.epochs"] == "1"
    assert run.data.metrics["train_loss"] == pytest.approx(epochs()[0]["train_loss"])
    assert "auc/mse" in run.data.metrics
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["page.html"]


def test_a_server_of_mlflow_that_fails_is_a_sentence(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for address in ("http://me:secret@127.0.0.1:9", "nonsense://here"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert "secret" not in refuses(*short_training("track=mlflow"), saying="track=mlflow fails .* leave track= out")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("the server went")

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_metric", fails)
        refuses(*short_training("track=mlflow"), saying=r"track=mlflow fails \(the server went\); check")
    assert status(mlflow) == "FAILED"
    succeeds(*short_training("track=mlflow"))
    assert status(mlflow) == "FINISHED"


def status(mlflow: types.ModuleType) -> str:
    """Of the only training that MLflow knows."""
    client = mlflow.MlflowClient(Path("mlruns").resolve().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("autoencoder").experiment_id])
    return str(run.info.status)


@pytest.mark.slow
def test_wandb_works_offline(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    succeeds(*short_training("track=wandb"))
    assert [*RUN.glob("wandb/offline-run-*/*.wandb")]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_without_the_package_a_sentence_says_how_to_get_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    refuses(*short_training(f"track={name}"), saying=rf"track={name} needs .*pip install 'asd\[{name}\]'")
    assert not (RUN / "DONE").exists()
