"""One experiment of the fusion study, and the study as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from asd.core.checkpoint import load_weights
from asd.studies.config import Fusion
from asd.studies.fusion import analysis, cells, run_cell
from asd.studies.fusion.training import build_losses, build_network, split_indices
from asd.synthetic.tracks import MODALITIES
from asd.types import AsdError
from tests.command import contents, refuses, succeeds
from tests.test_fusion_training import EQUAL, TINY, data

WORDS = [
    f"{key}={getattr(TINY, key)}"
    for key in ("epochs", "n_train", "n_valid", "n_test", "n_dims", "n_heads", "n_layers", "n_feedforward",
                "n_steps", "n_assets", "n_embedding")
]  # fmt: skip


def cell(key: str, config: Fusion = TINY, **changes: Any) -> dict[str, Any]:
    name, seed = key.split("/seed")
    settings = {**cells(config.model_copy(update=changes))[name], "seed": int(seed)}
    return json.loads(json.dumps(settings))  # type: ignore[no-any-return]  # as the grid hands it over


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """The result without what takes time."""
    epochs = [{k: v for k, v in row.items() if k != "seconds"} for row in result["epochs"]]
    return {**result, "epochs": epochs, "seconds": None}


def test_the_cells_are_three_fusions_and_three_modalities() -> None:
    found = cells(TINY)
    assert list(found) == ["gated", "concatenated", "added", *MODALITIES]
    assert found["audio"]["modalities"] == ("audio",)
    assert found["added"]["modalities"] == MODALITIES


def test_the_weights_kept_are_those_that_were_scored(tmp_path: Path) -> None:
    result = run_cell(cell("gated/seed1"), tmp_path)
    assert sorted(contents(tmp_path)) == ["metrics.jsonl", "weights.safetensors"]
    net = build_network(TINY, MODALITIES, "gated", 7)
    net.load_state_dict(load_weights(tmp_path / "weights.safetensors"))
    test = data().at(split_indices(TINY)["test"])
    rows = analysis.score(build_losses(EQUAL), analysis.answers(net, test), test)
    assert rows["total"] == pytest.approx(result["all"]["total"], rel=1e-5)
    losses = [row["valid_loss"] for row in result["epochs"]]
    assert result["best_epoch"] == 1 + losses.index(min(losses))


def test_a_cell_stopped_anywhere_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = cell("added/seed0")
    whole = run_cell(settings, tmp_path / "whole")

    def killed(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("asd.studies.fusion.analysis.on_complete", killed)  # trained, not scored yet
        with pytest.raises(KeyboardInterrupt):
            run_cell(settings, tmp_path / "torn")
    assert (tmp_path / "torn" / "state.safetensors").exists()
    assert plain(run_cell(settings, tmp_path / "torn")) == plain(whole)
    with monkeypatch.context() as patch:
        patch.setattr("asd.studies.fusion.analysis.on_complete", killed)
        with pytest.raises(KeyboardInterrupt):
            run_cell(cell("added/seed0", learning_rate=1e-4), tmp_path / "other")
    assert plain(run_cell(settings, tmp_path / "other")) == plain(whole)  # what is left of another study goes


def test_the_same_seed_gives_the_same_result_and_another_another(tmp_path: Path) -> None:
    first, again, other = (
        run_cell(cell(f"track/seed{seed}"), tmp_path / name)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert plain(first) == plain(again)
    assert first["complete"] != other["complete"]
    assert first["frequencies"] == other["frequencies"]  # the data are the same


def test_a_modality_that_no_training_sequence_has_throughout_is_a_sentence(tmp_path: Path) -> None:
    saying = r"^all modalities \(audio\) are absent somewhere in 24 of 24 training sequences; lower [^\n]*$"
    with pytest.raises(AsdError, match=saying):
        run_cell(cell("audio/seed0", trouble=1.0), tmp_path)  # a gap in the sound of every sequence


def test_too_few_complete_test_sequences_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"of 16 test sequences has all modalities .* lower absent="):
        run_cell(cell("gated/seed0", absent=0.6, trouble=0.6), tmp_path)


@pytest.mark.gpu
def test_a_cell_on_the_gpu_says_what_it_says_on_the_cpu(tmp_path: Path) -> None:
    results = [
        run_cell(cell("gated/seed0", device=device, dropout=0.0), tmp_path / device) for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(*(torch.tensor(r["complete"]["total"]) for r in results), atol=0.02, rtol=0.02)


@pytest.mark.slow
def test_the_study_runs_resumes_and_reports(tmp_path: Path) -> None:
    words = ["study", "fusion", f"runs={tmp_path}", "seeds=0", "workers=2", *WORDS]
    said = succeeds(*words)
    assert "mean of 1 seeds" in said.out
    folder = tmp_path / "fusion"
    files = {"report.md", "report.json", "losses.csv", "epochs.csv", "differences.csv", "worst.csv"}
    assert files | {"losses.png", "training.png", "gates.png", "attention.png"} <= set(contents(folder))
    before = contents(folder)
    (folder / "video/seed0/result.json").unlink()
    again = succeeds(*words)
    assert again.out == said.out
    assert "5 of 6 cells are done already" in again.err
    after = contents(folder)
    assert all(after[name] == before[name] for name in before if name.endswith(".safetensors"))


@pytest.mark.slow
def test_words_that_cannot_be_are_one_sentence(tmp_path: Path) -> None:
    words = ["study", "fusion", f"runs={tmp_path}", "seeds=0", "workers=1", *WORDS]
    refuses(*words, "absent=1", saying="modality audio is NaN in all 24 training sequences; lower absent=")
    refuses(*words, "n_heads=3", saying="n_heads=3 does not divide n_dims=16")
    refuses("study", "fusion", "n_layer=3", saying="did you mean n_layers")
