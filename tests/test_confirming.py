"""`predict --confirm-normal`: a bank that grows without training, and the way back."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from asd.stages import confirming
from asd.types import AsdError
from tests.command import ONE_VIEW, asd, contents, refuses, succeeds, train_on_tones
from tests.machines import two_microphones, two_sections, write_clip

RUN = Path("runs/statistics/fan/seed0")
EXTRA = [f"section_00_source_train_normal_{i:04d}_speed_1.wav" for i in (90, 91, 92)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("confirming")
    train_on_tones(root, 12, 2, ONE_VIEW)
    for i, name in enumerate(EXTRA):
        write_clip(root / "inbox" / name, 500 + i)
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return RUN


def scores(run: Path) -> list[float]:
    return pd.read_csv(run / "scores/ensemble.csv")["score"].tolist()


def test_a_grown_bank_is_that_of_a_training_with_all_of_them(run: Path) -> None:
    answer = succeeds("predict", "audio=inbox", "--confirm-normal")
    assert "3 recordings added to the bank of fan, which holds 15 now" in answer.out
    assert "the threshold of ensemble was" not in answer.err  # the bank has moved it, no option
    shutil.move("inbox", "elsewhere")  # the run has copies
    succeeds("predict", "audio=elsewhere", "out=again")
    assert all(Path(path).is_file() for path in pd.read_csv("again/predictions.csv")["nearest"])
    for path in Path("elsewhere").iterdir():
        shutil.copy(path, "data/fan/train")
    succeeds("train", "machine=fan", "data=data", ONE_VIEW, "name=anew")
    anew = Path("runs/anew/fan/seed0")
    np.testing.assert_allclose(scores(run), scores(anew), rtol=1e-6)
    limits = [json.loads((each / "scores/thresholds.json").read_text())["ensemble"] for each in (run, anew)]
    assert limits[0]["value"] == pytest.approx(limits[1]["value"], rel=1e-6)
    assert len(pd.read_csv(run / "model/training_scores.csv")) == 15


def test_a_grown_bank_decides_as_the_run_was_told_to(run: Path) -> None:
    given = succeeds("score", "machine=fan", "decision.method=percentile", "decision.quantile=0.5").err
    assert "by decision.method=percentile decision.quantile=0.5" in given
    for command in (["predict", "audio=inbox", "--confirm-normal"], ["predict", "--undo"], ["score", "machine=fan"]):
        assert "the threshold of ensemble was" not in succeeds(*command).err
        limit = json.loads((run / "scores/thresholds.json").read_text())["ensemble"]
        assert (limit["method"], limit["quantile"]) == ("percentile", 0.5)


def test_the_commands_it_names_are_of_the_same_folder_of_runs(run: Path) -> None:
    Path("runs").rename("other runs")
    said = succeeds("predict", "audio=inbox", "runs=other runs", "--confirm-normal").out
    commands = re.findall(r"python -m asd (.*?)(?: takes this back)?$", said, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["predict", "report"]
    for command in commands:
        succeeds(*shlex.split(command))


def test_it_is_logged_and_taken_back_byte_by_byte(run: Path) -> None:
    before, own = contents(run / "model"), scores(run)
    succeeds("predict", f"audio=inbox/{EXTRA[0]}", "--confirm-normal")
    once = contents(run / "model")
    succeeds("predict", f"audio=inbox/{EXTRA[1]}", "--confirm-normal")
    shutil.rmtree("inbox")
    answer = succeeds("predict", "--undo")
    assert "1 recording taken out of the bank of fan, which holds 13 now" in answer.out
    assert contents(run / "model") == once
    succeeds("predict", "undo=true")
    assert contents(run / "model") == before
    np.testing.assert_allclose(scores(run), own, rtol=1e-9)
    assert not [*(run / "confirmed").iterdir()]
    refuses("predict", "--undo", saying="no confirmed recordings")
    log = [json.loads(line) for line in (run / "confirmed.jsonl").read_text().splitlines()]
    assert [line["change"] for line in log] == ["confirmed", "confirmed", "taken back", "taken back"]
    assert log[0]["files"] == [f"inbox/{EXTRA[0]}"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line["date"]) for line in log)
    assert log[0]["threshold_before"] == pytest.approx(log[3]["threshold_after"])
    assert log[0]["threshold_before"] != pytest.approx(log[0]["threshold_after"])


def test_nothing_is_taken_back_where_the_training_clips_are_others_by_now(run: Path) -> None:
    succeeds("predict", f"audio=inbox/{EXTRA[0]}", "--confirm-normal")
    before = contents(run)
    shutil.copy(Path("inbox") / EXTRA[1], "data/fan/train")
    refuses("predict", "--undo", saying="on other clips")
    assert contents(run) == before
    (Path("data/fan/train") / EXTRA[1]).unlink()
    succeeds("predict", "--undo")


def test_a_run_that_was_trained_with_overwrite_is_trained_anew_by_no_other_stage(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("overwrite: false", "overwrite: true"))
    before = contents(run)
    shutil.copy(Path("inbox") / EXTRA[1], "data/fan/train")
    for words in (
        ["explain", "worst=1"],
        ["report", "clips=1", "explained=0"],
        ["predict", "audio=inbox", "--confirm-normal"],
    ):
        refuses(*words, saying="on other clips")
        assert contents(run) == before


@pytest.mark.slow
def test_other_stages_go_on_with_a_grown_bank(run: Path) -> None:
    succeeds("predict", "audio=inbox", "--confirm-normal")
    succeeds("train", "machine=fan", "data=data", ONE_VIEW)  # is done already
    succeeds("predict", "audio=inbox", "out=again")
    table = pd.read_csv("again/predictions.csv")
    assert all(str(run / "confirmed") in path for path in table["nearest"])
    succeeds("explain", "worst=1")
    succeeds("report", "predictions=again/predictions.csv", "clips=1", "explained=0")


@pytest.mark.slow
def test_a_run_in_a_folder_of_another_name_is_that_run_and_no_other(run: Path) -> None:
    shutil.copytree("runs/statistics", "runs/copy")
    before = contents(Path("runs/statistics"))
    succeeds("predict", "name=copy", "audio=inbox", "--confirm-normal")
    assert contents(Path("runs/statistics")) == before
    assert len(pd.read_csv("runs/copy/fan/seed0/model/training_scores.csv")) == 15
    shutil.rmtree("runs/statistics")
    grown = contents(Path("runs/copy/fan/seed0/model"))
    for words in (["explain", "worst=1"], ["report", "clips=1"]):
        assert "in the table, and" not in succeeds(*words, "name=copy").err  # each score is that of its own model
    assert contents(Path("runs/copy/fan/seed0/model")) == grown
    assert not Path("runs/statistics").exists()


def test_what_may_not_be_confirmed_changes_nothing(run: Path) -> None:
    before = contents(Path("runs"))
    odd = next(Path("data/fan/test").glob("*anomaly*.wav"))
    refuses("predict", f"audio={odd}", "--confirm-normal", saying="is an anomaly by its name")
    known = next(Path("data/fan/train").glob("*.wav"))
    refuses("predict", f"audio={known}", "--confirm-normal", saying="in the bank already")
    sf.write("steps.wav", 32768 * sf.read(known)[0][::-1], 16000, subtype="FLOAT")
    refuses("predict", "audio=steps.wav", "--confirm-normal", saying="steps.wav holds floats far beyond 1")
    refuses("predict", "--confirm-normal", saying="audio= is missing")
    refuses("predict", "audio=inbox", "--undo", saying="leave audio= and confirm_normal= out")
    assert contents(Path("runs")) == before


def test_a_recording_joins_the_section_that_it_was_scored_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    two_sections(Path("data"))
    succeeds("train", "machine=fan", "data=data", ONE_VIEW)
    write_clip(Path("mine.wav"), 500, tone_hz=1500.0)
    refuses("predict", "audio=mine.wav", "section=04", "--confirm-normal", saying="section=04 is none")
    write_clip(Path("id_01/mine.wav"), 501, tone_hz=1500.0)
    refuses(
        "predict", "audio=id_01", "--confirm-normal", saying="mine.wav is of section 01, and .* 00, 03; say section="
    )
    succeeds("predict", "audio=mine.wav", "section=3", "--confirm-normal")
    shutil.copy("mine.wav", "data/fan/train/section_03_train_normal_0099.wav")
    succeeds("train", "machine=fan", "data=data", ONE_VIEW, "name=anew")
    tables = [pd.read_csv(Path("runs", run, "fan/seed0/model/training_scores.csv")) for run in ("statistics", "anew")]
    np.testing.assert_allclose(*(table["ensemble"].sort_values() for table in tables), rtol=1e-6)


def test_a_grown_bank_is_heard_by_the_microphone_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    last = two_microphones(Path("data"))[-1].path
    words = ("train", "machine=fan", "data=data", ONE_VIEW, "frontend=far")
    last.rename("new.wav")
    succeeds(*words)
    succeeds("predict", "audio=new.wav", "--confirm-normal")
    Path("new.wav").rename(last.with_name("section_00_train_normal_0005.wav"))
    succeeds(*words, "name=anew")
    tables = [pd.read_csv(Path("runs", run, "fan/seed0/model/training_scores.csv")) for run in ("statistics", "anew")]
    np.testing.assert_allclose(*(table["ensemble"].sort_values() for table in tables), rtol=1e-6)


def test_a_long_name_is_confirmed_too(run: Path) -> None:
    name = f"{'x' * 240}.wav"
    write_clip(Path(name), 500)
    succeeds("predict", f"audio={name}", "--confirm-normal", "out=found")
    assert len([*(run / "confirmed").iterdir()]) == 1


def test_an_interrupted_change_is_never_half_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(confirming, "store_model", interrupted)
        stopped = asd("predict", "audio=inbox", "--confirm-normal")
        assert stopped.code == 130
        assert "start the same train or enroll again" in stopped.err
        assert "the same command" not in stopped.err
    assert not (run / "DONE").exists()
    succeeds("train", "machine=fan", "data=data", ONE_VIEW)  # finishes what is there: the model before
    assert len(pd.read_csv(run / "model/training_scores.csv")) == 12
    with monkeypatch.context() as patch:
        patch.setattr(confirming, "write_job_scores", interrupted)
        assert asd("predict", "audio=inbox", "--confirm-normal").code == 130
    succeeds("train", "machine=fan", "data=data", ONE_VIEW)  # the new model, and now its scores
    whole = scores(run)
    succeeds("predict", "--undo")
    assert whole != scores(run)


def test_a_change_that_fails_leaves_a_complete_run_or_says_what_completes_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(error: Exception) -> Callable[..., None]:
        def fails(*words: object, **more: object) -> None:
            raise error

        return fails

    full = raises(AsdError("cannot write it: No space left on device"))
    model, done = contents(run / "model"), (run / "DONE").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(confirming, "store_model", full)
        words = ("predict", "audio=inbox", "--confirm-normal")
        assert refuses(*words, saying="cannot write it").endswith("No space left on device")
    assert (contents(run / "model"), (run / "DONE").read_bytes()) == (model, done)
    for error in (MemoryError(), RuntimeError("CUDA out of memory")):
        with monkeypatch.context() as patch:
            patch.setattr(confirming, "store_model", raises(error))
            refuses(*words, saying="memory ran out")
        assert (contents(run / "model"), (run / "DONE").read_bytes()) == (model, done)
    with monkeypatch.context() as patch:
        patch.setattr(confirming, "write_job_scores", raises(MemoryError()))
        assert "was broken off; start the same train or enroll again" in asd(*words).err
    succeeds("train", "machine=fan", "data=data", ONE_VIEW)
    succeeds("predict", "--undo")
    with monkeypatch.context() as patch:
        patch.setattr(confirming, "write_job_scores", full)
        refuses(*words, saying="No space.*; the change of .* was broken off; start")
    assert not (run / "DONE").exists()
    assert not (run / ".DONE").exists()
    succeeds("train", "machine=fan", "data=data", ONE_VIEW)
    assert len(pd.read_csv(run / "model/training_scores.csv")) == 15


def test_a_detector_without_a_bank_says_so(run: Path) -> None:
    succeeds("train", "machine=fan", "data=data", ONE_VIEW, "detector=autoencoder", "training.epochs=1", "n_mels=16")
    before = contents(Path("runs/autoencoder/fan/seed0/model"))
    refuses("predict", "name=autoencoder", "audio=inbox", "--confirm-normal", saying="keeps no bank")
    assert contents(Path("runs/autoencoder/fan/seed0/model")) == before
