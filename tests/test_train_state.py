"""A training stopped at any batch ends, on the CPU, exactly as one that was never stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from asd.core.files import load_tensors, save_tensors
from asd.core.semi import EmaTeacher
from asd.core.trainer import train
from asd.options import TrainSettings
from asd.runs import interrupted_fingerprint
from asd.types import AsdError

DATA = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
BATCHES = 4  # of 13, 13, 13 and 11 items


def ctrl_c() -> None:
    """As from the terminal: Python's handler has run when the next line does."""
    os.kill(os.getpid(), signal.SIGINT)


def run(
    directory: Path, stop_at: int = 0, stop: Any = ctrl_c, device: str = "cpu", **changes: Any
) -> dict[str, torch.Tensor]:
    """Trains three epochs with everything that has a state; `stop` is called in step `stop_at`, from 1.

    Returns:
        What network and teacher end with.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 6)).to(device)
    teacher = EmaTeacher(net, 0.9)
    data, taken = DATA.to(device), 0

    def step(i: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        nonlocal taken
        taken += net.training
        if taken == stop_at and net.training:
            stop()
        x = data[i] + 0.1 * torch.randn(len(i), 6, device=device)
        loss = (net(x).float() - data[i]).square().mean()
        follow = (net(x).float() - teacher(x).float()).square().mean()
        return loss + follow, {"own": loss, "follow": follow}

    patience = changes.pop("patience", None)
    arguments: dict[str, Any] = {"weight_decay": 0.1, "warmup": 0.2, "schedule": "cosine"}
    train(
        net,
        step,
        torch.arange(50, device=device),
        TrainSettings(epochs=3, batch_size=13, learning_rate=1e-2, **arguments | changes),
        directory,
        seed=3,
        patience=patience,
        valid_indices=torch.arange(10, device=device),
        teacher=teacher,
        weights=torch.linspace(0.1, 1, 50),
        fingerprint="here",
    )
    return nn.ModuleList([net, teacher]).state_dict()


def metrics(directory: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same(parts: Path, whole: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    tensors, facts = load_tensors(parts / "state.safetensors")
    wanted, wanted_facts = load_tensors(whole / "state.safetensors")
    assert facts == wanted_facts
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert metrics(parts) == metrics(whole)


@pytest.mark.parametrize("stop_at", range(1, 3 * BATCHES + 1))
def test_stopped_at_any_batch_it_ends_the_same(tmp_path: Path, stop_at: int, caplog: pytest.LogCaptureFixture) -> None:
    expected = run(tmp_path / "whole")
    with caplog.at_level("INFO", "asd"), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop_at)
    epoch, batch = (stop_at - 1) // BATCHES, (stop_at - 1) % BATCHES + 1
    assert f"stopped in epoch {epoch + 1} after batch {batch} of {BATCHES}" in caplog.text
    assert interrupted_fingerprint(tmp_path / "parts") == "here"
    with caplog.at_level("INFO", "asd"):
        found = run(tmp_path / "parts")
    assert f"resuming after epoch {epoch}, batch {batch} of the next one" in caplog.text
    assert_same(tmp_path / "parts", tmp_path / "whole", found, expected)


def test_a_state_without_the_losses_of_its_batches_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=2)
    tensors, facts = load_tensors(tmp_path / "state.safetensors")
    tensors["so_far"] = tensors.pop("so_far.loss")  # as it was called before
    save_tensors(tmp_path / "state.safetensors", tensors, facts)
    with pytest.raises(AsdError, match="left by another version in the middle of an epoch; remove it"):
        run(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "float16", "clip_norm": 0.5},
        {"precision": "bfloat16", "accumulate": 3},
        {"patience": 1},
        {"optimizer": "radam"},
        {"optimizer": "adam", "schedule": "constant"},
    ],
    ids=["float16", "bfloat16", "patience", "radam", "adam"],
)
def test_every_setting_is_resumed_exactly(tmp_path: Path, changes: dict[str, Any]) -> None:
    expected = run(tmp_path / "whole", **changes)
    for stop_at in (2, 3, 6):  # stopped and stopped again: in epochs 1, 2 and 3
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", stop_at, **changes)
    assert_same(tmp_path / "parts", tmp_path / "whole", run(tmp_path / "parts", **changes), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_on_a_gpu_too(tmp_path: Path, precision: str) -> None:
    """Dropout and noise are drawn there, so its random state is part of the position."""
    expected = run(tmp_path / "whole", device="cuda", precision=precision)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 6, device="cuda", precision=precision)
    found = run(tmp_path / "parts", device="cuda", precision=precision)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_state_goes_on_on_another_device(tmp_path: Path, first: str, then: str) -> None:
    """Not to the same numbers, as dropout is drawn elsewhere, but with all that was learnt."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 6, device=first)
    found = run(tmp_path, device=then)
    assert all(tensor.isfinite().all() and tensor.device.type == then for tensor in found.values())
    lines = metrics(tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[2]["train_loss"] < lines[0]["train_loss"]


def test_the_loss_scale_of_float16_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 5, precision="float16")
    facts = load_tensors(tmp_path / "state.safetensors")[1]
    assert (facts["epoch"], facts["batch"]) == (1, 1)
    assert facts["scaler"]["_growth_tracker"] == 5


def test_a_loss_that_is_not_finite_is_not_kept_by_ctrl_c_either(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 5)
    kept = (tmp_path / "state.safetensors").read_bytes()

    def break_and_stop() -> None:
        DATA.fill_(float("nan"))
        ctrl_c()

    before = DATA.clone()
    try:
        with pytest.raises(AsdError, match=r"became nan in epoch 2, batch \d of \d"):
            run(tmp_path, 3, break_and_stop)
    finally:
        DATA.copy_(before)
    assert (tmp_path / "state.safetensors").read_bytes() == kept


def test_an_interrupt_within_a_step_falls_back_to_the_last_epoch(tmp_path: Path) -> None:
    """Raised, not asked for: nobody knows what is half done."""

    def fall() -> None:
        raise KeyboardInterrupt

    expected = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", BATCHES + 3, fall)
    assert load_tensors(tmp_path / "parts/state.safetensors")[1]["batch"] == 0
    assert_same(tmp_path / "parts", tmp_path / "whole", run(tmp_path / "parts"), expected)


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    net = nn.Linear(6, 5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 5)
    with pytest.raises(AsdError, match="belongs to another network"):
        train(net, lambda i: net(DATA[i]).mean(), torch.arange(9), TrainSettings(), tmp_path, fingerprint="here")
