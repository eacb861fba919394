"""Recordings of one's own through the real command: every layout, and every command of docs/own-recordings.md."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from asd import load
from asd.metrics import pauc, precision_recall_f1
from tests.command import ONE_VIEW, Answer, asd, refuses, succeeds
from tests.machines import write_clip
from tests.trees import NORMAL, write_tree

PAGE = Path(__file__).resolve().parents[1] / "docs/own-recordings.md"
CPU = "device=cpu"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores_of(run: str) -> pd.DataFrame:
    (path,) = Path(run).glob("*/seed0/scores/ensemble.csv")
    return pd.read_csv(path, dtype={"section": str}, keep_default_na=False)


@pytest.mark.parametrize("layout", NORMAL)
def test_each_layout_is_trained_and_evaluated_by_plain_auc(place: Path, layout: str) -> None:
    write_tree(place / "my data", layout)
    answer = succeeds("train", ONE_VIEW, "data=my data", CPU)
    assert f"layout {layout}: " in answer.err
    assert "next: python -m asd evaluate name=statistics" in answer.out
    answer = succeeds("evaluate")
    assert "Plain AUC and pAUC" in answer.out
    assert "official" not in answer.out
    found = json.loads(Path("runs/statistics/evaluation.json").read_text())
    assert (found["year"], found["rule"], found["missing"]) == (None, "plain", [])
    table = scores_of("runs/statistics")
    ((machine, sections),) = found["scorers"]["ensemble"]["machines"].items()
    ((section, metrics),) = sections.items()
    truth = table["label"] == "anomaly"
    assert metrics["pauc"] == pytest.approx(pauc(truth, table["score"]))
    assert metrics["f1"] == pytest.approx(precision_recall_f1(truth, table["decision"])[2])
    assert list(table["section"].unique()) == [section]
    low, high = found["scorers"]["ensemble"]["decisions95"][machine][section]["false_alarms"]
    assert low <= metrics["false_alarms"] <= high
    assert all((place / "my data").rglob(Path(name).name) for name in table["file"])
    refuses("evaluate", "year=2025", saying="has domain '': name source or target")
    assert "Rule of 2020" in succeeds("evaluate", "year=2020").out


@pytest.mark.slow
def test_a_leaderboard_a_benchmark_and_a_report_measure_as_evaluate_does(place: Path) -> None:
    write_tree(place / "data", "mimii")
    (place / "methods.yaml").write_text("plain means: detector=statistics\n")
    succeeds("train", ONE_VIEW, "data=data", CPU)
    succeeds("evaluate")
    wanted = json.loads(Path("runs/statistics/evaluation.json").read_text())["scorers"]["ensemble"]
    assert "AUC and pAUC" in succeeds("leaderboard").out
    board = pd.read_csv("runs/leaderboard.csv")
    assert board["official_score"].tolist() == pytest.approx([wanted["official_score"]])
    assert board["rule"].tolist() == ["plain"]
    succeeds("benchmark", "data=data", "methods=methods.yaml", "seeds=0")
    table = pd.read_csv("runs/benchmark/benchmark.csv")
    assert table["official_score"][0] == pytest.approx(wanted["official_score"])
    succeeds("report", "clips=0")
    page = Path("runs/statistics/report.html").read_text()
    assert "Mean of AUC and pAUC" in page
    assert "cannot be used" not in page
    refuses("leaderboard", "year=2025", saying="no run with labelled|has domain ''")
    for i in range(10):
        write_clip(place / f"mine/normal/{i}.wav", i)
    write_clip(place / "mine/abnormal/1.wav", 10)
    answer = succeeds("train", ONE_VIEW, "machine=fan", "normal=mine", "name=alone", CPU)
    assert answer.err.count("1 of 11 recordings are no normal training clips, and left out") == 1  # listed once
    assert answer.err.count("the gamma fit fails") <= 1  # the other scorers are named beside
    assert "alone is left out: fan section 00 has no test clips labelled anomaly" in succeeds("leaderboard").err


def test_of_two_recordings_the_next_command_is_predict_and_only_a_broken_promise_is_a_warning(place: Path) -> None:
    for i in range(2):
        write_clip(place / f"mine/{i}.wav", i)
    train = ["train", ONE_VIEW, "machine=fan", "normal=mine", "name=two", CPU]
    answer = succeeds(*train)
    assert answer.out.splitlines()[-1] == "next: python -m asd predict name=two machine=fan audio=<new recordings>"
    assert "test/" not in answer.out
    assert "INFO: threshold of ensemble of fan: the gamma fit fails (all scores are equal)" in answer.err
    promised = succeeds(*train, "decision.false_alarm_rate=0.01").err
    assert "WARNING: threshold of ensemble of fan: 2 normal clips promise a false-alarm rate of" in promised


def test_each_condition_where_a_column_tells_it(place: Path) -> None:
    rows = []
    for i in range(40):
        domain, is_test, is_faulty = ("source", "target")[i % 2], i >= 24, i >= 32
        write_clip(place / f"clips/2026-03-{i:02d}.wav", i, tone_hz=3000.0 if is_faulty else 0.0)
        label = "anomaly" if is_faulty else "normal"
        rows.append(
            (f"clips/2026-03-{i:02d}.wav", "test" if is_test else "train", label, domain, "A" if i % 4 < 2 else "B")
        )
    pd.DataFrame(rows, columns=["path", "split", "label", "domain", "section"]).to_csv("recordings.csv", index=False)
    succeeds("train", ONE_VIEW, "machine=pump3", "data=recordings.csv", CPU)
    succeeds("evaluate")
    found = json.loads(Path("runs/statistics/evaluation.json").read_text())["scorers"]["ensemble"]["machines"]
    table = scores_of("runs/statistics")
    assert sorted(found["pump3"]) == ["A", "B"]
    for section, metrics in found["pump3"].items():
        for domain in ("source", "target"):
            own = table[(table["section"] == section) & (table["domain"] == domain)]
            wanted = pauc(own["label"] == "anomaly", own["score"], max_fpr=1.0)
            assert metrics[f"auc_{domain}"] == pytest.approx(wanted)
    assert "Rule of 2025" in succeeds("evaluate", "year=2025").out


def test_training_recordings_to_listen_to_are_named_for_few_machines_and_files_alone(place: Path) -> None:
    for machine in ("a", "b", "c", "d"):
        for i in range(6):
            write_clip(place / f"data/{machine}/normal/{i}.wav", i)
    write_clip(place / "data/a/normal/long.wav", 1, duration_s=63.0)
    answer = succeeds("train", ONE_VIEW, "data=data", CPU)
    assert "model/training_scores.csv in each tells which recordings are least like the others: listen" in answer.out
    answer = succeeds("train", ONE_VIEW, "data=data", "machine=a", "name=lone", CPU)
    named = re.search(r"a: of what was learnt, (.*) are least", answer.out)
    assert named
    assert len({*named[1].split(", ")}) == 3
    told = succeeds("train", ONE_VIEW, "normal=data/b/normal", "machine=b", "held_out=0", "name=unchecked", CPU).out
    assert "b: of what was learnt, " in told
    shutil.copytree("data/c/normal/", "few", ignore=shutil.ignore_patterns("[3-5].wav"))
    told = succeeds("train", ONE_VIEW, "normal=few", "machine=b", "held_out=0", "name=few", CPU).out
    assert "are least like the others" not in told  # as there are no others


def test_clips_without_a_label_are_scored_counted_and_left_out(place: Path) -> None:
    write_tree(place / "data", "plain")
    for i in range(3):
        write_clip(place / f"data/pump/test/normal/{i}.wav", 50 + i)
        write_clip(place / f"data/pump/new/monday {i}.wav", 60 + i)
    succeeds("train", ONE_VIEW, "data=data", CPU)
    assert "has no label for 3 of 9 test clips" in succeeds("evaluate").out
    assert (scores_of("runs/statistics")["label"] == "").sum() == 3


def test_the_machine_with_most_false_alarms_is_named_beside_the_rate_of_all(place: Path) -> None:
    for i in range(10):
        write_clip(place / f"data/fan/normal/{i}.wav", i)
        write_clip(place / f"data/pump/normal/{i}.wav", i)
    for i in range(3):  # of another tone than what is learnt from
        write_clip(place / f"data/pump/test/normal/{i}.wav", 50 + i, tone_hz=3000)
    out = succeeds("train", ONE_VIEW, "data=data", CPU, "decision.quantile=0.5", "seeds=0,1").out
    tables = [pd.read_csv(path) for path in Path("runs/statistics").glob("*/seed0/scores/ensemble.csv")]
    assert f" of {sum(map(len, tables))} normal recordings of the check" in out  # once, however many seeds scored them
    shares = {table["machine"][0]: (table["decision"].sum(), len(table)) for table in tables}
    machine, (n_above, n) = max(shares.items(), key=lambda item: item[1][0] / item[1][1])
    assert n_above
    assert f"; most of {machine}, {n_above} of {n}\n" in out
    shutil.rmtree("data/pump")
    shutil.copytree("data/fan", "data/pump")
    told = succeeds("train", ONE_VIEW, "data=data", CPU, "decision.quantile=0.1", "name=alike").out
    assert "; most of" not in told  # of machines with equal rates none has most


def test_normal_recordings_alone_lead_to_predict(place: Path) -> None:
    for i in range(10):
        write_clip(place / f"my recordings/pump 3/{i}.wav", i)
    answer = succeeds("train", ONE_VIEW, "machine=pump3", "normal=my recordings/pump 3", CPU)
    assert re.search(r"of 2 normal recordings of the check are above .* between 0% and \d+%", answer.out)
    assert "next: python -m asd predict name=statistics machine=pump3 audio=" in answer.out
    learnt = pd.read_csv(next(Path("runs").glob("**/training_scores.csv"))).nlargest(3, "ensemble", keep="first")
    assert f"pump3: of what was learnt, {', '.join(learnt['file'])} are least like the others: listen" in answer.out
    before = scores_of("runs/statistics")
    assert "is done already" in succeeds("train", ONE_VIEW, "machine=pump3", "normal=my recordings/pump 3", CPU).err
    succeeds("score")
    assert scores_of("runs/statistics").equals(before)
    refuses("train", "machine=pump3", "normal=my recordings", "data=x", saying="both name recordings; give one")
    refuses("train", "machine=pump3", "abnormal=x", saying="abnormal=x goes with normal=")
    held = ("machine=pump3", "normal=my recordings/pump 3", "held_out=0.99", "name=held")
    refuses("train", *held, saying="held_out=0.99 leaves no normal recording of pump3 to learn from")
    succeeds("enroll", "machine=pump3", "normal=my recordings/pump 3", "name=few", CPU)
    refuses("report", "name=few", saying=r"no test clips of runs/few were scored; .*report predictions=\.\.\.")
    refuses("train", "machine=pump3", "normal=nowhere", saying="nowhere does not exist")
    refuses("train", "machine=pump3", "normal=", saying="it is empty; name a file")
    refuses("predict", "audio=", saying="it is empty; name a file")
    refuses("submit", "label=Nishida_HIT_task2_1", saying="recordings that are not the challenge's")


def test_damaged_thresholds_of_a_run_without_test_clips_are_written_anew_by_training(place: Path) -> None:
    for i in range(10):
        write_clip(place / f"normal/{i}.wav", i)
    train = ("train", ONE_VIEW, "machine=pump", "normal=normal", "held_out=0", CPU)
    succeeds(*train)
    path = Path("runs/statistics/pump/seed0/scores/thresholds.json")
    whole = path.read_bytes()
    for content, more in (("{", ()), ('{"ensemble": {"value": "x"}}', ("overwrite=true",))):
        path.write_text(content)
        refuses("predict", "audio=normal", CPU, saying="is damaged .*; train with .* overwrite=true writes it anew")
        succeeds(*train, *more)
        assert path.read_bytes() == whole


def test_other_rates_and_channels_are_taken_and_said_once(place: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        path = place / "data/pump/normal" / f"{i}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=(44100, 8)), 44100)
    answer = succeeds("train", ONE_VIEW, "data=data", CPU)
    assert answer.err.count("recordings are resampled to 16000 Hz: 10 of 10 at 44100 Hz") == 1
    assert answer.err.count("recordings have 8 channels, and the first is used") == 1
    answer = succeeds("train", ONE_VIEW, "data=data", CPU, "channel=3", "name=fourth", "sample_rate_hz=44100")
    assert "resampled" not in answer.err
    assert "is used" not in answer.err
    refuses("train", "data=data", CPU, "channel=8", "name=x", saying="channels 0 to 7 and channel=8 is asked for")
    refuses("train", "data=data", CPU, "channel=1", "frontend=mean", "name=x", saying="give one of them")
    assert not scores_of("runs/statistics")["score"].equals(scores_of("runs/fourth")["score"])


def test_another_codec_or_band_than_was_learnt_from_is_said_once(place: Path) -> None:
    for i in range(12):
        write_clip(place / f"normal/{i}.wav", i)
        wave, rate = soundfile.read(write_clip(place / f"new/{i}.wav", 20 + i))
        for folder, name, rate_hz in (("coded", f"{i}.mp3", rate), ("narrow", f"{i}.flac", rate // 2)):
            (place / folder).mkdir(exist_ok=True)
            soundfile.write(place / folder / name, wave[:: rate // rate_hz], rate_hz)
    succeeds("train", ONE_VIEW, "machine=pump", "normal=normal", CPU)
    said = {f: succeeds("predict", f"audio={f}", CPU).err for f in ("coded", "narrow", "new")}
    assert said["coded"].count("12 of 12 recordings are compressed with a loss (MP3), and those") == 1
    assert said["narrow"].count("12 of 12 recordings hold nothing above 4000 Hz, and those that were learnt") == 1
    assert "learnt from" not in said["new"]
    answer = succeeds("train", ONE_VIEW, "machine=pump", "normal=coded", "abnormal=new", "name=mixed", CPU)
    assert "12 of 14 recordings are without loss, and those that were learnt from compressed" in answer.err
    assert "are without loss" in succeeds("score", "name=mixed").err


def test_the_challenge_refuses_another_rate(place: Path) -> None:
    path = place / "data/fan/train/section_00_source_train_normal_0000.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
    refuses("train", "data=data", CPU, saying="44100 Hz, not 16000 Hz")
    refuses("train", "data=data", CPU, "supplemental.noise=mix", "layout=plain", saying="holds|layout plain")


def commands_of_page() -> list[list[str]]:
    lines = re.findall(r"^    python -m asd (.*)$", PAGE.read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.mark.slow
def test_every_command_of_the_page_works(place: Path) -> None:
    for i in range(12):
        write_clip(place / f"my recordings/pump 3/2026-03-{i + 1:02d}.wav", i)
        write_clip(place / f"machines/pump/normal/{i}.wav", 20 + i)
    for i in range(3):
        write_clip(place / f"my recordings/faults/{i}.wav", 40 + i, tone_hz=3000.0)
        write_clip(place / f"new recordings/2026-04-{i + 1:02d}.wav", 50 + i, tone_hz=3000.0 * (i == 1))
        write_clip(place / f"machines/pump/leak/{i}.wav", 60 + i, tone_hz=3000.0)
    rows = ["path,machine,label"] + [f"machines/pump/normal/{i}.wav,pump,normal" for i in range(12)]
    rows += [f"machines/pump/leak/{i}.wav,pump,anomaly" for i in range(3)]
    (place / "recordings.csv").write_text("\n".join(rows))
    answers: dict[str, Answer] = {}
    for words in commands_of_page():
        answer = asd(*words, *([CPU] if words[0] in ("train", "predict") else []))
        assert answer.code == 0, (words, answer.err)
        answers[words[0]] = answer
    assert Path("predictions/statistics/new-recordings/predictions.csv").is_file()
    assert list(Path("runs/statistics").glob("*.html")) or "written" in answers["report"].out
    table = pd.read_csv("predictions/statistics/new-recordings/predictions.csv")
    assert table["path"].iloc[0].endswith("2026-04-02.wav")


def test_machines_may_be_called_like_patterns_and_lists(place: Path) -> None:
    for i, machine in enumerate(("pump [left]", "pump, 3", "pump l")):
        for number in range(4):
            write_clip(place / "my data" / machine / f"normal/{number}.wav", 10 * i + number)
            write_clip(place / "my data" / machine / f"abnormal/{number}.wav", 10 * i + number, 1.0, 3000.0)
    for machine, options in (("pump l", []), ("pump [left]", ["decision.quantile=0.5"])):
        succeeds("train", ONE_VIEW, "data=my data", f"machine={machine}", CPU, *options)
    succeeds("score", "machine=pump [left]")  # by its own configuration
    answer = succeeds("train", ONE_VIEW, "data=my data", 'machine="pump, 3"', CPU, "name=other")
    assert "next: python -m asd evaluate name=other 'machine=\"pump, 3\"'" in answer.out
    assert "| pump, 3 |" in succeeds("evaluate", "name=other", 'machine="pump, 3"').out


def test_accents_of_a_machine_may_be_written_apart_but_not_both_ways(place: Path) -> None:
    together, apart = (unicodedata.normalize(form, "lüfter") for form in ("NFC", "NFD"))
    for machine, seed in ((apart, 0), ("pump", 10)):
        for number in range(4):
            write_clip(place / "data" / machine / f"normal/{number}.wav", seed + number)
    succeeds("train", ONE_VIEW, "data=data", f"machine={together},pump", CPU)
    succeeds("predict", f"audio=data/{apart}", "out=found", CPU)
    assert {*pd.read_csv("found/predictions.csv")["machine"]} == {together}
    shutil.copytree(place / "data" / apart, place / "data" / together)
    refuses("train", ONE_VIEW, "data=data", CPU, saying=f"the machine {together} in two spellings of its accents")


def test_predictions_read_the_section_from_the_folders_that_training_read_it_from(place: Path) -> None:
    for section in ("00", "02"):
        for i in range(8):
            write_clip(place / f"data/pump/id_{section}/normal/{i}.wav", i + 10 * int(section))
        write_clip(place / f"data/pump/id_{section}/abnormal/1.wav", 9, tone_hz=3000.0)
    write_clip(place / "data/pump/id_04/abnormal/1.wav", 9, tone_hz=3000.0)
    shutil.copytree(place / "data/pump", place / "new")
    shutil.rmtree(place / "data/pump/id_04")
    succeeds("train", ONE_VIEW, "data=data", CPU)
    answer = succeeds("predict", "audio=new/*/abnormal/1.wav", "out=found")
    table = pd.read_csv("found/predictions.csv", dtype={"section": str})
    found = dict(zip(table["path"], table["section"], strict=True))
    assert found == {f"new/id_{section}/abnormal/1.wav": section for section in ("00", "02", "04")}
    assert "1 of 3 recordings are of section 04, and the model was trained on 00, 02" in answer.err
    succeeds("predict", "audio=new/id_04/abnormal/1.wav", "section=02", "out=asked")
    assert pd.read_csv("asked/predictions.csv", dtype=str)["section"].tolist() == ["02"]
    model = load("runs/statistics")
    assert model.score_files("new/id_02/abnormal/1.wav")["section"].tolist() == ["02"]
