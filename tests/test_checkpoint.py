from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from asd.core.checkpoint import load_into, load_weights
from asd.core.files import append_text, atomic, load_tensors, save_tensors
from asd.core.runtime import epoch_seed, fingerprint, pick_device
from asd.core.train_state import flatten_optimizer, keep_lines, restore_optimizer
from asd.runs import TrainingDirectory
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


@pytest.mark.parametrize(
    ("weight", "saying"),
    [(torch.ones(2, 3, dtype=torch.int8), r"w holds torch.int8 as weight, and the network torch.float32; give"),
     (torch.ones(2, 3, dtype=torch.complex64), "w holds torch.complex64 as weight"),
     (torch.full((2, 3), float("nan")), r"w holds NaN or infinity in weight: it is damaged"),
     (torch.full((2, 3), float("inf"), dtype=torch.float16), "w holds NaN or infinity in weight")],
)  # fmt: skip
def test_weights_that_are_no_numbers_or_rounded_to_whole_ones_are_refused(weight: torch.Tensor, saying: str) -> None:
    net = torch.nn.Linear(3, 2)
    with pytest.raises(AsdError, match=saying):
        load_into(net, {"weight": weight, "bias": torch.ones(2)}, Path("w"))
    load_into(net, {"weight": torch.ones(2, 3, dtype=torch.float64), "bias": torch.ones(2)}, Path("w"))


def test_a_checkpoint_of_the_official_trainer_is_read(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model_state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pth")
    assert torch.equal(load_weights(tmp_path / "a.pth")["w"], torch.ones(2))
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(AsdError, match="holds no named tensors"):
        load_weights(tmp_path / "b.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrapped_networks_are_no_part_of_a_name(tmp_path: Path, prefix: str, suffix: str) -> None:
    net = torch.nn.Linear(3, 2)
    state = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_tensors(path, state)
    load_into(torch.nn.Linear(3, 2), load_weights(path), path)
    assert load_weights(path).keys() == net.state_dict().keys()


@pytest.mark.parametrize("container", [None, "state_dict", "model_state_dict", "model"])
def test_weights_are_found_where_training_scripts_put_them(tmp_path: Path, container: str | None) -> None:
    wrapped = torch.nn.DataParallel(torch.nn.Linear(3, 2))
    content: dict[str, object] = dict(wrapped.state_dict())
    torch.save({container: content, "epoch": 3, "cfg": {"a": 1}} if container else content, tmp_path / "w.pt")
    found = load_weights(tmp_path / "w.pt")
    assert found.keys() == {"weight", "bias"}
    assert torch.equal(found["weight"], wrapped.module.weight)


def test_only_a_prefix_of_every_name_is_a_wrapper(tmp_path: Path) -> None:
    torch.save({"module.w": torch.ones(1), "head.w": torch.ones(1)}, tmp_path / "w.pt")
    assert load_weights(tmp_path / "w.pt").keys() == {"module.w", "head.w"}


def test_weights_saved_on_a_gpu_load_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # the file says what a GPU's would say
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"w": torch.arange(3.0)}, tmp_path / "w.pt")
    assert b"cuda:0" in (tmp_path / "w.pt").read_bytes()
    found = load_weights(tmp_path / "w.pt")["w"]
    assert found.device.type == "cpu"
    assert torch.equal(found, torch.arange(3.0))


@pytest.mark.gpu
def test_weights_cross_between_devices(tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2).cuda()
    for path in (tmp_path / "w.pt", tmp_path / "w.safetensors"):
        torch.save(net.state_dict(), path) if path.suffix == ".pt" else save_tensors(path, net.state_dict())
        on_cpu, on_gpu = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2).cuda()
        for other in (on_cpu, on_gpu):
            load_into(other, load_weights(path), path)
            assert torch.equal(other.weight.cpu(), net.weight.cpu())
        assert on_cpu.weight.device.type == "cpu"
        assert on_gpu.weight.device.type == "cuda"


def test_metrics_log_drops_what_comes_after_the_resumed_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    keep_lines(path, 2)  # of a run that begins
    path.write_text("".join(f'{{"epoch": {epoch}}}\n' for epoch in range(4)))
    keep_lines(path, 2)
    append_text(path, '{"epoch": 9}\n')
    assert [line["epoch"] for line in TrainingDirectory(tmp_path).epochs()] == [0, 1, 9]


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
