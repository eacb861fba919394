"""Stopped at any moment, the same command goes on and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from asd.core import trainer
from tests.command import Answer, asd, contents, refuses, start, succeeds, tiny_machines

EPOCHS = 100  # enough to be caught in the middle


def words(name: str, epochs: int = 2, machine: str = "fan") -> tuple[object, ...]:
    """A short training of the detector that trains by gradient."""
    own = f"machine={machine}", "data=data", f"name={name}", f"training.epochs={epochs}"
    return *own, "detector=autoencoder", "device=cpu"


def metrics(run: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without the time they took."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def done(run: Path) -> dict[str, Any]:
    """What DONE says, without the time it took."""
    content = json.loads((run / "DONE").read_text())
    return {key: value for key, value in content.items() if key != "seconds"}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def assert_same_run(run: Path, reference: Path) -> None:
    """Model, scores, thresholds, decisions and losses are the same to the last bit, and nothing else is left."""
    timed = {"metrics.jsonl", "DONE", "config.yaml"}  # they tell seconds, and the run's own name
    found, wanted = contents(run), contents(reference)
    assert found.keys() == wanted.keys()
    assert {name for name in found if found[name] != wanted[name]} <= timed
    assert done(run) == done(reference)
    assert metrics(run) == metrics(reference)
    assert [line["epoch"] for line in metrics(run)] == list(range(1, len(metrics(run)) + 1))


def stop_in_the_middle(name: str, how: signal.Signals) -> Answer:
    """Starts a training as a process, sends the signal when two epochs are done, and waits for its end."""
    process = start("train", *words(name, EPOCHS))
    log = Path("runs", name, "fan/seed0/metrics.jsonl")
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert 2 <= len(log.read_text().splitlines()) < EPOCHS
    assert not (log.parent / "model").exists()
    return Answer(process.returncode, out, err)


@pytest.mark.slow
def test_killed_or_interrupted_training_ends_like_an_uninterrupted_one(place: Path) -> None:
    succeeds("train", *words("whole", EPOCHS))
    assert stop_in_the_middle("killed", signal.SIGKILL).code == -signal.SIGKILL
    answer = stop_in_the_middle("interrupted", signal.SIGINT)
    assert answer.code == 130
    stopped, said = answer.err.splitlines()
    assert re.fullmatch(r"INFO: stopped (in|after) epoch \d+ .*fan/seed0/state\.safetensors has it all", stopped)
    assert said == "interrupted: nothing finished is lost, the same command resumes"
    assert not list(Path("runs/interrupted").rglob("*.tmp"))
    for name in ("killed", "interrupted"):
        assert "resuming after epoch" in succeeds("train", *words(name, EPOCHS)).err
        assert_same_run(Path("runs", name, "fan/seed0"), Path("runs/whole/fan/seed0"))


# Lets child after child work until its n-th file is about to get its name, and dies there without a word.
_DIE_EVERYWHERE = """
import os, shutil, sys
from pathlib import Path
import torch._dynamo, asd.detectors.autoencoder, asd.pipeline, asd.scoring.threshold, asd.stages.summary  # once
from asd.__main__ import main

