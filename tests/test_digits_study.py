"""The digits study on made-up words: tones that two speakers play at their own pitch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from asd.data.codecs import write_wav
from tests.command import Answer, contents, refuses, succeeds

WORDS = {"deep": 300.0, "high": 2100.0, "middle": 900.0}
SPEAKERS = {"ann": 0.97, "bob_jr": 1.03}
N_NUMBERS = 8
RATE_HZ = 8000
SHORT = (
    "n_known_test=2",
    "epochs=8",
    "batch_size=8",
    "seeds=0",
    "workers=1",
    "device=cpu",
    "duration_s=0.512",
    "chosen_on=ann",
    "speed=1.05",
)


def say(path: Path, hz: float, rng: np.random.Generator, rate_hz: int = RATE_HZ) -> None:
    times_s = np.arange(int(rate_hz * rng.uniform(0.2, 0.6))) / rate_hz
    tone = np.sin(2 * np.pi * hz * times_s) + 0.05 * rng.standard_normal(len(times_s))
    write_wav(path, 0.3 * tone[None].astype(np.float32), rate_hz)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("words"), np.random.default_rng(0)
    (folder / "recordings").mkdir()
    for word, hz in WORDS.items():
        for speaker, pitch in SPEAKERS.items():
            for number in range(N_NUMBERS):
                say(folder / f"recordings/{word}_{speaker}_{number}.wav", pitch * hz, rng)
    return folder


@pytest.fixture(scope="module")
def study(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    runs = tmp_path_factory.mktemp("runs")
    return runs / "digits/small", succeeds("study", "digits", f"data={data}", f"runs={runs}", *SHORT)


@pytest.mark.slow
def test_tones_are_told_apart_by_speakers_known_and_unseen(study: tuple[Path, Answer]) -> None:
    folder, answer = study
    report = json.loads((folder / "report.json").read_text())
    assert report["known"]["accuracy"]["mean"] > 0.8
    assert report["unseen"]["accuracy"]["mean"] > 0.8
    assert f"unseen speakers  {100 * report['unseen']['accuracy']['mean']:.1f}" in answer.out
    assert np.sum(report["known"]["confusion"]) == report["known"]["n_test"] == 2 * len(WORDS) * len(SPEAKERS)
    assert np.sum(report["unseen"]["confusion"]) == N_NUMBERS * len(WORDS) * len(SPEAKERS)
    assert report["untouched"] == report["speakers"]["bob_jr"]


@pytest.mark.slow
def test_other_classifiers_work_on_the_features_of_both_lengths(study: tuple[Path, Answer]) -> None:
    table = pd.read_csv(study[0] / "classifiers.csv")
    assert set(table["features"]) == {64, 32}  # one step of 64 channels here, and the dense layer
    assert set(table["classifier"]) == {"k-NN", "logistic regression", "SVM"}
    assert (table["mean"] > 0.6).all()  # one in three by chance


@pytest.mark.slow
def test_tables_and_figures_are_there(study: tuple[Path, Answer]) -> None:
    folder = study[0]
    confusion = pd.read_csv(folder / "confusion_unseen.csv", index_col="actual")
    assert list(confusion.index) == list(confusion.columns) == list(WORDS)
    report = pd.read_csv(folder / "classification_unseen.csv", index_col=0)
    assert report.loc["deep", "recall"] == pytest.approx(confusion.loc["deep", "deep"] / confusion.loc["deep"].sum())
    page = (folder / "report.md").read_text()
    for name in ("confusion", "filters", "activation_maps", "class_activation"):
        assert f"({name}.png)" in page
        picture = matplotlib.image.imread(folder / f"{name}.png")
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 0.05
    assert "only before the first ReLU" in page


@pytest.mark.slow
def test_what_is_done_is_not_done_again_wherever_the_recordings_lie(
    data: Path, study: tuple[Path, Answer], tmp_path: Path
) -> None:
    folder = study[0]
    before = contents(folder)
    for name in ("report.md", "filters.png", "confusion_unseen.csv"):
        (folder / name).unlink()
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*/seed0/*")}
    moved = shutil.copytree(data / "recordings", tmp_path / "elsewhere")
    answer = succeeds("study", "digits", f"data={moved}", f"runs={folder.parents[1]}", *SHORT)
    assert "3 of 3 cells are done already" in answer.err
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.glob("*/seed0/*")}
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["data=nowhere"], "data=nowhere is not a folder; give the folder of the Free Spoken Digit Dataset"),
        (["held_out=eve"], "held_out=eve is unknown; there are ann, bob_jr"),
        (["network=ch33"], "network=ch33 is unknown; there are small, base"),
        (["duration_s=0.1"], "n_samples=800 is too short"),
        (["n_known_test=9"], "the split 'known' tests 3 words and learns 0"),
        (["sample_rate_hz=16000"], "is sampled at 8000 Hz, not 16000 Hz; resample it, or set sample_rate_hz=8000"),
    ],
)
def test_bad_words_are_refused_before_anything_is_trained(
    data: Path, tmp_path: Path, words: list[str], saying: str
) -> None:
    refuses("study", "digits", f"data={data}", f"runs={tmp_path}", *SHORT, *words, saying=saying)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "saying"),
    [
        ("deep.wav", "deep.wav does not name word and speaker; name it"),
        ("deep_ann_first.wav", "does not name word and speaker"),
        ("deep_known_0.wav", "a speaker called known"),
    ],
)
def test_names_that_do_not_tell_who_says_what(tmp_path: Path, name: str, saying: str) -> None:
    say(tmp_path / name, 300.0, np.random.default_rng(0))
    refuses("study", "digits", f"data={tmp_path}", f"runs={tmp_path / 'runs'}", saying=saying)


def test_one_recording_of_another_sample_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    say(tmp_path / "deep_ann_0.wav", 300.0, rng)
    say(tmp_path / "high_ann_0.wav", 2100.0, rng, rate_hz=16000)
    refuses(
        "study", "digits", f"data={tmp_path}", f"runs={tmp_path / 'runs'}",
        saying="high_ann_0.wav is sampled at 16000 Hz, not 8000 Hz",
    )  # fmt: skip


def test_a_silent_recording(tmp_path: Path) -> None:
    say(tmp_path / "deep_ann_0.wav", 300.0, np.random.default_rng(0))
    write_wav(tmp_path / "high_ann_0.wav", np.zeros((1, 4000), np.float32), RATE_HZ)
    refuses(
        "study", "digits", f"data={tmp_path}", f"runs={tmp_path / 'runs'}", saying="high_ann_0.wav is silent or empty"
    )
