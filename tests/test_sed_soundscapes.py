"""Soundscapes: the same seed gives the same bytes, labels say what was mixed, and no source is met again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.audio import read_wav
from asd.data.codecs import write_wav
from asd.sed.config import MakeSoundscapes
from asd.sed.soundscapes import Event, Scene, _fits, draw_scene, render, unequal
from asd.sed.sources import SHARES, Recording, SyntheticBackgrounds, backgrounds, list_recordings, split_sources
from asd.synthetic.design import generator
from asd.types import AsdError
from tests.command import contents, refuses, succeeds
from tests.sounds import PITCHES_HZ, RATE_HZ, SOUNDSCAPES, SOURCES, write_events


class Silence:
    """A background that is hardly there."""

    def draw(self, part: str, duration_s: float, rng: np.random.Generator) -> tuple[str, float]:
        return "silence", 0.0

    def samples(self, name: str, start_s: float, duration_s: float) -> np.ndarray:
        return np.full(round(duration_s * RATE_HZ), 1e-6, np.float32)


CLASSES = {name: {"odds": odds, "length_s": 0.0} for name, odds in zip(PITCHES_HZ, (0.5, 0.25, 0.25), strict=True)}
RECIPE = MakeSoundscapes(
    events=Path(), duration_s=3.0, sample_rate_hz=RATE_HZ, least_events=2, most_events=6, least_snr_db=10.0,
    most_snr_db=20.0,
)  # fmt: skip


def by_label(folder: Path) -> dict[str, list[Recording]]:
    recordings = list_recordings(write_events(folder))
    return {name: [r for r in recordings if r.label == name] for name in PITCHES_HZ}


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(tmp_path: Path) -> None:
    events = write_events(tmp_path / "events")
    words = ("sed", "make-soundscapes", f"events={events}", *SOUNDSCAPES)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        succeeds(*words, f"out={tmp_path / name}", f"seed={seed}")
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a["test/test_00000.wav"] != c["test/test_00000.wav"]
    assert sum(name.endswith(".wav") for name in a) == 24 + 8 + 8 + 12 + 8
    assert not (tmp_path / "a/train_unlabelled.tsv").exists()
    assert list(pd.read_csv(tmp_path / "a/train_weak.tsv", sep="\t")) == ["filename", "event_labels"]
    facts = json.loads((tmp_path / "a/soundscapes.json").read_text())
    strong = pd.read_csv(tmp_path / "a/train_strong.tsv", sep="\t").dropna()
    assert facts["parts"]["train_strong"]["events"] == strong["event_label"].value_counts().to_dict()
    assert "there already" in succeeds(*words, f"out={tmp_path / 'a'}", "seed=1").out
    refuses(*words, f"out={tmp_path / 'a'}", "seed=3", saying="holds something else; choose another place")
    first, second, *_ = sorted(events.rglob("*.wav"))
    first.write_bytes(second.read_bytes())
    refuses(*words, f"out={tmp_path / 'a'}", "seed=1", saying="holds something else")
    succeeds(*words, f"out={tmp_path / 'a'}", "seed=1", "overwrite=true")
    assert contents(tmp_path / "a") != b


def test_a_clip_does_not_depend_on_how_many_others_there_are(tmp_path: Path) -> None:
    events = write_events(tmp_path / "events")
    words = ("sed", "make-soundscapes", f"events={events}", *SOUNDSCAPES)
    succeeds(*words, f"out={tmp_path / 'a'}")
    succeeds(*words, f"out={tmp_path / 'b'}", "strong=5", "weak=0")
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    wavs = {name for name in b if name.endswith(".wav")}
    assert all(a[name] == b[name] for name in wavs)
    assert not any(name.startswith("train_weak") for name in b)


def test_no_source_is_in_two_parts_and_every_part_has_every_class(tmp_path: Path) -> None:
    recordings = list_recordings(write_events(tmp_path))
    parts = split_sources(recordings, seed=0)
    sources = [{r.source for r in part} for part in parts.values()]
    assert set.union(*sources) == set(SOURCES)
    assert sum(map(len, sources)) == len(SOURCES)
    assert all({r.label for r in part} == set(PITCHES_HZ) for part in parts.values())
    with pytest.raises(AsdError, match="3 parts must not share one"):
        split_sources([r for r in recordings if r.source != "ann"], seed=0)
    lacking = [r for r in recordings if (r.source, r.label) != ("ann", "low")]
    with pytest.raises(AsdError, match=r"\(ann\) have no recording of low"):
        split_sources(lacking, seed=0)


def test_folders_of_labels_are_read_too_and_names_without_labels_refused(tmp_path: Path) -> None:
    for name in ("dog/rex_1.wav", "dog/alone.wav", "cat/tom_1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / name, np.zeros((1, 10), np.float32), RATE_HZ)
    found = [(r.label, r.source) for r in list_recordings(tmp_path)]
    assert found == [("cat", "tom"), ("dog", "alone"), ("dog", "rex")]
    write_wav(tmp_path / "dog.wav", np.zeros((1, 10), np.float32), RATE_HZ)
    with pytest.raises(AsdError, match=r"dog.wav names no label; name it <label>_<source>_<anything>.wav"):
        list_recordings(tmp_path)
    with pytest.raises(AsdError, match="is not a folder"):
        list_recordings(tmp_path / "nothing")


def test_without_backgrounds_there_is_a_sentence(tmp_path: Path) -> None:
    events = write_events(tmp_path / "events")
    words = ("sed", "make-soundscapes", f"events={events}", f"out={tmp_path / 'out'}")
    refuses(*words, saying="background= is missing: give a folder of WAV files, or background=synthetic")
    (tmp_path / "empty").mkdir()
    refuses(*words, f"background={tmp_path / 'empty'}", saying="holds 0 WAV files, but 3 parts need one each")
    assert not (tmp_path / "out").exists()


def test_recorded_backgrounds_are_shared_out_and_brought_to_the_sample_rate(tmp_path: Path) -> None:
    for i in range(5):
        noise = 0.1 * np.random.default_rng(i).normal(size=(1, 8000)).astype(np.float32)
        write_wav(tmp_path / f"{i}.wav", noise, 8000)
    behind = backgrounds(str(tmp_path), RATE_HZ)
    rng = np.random.default_rng(0)
    drawn = {part: {behind.draw(part, 0.5, rng)[0] for _ in range(40)} for part in SHARES}
    assert sorted(len(names) for names in drawn.values()) == [1, 1, 3]
    assert len(set.union(*drawn.values())) == 5
    assert behind.samples(next(iter(drawn["test"])), 0.2, 3.0).shape == (3 * RATE_HZ,)  # repeated


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), overlap=st.integers(1, 3))
def test_scenes_keep_to_their_recipe(seed: int, overlap: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    recordings = by_label(tmp_path_factory.getbasetemp() / "events")
    ours = RECIPE.model_copy(update={"overlap": overlap})
    scene = draw_scene(ours, CLASSES, recordings, Silence(), "train", generator(seed))
    assert scene == draw_scene(ours, CLASSES, recordings, Silence(), "train", generator(seed))
    assert len(scene.events) <= 6
    for t in np.arange(0, 3, 0.01):
        at_once = [e.label for e in scene.events if e.onset_s <= t < e.onset_s + e.duration_s]
        assert len(at_once) <= overlap
        assert len(at_once) == len(set(at_once))
    for event in scene.events:
        assert 0 <= event.onset_s <= event.onset_s + event.duration_s <= 3.0
        assert 10 <= event.snr_db <= 20


def test_a_scene_has_no_fewer_events_than_asked_for(tmp_path: Path) -> None:
    recordings, one = by_label(tmp_path), RECIPE.model_copy(update={"least_events": 1, "most_events": 1})
    scenes = [draw_scene(one, CLASSES, recordings, Silence(), "train", generator(seed)) for seed in range(10)]
    assert [len(scene.events) for scene in scenes] == [1] * 10


def test_two_events_of_one_class_never_fit_together() -> None:
    there = [Event("x", "low", 1.0, 1.0, 0.0, 10.0)]
    assert not _fits(Event("x", "low", 1.5, 1.0, 0.0, 10.0), there, overlap=3)
    assert _fits(Event("x", "low", 2.0, 1.0, 0.0, 10.0), there, overlap=1)
    assert _fits(Event("x", "high", 1.5, 1.0, 0.0, 10.0), there, overlap=2)
    assert not _fits(Event("x", "high", 1.5, 1.0, 0.0, 10.0), there, overlap=1)


@pytest.mark.parametrize("length_s", [0.1, 0.9])
def test_events_are_cut_or_repeated_and_stand_above_the_background_as_drawn(tmp_path: Path, length_s: float) -> None:
    recordings = by_label(tmp_path)
    event = Event(str(recordings["mid"][0].path), "mid", 1.0, length_s, 0.0, 20.0)
    behind = SyntheticBackgrounds(RATE_HZ)
    empty = render(Scene("fan/1", 0.0, ()), RECIPE, behind)
    mixed = render(Scene("fan/1", 0.0, (event,)), RECIPE, behind)
    scale = mixed[:RATE_HZ] @ empty[:RATE_HZ] / (empty[:RATE_HZ] @ empty[:RATE_HZ])
    alone = mixed / scale - empty
    inside = slice(RATE_HZ, RATE_HZ + round(length_s * RATE_HZ))
    snr_db = 20 * np.log10(np.std(alone[inside]) / np.std(empty))
    assert abs(snr_db - 20.0) < 0.3
    assert np.abs(np.delete(alone, np.r_[inside])).max() < 1e-4
    assert np.abs(mixed).max() <= 0.99 + 1e-6


def test_a_silent_stretch_of_a_background_is_a_silent_clip(tmp_path: Path) -> None:
    late = np.r_[np.zeros(4 * RATE_HZ), 0.1 * np.ones(RATE_HZ)].astype(np.float32)[None]
    for name in "abc":
        write_wav(tmp_path / f"{name}.wav", late, RATE_HZ)
    behind = backgrounds(str(tmp_path), RATE_HZ)
    assert not render(Scene(str(tmp_path / "a.wav"), 0.5, ()), RECIPE, behind).any()


def test_no_event_is_shorter_than_a_table_can_say(tmp_path: Path) -> None:
    classes = {name: {"odds": 1 / 3, "length_s": 1e-5} for name in PITCHES_HZ}
    scene = draw_scene(RECIPE, classes, by_label(tmp_path), Silence(), "train", generator(0))
    assert {event.duration_s for event in scene.events} == {0.001}


def test_unequal_classes_have_the_ratios_asked_for() -> None:
    ratios = RECIPE.model_copy(update={"duration_ratio": 16.0, "longest_s": 4.0, "frequency_ratio": 10.0, "seed": 3})
    classes = unequal(list("abcdef"), ratios)
    odds, lengths_s = ([each[name] for each in classes.values()] for name in ("odds", "length_s"))
    assert abs(sum(odds) - 1) < 1e-9
    assert max(odds) / min(odds) == pytest.approx(10)
    assert max(lengths_s) == 4.0
    assert max(lengths_s) / min(lengths_s) == pytest.approx(16)
    assert unequal(list("abc"), RECIPE) == {name: {"odds": 1 / 3, "length_s": 0.0} for name in "abc"}


def test_spoken_digits_keep_their_speakers_apart(shared: Path, tmp_path: Path) -> None:
    words = ("background=synthetic", "sample_rate_hz=8000", "strong=2", "validation=1", "test=1")
    answer = succeeds(
        "sed", "make-soundscapes", f"events={shared / 'data/spoken_digits/recordings'}",
        f"out={tmp_path / 'digits'}", *words,
    )  # fmt: skip
    said = [line.split(" of ")[1].split(", ") for line in answer.err.splitlines() if "recordings of" in line]
    assert sorted(map(len, said)) == [1, 1, 4]
    assert len({name for names in said for name in names}) == 6
    assert read_wav(tmp_path / "digits/test/test_00000.wav")[1] == 8000


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        ("classes=low,top", "classes=top has no recording in events; there are high, low, mid"),
        ("least_events=6", "least_events=6 is more than most_events=5; exchange them"),
        ("most_snr_db=-3", "least_snr_db=6 is more than most_snr_db=-3; exchange them"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(
    words: str, saying: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_events(Path("events"))
    refuses("sed", "make-soundscapes", "events=events", "background=synthetic", words, saying=saying)
    assert not Path("data").exists()


def test_a_label_with_a_comma_may_be_asked_for(tmp_path: Path) -> None:
    events = write_events(tmp_path / "events")
    for path in events.glob("low_*"):
        path.rename(path.with_name(path.name.replace("low", "low, soft")))
    words = ("background=synthetic", "sample_rate_hz=4000", "duration_s=1", "strong=2", "validation=1", "test=1")
    succeeds("sed", "make-soundscapes", f"events={events}", "classes=low, soft,mid", f"out={tmp_path / 'd'}", *words)
    made = json.loads((tmp_path / "d/soundscapes.json").read_text())
    assert list(made["classes"]) == ["low, soft", "mid"]


def test_recorded_backgrounds_are_behind_the_clips_of_all_parts(tmp_path: Path) -> None:
    events, folder = write_events(tmp_path / "events"), tmp_path / "rooms"
    folder.mkdir()
    for k in range(5):
        noise = 0.1 * np.random.default_rng(k).normal(size=(1, 2 * RATE_HZ)).astype(np.float32)
        write_wav(folder / f"room{k}.WAV", noise, RATE_HZ)
    words = ("sed", "make-soundscapes", f"events={events}", *SOUNDSCAPES, f"background={folder}", "strong=2", "weak=2")
    words = (*words, "unlabelled=2", "validation=2", "test=2")
    succeeds(*words, f"out={tmp_path / 'data'}")
    for part in ("train_strong", "train_weak", "train_unlabelled", "validation", "test"):
        for path in (tmp_path / "data" / part).glob("*.wav"):
            assert np.abs(read_wav(path)[0][0, :200]).max() > 0
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    for k in range(3):
        write_wav(quiet / f"room{k}.wav", np.full((1, RATE_HZ), 0.25, np.float32), RATE_HZ)
    words = (*words, f"background={quiet}", f"out={tmp_path / 'again'}")
    refuses(*words, saying=r"room\d.wav holds no sound: all its samples are 0.25; remove it")
