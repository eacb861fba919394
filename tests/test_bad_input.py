"""Recordings and folders that are wrong: one sentence with the value, the file and the way out.

What is wrong with words is in test_bad_words.py, with places and models in test_bad_places.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from asd.settings import config
from tests.command import NAME, a_clip, asd, contents, refuses, short_training, succeeds


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], rate_hz: int = 16000) -> None:
    """Writes the samples anew, changed, as float WAV."""
    samples = change(soundfile.read(path, dtype="float32")[0])
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")


def with_a(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda samples: np.where(np.arange(len(samples)) == 77, np.float32(value), samples)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda p: p.write_bytes(b""), r"\(0 bytes\) is not a readable WAV .*copy it again"),
    "cut in the header": (lambda p: p.write_bytes(p.read_bytes()[:20]), "not a readable WAV"),
    "cut in the samples": (
        lambda p: p.write_bytes(p.read_bytes()[:9000]),
        "truncated: its header promises 32000 bytes of samples, the file holds 8956; copy it again",
    ),
    "header only": (lambda p: rewrite(p, lambda x: x[:0]), "holds no samples; remove it"),
    "another kind of file": (lambda p: p.write_text("ID3 and so on" * 99), "not a readable WAV"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "not a readable WAV"),
    "a link to nowhere": (lambda p: (p.unlink(), p.symlink_to("gone.wav")), "does not exist"),
    "8 kHz": (
        lambda p: rewrite(p, lambda x: x[::2], 8000),
        "sampled at 8000 Hz, not 16000 Hz; resample it, or set sample_rate_hz=8000",
    ),
    "NaN": (lambda p: rewrite(p, with_a(np.nan)), "NaN or infinite samples; repair or remove"),
    "infinity": (lambda p: rewrite(p, with_a(-np.inf)), "NaN or infinite samples"),
    "an absurd sample": (lambda p: rewrite(p, with_a(1e20)), r"holds a sample of 1e\+20, and full scale is 1"),
    "too short": (lambda p: rewrite(p, lambda x: x[:2047]), "has 2047 samples, fewer than the 2048 .*remove it"),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_recording_is_named_before_anything_is_trained(place: Path, split: str, defect: str) -> None:
    clip = a_clip(split)
    damage, sentence = BROKEN[defect]
    damage(clip)
    assert str(clip) in refuses(*short_training(), saying=sentence)
    assert not (place / "runs").exists()


def test_all_broken_training_clips_are_named_at_once(place: Path) -> None:
    first, second, third = sorted((place / "data/fan/train").glob("*.wav"))[:3]
    for clip in (first, second, third):
        rewrite(clip, np.zeros_like)
    saying = rf"{first.name} is silent .*3 of 15 training clips are broken \({second.name}, {third.name} besides\)"
    refuses(*short_training(), saying=saying)
    first.write_bytes(b"")
    rewrite(third, lambda x: x[:2047])
    saying = rf"{first.name} \(0 bytes\) is not .*; 1 more of 15 recordings cannot be used: {third.name}$"
    refuses(*short_training(), saying=saying)


def test_more_broken_clips_than_a_sentence_names_are_a_line_each(place: Path) -> None:
    clips = sorted((place / "data/fan/train").glob("*.wav"))
    for clip in clips[:7]:
        rewrite(clip, np.zeros_like)
    answer = asd(*short_training())
    assert "7 of 15 training clips are broken" in answer.err
    for clip in clips[1:7]:
        assert re.search(rf"WARNING: .*{clip.name} is silent \(all samples are zero\)\n", answer.err)
    for clip in clips[:7]:
        clip.write_bytes(b"RIFF")
    answer = asd(*short_training())
    assert "6 more of 15 recordings cannot be used" in answer.err
    for clip in clips[1:7]:
        assert re.search(rf"WARNING: .*{clip.name} .*not a readable WAV", answer.err)
    for clip in clips[7:]:
        clip.write_bytes(b"RIFF")
    refuses(*short_training(), saying="14 more of 15 recordings cannot be used: .* and 9 more")
    assert "WARNING" not in asd(*short_training()).err  # what is wrong with all is said once


def test_a_broken_test_clip_leaves_earlier_scores_alone(run: Path) -> None:
    before = contents(run)
    a_clip("test").write_bytes(b"RIFF")
    refuses("score", NAME, "data=data", saying="not a readable WAV")
    refuses(*short_training(), saying="not a readable WAV")
    assert contents(run) == before


@pytest.mark.parametrize("detector", ["autoencoder", "statistics"])
def test_the_shortest_clip_that_can_be_used_is_used(place: Path, detector: str) -> None:
    least = config.Run(detector=detector).detector_settings.least_samples()
    for split in ("train", "test"):
        rewrite(a_clip(split), lambda x: x[:least])
    succeeds(*short_training(f"detector={detector}", f"name={detector}"))
    rewrite(a_clip("test"), lambda x: x[: least - 1])
    refuses(*short_training(f"detector={detector}", "name=short"), saying=f"fewer than the {least} ")


def hung(samples: np.ndarray) -> np.ndarray:
    """A converter that hangs after a moment."""
    return np.where(np.arange(len(samples)) < 1600, samples, samples[1600])


SOUNDLESS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "digital silence": (np.zeros_like, r"is silent \(all samples are zero\)"),
    "an offset": (lambda x: np.full_like(x, 0.125), r"is silent \(all samples are 0\.125\)"),
    "a converter that hangs": (hung, "holds still for 90% of its length"),
    "clipping throughout": (lambda x: np.clip(1000 * x, -1, 1), r"is clipped \(9\d% of its samples"),
}


@pytest.mark.parametrize("kind", SOUNDLESS)
def test_a_training_clip_without_a_sound_is_refused(place: Path, kind: str) -> None:
    clip, (change, saying) = a_clip("train"), SOUNDLESS[kind]
    rewrite(clip, change)
    assert str(clip) in refuses(*short_training(), saying=f"{saying}.*1 of 15 training clips.* remove it")
    assert not (place / "runs").exists()


@pytest.mark.parametrize("kind", SOUNDLESS)
def test_a_test_clip_without_a_sound_is_scored_with_a_warning(place: Path, kind: str) -> None:
    clip, (change, saying) = a_clip("test"), SOUNDLESS[kind]
    rewrite(clip, change)
    answer = succeeds(*short_training())
    assert re.search(rf"WARNING: {clip} {saying}", answer.err)
    table = pd.read_csv("runs/autoencoder/fan/seed0/scores/mse.csv")
    assert len(table) == 12
    assert np.isfinite(table["score"]).all()


@pytest.mark.parametrize("word", ["frontend=cancel", "frontend=far"])
def test_a_second_microphone_that_is_not_there(place: Path, word: str) -> None:
    saying = rf"wav has one channel and {word} needs two .* use frontend=near"
    refuses(*short_training(word), saying=saying)
    assert not (place / "runs").exists()


def test_a_mono_file_where_the_year_has_two_microphones(place: Path) -> None:
    answer = succeeds(*short_training("year=2026"))
    assert re.search(r"WARNING: \w+: \S+wav has one channel \(as 15 of 15 train clips\).*near microphone", answer.err)


def add_a_microphone(place: Path) -> None:
    """Far microphones of their own for all clips of the place."""
    rng = np.random.default_rng(0)
    for clip in (place / "data/fan").rglob("*.wav"):
        near = soundfile.read(clip, dtype="float32")[0]
        soundfile.write(clip, np.stack([near, 0.1 * rng.normal(size=len(near))], 1), 16000)


def test_the_second_of_two_microphones(place: Path) -> None:
    add_a_microphone(place)
    for name in ("near", "far", "cancel"):
        succeeds(*short_training(f"name={name}", f"frontend={name}"))
    near, far, rest = (
        pd.read_csv(f"runs/{name}/fan/seed0/scores/mse.csv")["score"] for name in ("near", "far", "cancel")
    )
    assert (near != far).all()
    assert (near != rest).all()


@pytest.mark.parametrize(
    ("far", "saying"),
    [
        (lambda near: 0 * near, "has a silent far microphone"),
        (lambda near: 0.5 * near, "has the same sound on both microphones"),
    ],
)
def test_a_broken_second_microphone(place: Path, far: Callable[[np.ndarray], np.ndarray], saying: str) -> None:
    add_a_microphone(place)
    test, train = a_clip("test"), a_clip("train")
    for clip in (test, train):
        near = soundfile.read(clip, dtype="float32")[0][:, 0]
        soundfile.write(clip, np.stack([near, far(near)], 1), 16000)
    answer = refuses(*short_training("frontend=cancel"), saying=f"{saying}.* 1 of 15 .*remove it or use")
    assert str(train) in answer
    succeeds(*short_training("name=near"))
    train.unlink()
    answer = succeeds(*short_training("frontend=cancel"))
    assert re.search(rf"WARNING: {test} {saying}", answer.err)
    assert np.isfinite(pd.read_csv("runs/autoencoder/fan/seed0/scores/mse.csv")["score"]).all()


def test_a_sample_rate_of_ones_own(place: Path) -> None:
    for clip in Path("data/fan").rglob("*.wav"):
        rewrite(clip, lambda x: x[::2], 8000)
    succeeds(*short_training("sample_rate_hz=8000"))


# --- folders and names --------------------------------------------------------------------------------


def test_a_name_outside_the_grammar(place: Path) -> None:
    clip = a_clip("train")
    clip.rename(clip.with_name("fan_0001.wav"))
    refuses(*short_training(), saying=r"data/fan/train/fan_0001\.wav is outside the file-name grammar: name it like")
    assert not (place / "runs").exists()


def test_an_anomaly_in_training_data(place: Path) -> None:
    clip = next(Path("data/fan/test").glob("*anomaly*"))
    wrong = Path("data/fan/train") / clip.name.replace("_test_", "_train_")
    clip.rename(wrong)
    assert str(wrong) in refuses(*short_training(), saying="anomaly in training data.*move it to test/")


def test_without_attributes_everything_works_the_same(run: Path) -> None:
    Path("data/fan/attributes_00.csv").unlink()
    succeeds(*short_training("name=without"))
    assert Path("runs/without/fan/seed0/scores/mse.csv").read_bytes() == (run / "scores/mse.csv").read_bytes()


def test_attributes_that_are_something_else(place: Path) -> None:
    Path("data/fan/attributes_00.csv").write_text("speed;1000\n")
    refuses(*short_training(), saying=r"attributes_00\.csv begins with 'speed;1000': expected file_name,d1p,d1v")


def test_attribute_rows_are_joined_however_they_spell_the_recording(run: Path) -> None:
    table = Path("data/fan/attributes_00.csv")
    table.write_text(table.read_text().replace("/", "\\").replace(".wav", ".WAV "))
    assert "is done already" in succeeds(*short_training()).err


def test_attribute_rows_that_match_nothing_are_counted_and_named(place: Path) -> None:
    table = Path("data/fan/attributes_00.csv")
    table.write_text(table.read_text().replace("section_00_source_train", "section_00_source_trial"))
    err = succeeds(*short_training()).err
    assert re.search(r"WARNING: \S+attributes_\*\.csv has rows for recordings that are not there: 12 \(the fi", err)
    assert re.search(r"WARNING: \S+ has no row for some recordings of train/: 12 \(the first section_00_sou", err)


@pytest.mark.parametrize("domain", ["source", "target"])
def test_training_clips_of_one_domain_only(place: Path, domain: str) -> None:
    for clip in Path("data/fan/train").glob(f"*_{domain}_*"):
        clip.unlink()
    answer = succeeds(*short_training())
    assert f"WARNING: fan has no {domain} training clips" in answer.err
    succeeds("evaluate", NAME)


def test_test_clips_of_one_domain_only(place: Path) -> None:
    for clip in Path("data/fan/test").glob("*_target_*"):
        clip.unlink()
    succeeds(*short_training())
    saying = "fan section 00 has no test clips labelled normal of the target domain"
    refuses("evaluate", NAME, "year=2025", saying=saying)
    assert not Path("runs/autoencoder/evaluation.json").exists()
    answer = succeeds("evaluate", NAME)
    assert "a section lacks clips that the rule of 2025 compares; that of 2020 holds" in answer.err
    assert "Rule of 2020" in answer.out


def test_a_single_training_clip(place: Path) -> None:
    for clip in sorted(Path("data/fan/train").glob("*.wav"))[1:]:
        clip.unlink()
    for detector in ("autoencoder", "statistics"):
        words = short_training(f"detector={detector}", f"name={detector}")
        refuses(*words, saying=f"fan has 1 training clips, and {detector} learns from 2 or more")
    assert not [*place.rglob("DONE")]


def test_no_training_clips(place: Path) -> None:
    for clip in Path("data/fan/train").iterdir():
        clip.unlink()
    refuses(*short_training(), saying=r"fan has no train clips: looked for \*\.wav in data/fan/train")
    shutil.rmtree("data/fan/train")
    refuses(*short_training(), saying="fan has no train clips")


def test_no_test_clips_yet(place: Path) -> None:
    """A machine may be learnt before there is anything to score; an empty folder is a mistake."""
    shutil.move("data/fan/test", "later")
    assert "put clips to score in test/" in succeeds(*short_training()).out
    refuses("score", NAME, "data=data", saying="fan has no test clips")
    refuses("evaluate", NAME, saying="no test clips of runs/autoencoder were scored")
    Path("data/fan/test").mkdir()
    refuses(*short_training(), saying="fan has no test clips")
    shutil.rmtree("data/fan/test")
    shutil.move("later", "data/fan/test")
    succeeds(*short_training())
    succeeds("evaluate", NAME)


def test_no_data_folder(place: Path) -> None:
    refuses("train", "machine=fan", "data=nowhere", saying="no data folder .*/nowhere: .*data=DIR")
    refuses("train", "machine=fan", saying="no data folder .*dcase2025t2/dev_data/raw")
    refuses(
        "train",
        "machine=all",
        "data=data/fan/train",
        saying="no machine: expected <machine>/train.* machine fan, say data=.*data machine=fan$",
    )
    refuses("train", "machine=fan", "data=data/fan/attributes_00.csv", saying="names .*, and there is no file")
