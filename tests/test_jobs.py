from __future__ import annotations

import os
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from asd.core.files import write_json
from asd.data.codecs import write_wav
from asd.data.frontends import N_BANDS
from asd.data.remarks import facts_of
from asd.detectors.statistics import Statistics
from asd.runs import RunDirectory, warn_of_run
from asd.settings.config import Decision, Run
from asd.stages.jobs import FRONT_END_FILE, RECORDED_FILE, dataset_of, load_test, load_training, prepare
from asd.stages.running import _results, do_jobs
from asd.types import SCORE_COLUMNS, AsdError
from tests.machines import tone_machine, write_clip

SMALL = {"n_train": 6, "n_target": 2, "n_test": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for machine in ("fan", "pump"):
        tone_machine(tmp_path / "data", machine, **SMALL)
    return tmp_path / "data"


def jobs(data: Path, **options: object) -> list:  # type: ignore[type-arg]
    config = Run(data=data, runs=data.parent / "runs", **options)  # type: ignore[arg-type]
    return list(prepare(config, dataset_of(config), learn=True))


def test_a_job_per_machine_and_seed(data: Path) -> None:
    found = jobs(data, seeds=[0, 1])
    assert [(job.run.machine, job.run.seed) for job in found] == [("fan", 0), ("fan", 1), ("pump", 0), ("pump", 1)]
    assert all(job.supplement.other_machines is None for job in found)
    assert found[0].fingerprint != found[1].fingerprint


def test_joint_learning_sees_the_other_machines_training_clips_only(data: Path) -> None:
    (job,) = jobs(data, machine=["pump"], detector="embedding", embedding={"encoder": "multires_cnn", "joint": True})
    assert {clip.machine for clip in job.supplement.other_machines.clips} == {"fan"}
    assert {clip.split for clip in job.supplement.other_machines.clips} == {"train"}
    write_clip(data / "fan/train/section_00_source_train_normal_0099_speed_1.wav", 99)
    (again,) = jobs(data, machine=["pump"], detector="embedding", embedding={"encoder": "multires_cnn", "joint": True})
    assert again.data_hash != job.data_hash
    (alone,) = jobs(data, machine=["pump"])
    assert alone.supplement.other_machines is None


def test_edited_clips_change_the_hash_and_copies_do_not(data: Path, tmp_path: Path) -> None:
    before = jobs(data, machine=["fan"])[0]
    tone_machine(tmp_path / "copy", "fan", **SMALL)
    assert jobs(tmp_path / "copy", machine=["fan"])[0].data_hash == before.data_hash
    write_clip(before.learn.clips[0].path, 77)
    assert jobs(data, machine=["fan"])[0].data_hash != before.data_hash


def test_a_broken_training_clip_is_refused_and_how_many_there_are_is_said(data: Path) -> None:
    path = data / "fan/train/section_00_source_train_normal_0009_speed_1.wav"
    write_wav(path, np.zeros((1, 16000), np.float32), 16000)
    with pytest.raises(AsdError, match=rf"^{path} is silent .*, and 1 of 7 training clips are broken: such"):
        jobs(data, machine=["fan"])


def test_clips_that_lie_twice_or_have_more_channels_than_the_others_are_named(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, test = sorted((data / "fan/train").iterdir()), sorted((data / "fan/test").iterdir())
    shutil.copy(train[0], train[0].with_name(train[0].name.replace("0000", "0099")))
    shutil.copy(test[0], test[1])  # an anomaly and a normal clip
    shutil.copy(train[1], test[2])
    write_wav(train[2], np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype(np.float32), 16000)
    jobs(data, machine=["fan"], channel="mean")
    assert [line.partition(" (")[0] for line in caplog.messages] == [
        "fan: 1 of 7 training clips are copies of others",
        "fan: 1 of 7 recordings are the mean of 2 channels with a sound, and other ones of 1",
        "fan: 1 of 4 test clips are copies of training clips",
        "fan: 2 of 4 test clips are normal by one name and anomalous by another, with the same content",
    ]


def test_what_is_done_to_recordings_of_ones_own_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (*(f"normal/{i}.wav" for i in range(8)), "abnormal/0.wav"):
        write_clip(tmp_path / "data/press" / name, 3)
    config = Run(data=tmp_path / "data", runs=tmp_path / "runs", sample_rate_hz=8000)
    dataset = dataset_of(config)

    def said() -> int:
        return sum("resampled to 8000 Hz" in line for line in caplog.messages)

    caplog.set_level("INFO")
    learnt = load_training(config, dataset, "press").recordings
    load_test(config, dataset, "press", learnt)
    assert said() == 1  # of what is learnt from
    model = RunDirectory.of(config.runs, config.run_name, "press", 0).model
    front_end = replace(learnt.front_end, profile=(0.1,) * 257, activity=(0.0,) * N_BANDS + (1.0,))
    write_json(model / FRONT_END_FILE, asdict(front_end))
    write_json(model / RECORDED_FILE, facts_of(learnt))
    assert load_test(config, dataset, "press", None).recordings.front_end == front_end  # what it has learnt of noise
    assert said() == 2  # of what is scored, where nothing is learnt


def test_a_test_clip_that_cannot_be_read_is_named_where_the_others_are_scored(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = data / "fan/test/section_00_source_test_normal_0000_speed_1.wav"
    path.write_bytes(path.read_bytes()[:100])
    (job,) = jobs(data, machine=["fan"], keep_going=True)
    ((clip, error),) = job.test.refused
    assert (clip.path, len(job.test.recordings)) == (path, 3)
    assert f"{path.name} gets no score: {error}" in caplog.messages
    with pytest.raises(AsdError, match=f"{path.name} is truncated"):
        jobs(data, machine=["fan"])


def test_normal_recordings_of_ones_own_are_learnt_and_those_of_faults_are_not(tmp_path: Path) -> None:
    for i in range(10):
        write_clip(tmp_path / f"good/{i}.wav", i)
    write_clip(tmp_path / "bad/0.wav", 0)
    config = Run(normal=f"{tmp_path}/good", abnormal=f"{tmp_path}/bad", machine=["press"], runs=tmp_path / "runs")
    (job,) = prepare(config, dataset_of(config), learn=True)
    learnt, tested = job.learn.clips, job.test.recordings.clips
    assert {clip.path.parent.name for clip in learnt} == {"good"}
    assert [clip.path for clip in tested if clip.label == "anomaly"] == [tmp_path / "bad/0.wav"]
    assert {clip.path.name for clip in (*learnt, *tested) if clip.label == "normal"} == {f"{i}.wav" for i in range(10)}


def test_long_recordings_of_ones_own_are_learnt_in_windows_unless_these_are_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for i in range(2):
        write_clip(tmp_path / f"press/{i}.wav", i, duration_s=61)
    for window_s, n_items, n_said in ((None, 14, 1), (1.0, 2, 1)):
        config = Run(normal=f"{tmp_path}/press", machine=["press"], held_out=0, window_s=window_s)
        assert len(load_training(config, dataset_of(config), "press").recordings) == n_items
        assert sum("press: 2 of 2 recordings last more than 60 s" in line for line in caplog.messages) == n_said


def test_a_tracker_is_told_the_area_of_labelled_clips_and_the_thresholds(tmp_path: Path) -> None:
    run = RunDirectory.of(tmp_path, "one", "fan", 0)
    rows = [("normal", 1.0), ("normal", 3.0), ("anomaly", 2.0), ("anomaly", 4.0), ("", 9.0)]
    scored = [("fan", "00", "", "test", label, f"{score}.wav", score, 0) for label, score in rows]
    table = pd.DataFrame(scored, columns=SCORE_COLUMNS)
    run.scores.write({"s": table, "t": table[table["label"] != "anomaly"]}, {"s": {"value": 2.5}, "t": {"value": 1}})
    assert _results(run) == {"threshold/s": 2.5, "threshold/t": 1.0, "auc/s": 0.75}


def test_given_weights_decide_by_what_they_hold(data: Path, tmp_path: Path) -> None:
    found = []
    for name, content in (("a.pt", b"one"), ("b.pt", b"one"), ("a.pt", b"other")):
        (tmp_path / name).write_bytes(content)
        (job,) = jobs(data, machine=["fan"], detector="autoencoder", weights=tmp_path / name)
        found.append(job.model_fingerprint)
    (none,) = jobs(data, machine=["fan"], detector="autoencoder")
    assert found[0] == found[1]
    assert len({*found, none.model_fingerprint}) == 3
    with pytest.raises(AsdError, match=r"weights=.*gone.pt cannot be read \(No such file or directory\)"):
        jobs(data, machine=["fan"], detector="autoencoder", weights=tmp_path / "gone.pt")


ONE_VIEW = {"machine": ["fan"], "statistics": {"views": ["level_64"]}}


def test_what_another_command_did_meanwhile_is_not_done_again_and_never_replaced(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    other, same, different = jobs(data, **ONE_VIEW), jobs(data, **ONE_VIEW), jobs(data, machine=["fan"])
    alone, done = RunDirectory.alone, other[0].run.path / "DONE"

    def after_the_other(run: RunDirectory, **options: Any) -> Any:
        monkeypatch.undo()
        do_jobs(other, again=False)
        os.utime(done, (0, 0))
        return alone(run, **options)

    monkeypatch.setattr(RunDirectory, "alone", after_the_other)
    do_jobs(same, again=False)
    assert (done.stat().st_mtime, caplog.messages[-1]) == (0, f"{done.parent} is done already")
    with pytest.raises(AsdError, match="was trained with another configuration"):
        do_jobs(different, again=False)


def test_test_clips_are_the_runs_own_wherever_they_lie_and_however_they_are_decided(data: Path) -> None:
    do_jobs(jobs(data, **ONE_VIEW), again=False)
    copy = shutil.copytree(data, data.with_name("copy"))

    def folder(**options: Any) -> Path:
        config = Run(data=copy, runs=data.parent / "runs", **options, **ONE_VIEW)
        (job,) = prepare(config, dataset_of(config), learn=False)
        return job.score_folder().path

    own = data.parent / "runs/statistics/fan/seed0/scores"
    assert folder(decision=Decision(quantile=0.5)) == own
    (own / "clips.json").unlink()
    assert folder() == own
    write_clip(next((copy / "fan/test").iterdir()), 99)
    assert folder() != own


def test_a_table_of_recordings_that_has_changed_since_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {write_clip(tmp_path / f"data/{i}.wav", i).name: "fault" if i > 7 else "normal" for i in range(10)}
    table = tmp_path / "data/recordings.csv"
    pd.DataFrame(labels.items(), columns=["path", "label"]).assign(machine="fan").to_csv(table, index=False)
    config = Run(data=tmp_path / "data", runs=tmp_path / "runs", **ONE_VIEW)
    do_jobs(list(prepare(config, dataset_of(config), learn=True)), again=False)
    warn_of_run(config.runs, "statistics")
    assert "since" not in caplog.text
    table.write_text(table.read_text().replace("9.wav,fault", "9.wav,normal"))
    warn_of_run(config.runs, "statistics")
    assert re.search("recordings.csv.* since", caplog.text)


def test_the_year_of_a_run_is_the_one_that_was_given_last(data: Path) -> None:
    for year in (2025, 2024):
        ((run, _),) = do_jobs(jobs(data, year=year, **ONE_VIEW), again=False)
        assert run.config()["year"] == year  # by whose rule evaluate goes


def test_a_model_of_an_earlier_version_of_its_detector_is_called_so(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do_jobs(jobs(data, **ONE_VIEW), again=False)
    monkeypatch.setattr(Statistics, "version", 99)
    with pytest.raises(AsdError, match=r"was made by version [0-9]+ of its detector and this is version 99"):
        jobs(data, **ONE_VIEW)


def test_an_unknown_view_is_refused_before_a_recording_is_read(data: Path) -> None:
    for path in (data / "fan/train").iterdir():
        path.write_bytes(b"")
    with pytest.raises(AsdError, match="views=levle is unknown"):
        jobs(data, statistics={"views": ["levle"]})


def test_an_unknown_machine_is_refused_before_any_work(data: Path) -> None:
    with pytest.raises(AsdError, match="did you mean pump"):
        jobs(data, machine=["fan", "pomp"])
    with pytest.raises(AsdError, match="did you mean pump"):
        jobs(data, machine=["pomp"], detector="embedding", embedding={"encoder": "multires_cnn", "joint": True})


@pytest.mark.parametrize(
    ("options", "least"),
    [
        *(({}, 2), ({"detector": "auto"}, 2), ({"detector": "embedding"}, 3)),
        ({"statistics": {"backend": "knn_smote"}}, 3),
    ],
)
def test_too_few_clips_of_a_machine_are_refused_before_any_work(
    data: Path, options: dict[str, object], least: int
) -> None:
    for place in sorted((data / "pump/train").iterdir())[:-least]:
        place.unlink()
    assert len(jobs(data, **options)) == 2
    next((data / "pump/train").iterdir()).unlink()
    with pytest.raises(AsdError, match=rf"pump has {least - 1} training clips, and \w+ learns from {least} or more"):
        next(iter(prepare(config := Run(data=data, **options), dataset_of(config), learn=True)))  # type: ignore[arg-type]
    assert len(jobs(data, window_s=0.5, **options)) == 2


def test_sections_without_clips_of_a_domain_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As their clips of that domain are scored by the other one, whatever other sections have."""
    for name, domains in (("00", ("source", "target")), ("01", ("source",)), ("02", ("source",))):
        for domain in domains:
            write_clip(tmp_path / f"data/fan/train/section_{name}_{domain}_train_normal_0000.wav", 0)
    jobs(tmp_path / "data")
    saying = "fan has no target training clips of section 01, 02: the other domain stands for both"
    assert [record.message for record in caplog.records if "stands for both" in record.message] == [saying]
    (tmp_path / "data/fan/train/section_00_target_train_normal_0000.wav").unlink()
    jobs(tmp_path / "data")
    assert "fan has no target training clips: the other domain" in caplog.text
