from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from asd.core.update import learning_rate_at, warmup_cosine
from asd.options import TrainSettings
from tests.command import refuses, short_training, succeeds


def test_cosine_with_warmup_is_the_tested_schedule() -> None:
    settings = TrainSettings(learning_rate=2.0, warmup=0.2, schedule="cosine", floor=0.5)
    rates = [learning_rate_at(settings, step, 50) for step in range(50)]
    assert rates == [warmup_cosine(step, 50, 10, 2.0, 0.5) for step in range(50)]
    assert (rates[9], rates[10], rates[-1]) == (2.0, 2.0, 0.5)


def test_a_constant_rate_warms_up_too() -> None:
    settings = TrainSettings(learning_rate=2.0, warmup=0.4)
    assert [learning_rate_at(settings, step, 10) for step in range(10)] == pytest.approx([0.5, 1, 1.5] + 7 * [2])
    assert {learning_rate_at(TrainSettings(learning_rate=2.0), step, 3) for step in range(3)} == {2.0}


def test_a_training_of_one_step_has_no_warmup() -> None:
    assert learning_rate_at(TrainSettings(learning_rate=2.0, warmup=0.9, schedule="cosine"), 0, 1) == 2.0


def test_the_options_of_the_loop_reach_it_from_the_command_line(place: Path) -> None:
    def loss(name: str, *words: str) -> float:
        succeeds(*short_training(*words, f"name={name}"))
        return json.loads((place / f"runs/{name}/fan/seed0/metrics.jsonl").read_text())["train_loss"]

    usual = loss("usual")
    for word in ("clip_norm=1e-9", "accumulate=2", "precision=bfloat16", "precision=float16"):
        assert loss(word.replace("=", "-"), f"training.{word}") == pytest.approx(usual, rel=0.1)
        assert loss(word.replace("=", "+"), f"training.{word}") != usual


def test_a_precision_that_does_not_exist_and_curves_without_the_package(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses(*short_training("training.precision=int8"), saying="training.precision")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    refuses(*short_training("track=tensorboard"), saying=r"pip install .asd\[tensorboard\]")
