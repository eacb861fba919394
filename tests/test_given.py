from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from asd.data import given as given_module
from asd.data.codecs import write_wav
from asd.data.given import clips_of_files, from_arrays, given_data, training_recordings
from asd.data.layouts.words import perhaps_faults
from asd.types import AsdError, Clip, Domain, FrontEnd, Label, Split
from tests.machines import write_clip


def test_names_tell_what_they_can_and_need_not(tmp_path: Path) -> None:
    named = write_clip(tmp_path / "section_02_target_train_normal_0001_speed_5.wav", 1)
    plain = write_clip(tmp_path / "inside/Monday 8 am.wav", 2)
    one, other = sorted(clips_of_files(tmp_path, "fan", Split.TRAIN), key=lambda clip: clip.section, reverse=True)
    assert (one.path, one.section, one.domain, one.attributes) == (named, "02", Domain.TARGET, {"speed": "5"})
    assert (other.path, other.section, other.domain, other.label) == (plain, "00", None, Label.NORMAL)
    (scored,) = clips_of_files(named, "fan", Split.TEST)
    assert (scored.split, scored.section) == (Split.TEST, "02")


def test_an_anomaly_is_nothing_to_learn_from(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "section_00_source_test_anomaly_0001.wav", 1)
    with pytest.raises(AsdError, match="is an anomaly by its name"):
        clips_of_files([clip], "fan", Split.TRAIN)
    assert clips_of_files([clip], "fan", Split.TEST)[0].label is Label.ANOMALY


@pytest.mark.parametrize("name", ["section_00_source_train_anomaly_0001.wav", "pump_faulty_1.wav", "not ok 1.wav"])
def test_a_name_that_names_a_fault_is_refused_wherever_it_is_given(tmp_path: Path, name: str) -> None:
    clip, good = write_clip(tmp_path / name, 1), write_clip(tmp_path / "fault-free 2.wav", 2)
    for given in ([clip], [good, clip], str(tmp_path / "*.wav")):
        with pytest.raises(AsdError, match="is an anomaly by its name"):
            clips_of_files(given, "fan", Split.TRAIN)
    assert len(clips_of_files([good], "fan", Split.TRAIN)) == 1


@pytest.mark.parametrize("given", ["pump/broken", "pump/broken/1.wav", "pump/broken/*.wav", "pump/broken/2026-03-01"])
def test_nothing_is_learnt_from_a_folder_that_is_called_as_anomalies_are(tmp_path: Path, given: str) -> None:
    for name in ("1.wav", "2026-03-01/2.wav"):
        write_clip(tmp_path / "pump/broken" / name, 1)
    with pytest.raises(AsdError, match=r"\.wav is an anomaly by its folder's name, and a model learns normal ones"):
        clips_of_files(tmp_path / given, "pump", Split.TRAIN)
    assert clips_of_files(tmp_path / given, "pump", Split.TEST)


