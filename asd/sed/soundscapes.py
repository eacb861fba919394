"""Soundscapes: events mixed into backgrounds, with exact labels.

A scene is drawn first, as plain numbers, and rendered afterwards as a pure function of them. Clip i of a part
is a function of (seed, part, i) alone, to the byte.

    <out>/soundscapes.json      settings, and what each class is like, beside the parts and tables of `dataset`

The three training parts share sources (for example speakers) and backgrounds; validation and test have their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asd.core.runtime import progress
from asd.data.codecs import write_wav
from asd.sed.config import MakeSoundscapes
from asd.sed.sources import Backgrounds, Recording, Samples, load, stretch
from asd.sed.tables import STRONG_COLUMNS, WEAK_COLUMNS
from asd.synthetic.design import generator

TRAIN_PARTS = ("train_strong", "train_weak", "train_unlabelled")
PARTS = (*TRAIN_PARTS, "validation", "test")

_BACKGROUND_RMS = 0.03  # of full scale, so that events 20 dB above it seldom clip
_PEAK = 0.99
_FADE_S = 0.005
_TRIES = 20  # at a place for an event, before the scene does without it


Classes = Mapping[str, Mapping[str, float]]
"""Of each class "odds", how often it is drawn, which sum to one, and "length_s", its typical duration.

A length of 0 stands for that of its recordings. An event longer than its recording repeats it; for a shorter one, a
stretch is cut from it.
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a scene; `start_s` is where its stretch begins in the recording."""

    path: str
    label: str
    onset_s: float
    duration_s: float
    start_s: float
    snr_db: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Background and events of a clip."""

    background: str
    background_start_s: float
    events: tuple[Event, ...]


def unequal(classes: Sequence[str], config: MakeSoundscapes) -> Classes:
    """Classes whose odds and lengths fall geometrically; which class is long or frequent is drawn."""
    steps = np.linspace(0.0, 1.0, len(classes))
    rng = generator("unequal", config.seed)
    odds = rng.permutation(config.frequency_ratio**-steps)
    lengths_s = rng.permutation(config.longest_s * config.duration_ratio**-steps)
    lengths_s = np.zeros(len(classes)) if config.duration_ratio == 1 else lengths_s
    return {
        name: {"odds": float(share), "length_s": round(float(length_s), 6)}
        for name, share, length_s in zip(classes, odds / odds.sum(), lengths_s, strict=True)
    }


def draw_scene(
    config: MakeSoundscapes,
    classes: Classes,
    recordings: Mapping[str, Sequence[Recording]],
    backgrounds: Backgrounds,
    part: str,
    rng: np.random.Generator,
) -> Scene:
    """Draws one scene."""
    background, background_start_s = backgrounds.draw(part, config.duration_s, rng)
    labels, odds = list(classes), [each["odds"] for each in classes.values()]
    events: list[Event] = []
    for _ in range(rng.integers(config.least_events, config.most_events, endpoint=True)):
        label = labels[int(rng.choice(len(labels), p=odds))]
        event = _draw_event(config, label, classes[label]["length_s"], recordings[label], rng)
        for onset_s in rng.uniform(0.0, config.duration_s - event.duration_s, _TRIES).round(3):
            placed = replace(event, onset_s=float(onset_s))
            if _fits(placed, events, config.overlap):
                events.append(placed)
                break
    return Scene(background, background_start_s, tuple(sorted(events, key=lambda e: (e.onset_s, e.label))))


def _draw_event(
    config: MakeSoundscapes, label: str, typical_s: float, recordings: Sequence[Recording], rng: np.random.Generator
) -> Event:
    recording = recordings[int(rng.integers(len(recordings)))]
    recorded_s = len(load(recording.path, config.sample_rate_hz)) / config.sample_rate_hz
    wanted_s = typical_s * rng.uniform(0.7, 1.3) if typical_s else recorded_s
    duration_s = max(round(min(wanted_s, config.duration_s), 3), 0.001)  # tables are written to the millisecond
    start_s = rng.uniform(0.0, max(recorded_s - duration_s, 0.0))
    snr_db = rng.uniform(config.least_snr_db, config.most_snr_db)
    return Event(str(recording.path), label, 0.0, duration_s, round(float(start_s), 6), round(float(snr_db), 2))


