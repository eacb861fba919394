"""Event detection as a user does it: soundscapes, training, scores, evaluation, report, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from asd.core.files import load_tensors
from asd.data.audio import read_wav
from asd.data.codecs import write_wav
from asd.sed.run import SedRun
from tests.command import asd, contents, refuses, succeeds
from tests.sounds import PITCHES_HZ, RATE_HZ, SOUNDSCAPES, TRAIN, write_events

CLASSES = sorted(PITCHES_HZ)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, and a run of two epochs on it with a teacher; to be copied, not changed."""
    root = tmp_path_factory.mktemp("sed")
    events = write_events(root / "events")
    succeeds("sed", "make-soundscapes", f"events={events}", *SOUNDSCAPES, f"out={root / 'data'}")
    words = ("teacher.method=cmt_neg", "teacher.ramp_epochs=1")
    succeeds("sed", "train", f"data={root / 'data'}", f"runs={root / 'runs'}", "name=usual", *TRAIN, *words)
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of both."""
    for name in ("data", "runs"):
        shutil.copytree(made / name, tmp_path / name)
    config = tmp_path / "runs/usual/seed0/config.yaml"
    config.write_text(config.read_text().replace(str(made / "data"), "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*words: str) -> tuple[str, ...]:
    return ("sed", "train", "data=data", "runs=runs", *TRAIN, *words)


def test_a_run_holds_what_its_folder_promises(made: Path) -> None:
    run = made / "runs/usual/seed0"
    assert yaml.safe_load((run / "config.yaml").read_text())["classes"] == CLASSES
    tensors, facts = load_tensors(run / "model/weights.safetensors")
    assert facts["classes"] == CLASSES
    assert {name.split(".")[0] for name in tensors} == {"student", "teacher", "scale"}
    assert not (run / "state.safetensors").exists()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"score", "score_teacher", "train_strong", "train_negative_mass_frames"} <= lines[0].keys()
    decoding = json.loads((run / "model/decoding.json").read_text())
    for model in ("student", "teacher"):
        assert list(decoding[model]["thresholds"]) == CLASSES
        scores = sorted((run / f"scores/{model}/test").glob("*.tsv"))
        assert len(scores) == 8
        table = pd.read_csv(scores[0], sep="\t")
        assert list(table) == ["onset", "offset", *CLASSES]
        assert table["onset"][0] == 0
        assert table["offset"].iloc[-1] == 2.0
        np.testing.assert_array_equal(table["onset"][1:], table["offset"][:-1])
        assert table[CLASSES].min().min() >= 0
        found = pd.read_csv(run / f"events/{model}/test.tsv", sep="\t", dtype={"event_label": str})
        assert list(found) == ["filename", "onset", "offset", "event_label"]
        assert (found["offset"] > found["onset"]).all()
        clips = pd.read_csv(run / f"scores/{model}/test.clips.tsv", sep="\t")
        assert list(clips) == ["filename", *CLASSES]


def test_the_same_words_do_nothing_again_and_others_need_a_name(place: Path) -> None:
    words = train("name=usual", "teacher.method=cmt_neg", "teacher.ramp_epochs=1")
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    assert "is done already" in succeeds(*words).err
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before
    refuses(*words, "loss.name=afl", saying="another configuration or on other clips; .* choose another name=")
    succeeds(*words, "loss.name=afl", "overwrite=true")
    assert yaml.safe_load(Path("runs/usual/seed0/config.yaml").read_text())["loss"]["name"] == "afl"


@pytest.mark.slow
def test_a_stopped_training_ends_like_an_uninterrupted_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asd.sed import training

    asked = []

    def stops(network: torch.nn.Module, *arguments: object) -> object:
        asked.append(network)
        if len(asked) == 3:  # student and teacher after epoch 1, then the student after epoch 2
            raise KeyboardInterrupt
        return original(network, *arguments)  # type: ignore[arg-type]

    original = training.probabilities
    words = train("name=again", "teacher.method=cmt_neg", "teacher.ramp_epochs=1")
    monkeypatch.setattr(training, "probabilities", stops)
    from tests.command import asd

    assert asd(*words).code == 130
    assert not Path("runs/again/seed0/DONE").exists()
    assert Path("runs/again/seed0/state.safetensors").exists()
    monkeypatch.setattr(training, "probabilities", original)
    succeeds(*words)
    usual, again = (contents(Path("runs") / name / "seed0") for name in ("usual", "again"))
    own = {"config.yaml", "metrics.jsonl", "scores/test.json", "scores/validation.json"}  # places and times
    same = usual.keys() - own
    assert same == again.keys() - own
    assert [name for name in sorted(same) if usual[name] != again[name]] == []


def test_scores_of_a_clip_do_not_depend_on_its_company(place: Path) -> None:
    Path("few").mkdir()
    test = sorted(Path("data/test").glob("*.wav"))
    shutil.copy(test[0], "few")
    waveform, _ = read_wav(test[1])
    write_wav(Path("few/short.wav"), waveform[:, : RATE_HZ // 2], RATE_HZ)  # makes the other one's batch uneven
    answer = succeeds("sed", "score", "name=usual", "runs=runs", "audio=few", "device=cpu")
    assert "runs/usual/seed0/events/student/few.tsv" in answer.out
    for model in ("student", "teacher"):
        folder = Path("runs/usual/seed0/scores") / model
        ours, theirs = (pd.read_csv(folder / part / f"{test[0].stem}.tsv", sep="\t") for part in ("few", "test"))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert len(pd.read_csv(folder / "few/short.tsv", sep="\t")) == 1 + RATE_HZ // 2 // 160


def test_nothing_but_soundscapes_is_replaced(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "events", tmp_path / "home/events")
    words = ("sed", "make-soundscapes", f"events={tmp_path / 'home/events'}", *SOUNDSCAPES, "overwrite=true")
    saying = "is no soundscape that was made here, and would be lost; choose another out="
    refuses(*words, f"out={tmp_path / 'home'}", saying=f"home/events/.*wav {saying}")
    refuses(*words, f"out={tmp_path / 'home/events'}", saying=saying)
    shutil.copytree(made / "data", tmp_path / "data")
    (tmp_path / "data/train_soft").mkdir()
    refuses(*words, f"out={tmp_path / 'data'}", saying=f"data/train_soft {saying}")
    refuses(*words, "overwrite=false", f"out={tmp_path / 'data'}", saying=saying)  # not "or overwrite=true"
    (tmp_path / "data/train_soft").rmdir()
    succeeds(*words, f"out={tmp_path / 'data'}", "seed=3")
    (tmp_path / "data/soundscapes.json").unlink()  # as in a folder of another source
    refuses(*words, f"out={tmp_path / 'data'}", saying=saying)


def test_evaluation_and_report_go_from_files_to_documents(place: Path) -> None:
    succeeds(*train("name=other", "loss.name=dice", "network.kind=transformer", "network.pooling=linear_softmax"))
    for name in ("usual", "other"):
        answer = succeeds("sed", "evaluate", f"name={name}", "runs=runs", "events=false")
        assert "frames, tuned thresholds" in answer.out
    evaluation = json.loads(Path("runs/usual/evaluation_test.json").read_text())
    assert evaluation["mean"].keys() == {"student", "teacher"}
    assert evaluation["seeds"] == [0]
    assert 0 <= evaluation["mean"]["student"]["frames"]["macro_f1"] <= 1
    answer = succeeds("sed", "report", "members=usual,other", "runs=runs", "out=report")
    assert "report.md" in answer.out
    text = Path("report/report.md").read_text()
    assert "loss.name: dice" in text
    assert "network.kind: transformer" in text
    refuses("sed", "evaluate", "name=usual", "runs=runs", "part=train_strong", "events=false",
            saying="has no scores of train_strong; it has those of test, validation")  # fmt: skip
    refuses("sed", "report", "members=", "runs=runs", saying="members= does not fit: it is empty")
    refuses("sed", "report", "members=usual,none", "runs=runs",
            saying=r"runs/none holds no complete run \(runs there: other, usual\)")  # fmt: skip


def test_scores_of_other_clips_are_not_measured(place: Path) -> None:
    Path("data/test/test_00007.wav").unlink()
    rows = Path("data/test.tsv").read_text().splitlines(keepends=True)
    Path("data/test.tsv").write_text("".join(row for row in rows if not row.startswith("test_00007")))
    refuses("sed", "evaluate", "name=usual", "runs=runs", "events=false",
            saying="scored 8 clips as test, which are not the 7 in data/test; score that folder again")  # fmt: skip


def test_scores_of_other_recordings_replace_none_and_are_not_measured(place: Path) -> None:
    evaluate = ("sed", "evaluate", "name=usual", "runs=runs", "events=false")
    before, run = succeeds(*evaluate).out, Path("runs/usual/seed0")
    stored = contents(run)
    Path("elsewhere").mkdir()
    shutil.copytree("data/validation", "elsewhere/test")
    answer = succeeds("sed", "score", "name=usual", "runs=runs", "audio=elsewhere/test", "device=cpu")
    assert re.search(r"runs/usual/seed0/events/student/test-[0-9a-f]{8}.tsv", answer.out)
    assert {name: data for name, data in contents(run).items() if name in stored} == stored
    assert succeeds(*evaluate).out == before
    shutil.copy("data/test/test_00001.wav", "data/test/test_00000.wav")
    refuses(*evaluate, saying="scored other recordings under the names of those in data/test; score that")
    succeeds("sed", "score", "name=usual", "runs=runs", "audio=data/test", "device=cpu")
    succeeds(*evaluate)


def test_a_damaged_run_is_a_sentence(place: Path) -> None:
    evaluate, run = ("sed", "evaluate", "name=usual", "runs=runs", "events=false"), Path("runs/usual/seed0")
    for file in ("test.clips.tsv", "test/test_00003.tsv"):
        path = run / "scores/student" / file
        content = path.read_bytes()
        path.write_bytes(b"\xff\x00")
        refuses(*evaluate, saying=f"{path} is damaged .*; python -m asd sed score writes it anew")
        path.write_bytes(content)
    (run / "model/decoding.json").unlink()
    refuses(*evaluate, saying="model/decoding.json is missing or damaged; remove it and train again")


@pytest.mark.parametrize(
    ("file", "old", "new", "saying"),
    [
        ("test/test_00003.tsv", r"\t", ";", "is damaged .could not convert .*; python -m asd sed score"),
        ("test/test_00003.tsv", r"\thigh", "\tloud", "is damaged .it has no column high"),
        ("test/test_00003.tsv", r"\t0\.", "\t7.", "is damaged .it holds something else than scores from 0 to 1"),
        ("test/test_00003.tsv", r"\t0\.", "\t", "is damaged .it holds something else than scores from 0 to 1"),
        ("test/test_00003.tsv", r"(?m)^0\.9.*\n", "", "is damaged .its frames do not follow each other without a gap"),
        ("test/test_00003.tsv", r"(?m)^1.*\n", "", "has scores of 1.02 s of test_00003.wav, which lasts 2 s"),
        ("test.clips.tsv", r"\t0\.", "\t0,", "is damaged .could not convert string to float: '0,.*; python -m asd sed"),
        ("test.clips.tsv", r"(?s)(test_00007.*)", r"\1\1", "scored 9 clips as test, which are not the 8 in data/test"),
    ],
)
def test_scores_that_were_edited_are_not_measured(place: Path, file: str, old: str, new: str, saying: str) -> None:
    path = Path("runs/usual/seed0/scores/student") / file
    path.write_text(re.sub(old, new, path.read_text()))
    refuses("sed", "evaluate", "name=usual", "runs=runs", "events=false", saying=saying)


def test_thresholds_are_those_of_their_classes_in_any_order(place: Path) -> None:
    path, run = Path("runs/usual/seed0/model/decoding.json"), Path("runs/usual/seed0/events/student/test.tsv")
    decoding = json.loads(path.read_text())
    for model in decoding.values():
        model["thresholds"] = {"high": 0.05, "low": 0.95, "mid": 0.95}
    score = ("sed", "score", "name=usual", "runs=runs", "audio=data/test", "device=cpu")
    path.write_text(json.dumps(decoding))
    succeeds(*score)
    before = run.read_text()
    assert "high" in before
    for model in decoding.values():
        model["thresholds"] = dict(reversed(model["thresholds"].items()))
    path.write_text(json.dumps(decoding))
    succeeds(*score)
    assert run.read_text() == before


def test_a_model_that_was_lost_is_trained_again_by_the_same_words(place: Path) -> None:
    words = train("name=usual", "teacher.method=cmt_neg", "teacher.ramp_epochs=1")
    weights = Path("runs/usual/seed0/model/weights.safetensors")
    before = weights.read_bytes()
    weights.write_bytes(before[:1000])
    refuses("sed", "score", "name=usual", "runs=runs", "audio=data/test", "device=cpu",
            saying="weights.safetensors is damaged .*; remove it and train again with the same options")  # fmt: skip
    weights.unlink()
    assert "is done already" not in succeeds(*words).err
    assert weights.read_bytes() == before


def test_a_damaged_configuration_is_a_sentence_and_the_same_words_write_it_anew(place: Path) -> None:
    config, evaluate = (
        Path("runs/usual/seed0/config.yaml"),
        ("sed", "evaluate", "name=usual", "runs=runs", "events=false"),
    )
    words = train("name=usual", "teacher.method=cmt_neg", "teacher.ramp_epochs=1")
    for text, saying in (
        ("loss: [", "runs/usual/seed0/config.yaml is not a readable YAML file .*; train again with the same options"),
        ("loss: {name: none}", "seed0/config.yaml holds loss.name=none, which does not fit; train again with the same"),
        (None, "runs/usual/seed0/config.yaml does not exist; train again with the same options"),
    ):
        config.unlink() if text is None else config.write_text(text)
        refuses(*evaluate, saying=saying)
        assert "is done already" in succeeds(*words).err
        succeeds(*evaluate)


@pytest.mark.parametrize(
    ("edited", "what"),
    [
        ({"classes": ["low", "high", "mid"]}, "classes"),
        ({"features": {"sample_rate_hz": 4000, "n_fft": 256, "hop_samples": 80, "n_mels": 16}}, "hop_samples"),
    ],
)
def test_recordings_are_not_scored_by_an_edited_configuration(
    place: Path, edited: dict[str, object], what: str
) -> None:
    config, score = Path("runs/usual/seed0/config.yaml"), ("sed", "score", "name=usual", "runs=runs", "audio=data/test")
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | edited))
    refuses(*score, saying=f"holds other {what} than the run was trained with; train again with the same options")
    assert "is done already" in succeeds(*train("name=usual", "teacher.method=cmt_neg", "teacher.ramp_epochs=1")).err
    succeeds(*score)


def test_data_that_was_moved_is_found_again(place: Path) -> None:
    evaluate = ("sed", "evaluate", "name=usual", "runs=runs", "events=false")
    before = succeeds(*evaluate).out
    Path("data").rename("moved")
    refuses(*evaluate, saying="data, on which runs/usual/seed0 was trained, is not there; where it was moved, the same")
    words = train("name=usual", "teacher.method=cmt_neg", "teacher.ramp_epochs=1", "data=moved")
    assert "is done already" in succeeds(*words).err
    assert succeeds(*evaluate).out == before


def test_a_scoring_that_was_stopped_is_not_measured(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = ("sed", "evaluate", "name=usual", "runs=runs", "events=false")
    score = ("sed", "score", "name=usual", "runs=runs", "audio=data/test", "device=cpu")
    with monkeypatch.context() as patch:
        patch.setattr("asd.sed.training.events_of_frames", stopped)
        assert asd(*score).code == 130
    refuses(*evaluate, saying="was stopped while it scored test, or scored other .*; score that folder again")
    succeeds(*score)
    succeeds(*evaluate)


def test_two_commands_do_not_write_to_one_run(place: Path) -> None:
    with SedRun(Path("runs/usual/seed0")).alone():
        refuses(*train("name=usual", "overwrite=true"), saying="another command works on runs/usual/seed0; wait until")
        refuses("sed", "score", "name=usual", "runs=runs", "audio=data/test", "device=cpu",
                saying="another command works on runs/usual/seed0; wait until it is done")  # fmt: skip


@pytest.mark.parametrize("name", ["", ".", "../usual", "usual/", "a run"])
def test_a_name_that_no_other_stage_would_find_is_refused_before_training(place: Path, name: str) -> None:
    refuses(*train(f"name={name}"), saying=r"does not fit: the name of a run has no spaces, slashes")


def test_a_part_is_one_folder_of_the_data(place: Path) -> None:
    for part in ("./test", "test/../test", ""):
        refuses("sed", "evaluate", "name=usual", "runs=runs", f"part={part}", "events=false", saying="does not fit: ")


def test_a_class_may_have_a_slash(place: Path) -> None:
    for table in Path("data").glob("*.tsv"):
        table.write_text(table.read_text().replace("high", "high/shrill"))
    succeeds(*train("name=slash", "training.epochs=1"))
    succeeds("sed", "evaluate", "name=slash", "runs=runs", "events=false")
    succeeds(*train("name=named", "training.epochs=1", "classes=high/shrill,low,mid"))


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_resolved_settings_can_be_read_back() -> None:
    from asd.sed.config import STAGES, Train
    from asd.studies.config import STAGES as STUDIES

    assert Train.model_validate(Train().model_dump(mode="json")) == Train()
    for stage in (*STUDIES.values(), STAGES["train"]):
        assert stage.model_validate(stage().model_dump(mode="json")) == stage()


def test_help_lists_what_every_training_has_too() -> None:
    text = succeeds("sed", "train", "--help").out
    assert "every training by gradient, training.*" in text
    assert "optimizer=adamw" in text


def relabel(part: str, old: str, new: str) -> None:
    path = Path(f"data/{part}.tsv")
    path.write_text(path.read_text().replace(old, new))


def test_bad_data_is_refused_before_training(place: Path) -> None:
    table = Path("data/validation.tsv").read_text()
    relabel("validation", "\tlow\n", "\tlove\n")
    refuses(*train("name=x"), saying=r"validation.tsv, line \d+ has the label 'love', which is none of")
    Path("data/validation.tsv").write_text(table)
    refuses(*train("name=x", "features.sample_rate_hz=8000"), saying="is sampled at 4000 Hz, not 8000 Hz")
    refuses(*train("name=x", "classes=high,low,mid,top"), saying="the training data in data has no example of top")
    refuses(*train("name=x", "classes=high,low"), saying="has the label 'mid', which is none of the classes high, low")
    relabel("validation", "\tlow\n", "\tmid\n")
    assert "low" not in Path("data/validation.tsv").read_text()
    refuses("sed", "train", "data=nowhere", saying="data=nowhere is not a folder")
    assert not Path("runs/x").exists() or not list(Path("runs/x").rglob("weights.safetensors"))


def test_a_clip_without_events_needs_a_row(place: Path) -> None:
    lines = Path("data/test.tsv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "test_00003.wav" not in line]
    Path("data/test.tsv").write_text("".join(kept))
    refuses(*train("name=x"), saying="has no row for test_00003.wav .1 such clips.; a clip without events")


def test_rows_without_a_recording_cost_nothing_but_a_warning(place: Path) -> None:
    succeeds(*train("name=usual", "teacher.method=cmt_neg", "teacher.ramp_epochs=1", "overwrite=true"))
    before = succeeds("sed", "evaluate", "name=usual", "runs=runs", "events=false").out
    with Path("data/test.tsv").open("a") as table:
        table.write("gone.wav\t0\t1\tlow\n")
    Path("data/test/test_00003.wav").rename("data/test/test_00003.WAV")
    answer = succeeds(*train("name=other", "teacher.method=cmt_neg", "teacher.ramp_epochs=1"))
    assert "WARNING: data/test.tsv labels 1 clips that are not in data/test, gone.wav first" in answer.err
    after = succeeds("sed", "evaluate", "name=other", "runs=runs", "events=false").out
    assert before.replace("usual", "other") == after


def test_a_class_that_validation_lacks_costs_no_training(place: Path) -> None:
    rows = Path("data/validation.tsv").read_text().splitlines(keepends=True)
    Path("data/validation.tsv").write_text(
        "".join(row.split("\t")[0] + "\t\t\t\n" if row.endswith("\tlow\n") else row for row in rows)
    )
    refuses(*train("name=x"), saying="the validation part has no example of low")
    assert not Path("runs/x/seed0/metrics.jsonl").exists()


def test_soft_labels_train_too(place: Path) -> None:
    strong = pd.read_csv("data/train_strong.tsv", sep="\t").dropna()
    strong.assign(value=0.7).to_csv("data/train_soft.tsv", sep="\t", index=False)
    names = set(strong["filename"])
    Path("data/train_soft").mkdir()
    for path in Path("data/train_strong").glob("*.wav"):
        if path.name in names:
            shutil.copy(path, "data/train_soft")
    succeeds(*train("name=soft", "augment.mixup=0.5", "augment.mask=0.2", "training.patience=1"))
    assert Path("runs/soft/seed0/DONE").exists()


@pytest.mark.slow
def test_tones_are_learnt(made: Path, tmp_path: Path) -> None:
    words = ("training.epochs=25", "loss.name=afl")
    succeeds("sed", "train", f"data={made / 'data'}", f"runs={tmp_path}", "name=long", *TRAIN, *words)
    succeeds("sed", "evaluate", "name=long", f"runs={tmp_path}", "events=false")
    measures = json.loads((tmp_path / "long/evaluation_test.json").read_text())["mean"]
    assert measures["student"]["frames"]["macro_f1"] > 0.7
    assert measures["teacher"]["clips"]["map"] > 0.8


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["cmt_neg", "teacher.positive=0.4", "teacher.negative=0.4"], r"teacher\.negative=0\.4 has to lie below"),
        (["cmt_neg", "teacher.window_frames=4"], r"window_frames=4 has no middle frame"),
        (["cmt_normal", "teacher.window_frames=4"], r"window_frames=4 has no middle frame"),
        (["cmt_normal", "teacher.negative=0.9"], r"data=nowhere"),  # what a method does not use may be anything
        (["mean_teacher", "teacher.window_frames=4"], r"data=nowhere"),
    ],
)
def test_what_a_teacher_cannot_use_is_refused_before_recordings_are_looked_for(words: list[str], saying: str) -> None:
    method, *more = words
    refuses("sed", "train", "data=nowhere", f"teacher.method={method}", *more, saying=saying)