@pytest.mark.parametrize("given", ["train", "train/*", "train/*/1.wav"])
def test_nothing_is_learnt_where_a_folder_inside_names_a_fault(
    tmp_path: Path, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("engine1_good", "engine2_broken"):  # as in IDMT-ISA-Electric-Engine
        write_clip(tmp_path / "train" / name / "1.wav", 1)
    with pytest.raises(AsdError, match=r"engine2_broken/1\.wav is an anomaly by its folder's name"):
        clips_of_files(tmp_path / given, "engine", Split.TRAIN)
    assert len(clips_of_files(tmp_path / "train/engine1_good", "engine", Split.TRAIN)) == 1
    assert caplog.messages == []
    write_clip(tmp_path / "faulty pumps 2026/1.wav", 1)  # what somebody calls a folder may be the project's name
    assert len(clips_of_files(tmp_path / "faulty pumps 2026", "engine", Split.TRAIN)) == 1
    assert "faulty pumps 2026 names a fault, and all recordings in it are learnt" in caplog.text


@pytest.mark.parametrize(
    "name", ["fault detection 2026", "Anomalous-Sound-Detection", "motor_fault_diagnosis", "pump no. 1 normal"]
)
def test_what_a_project_or_a_machine_is_called_names_no_fault(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_clip(tmp_path / name / "sounds" / "1.wav", 1)
    for given in (tmp_path, tmp_path / name):
        assert len(clips_of_files(given, "engine", Split.TRAIN)) == 1
    assert caplog.messages == []


def test_clips_that_are_called_as_faults_may_be_are_named_where_they_are_learnt(tmp_path: Path) -> None:
    places = ["leak/1.wav", "2.wav", "no-leak 3.wav", "worn bearing_4.wav", "leak detection/5.wav"]
    clips = [Clip(tmp_path / "leaks" / place, "pump", "00", Split.TRAIN) for place in places]
    (sentence,) = perhaps_faults(clips)
    assert sentence.startswith(
        "2 of 5 training clips may be of a fault by their names (leak/1.wav, worn bearing_4.wav)"
    )
    assert perhaps_faults(clips[1:3]) == perhaps_faults([]) == []


def test_an_anomaly_in_a_folder_to_learn_from_is_left_out_or_refused(tmp_path: Path) -> None:
    for name in (
        "a/normal_1.wav",
        "a/bad_2.wav",
        "b/normal/1.wav",
        "b/normal/anomaly_2.wav",
        "c/normal/leaky_faulty/1.wav",
        "d/pump/gut/1.wav",
        "d/pump/defekt/1.wav",
    ):
        write_clip(tmp_path / name, 1)
    (learnt,) = clips_of_files(tmp_path / "a", "fan", Split.TRAIN)
    assert learnt.path.name == "normal_1.wav"
    for folder in ("b", "c"):
        with pytest.raises(AsdError, match="names a fault; move it to abnormal/, or rename it"):
            clips_of_files(tmp_path / folder, "fan", Split.TRAIN)
    assert [clip.path.parent.name for clip in clips_of_files(tmp_path / "d", "fan", Split.TRAIN)] == ["gut"]


def test_files_tell_their_rate_and_arrays_do_not(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.wav", 1)
    for given in (clip, str(clip), [clip], (str(path) for path in [clip]), tmp_path):
        found = training_recordings(given, None, "fan")
        assert (found.sample_rate_hz, len(found)) == (16000, 1)
    half = training_recordings(clip, 8000, "fan")
    assert (half.sample_rate_hz, half.lengths_samples.tolist()) == (8000, [8000])
    with pytest.raises(AsdError, match="sample_rate_hz= is missing"):
        training_recordings(np.zeros((2, 100)), None, "fan")


def test_of_files_the_channel_is_taken_that_is_asked_for(tmp_path: Path) -> None:
    waves = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 800)).astype(np.float32)
    write_wav(tmp_path / "a.wav", waves, 16000)
    for channel, wave in ((0, waves[0]), (1, waves[1])):
        found = training_recordings(tmp_path / "a.wav", None, "fan", FrontEnd(channel=channel))
        np.testing.assert_allclose(found.waveform(0), wave, atol=1e-4)
    given = from_arrays([waves], 16000, FrontEnd(channel=1), Split.TRAIN)
    assert training_recordings(given, None, "fan", given.front_end) is given
    with pytest.raises(AsdError, match="have a front end of their own; leave channel= and frontend= out"):
        training_recordings(given, None, "fan", FrontEnd(channel=0))


def test_what_was_done_to_recordings_is_told_of_the_machine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "asd")
    training_recordings(write_clip(tmp_path / "a.wav", 1), 8000, "fan")
    assert "fan: recordings are resampled to 8000 Hz: 1 of 1 at 16000 Hz" in caplog.text