def _fits(event: Event, others: Sequence[Event], overlap: int) -> bool:
    """Whether an event can be added: at most `overlap` at a time, and none of its own class beside it."""
    beside = [
        other
        for other in others
        if other.onset_s < event.onset_s + event.duration_s and event.onset_s < other.onset_s + other.duration_s
    ]
    if any(other.label == event.label for other in beside):
        return False
    moments_s = [event.onset_s, *(other.onset_s for other in beside if other.onset_s > event.onset_s)]
    at_once = [sum(o.onset_s <= t < o.onset_s + o.duration_s for o in beside) for t in moments_s]
    return max(at_once) < overlap


def render(scene: Scene, config: MakeSoundscapes, backgrounds: Backgrounds) -> Samples:
    """Waveform (samples,) of a scene; a clip whose sum would clip is turned down as a whole."""
    rate = config.sample_rate_hz
    mixture = backgrounds.samples(scene.background, scene.background_start_s, config.duration_s).copy()
    mixture *= _BACKGROUND_RMS / max(_rms(mixture), 1e-9)
    for event in scene.events:
        samples = _faded(stretch(Path(event.path), event.start_s, event.duration_s, rate), rate)
        samples *= _BACKGROUND_RMS * 10 ** (event.snr_db / 20) / max(_rms(samples), 1e-9)
        first = round(event.onset_s * rate)
        place = mixture[first : first + len(samples)]
        place += samples[: len(place)]
    loudest = max(float(np.abs(mixture).max()), _PEAK)
    return np.asarray(mixture * (_PEAK / loudest), np.float32)


def _faded(samples: Samples, sample_rate_hz: int) -> Samples:
    """The same samples, their ends faded."""
    fade = min(round(_FADE_S * sample_rate_hz), len(samples) // 2)
    ramp = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
    samples[:fade] *= ramp
    samples[len(samples) - fade :] *= ramp[::-1]
    return samples


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def group_of(part: str) -> str:
    """The parts that share sources and backgrounds: "train", "validation" or "test"."""
    return "train" if part in TRAIN_PARTS else part


def write_part(
    folder: Path,
    part: str,
    n_clips: int,
    config: MakeSoundscapes,
    classes: Classes,
    recordings: Sequence[Recording],
    backgrounds: Backgrounds,
) -> dict[str, Any]:
    """Writes the clips of a part and its table; returns events and active seconds of each class."""
    by_label = {name: [r for r in recordings if r.label == name] for name in classes}
    (folder / part).mkdir(parents=True)
    rows: list[tuple[str, float | str, float | str, str]] = []
    for i in progress(range(n_clips), part, total=n_clips):
        rng = generator("scene", config.seed, part, i)
        scene = draw_scene(config, classes, by_label, backgrounds, group_of(part), rng)
        name = f"{part}_{i:05d}.wav"
        write_wav(folder / part / name, render(scene, config, backgrounds)[None], config.sample_rate_hz)
        for event in scene.events:
            offset_s = min(round(event.onset_s + event.duration_s, 3), config.duration_s)
            rows.append((name, event.onset_s, offset_s, event.label))
        rows += [(name, "", "", "")] * (not scene.events)
    events = pd.DataFrame(rows, columns=list(STRONG_COLUMNS))
    if part == "train_weak":
        names = events.groupby("filename", sort=True)["event_label"].agg(lambda x: ",".join(sorted(set(x))))
        names.rename(WEAK_COLUMNS[1]).to_csv(folder / f"{part}.tsv", sep="\t")
    elif part in ("train_strong", "validation", "test"):
        events.to_csv(folder / f"{part}.tsv", sep="\t", index=False)
    labelled = events[events["event_label"] != ""]
    seconds = (labelled["offset"].astype(float) - labelled["onset"].astype(float)).groupby(labelled["event_label"])
    return {"clips": n_clips, "events": seconds.size().to_dict(), "seconds": seconds.sum().round(3).to_dict()}
