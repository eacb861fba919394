"""The life of a training's folder: free, begun, broken off, done, in the way of another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asd.core.files import save_tensors
from asd.runs import RunDirectory, TrainingDirectory, directories_with, interrupted_fingerprint
from asd.types import AsdError


def left(folder: Path, fingerprint: str) -> None:
    """A training that was broken off."""
    save_tensors(folder / "state.safetensors", {"w": torch.zeros(2)}, {"fingerprint": fingerprint})


def test_from_begun_to_done(tmp_path: Path) -> None:
    run = TrainingDirectory(tmp_path / "seed0")
    assert run.held_fingerprint() is None
    run.make_way("a", overwrite=False)
    run.begin({"epochs": 3})
    run.begin({"epochs": 4})  # begun already
    assert run.config() == {"epochs": 3}
    left(run.path, "a")
    assert (run.held_fingerprint(), run.is_done("a")) == ("a", False)
    run.make_way("a", overwrite=False)
    assert interrupted_fingerprint(run.path) == "a"  # to be resumed
    run.finish("a", seconds=1.5)
    assert interrupted_fingerprint(run.path) is None
    assert run.is_done("a")
    assert not run.is_done("b")
    assert run.done()["seconds"] == 1.5
    run.reopen()
    assert not run.is_done("a")


@pytest.mark.parametrize("is_done", [True, False])
def test_another_training_is_in_the_way_unless_it_may_go(tmp_path: Path, is_done: bool) -> None:
    run = TrainingDirectory(tmp_path / "seed0")
    run.begin({})
    if is_done:
        run.finish("other")
    else:
        left(run.path, "other")
    with pytest.raises(AsdError, match=r"seed0 was trained with another configuration .* overwrite=true"):
        run.make_way("mine", overwrite=False)
    assert run.held_fingerprint() == "other"
    run.make_way("mine", overwrite=True)
    assert not run.path.exists()


def test_a_model_counts_more_than_its_scores(tmp_path: Path) -> None:
    """Scores are made anew with another threshold: the model is the same, and DONE another."""
    run = RunDirectory.of(tmp_path, "name", "fan", 3)
    run.model.mkdir(parents=True)
    (run.model / "w").write_text("weights")
    run.seal_model(run.model, {"settings": "settings", "data": "data", "version": 1, "sections": ["00"]})
    held = run.held_fingerprint()
    run.finish("scores of today", default="s")
    assert run.held_fingerprint() == held
    assert run.held_fingerprint() not in (None, "scores of today")
    run.check_model()
    (run.model / "w").write_text("other")
    with pytest.raises(AsdError, match="w is missing or damaged"):
        run.check_model()
    run.seal_model(run.model, {"settings": "settings", "data": "data", "sections": ["00"]})
    with pytest.raises(AsdError, match=r"fit\.json is damaged \(it has no version\); remove .*/model and train again"):
        run.held_fingerprint()


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    left(tmp_path, "a")
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(AsdError, match=r"state\.safetensors is damaged .* trains from the beginning"):
        interrupted_fingerprint(tmp_path)


def test_folders_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("seed10", "seed2", "seeds", "seed"):
        TrainingDirectory(tmp_path / "fan" / name).finish("x")
    assert [run.seed for run in directories_with(TrainingDirectory, tmp_path, "DONE")] == [2, 10]