def test_of_a_folder_of_one_machine_nothing_is_said_of_several(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(2):
        write_clip(tmp_path / f"pump/normal/{i}.wav", i)
    assert [clip.machine for clip in clips_of_files(tmp_path, "mill", Split.TRAIN)] == ["mill", "mill"]
    assert "several machines" not in caplog.text
    write_clip(tmp_path / "fan/normal/0.wav", 2)
    assert [clip.machine for clip in clips_of_files(tmp_path, "mill", Split.TRAIN)] == ["mill"] * 3
    assert f"{tmp_path} has folders as of several machines (fan, pump), and all are learnt as one" in caplog.text
    assert [clip.path.name for clip in clips_of_files(tmp_path, "fan", Split.TRAIN)] == ["0.wav"]


NOTHING = (None, 3, b"RIFF" * 999, "", [], np.zeros((0, 9)), ["a.wav", ""], [Path("a.wav"), np.ones(9)])
KEYED = (pd.DataFrame({"path": ["a.wav"]}), pd.DataFrame(np.ones((2, 9))), {"a.wav": np.ones(9)})


@pytest.mark.parametrize("given", [*NOTHING, *KEYED, np.ones(9)])
def test_what_is_no_recording_at_all_is_one_sentence(given: object) -> None:
    saying = r"neither recordings nor|no recordings|does not exist|is no list of recordings|is no waveform"
    with pytest.raises(AsdError, match=saying) as refused:
        training_recordings(given, 8000, "fan")
    assert len(str(refused.value)) < 200


def test_arrays_become_recordings() -> None:
    waves = np.random.default_rng(0).normal(0, 0.1, (3, 400))
    found = from_arrays(waves, 8000, FrontEnd(), Split.TEST)
    assert (len(found), found.sample_rate_hz) == (3, 8000)
    np.testing.assert_array_equal(found.waveform(1), waves[1].astype(np.float32))
    assert found.clips[1].label is None
    clips = from_arrays(waves, 8000, FrontEnd(), Split.TRAIN, "fan", "03").clips
    assert [*clips] == [Clip(Path(f"waveform {i}"), "fan", "03", Split.TRAIN, None, Label.NORMAL) for i in range(3)]


def test_rows_that_may_be_meant_as_recordings_are_said_to_be_channels(caplog: pytest.LogCaptureFixture) -> None:
    given_module._warn_of_channels.cache_clear()  # said once in a process
    batch = np.random.default_rng(0).normal(0, 0.1, (7, 400))
    for front_end, saying in ((FrontEnd(channel=3), 0), (FrontEnd("mean"), 0), (FrontEnd(), 1), (FrontEnd(), 1)):
        from_arrays([batch], 8000, front_end, Split.TEST)
        assert caplog.text.count("7 rows is one recording with so many channels, and the first is used") == saying


@pytest.mark.parametrize(
    ("waveforms", "saying"),
    [
        ([np.zeros(9, np.int16)], "waveform 0 holds int16, not floats .* divide 16-bit integers by 32768"),
        (np.ones(5), r"1.0.* is no waveform; .* as \[waveform\]"),
        ([np.ones((1, 2, 9))], "waveform 0 has 3 dimensions.* a list"),
        ([np.ones((9, 2))], r"waveform 0 has the shape \(9, 2\).* transpose it"),
        ([np.full(9, np.nan)], "NaN|nan|finite|no recording"),
        ([np.ones(0)], "a waveform in memory holds no samples; leave it out"),
        ([np.ones(9), np.full(9, np.nan)], "waveform 1 holds NaN"),
        ([np.ones(9), np.full(9, 1e300)], r"waveform 1 holds a sample of 1e\+300"),
        ([np.ones(9), np.ones(0)], "waveform 1 holds no samples"),
        ([np.ones(9), [[1.0, 2.0], [3.0]]], "waveform 1 is no array of samples"),
        ([np.ones(9), np.ma.masked_greater(np.arange(9.0), 7)], "waveform 1 has masked samples; fill them"),
    ],
)
def test_what_is_no_waveform_is_named(waveforms: list[Any], saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        from_arrays(waveforms, 8000, FrontEnd(), Split.TEST)


def test_tensors_of_any_kind_are_waveforms() -> None:
    wave = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 400)).float()
    given = [wave, wave.double(), wave.clone().requires_grad_(), wave.bfloat16(), wave.half(), wave[None]]
    found = from_arrays(given, 8000, FrontEnd(), Split.TEST)
    for i in range(len(given)):
        np.testing.assert_allclose(found.waveform(i), wave.numpy(), atol=2e-3)


def test_copies_among_what_is_learnt_are_named_whatever_they_are_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i, name in enumerate(["a.wav", "b.wav", "c.wav"]):
        write_clip(tmp_path / name, i)
    training_recordings(tmp_path, None, "fan")
    assert "copies" not in caplog.text
    shutil.copy(tmp_path / "a.wav", tmp_path / "a (1).wav")
    training_recordings(tmp_path, None, "fan")
    assert "fan: 1 of 4 training clips are copies of others (a (1).wav, a.wav)" in caplog.text
    wave = np.random.default_rng(0).normal(0, 0.1, 400)
    training_recordings([wave, wave, wave + 0.01], 8000, "pump")
    assert "pump: 1 of 3 training clips are copies of others (waveform 0, waveform 1)" in caplog.text


def test_a_folder_a_pattern_a_table_and_several_words(tmp_path: Path) -> None:
    names = ["in/a b.wav", "in/deep/c.wav", "in/x[1].wav", "out/a b.wav"]
    for i, name in enumerate(names):
        write_clip(tmp_path / name, i)
    (tmp_path / "in/notes.txt").write_text("no sound")
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    (tmp_path / "in/back").symlink_to(tmp_path)

    def found(*words: str) -> list[str]:
        clips = clips_of_files([tmp_path / word for word in words], "fan", Split.TEST)
        return [str(clip.path.relative_to(tmp_path)) for clip in clips]

    assert found("in/a b.wav") == ["in/a b.wav"]
    assert found("in/x[1].wav") == ["in/x[1].wav"]  # a name that is there is no pattern
    assert found("in/*") == ["in/a b.wav", "in/back/out/a b.wav", "in/deep/c.wav", "in/x[1].wav"]
    assert found("*/*.wav") == ["in/a b.wav", "in/x[1].wav", "out/a b.wav"]  # `linked` holds the first two again
    inside = ["a b.wav", "back/out/a b.wav", "deep/c.wav", "x[1].wav"]
    assert found("linked") == [f"linked/{name}" for name in inside]
    assert found("in/a b.wav", "out") == ["in/a b.wav", "out/a b.wav"]
    assert found("{in,out}/a b.wav") == ["in/a b.wav", "out/a b.wav"]
    assert found("in/{deep/c,x[[]1[]]}.wav") == ["in/deep/c.wav", "in/x[1].wav"]
    names_of = [clip.name for clip in clips_of_files([tmp_path / "in/a b.wav", tmp_path / "out"], "fan", Split.TEST)]
    assert len({*names_of}) == 2
    none = (
        ("in/*.mp3", "matches no recordings"),
        ("empty", "holds no recordings"),
        ("{in,gone}", "/gone does not exist"),
    )
    for word, saying in none:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(AsdError, match=saying):
            found(word)
    with pytest.raises(AsdError, match="there are no recordings; give a file"):
        clips_of_files([], "fan", Split.TEST)


