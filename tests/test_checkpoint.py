from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from asd.core.checkpoint import (
    flatten_optimizer,
    load_into,
    load_tensors,
    load_weights,
    restore_optimizer,
    save_tensors,
)
from asd.core.runtime import MetricsLog, atomic, epoch_seed, fingerprint, pick_device
from asd.types import AsdError


def test_tensors_and_facts_round_trip(tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    save_tensors(tmp_path / "a.safetensors", {"x": shared, "y": shared, "n": torch.tensor(3)}, {"epoch": 2})
    tensors, facts = load_tensors(tmp_path / "a.safetensors")
    assert facts == {"epoch": 2}
    assert torch.equal(tensors["y"], shared)
    assert tensors["n"].dtype == torch.int64


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_damaged_files_are_named(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.randn(100)})
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(AsdError, match=r"a\.safetensors is damaged or no safetensors file"):
        load_tensors(path)
    with pytest.raises(AsdError, match="does not exist"):
        load_tensors(tmp_path / "none.safetensors")


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def write() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AsdError, match="cannot write"), atomic(tmp_path / "file" / "a.txt") as temporary:
        temporary.write_text("x")


def test_optimizer_state_round_trip() -> None:
    def trained() -> tuple[torch.nn.Linear, torch.optim.Adam]:
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
        return net, optimizer

    net, optimizer = trained()
    other = torch.optim.Adam(net.parameters(), lr=0.1)
    restore_optimizer(other, flatten_optimizer(optimizer))
    for a, b in zip(optimizer.state.values(), other.state.values(), strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_foreign_weights_are_counted(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match="1 tensors missing, 1 unknown, 1 of another shape"):
        load_into(torch.nn.Linear(3, 2), {"weight": torch.ones(2, 2), "other": torch.ones(1)}, tmp_path / "w")


def test_a_checkpoint_of_the_official_trainer_is_read(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model_state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pth")
    assert torch.equal(load_weights(tmp_path / "a.pth")["w"], torch.ones(2))
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(AsdError, match="holds no named tensors"):
        load_weights(tmp_path / "b.pth")


def test_metrics_log_drops_what_comes_after_the_resumed_epoch(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    for epoch in range(4):
        log.append({"epoch": epoch})
    again = MetricsLog(tmp_path / "m.jsonl", keep=2)
    again.append({"epoch": 9})
    assert [line["epoch"] for line in again.read()] == [0, 1, 9]


def test_seeds_of_epochs_differ() -> None:
    seeds = {epoch_seed(seed, epoch) for seed in range(20) for epoch in range(200)}
    assert len(seeds) == 20 * 200


def test_fingerprints_follow_content() -> None:
    assert fingerprint({"a": 1, "b": Path("x")}) == fingerprint({"b": Path("x"), "a": 1})
    assert fingerprint(1, 2) != fingerprint(12)


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(AsdError, match="device=warp"):
        pick_device("warp")
    if not torch.cuda.is_available():
        assert pick_device().type == "cpu"
        with pytest.raises(AsdError, match="torch sees no GPU"):
            pick_device("cuda")