rename = Path.replace
for n in range(100):
    if Path("before").exists():
        shutil.copytree("before", f"r{n}/runs/dies{n}")
    child = os.fork()
    if child == 0:
        left = n
        def counted(self, target):
            global left
            if left == 0:
                os._exit(9)
            left -= 1
            return rename(self, target)
        Path.replace = counted
        os._exit(main([*sys.argv[1:], f"name=dies{n}", f"runs=r{n}/runs"]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        break
    assert code == 9, code
print(n)
"""


@pytest.mark.slow
def test_dead_before_any_file_gets_its_name(place: Path) -> None:
    """Features, configuration, each epoch's state, model, scores, thresholds, DONE."""
    quick = "decision.method=percentile"
    succeeds("train", *words("whole"), quick)
    deaths = die_everywhere("train", *words("replaced below"), quick)
    assert deaths >= 10
    for n in range(deaths):
        runs = Path(f"r{n}/runs")
        assert not list(runs.rglob("DONE"))
        assert list(runs.rglob("*.tmp"))  # it really died in the middle
        succeeds("train", *words(f"dies{n}"), quick, f"runs={runs}")
        assert not list(runs.rglob("*.tmp"))
        assert_same_run(runs / f"dies{n}/fan/seed0", Path("runs/whole/fan/seed0"))


@pytest.mark.slow
def test_a_scoring_that_dies_anywhere_leaves_old_scores_or_none_that_count(place: Path) -> None:
    succeeds("train", *words("whole"))
    Path("runs/whole").rename("before")
    (Path("data/fan/test") / min(os.listdir("data/fan/test"))).unlink()
    shutil.copytree("before", "runs/whole")
    succeeds("score", "name=whole")
    deaths = die_everywhere("score")
    assert deaths >= 5
    for n in range(deaths):
        run = Path(f"r{n}/runs/dies{n}/fan/seed0")
        if (run / "DONE").exists():
            assert (run / "scores/mse.csv").read_bytes() == Path("before/fan/seed0/scores/mse.csv").read_bytes()
        else:
            refuses("evaluate", f"name=dies{n}", f"runs=r{n}/runs", saying="holds no complete run")
        succeeds("score", f"name=dies{n}", f"runs=r{n}/runs")
        assert not list(run.rglob("*.tmp"))
        assert_same_run(run, Path("runs/whole/fan/seed0"))


def die_everywhere(*words: object) -> int:
    """Runs the command until it dies before its first file gets its name, its second, and so on; how often it did."""
    command = [sys.executable, "-c", _DIE_EVERYWHERE, *map(str, words)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return int(process.stdout.splitlines()[-1])


def test_the_same_command_again_changes_nothing(place: Path) -> None:
    succeeds("train", *words("again"))
    before = times(Path("runs"))
    answer = succeeds("train", *words("again"))
    assert "INFO: runs/again/fan/seed0 is done already" in answer.err
    assert "next: python -m asd evaluate name=again" in answer.out
    assert times(Path("runs")) == before


def test_the_same_data_in_another_place_is_the_same_data(place: Path) -> None:
    succeeds("train", *words("moved"))
    Path("data").rename("elsewhere")
    assert "is done already" in succeeds("train", *words("moved"), "data=elsewhere").err


def test_scoring_does_not_undo_a_finished_training(place: Path) -> None:
    succeeds("train", *words("scored"))
    run = Path("runs/scored/fan/seed0")
    shutil.copytree(run, "before")
    succeeds("score", "name=scored")  # machine, data and configuration are those of the run
    assert_same_run(run, Path("before"))
    assert "is done already" in succeeds("train", *words("scored")).err


def test_changed_test_clips_are_scored_again_without_training(place: Path) -> None:
    succeeds("train", *words("changed"))
    run = Path("runs/changed/fan/seed0")
    before, model = pd.read_csv(run / "scores/mse.csv").set_index("file"), times(run / "model")
    first, second = sorted(Path("data/fan/test").glob("*.wav"))[:2]
    assert first.stat().st_size == second.stat().st_size  # nor do they differ by anything but their samples
    shutil.copyfile(second, first)
    assert "resuming" not in succeeds("train", *words("changed")).err
    after = pd.read_csv(run / "scores/mse.csv").set_index("file")
    assert times(run / "model") == model
    assert after["score"][first.name] == before["score"][second.name] != before["score"][first.name]
    assert after.drop(first.name).equals(before.drop(first.name))
    assert "is done already" in succeeds("train", *words("changed")).err


def test_another_decision_needs_no_training(place: Path) -> None:
    succeeds("train", *words("decided"), "decision.method=percentile", "decision.quantile=0.5")
    run = Path("runs/decided/fan/seed0")
    many, model = pd.read_csv(run / "scores/mse.csv"), times(run / "model")
    said = succeeds("train", *words("decided"), "decision.method=percentile", "decision.quantile=0.99").err
    assert re.search(
        r"threshold of mse was [\d.]+ and is [\d.]+ now, by decision.method=percentile decision.quantile=0.99;", said
    )
    few = pd.read_csv(run / "scores/mse.csv")
    assert times(run / "model") == model
    assert few["score"].equals(many["score"])
    assert few["decision"].sum() < many["decision"].sum()
    assert "the threshold of mse was" in succeeds("train", *words("decided")).err  # by the default again
    assert "the threshold of mse was" not in succeeds("train", *words("decided")).err


def test_a_bad_second_machine_is_found_before_the_first_is_trained(place: Path) -> None:
    tiny_machines(Path("data"), "valve")
    bad = sorted(Path("data/valve/test").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:999])
    for machines in ("fan,valve", "all"):
        assert str(bad) in refuses("train", *words("two", machine=machines), saying="truncated")
    assert not Path("runs").exists()


def test_a_foreign_second_run_is_found_before_the_first_is_trained(place: Path) -> None:
    succeeds("train", *words("seeds", epochs=1), "seed=1")
    refuses("train", *words("seeds"), "seeds=0,1", saying="seeds/fan/seed1 was trained with another config")
    assert not Path("runs/seeds/fan/seed0").exists()


@pytest.mark.slow
def test_several_runs_go_on_where_they_were_stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds("train", *words("whole"), "seeds=0,1,2")
    epoch = trainer._epoch

    def stopped(*arguments: Any) -> Any:
        if arguments[-2] == 1 and arguments[-1] == 1:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(trainer, "_epoch", stopped)
    assert asd("train", *words("parts"), "seeds=0,1,2").code == 130
    monkeypatch.setattr(trainer, "_epoch", epoch)
    finished = times(Path("runs/parts/fan/seed0"))
    answer = succeeds("train", *words("parts"), "seeds=0,1,2")
    assert "seed0 is done already" in answer.err
    assert answer.err.count("resuming after epoch 1") == 1
    assert times(Path("runs/parts/fan/seed0")) == finished
    for seed in (0, 1, 2):
        assert_same_run(Path(f"runs/parts/fan/seed{seed}"), Path(f"runs/whole/fan/seed{seed}"))


def test_overwriting_resumes_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`overwrite=true` removes what is foreign, once, and not its own half-finished training."""
    succeeds("train", *words("over", epochs=1))
    epoch = trainer._epoch

    def stopped(*arguments: Any) -> Any:
        if arguments[-1] == 1:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(trainer, "_epoch", stopped)
    assert asd("train", *words("over"), "overwrite=true").code == 130
    monkeypatch.setattr(trainer, "_epoch", epoch)
    assert "resuming after epoch 1" in succeeds("train", *words("over"), "overwrite=true").err
    assert "is done already" in succeeds("train", *words("over"), "overwrite=true").err