def test_folders_tell_the_section_of_what_is_scored(tmp_path: Path) -> None:
    for label in ("normal", "abnormal"):
        for section in ("00", "02"):
            write_clip(tmp_path / f"fan/id_{section}/{label}/1.wav", 1)

    def sections(normal: str, abnormal: str) -> list[tuple[str, str]]:
        data = given_data(str(tmp_path / normal), str(tmp_path / abnormal), ["fan"], 0)
        return [(clip.section, clip.split) for clip in data.by_machine["fan"]]

    found = clips_of_files(tmp_path / "fan", "fan", Split.TEST)
    assert [clip.section for clip in found] == ["00", "00", "02", "02"]
    both = [("00", "train"), ("02", "train"), ("00", "test"), ("02", "test")]
    assert sections("fan", "fan/*/abnormal") == both
    assert sections("fan/*/normal", "fan/*/abnormal") == [("00", split) for _, split in both]  # all learnt as one


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_tells_what_is_known(tmp_path: Path, suffix: str) -> None:
    write_clip(tmp_path / "clips/2026-03-01 pump.wav", 1)
    write_clip(tmp_path / "clips/b.wav", 2)
    table = pd.DataFrame(
        {
            "Path": ["clips/2026-03-01 pump.wav", "clips\\b.wav"],
            "label": ["normal", "anomaly"],
            "domain": ["source", ""],
            "section": [0, 7],
            "speed": ["900", ""],
        }
    )
    path = tmp_path / f"recordings{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if suffix == ".tsv" else ";", index=False)
    one, other = clips_of_files(path, "fan", Split.TEST)
    assert (one.section, one.domain, one.label, one.attributes) == ("00", Domain.SOURCE, Label.NORMAL, {"speed": "900"})
    assert (other.section, other.domain, other.label, other.attributes) == ("07", None, Label.ANOMALY, {})
    assert [clip.machine for clip in (one, other)] == ["fan", "fan"]
    (learnt,) = clips_of_files(path, "fan", Split.TRAIN)
    assert (learnt.path, learnt.name) == (tmp_path / "clips/2026-03-01 pump.wav", "clips/2026-03-01 pump.wav")


@pytest.mark.parametrize(("header", "cell"), [("path", ""), ("path,label,split", ",,"), ("path,label", ",normal")])
def test_a_table_of_paths_alone_is_learnt_from_where_it_is_named_as_normal(
    tmp_path: Path, header: str, cell: str
) -> None:
    write_clip(tmp_path / "a.wav", 1)
    (tmp_path / "t.csv").write_text(f"{header}\na.wav{cell}\n")
    (clip,) = clips_of_files(tmp_path / "t.csv", "fan", Split.TRAIN)
    assert (clip.split, clip.label) == (Split.TRAIN, Label.NORMAL)


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("", "is not a readable table of recordings"),
        ("name,label\na.wav,normal\n", "has the columns name, label and none is called path"),
        ("path,label\n", "lists no recordings"),
        ("path,label\nb.wav,normal\n", "row 2 names b.wav, and there is no file"),
        ("path,label\n,normal\n", "row 2 names no recording"),
        ("path,label\na.wav,odd\n", "row 2 has the label 'odd'; write normal, anomaly"),
        ("path,split\na.wav,half\n", "row 2 has the split 'half'"),
        ("path,domain\na.wav,night\n", "row 2 has the domain 'night'; write source or target"),
        ("path,split,label\na.wav,train,bad\n", "is an anomaly by its label"),
        ("path,label\na.wav,bad\n", "lists no normal training clips"),
    ],
)
def test_a_table_that_cannot_be_used_is_a_sentence(tmp_path: Path, content: str, saying: str) -> None:
    write_clip(tmp_path / "a.wav", 1)
    (tmp_path / "recordings.csv").write_text(content)
    with pytest.raises(AsdError, match=saying):
        clips_of_files(tmp_path / "recordings.csv", "fan", Split.TRAIN)
