"""Folders of runs: which are found, what is complete, and what is told of those that do not go together."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from asd.core.files import write_json
from asd.core.runtime import fingerprint
from asd.runs import (
    RunDirectory,
    ScoredData,
    begun_runs,
    digests,
    find_runs,
    machine_names,
    require_same_seeds,
    run_names,
    warn_of_run,
)
from asd.types import SCORE_COLUMNS, AsdError

FACTS = {"settings": "s", "data": "d", "version": 3, "sections": ["00"], "code": "c"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def table(machine: str = "fan", score: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame([(machine, "00", "", "test", "", "a.wav", score, 0)], columns=list(SCORE_COLUMNS))


def begun(runs: Path, name: str, machine: str = "fan", seed: int = 0, seeds: tuple[int, ...] = ()) -> RunDirectory:
    run = RunDirectory.of(runs, name, machine, seed)
    run.begin({"seeds": list(seeds or [seed])})
    return run


def made(runs: Path, name: str, machine: str = "fan", seed: int = 0, seeds: tuple[int, ...] = ()) -> RunDirectory:
    run = begun(runs, name, machine, seed, seeds)
    run.model.mkdir()
    run.seal_model(run.model, {**FACTS, "settings": f"s {seed}"})
    run.scores.write({"s": table(machine)}, {"s": {"value": 1.0}})
    run.finish(f"{machine} {seed}", default="s", scorers=["s"])
    return run


def test_runs_are_found_by_machine_and_seed(runs: Path) -> None:
    known = [made(runs, "one", machine, seed, (2, 10)) for machine in ("fan", "pump") for seed in (2, 10)]
    late, hidden = begun(runs, "one", "valve"), made(runs, ".hidden")
    begun(runs, "early")
    assert find_runs(runs, "one") == known
    assert find_runs(runs, "one", seed=10) == known[1::2]
    assert find_runs(runs, "one", machine="pump") == known[2:]
    assert begun_runs(runs, "one") == [late]
    assert machine_names(runs, "one") == ["fan", "pump", "valve"]
    assert run_names(runs) == ["one"]
    assert hidden.path.exists()


@pytest.mark.parametrize(
    ("name", "seed", "machine", "said"),
    [
        ("one", None, "lathe", r"one has no machine lathe; it has fan, pump"),
        ("one", 3, None, r"one holds no complete run with seed=3 \(there are: 0, 0\)"),
        ("one", None, "valve", r"one/valve holds no complete run; start the same train"),
        ("two", None, None, r"two does not exist \(runs there: one\); `train machine=\.\.\. name=two` makes it"),
    ],
)
def test_what_is_missing_is_named(runs: Path, name: str, seed: int | None, machine: str | None, said: str) -> None:
    made(runs, "one", "fan"), made(runs, "one", "pump"), begun(runs, "one", "valve")
    with pytest.raises(AsdError, match=said):
        find_runs(runs, name, seed, machine)


def test_a_copy_of_a_training_is_no_other_seed(runs: Path) -> None:
    for seed, mark in ((0, "fan 0"), (1, "fan 0")):  # the options allow both, the training is one
        made(runs, "copied", seed=seed, seeds=(0, 1)).finish(mark)
    made(runs, "renamed", seed=1, seeds=(0,))
    for name in ("copied", "renamed"):
        with pytest.raises(AsdError, match=r"fan/seed1 is a copy of a training with another seed, .* seeds=1 for one"):
            find_runs(runs, name)


def test_machines_with_different_seeds_are_refused(runs: Path) -> None:
    found = [made(runs, "one", machine, seed) for machine, seed in (("fan", 0), ("fan", 1), ("pump", 0))]
    with pytest.raises(AsdError, match=r"different seeds \(fan 0,1; pump 0\)"):
        require_same_seeds(found)
    require_same_seeds([*found, made(runs, "one", "pump", 1)])


def test_results_of_earlier_scores_and_of_other_options_are_named(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    made_runs = [made(runs, "one", machine, seed) for seed in (0, 1) for machine in ("fan", "pump")]
    place = runs / "one"
    for file, start in ((place / "evaluation.json", place), (runs / "leaderboard.json", runs)):
        write_json(file, {"scored": digests(start, [run.scores for run in made_runs])})
    warn_of_run(runs, "one")
    assert not caplog.text
    changed = made_runs[1]
    changed.scores.write({"s": table("pump", 0.6)}, {})
    changed.seal_model(changed.model, {**FACTS, "settings": "others"})
    warn_of_run(runs, "one")
    evaluated, ranked, options = caplog.messages
    scores = f"is of earlier scores: those in {changed.scores.path} are others since"
    assert evaluated == f"{place / 'evaluation.json'} {scores}; `evaluate` with the same options writes it anew"
    assert ranked == f"{runs / 'leaderboard.json'} {scores}; `leaderboard` with the same options writes it anew"
    assert options.startswith(f"{place}: pump of seed 0 was trained with other options than fan")


@pytest.mark.parametrize("lost", ["model/fit.json", "scores/s.csv", "scores/thresholds.json", "DONE"])
def test_a_run_is_done_when_all_that_it_promises_is_there(runs: Path, lost: str) -> None:
    run = made(runs, "one")
    assert run.is_done("fan 0")
    assert not run.is_done("fan 1")
    (run.path / lost).unlink()
    assert not run.is_done("fan 0")


def test_a_model_of_another_version_code_or_machine_is_refused(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = made(runs, "one")
    run.check_version(3), run.check_code("c"), run.check_model()
    with pytest.raises(AsdError, match="made by version 3 of its detector and this is version 4"):
        run.check_version(4)
    with pytest.raises(AsdError, match=r"was made by other code or weights: .*; train again with overwrite=true"):
        run.check_code("d")
    run.check_code("d", refuse=False)
    assert "was made by other code or weights" in caplog.text
    moved = run.path.parent.rename(run.path.parent.with_name("pump")) / "seed0"
    with pytest.raises(AsdError, match="was fitted on fan and lies in the folder of pump"):
        RunDirectory(moved).check_model()


def test_options_that_are_not_those_of_the_model_are_told(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, settings = made(runs, "one", seed=4), {"views": "level_64"}
    run.seal_model(run.model, {**FACTS, "settings": fingerprint(settings, 4, "")})
    run.check_settings(settings)
    assert not caplog.text
    run.check_settings({"views": "flux_64"})
    assert "holds other options than the model was fitted with" in caplog.text


def test_the_latest_scores_of_a_folder_are_found(runs: Path, tmp_path: Path) -> None:
    run = made(runs, "one")
    own, first, second = run.scores, run.other_scores(tmp_path, "a" * 9), run.other_scores(tmp_path, "b" * 9)
    roots = {own: tmp_path / "own", first: tmp_path, second: tmp_path}
    for time_s, (folder, root) in enumerate(roots.items()):
        folder.write({"s": table()}, {}, ScoredData(str(root), "", (), ()))
        os.utime(folder.path / "clips.json", (time_s, time_s))
    assert run.scores_of(tmp_path) == second
    os.utime(first.path / "clips.json", (9, 9))
    assert run.scores_of(tmp_path) == first
    assert run.scores_of(tmp_path / "own") == own
    assert run.scores_of(tmp_path / "none") is None


def test_the_scorer_that_stands_for_a_run_has_a_name(runs: Path) -> None:
    run = made(runs, "one")
    assert run.default_scorer() == "s"
    run.finish("x")
    with pytest.raises(AsdError, match=r"DONE is damaged \(it names no scorer\); remove it"):
        run.default_scorer()


def test_scores_of_training_clips_are_those_that_were_sealed(runs: Path) -> None:
    run = begun(runs, "one")
    run.model.mkdir()
    with pytest.raises(AsdError, match=r"training_scores\.csv is damaged .*; train again, or fuse anew"):
        run.training_scores()
    (run.model / "training_scores.csv").write_text("file,s\na.wav,0.5\n")
    run.seal_model(run.model, FACTS)
    assert run.training_scores().to_numpy().tolist() == [["a.wav", 0.5]]
    (run.model / "training_scores.csv").write_text("file,s\na.wav,0.6\n")
    with pytest.raises(AsdError, match=r"training_scores\.csv is missing or damaged; remove .*model and train again"):
        run.training_scores()


def test_a_fused_run_has_no_model_of_its_own(runs: Path) -> None:
    run = RunDirectory.of(runs, "fused", "fan", 0)
    run.begin({"members": ["one", "two"]})
    run.check_model()
    assert (run.fused_members(), run.held_fingerprint()) == (["one", "two"], "")
    with pytest.raises(AsdError, match=r"fit\.json is missing; start the same train or enroll again"):
        begun(runs, "one").check_model()


@pytest.mark.parametrize(
    ("settings", "root"),
    [
        ({"data": "/x/data", "normal": None, "year": 2024}, "/x/data"),
        ({"data": None, "normal": "/x/normal", "year": 2024}, "/x/normal"),
        ({"data": None, "normal": None, "year": 2024}, "data/dcase2024t2/dev_data/raw"),
        ({}, None),
    ],
)
def test_the_configuration_tells_where_the_recordings_lay(
    runs: Path, settings: dict[str, object], root: str | None
) -> None:
    run = RunDirectory.of(runs, "one", "fan", 0)
    run.begin(settings)
    assert run.data_root() == (None if root is None else Path(root))
