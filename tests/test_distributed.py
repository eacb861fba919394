from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asd.core.files import load_tensors
from asd.core.update import World, join
from tests.distributed_training import train_there

ROOT = Path(__file__).parent.parent


def torchrun(directory: Path, *names: str, n: int = 2) -> subprocess.CompletedProcess[str]:
    """Trains in `n` processes on this machine, connected by Gloo, a folder for each name, which begins with a kind."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    command += ["-m", "tests.distributed_training", str(directory), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folders of what two processes have trained, one of which one process began, and their log."""
    root = tmp_path_factory.mktemp("by_two")
    train_there(root / "plain-resumed", 0, epochs=2)
    answer = torchrun(root, "plain", "pieces", "normalised", "plain-resumed")
    assert answer.returncode == 0, answer.stderr
    return root, answer.stderr


def metrics(directory: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_training(directory: Path, reference: Path, n: int = 2) -> None:
    """Weights of network and teacher, losses, terms, scores and the best epoch."""
    expected, facts = load_tensors(reference / "rank0.safetensors")
    for rank in range(n):
        found, found_facts = load_tensors(directory / f"rank{rank}.safetensors")
        assert found_facts["best_epoch"] == facts["best_epoch"]
        assert found_facts["losses"] == pytest.approx(facts["losses"], abs=1e-6)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)
    for found_line, line in zip(metrics(directory), metrics(reference), strict=True):
        assert found_line == pytest.approx(line, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "pieces"])
def test_processes_train_what_one_process_trains(by_two: tuple[Path, str], tmp_path: Path, kind: str) -> None:
    """33 items in batches of 10: the last one has 3, so pieces are unequal."""
    train_there(tmp_path, 0)
    assert_same_training(by_two[0] / kind, tmp_path)


@pytest.mark.slow
def test_a_process_may_have_no_piece_of_the_last_batch(tmp_path: Path) -> None:
    train_there(tmp_path / "one", 0)
    answer = torchrun(tmp_path, "plain", n=3)
    assert answer.returncode == 0, answer.stderr
    assert_same_training(tmp_path / "plain", tmp_path / "one", 3)


@pytest.mark.slow
def test_processes_resume_together_what_one_process_began(by_two: tuple[Path, str], tmp_path: Path) -> None:
    train_there(tmp_path, 0, epochs=2)
    train_there(tmp_path, 0)
    assert_same_training(by_two[0] / "plain-resumed", tmp_path)


@pytest.mark.slow
def test_batch_normalisation_is_warned_of_and_ends_alike_in_all_processes(by_two: tuple[Path, str]) -> None:
    assert "batch normalisation takes its statistics from the pieces of a batch" in by_two[1]
    first, second = (load_tensors(by_two[0] / f"normalised/rank{rank}.safetensors")[0] for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_loss_of_one_process_that_is_not_finite_stops_all(tmp_path: Path) -> None:
    answer = torchrun(tmp_path, "nan")
    assert answer.returncode == 1
    assert "the training loss became nan in epoch 1, batch" in answer.stderr
    assert not (tmp_path / "nan/state.safetensors").exists()


def test_pieces_are_all_of_a_batch_once_and_their_shares_sum_to_one() -> None:
    for n_items in range(2, 30):
        batch = torch.arange(n_items)
        for size, n_pieces in ((1, 1), (1, 4), (2, 1), (3, 2)):
            parts = [part for rank in range(size) for part in World(rank, size).mine(batch, n_pieces)]
            learnt = torch.cat([piece for piece, share in parts if share])
            assert torch.equal(learnt.sort().values, batch)
            assert sum(share for _, share in parts) == pytest.approx(1)
            assert min(len(piece) for piece, _ in parts) >= 2


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # somebody else's, without torchrun
    world = join(torch.device("cpu"))
    assert (world.rank, world.size, world.is_first) == (0, 1, True)
    assert world.from_first(lambda: 7) == 7
