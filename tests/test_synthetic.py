"""Synthetic machines: the organisers' layout, the same bytes every time, faults and shifts one can hear."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asd.synthetic.folders as folders_module
from asd.synthetic.design import CHARACTERS, FAULTS, Design, Health, draw_design, generator
from asd.synthetic.folders import make_machines
from asd.synthetic.sound import render_clip
from asd.types import AsdError, Domain
from tools import make_machine

SMALL = {"train_source": 6, "train_target": 2, "test_per_cell": 2, "duration_s": 0.5}
NAME = re.compile(r"section_00_(source|target)_(train|test)_(normal|anomaly)_(\d{4})_speed_(\d+)\.wav")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record(
    machine: str, domain: Domain = Domain.SOURCE, health: Health | None = None, *, channels: int = 1, clip: int = 0
) -> np.ndarray:
    design = draw_design(machine, 0)
    scene = design.scenes[domain]
    speed_rpm = scene.speeds_rpm[0]
    return render_clip(
        design, scene, health or Health(), generator(clip), speed_rpm=speed_rpm, duration_s=2.0, channels=channels
    )


def bands_db(waveform: np.ndarray) -> np.ndarray:
    """(clips, samples) -> (clips, 128): level per band of 62 Hz, averaged over frames of 64 ms."""
    n_frames = waveform.shape[-1] // 1024
    frames = waveform[..., : n_frames * 1024].reshape(*waveform.shape[:-1], n_frames, 1024)
    power = np.abs(np.fft.rfft(frames * np.hanning(1024))[..., 1:]) ** 2
    power = power.reshape(*power.shape[:-1], 128, 4).mean(axis=-1)
    return 10 * np.log10(power + 1e-12).mean(axis=-2)


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.reshape(-1, file.getnchannels()).T / 32768


# ---------------------------------------------------------------- folders


def test_layout_is_the_organisers(tmp_path: Path) -> None:
    (folder,) = make_machines(tmp_path, ["fan"], **SMALL)
    assert folder == tmp_path / "fan"
    assert {path.name for path in folder.iterdir()} == {"train", "test", "attributes_00.csv", "synthetic.json"}
    clips = sorted(folder.rglob("*.wav"))
    cells: dict[tuple[str, ...], list[int]] = {}
    for path in clips:
        match = NAME.fullmatch(path.name)
        assert match, path.name
        domain, split, label, index, _ = match.groups()
        assert path.parent.name == split
        cells.setdefault((split, domain, label), []).append(int(index))
    test_cells = {("test", d, lab): [0, 1] for d in ("source", "target") for lab in ("normal", "anomaly")}
    train_cells = {("train", "source", "normal"): [*range(6)], ("train", "target", "normal"): [0, 1]}
    assert {cell: sorted(indices) for cell, indices in cells.items()} == test_cells | train_cells


def test_attributes_list_every_clip(tmp_path: Path) -> None:
    (folder,) = make_machines(tmp_path, ["valve"], **SMALL)
    with (folder / "attributes_00.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file_name", "d1p", "d1v"]
    assert {row[0] for row in rows} == {f"{p.relative_to(tmp_path)}" for p in folder.rglob("*.wav")}
    for file_name, key, value in rows:
        assert file_name.endswith(f"_{key}_{value}.wav")


def test_speeds_differ_between_domains(tmp_path: Path) -> None:
    (folder,) = make_machines(tmp_path, ["pump"], **SMALL)
    speeds: dict[str, set[str]] = {"source": set(), "target": set()}
    for path in folder.rglob("*.wav"):
        match = NAME.fullmatch(path.name)
        assert match
        speeds[match[1]].add(match[5])
    assert len(speeds["source"]) == 3
    assert len(speeds["target"]) == 2
    assert not speeds["source"] & speeds["target"]


@pytest.mark.parametrize("channels", [1, 2])
def test_recordings_have_the_asked_form(tmp_path: Path, channels: int) -> None:
    (folder,) = make_machines(tmp_path, ["gearbox"], **SMALL, channels=channels, sample_rate_hz=12000)
    for path in folder.rglob("*.wav"):
        waveform = read(path)
        assert waveform.shape == (channels, 6000)
        assert 0.003 < waveform.std() < 0.1
        assert np.abs(waveform).max() < 0.95


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    (one,) = make_machines(tmp_path / "one", ["fan"], **SMALL)
    (two,) = make_machines(tmp_path / "two", ["fan"], **SMALL)
    (other_seed,) = make_machines(tmp_path / "three", ["fan"], **SMALL, seed=1)
    assert files(one) == files(two)
    assert not {*files(one / "train").values()} & {*files(other_seed / "train").values()}


def test_clips_do_not_depend_on_the_counts(tmp_path: Path) -> None:
    (small,) = make_machines(tmp_path / "small", ["fan"], **SMALL)
    (large,) = make_machines(tmp_path / "large", ["valve", "fan"], **(SMALL | {"train_source": 9}))[1:]
    clips = {name: content for name, content in files(small).items() if name.endswith(".wav")}
    assert clips.items() < files(large).items()


def test_finished_machine_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = make_machines(tmp_path, ["fan"], **SMALL)
    monkeypatch.setattr(folders_module, "write_wav", None)  # a second writing would fail
    assert make_machines(tmp_path, ["fan"], **SMALL) == [folder]


def test_other_recipe_is_refused(tmp_path: Path) -> None:
    (folder,) = make_machines(tmp_path, ["fan"], **SMALL)
    before = files(folder)
    with pytest.raises(AsdError, match=r"fan was made with seed=0: remove it"):
        make_machines(tmp_path, ["fan"], **SMALL, seed=3)
    assert files(folder) == before


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fan").mkdir()
    with pytest.raises(AsdError, match=r"fan exists and was not made here"):
        make_machines(tmp_path, ["fan"], **SMALL)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"machine": "fan"}'])
def test_damaged_recipe_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "fan").mkdir()
    (tmp_path / "fan" / "synthetic.json").write_text(content)
    with pytest.raises(AsdError, match=r"synthetic\.json is not a recipe"):
        make_machines(tmp_path, ["fan"], **SMALL)


def test_interrupted_machine_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full_disk(path: Path, waveform: np.ndarray, sample_rate_hz: int) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        path.touch()

    monkeypatch.setattr(folders_module, "write_wav", full_disk)
    with pytest.raises(AsdError, match=r"cannot write .*fan: No space left"):
        make_machines(tmp_path, ["fan"], **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"machines": ["../fan"]}, r"machine name '\.\./fan' must consist of letters and digits"),
        ({"machines": ["toy_car"]}, r"machine name 'toy_car'"),
        ({"train_source": 0}, r"train_source=0 is too small"),
        ({"train_target": -1}, r"train_target=-1 is too small"),
        ({"test_per_cell": 0}, r"test_per_cell=0 is too small"),
        ({"duration_s": float("nan")}, r"duration_s=nan must lie between"),
        ({"duration_s": 0.0}, r"duration_s=0\.0 must lie between"),
        ({"channels": 3}, r"channels=3 must be 1"),
    ],
)
def test_senseless_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(AsdError, match=message):
        make_machines(tmp_path, **({"machines": ["fan"], **SMALL} | arguments))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- sound


@pytest.mark.parametrize("machine", ["fan", "gearbox", "valve"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_changes_the_sound(machine: str, fault: str) -> None:
    sound = record(machine)
    barely, plainly = (record(machine, health=FAULTS[fault](severity)) for severity in (0.0, 1.0))
    assert not np.array_equal(sound, barely)
    change_barely, change_plainly = (np.abs(sound - faulty).mean() for faulty in (barely, plainly))
    assert change_plainly > 1e-4
    assert change_plainly >= change_barely


@pytest.mark.parametrize("machine", ["fan", "gearbox", "valve"])
def test_domains_differ_more_than_clips_do(machine: str) -> None:
    bands = {
        domain: bands_db(np.concatenate([record(machine, domain, clip=clip) for clip in range(6)])) for domain in Domain
    }
    between = np.abs(bands[Domain.SOURCE].mean(axis=0) - bands[Domain.TARGET].mean(axis=0)).mean()
    within = np.abs(bands[Domain.SOURCE] - bands[Domain.SOURCE].mean(axis=0)).mean()
    assert between > 1.2 * within


def test_known_kinds_keep_their_character() -> None:
    for kind, character in CHARACTERS.items():
        assert draw_design(kind, 0).character == character
        assert draw_design(f"{kind}Emu", 5).character == character
    assert draw_design("Polisher", 0).character in CHARACTERS.values()


def test_valve_is_impulsive_and_fan_is_steady() -> None:
    def crest(waveform: np.ndarray) -> float:
        return float(np.abs(waveform).max() / waveform.std())

    assert crest(record("valve")) > 2 * crest(record("fan"))


def test_near_microphone_does_not_depend_on_the_far_one() -> None:
    mono, stereo = record("fan"), record("fan", channels=2)
    np.testing.assert_array_equal(mono[0], stereo[0])
    assert stereo[1].std() < stereo[0].std()


def test_extra_tone_lies_where_the_design_says() -> None:
    design = draw_design("gearbox", 0)
    loud = dataclasses.replace(Health(speed_jitter=0.0), tone_db=20.0)
    spectrum = np.abs(np.fft.rfft(record("gearbox", health=loud)[0]))
    speed_rpm = design.scenes[Domain.SOURCE].speeds_rpm[0]
    peak_hz = np.argmax(spectrum) / 2.0  # 2 s
    assert peak_hz == pytest.approx(design.tone_order * speed_rpm / 60, rel=0.02)


@settings(max_examples=30)
@given(
    machine=st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True),
    seed=st.integers(0, 2**31),
    domain=st.sampled_from(Domain),
    fault=st.sampled_from(sorted(FAULTS)),
    duration_s=st.floats(0.1, 1.0),
    sample_rate_hz=st.sampled_from([8000, 16000, 44100]),
)
def test_any_name_is_a_machine(
    machine: str, seed: int, domain: Domain, fault: str, duration_s: float, sample_rate_hz: int
) -> None:
    design: Design = draw_design(machine, seed)
    scene = design.scenes[domain]
    waveform = render_clip(
        design,
        scene,
        FAULTS[fault](1.0),
        generator(machine, seed),
        speed_rpm=scene.speeds_rpm[-1],
        duration_s=duration_s,
        sample_rate_hz=sample_rate_hz,
        channels=2,
    )
    assert waveform.shape == (2, round(duration_s * sample_rate_hz))
    assert waveform.dtype == np.float32
    assert np.isfinite(waveform).all()
    assert np.sqrt(np.mean(waveform[0] ** 2)) > 0.001
    assert np.abs(waveform).max() < 1.0


@pytest.mark.slow
def test_detection_is_neither_trivial_nor_hopeless(tmp_path: Path) -> None:
    """Nearest neighbour on mean band levels: good on the source, clearly worse on the target."""
    areas: dict[str, list[float]] = {"source": [], "target": []}
    for folder in make_machines(tmp_path, test_per_cell=15, train_source=60, duration_s=3.0):
        bands = {path.name: bands_db(read(path))[0] for path in folder.rglob("*.wav")}
        bank = np.array([level for name, level in bands.items() if "_train_" in name])
        score = {name: np.linalg.norm(bank - level, axis=1).min() for name, level in bands.items()}
        for domain, values in areas.items():
            normal = [score[name] for name in score if f"{domain}_test_normal" in name]
            anomaly = [score[name] for name in score if "_test_anomaly" in name]
            values.append(float(np.mean(np.greater.outer(anomaly, normal))))
    assert 0.75 < np.mean(areas["source"]) < 0.97
    assert 0.5 < np.mean(areas["target"]) < np.mean(areas["source"])


# ---------------------------------------------------------------- tools/make_machine.py


def test_tool_makes_what_it_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = [f"{key}={value}" for key, value in SMALL.items()]
    assert make_machine.main([f"out={tmp_path}", "machine=fan,valve", *words]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "fan"), str(tmp_path / "valve")]
    assert len(list((tmp_path / "fan").rglob("*.wav"))) == 6 + 2 + 4 * 2
    assert json.loads((tmp_path / "valve" / "synthetic.json").read_text())["duration_s"] == 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say where the machines go"),
        (["fan"], "'fan' is not a key=value argument"),
        (["machin=fan"], "did you mean machine?"),
        (["out=x", "seed=one"], "seed=one does not fit"),
        (["out=x", "duration_s=long"], "duration_s=long does not fit"),
        (["out=x", "machine=a/b"], "machine=a/b does not fit: 'a/b' has a slash"),
    ],
)
def test_tool_explains_bad_words(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert make_machine.main(words) == 2
    assert message in capsys.readouterr().err
