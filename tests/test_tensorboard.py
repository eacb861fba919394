from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from asd.core.trainer import TrainSettings, train
from asd.types import AsdError
from tests.command import contents, short_training, succeeds

DATA = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))


def run(directory: Path, epochs: int) -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 3)
    settings = TrainSettings(epochs=epochs, batch_size=8, tensorboard=True)
    train(net, lambda i: (net(DATA[i]) - DATA[i]).square().mean(), torch.arange(20), settings, directory)


class Writer:
    """Stands in for the package's."""

    written: list[Any]

    def __init__(self, folder: str, purge_step: int) -> None:
        Writer.written = [(folder, purge_step)]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.written.append((name, value, step))

    def flush(self) -> None:
        self.written.append("flushed")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    Writer.written = []


def test_curves_are_the_lines_of_metrics_and_go_on_where_they_stopped(
    tmp_path: Path, installed: None
) -> None:
    run(tmp_path, 2)
    assert Writer.written[0] == (str(tmp_path / "tensorboard"), 1)
    run(tmp_path, 3)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert Writer.written == [
        (str(tmp_path / "tensorboard"), 3),
        ("train_loss", lines[2]["train_loss"], 3),
        ("seconds", lines[2]["seconds"], 3),
        "flushed",
    ]


def test_a_run_with_curves_is_the_run_without_them(place: Path, installed: None) -> None:
    succeeds(*short_training("training.tensorboard=true"))
    assert Writer.written
    before = contents(Path("runs"))
    assert "is done already" in succeeds(*short_training()).err
    assert contents(Path("runs")) == before
    succeeds(*short_training("name=without"))
    scores = "fan/seed0/scores/mahalanobis.csv"
    assert Path("runs/without", scores).read_bytes() == before[f"autoencoder/{scores}"]


def test_without_the_package_a_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(AsdError, match=r"tensorboard=true needs .* `pip install tensorboard`"):
        run(tmp_path, 1)
