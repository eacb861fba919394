"""Clips beside their nearest training clips, in effects, pictures and sounds; the inside of the stage `explain`.

Works with every detector: it is only asked for scores of altered copies of a clip.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.figure import Figure

from asd.core.files import atomic, write_text
from asd.core.runtime import fingerprint, log, progress
from asd.data.audio import Sound
from asd.data.codecs import encode
from asd.data.recordings import Recordings, in_memory
from asd.detectors.base import Detector
from asd.evaluation import explain
from asd.evaluation.explain import Effects, FloatArray
from asd.evaluation.figures import Picture, colour_limits, explanation_figure, save
from asd.evaluation.report.contents import Medium, spectrogram_picture
from asd.features.logmel import LogMel
from asd.features.normal_spectra import LONGEST_S, NormalSpectra, mean_spectra
from asd.types import AsdError, Clip

Samples = npt.NDArray[np.float32]

_SAME = 0.01  # of a score: devices and batches move it less
_WINDOW_S = 0.064  # of the spectrograms
_LEAST_HOP_SAMPLES, _MOST_FRAMES = 64, 800  # as fine as the picture can show
_SHOWN_MELS, _SHOWN_FRAMES = 96, 360  # of the spectrograms of a page
_MOST_SOUND_S = 30.0  # of a longer recording, only the beginning is on the page


@dataclass(frozen=True)
class Material:
    """Scored clips, and what their scores come from."""

    detector: Detector  # fitted
    scorer: str  # whose scores they are
    table: pd.DataFrame  # scores, rows numbered from 0; a column `nearest` names a training clip, where that is known
    test: Recordings  # of the rows, in order
    train: Recordings  # what the detector was fitted on

    def in_windows(self, rows: Iterable[int]) -> Material:
        """The same; of each of the rows that lasts more than a minute, only the window with the highest score.

        Windows are as long as the longest training clip, or a minute where that is longer.
        """
        longest = round(LONGEST_S * self.test.sample_rate_hz)
        n_samples = min(longest, int(self.train.lengths_samples.max()))
        sounds = list(self.test.sounds)
        for row in rows:
            if sounds[row].n_samples > longest:
                scores = self.detector.score(self.in_memory(row).windows(n_samples)[0])[self.scorer]
                windows, _ = self.test.subset([row]).windows(n_samples)
                sounds[row] = windows.sounds[int(np.argmax(scores))]
        return replace(self, test=replace(self.test, sounds=tuple(sounds)))

    def in_memory(self, row: int) -> Recordings:
        """One of the clips; nothing that is computed of it goes to a cache, as a run may lie where nobody can write."""
        test = self.test
        return in_memory([test.recorded(row)], test.sample_rate_hz, [test.clips[row]], test.front_end)


@dataclass(frozen=True)
class Pair:
    """A clip and the normal training clip beside it."""

    material: Material
    row: int  # of the clip
    neighbour: int  # index of the training clip: the one that the table names, or the nearest
    distance_db: float  # between their mean spectra, per band (root mean square)

    @property
    def clip(self) -> Clip:
        """The clip."""
        return self.material.test.clips[self.row]

    @property
    def sound(self) -> Sound:
        """Its waveforms."""
        return self.material.test.sounds[self.row]

    @property
    def nearest(self) -> str:
        """Name of the neighbour."""
        return self.material.train.clips[self.neighbour].name

    @property
    def waves(self) -> tuple[Samples, Samples]:
        """The clip and its neighbour, (samples,) each."""
        return self.material.test.waveform(self.row), self.material.train.waveform(self.neighbour)

    def effects(self) -> Effects:
        """What each part of the clip did to its score: that of the neighbour takes its place.

        The clip and all of its altered copies are scored at once, as what a front end made of the whole of it. A score
        of the recording other than that in the table is told.
        """
        rate_hz, scorer, sound = self.material.test.sample_rate_hz, self.material.scorer, self.sound
        whole, normal = (wave.astype(np.float64) for wave in self.waves)
        bands_hz = explain.band_edges(rate_hz)
        stretches_s = np.linspace(0.0, len(whole) / rate_hz, explain.N_STRETCHES + 1)
        bands = explain.split_bands(whole, bands_hz, rate_hz)
        neighbour, louder_db = explain.fit_neighbour(bands, normal, bands_hz, rate_hz)
        stretches = explain.split_stretches(whole, stretches_s, rate_hz)
        altered = [
            whole * 10 ** (-louder_db / 20),
            *(whole - bands + explain.split_bands(neighbour, bands_hz, rate_hz)),  # one part after the other swapped
            *(whole - stretches + explain.split_stretches(neighbour, stretches_s, rate_hz)),
        ]
        copies = [waveform.astype(np.float32) for waveform in (whole, *altered)]
        scores = self.material.detector.score(in_memory(copies, rate_hz, [self.clip] * len(copies)))[scorer]
        if sound.whole is None:
            self._warn_of_another_score()
        by_level, by_band, by_stretch = np.split(scores[0] - scores[1:], [1, 1 + len(bands)])
        in_recording_s = sound.first / rate_hz + stretches_s
        return Effects(bands_hz, by_band, in_recording_s, by_stretch, louder_db, float(by_level[0]))

    def _warn_of_another_score(self) -> None:
        """Compares the score of the recording by the model as it is with that in the table."""
        material, known = self.material, float(self.material.table["score"].iloc[self.row])
        now = float(material.detector.score(material.in_memory(self.row))[material.scorer][0])
        if not np.isclose(now, known, rtol=_SAME):
            log.warning(
                f"{self.clip.path} has the score {known:.4g} in the table, and {material.scorer} of the model as it is "
                f"gives {now:.4g}: the recording, the model, the section or the scorer is another; score or predict it "
                f"anew"
            )

    @property
    def name(self) -> str:
        """What its sounds and pictures are called on a page."""
        return f"{self.clip.machine}-{self.row}"

    def media(self, codec: Literal["flac", "opus"], gain_db: int) -> tuple[dict[str, Any], dict[str, Medium]]:
        """What a page says of the pair, and its sounds, both louder by one gain, and spectrograms."""
        waves, rate_hz = self.waves, self.material.test.sample_rate_hz
        levels = [
            levels_db(wave, rate_hz, max(_LEAST_HOP_SAMPLES, len(wave) // _SHOWN_FRAMES), _SHOWN_MELS) for wave in waves
        ]
        limits = colour_limits(*levels)
        sounds = {
            f"{name}-sound": _sound(wave, rate_hz, gain_db, codec)
            for name, wave in zip((self.name, f"{self.clip.machine}-t{self.neighbour}"), waves, strict=True)
        }
        pictures = {  # the neighbour is drawn in the colours of this clip, so its picture is of the pair
            name: spectrogram_picture(level, limits)
            for name, level in zip((f"{self.name}-picture", f"{self.name}-beside"), levels, strict=True)
        }
        part = {
            "nearest": self.nearest,
            "distance_db": round(self.distance_db, 2),
            "sounds": [*sounds],
            "pictures": [*pictures],
            "seconds": [round(len(wave) / rate_hz, 2) for wave in waves],
            "top_hz": rate_hz // 2,
        }
        return part, sounds | pictures

    def figure(self, row: pd.Series[Any], n_clips: int, effects: Effects) -> Figure:
        """The picture of both, with what a row of `with_verdicts`, one of so many clips, says of the clip."""
        decided = "anomalous" if row["decision"] else "normal"
        truth = f"{row['label']} ({row['verdict']})" if row["label"] else "unknown"
        words = (f"score {row['score']:.4g}, rank {row['rank']} of {n_clips}", f"called {decided}", f"truth: {truth}")
        found = f"nearest training clip ({self.distance_db:.1f} dB per band away)\n{self.nearest}"
        rate_hz, waves = self.material.test.sample_rate_hz, self.waves
        starts = (self.sound.first, self.material.train.sounds[self.neighbour].first)
        hop_samples = max(_LEAST_HOP_SAMPLES, max(map(len, waves)) // _MOST_FRAMES)
        clip, neighbour = (
            Picture(name, levels_db(samples, rate_hz, hop_samples), len(samples) / rate_hz, start / rate_hz)
            for name, samples, start in zip(("the clip", found), waves, starts, strict=True)
        )
        return explanation_figure(f"{row['machine']}: {row['file']}", "   |   ".join(words), clip, neighbour, effects)


def explain_clips(material: Material, n_clips: int, folder: Path) -> pd.DataFrame:
    """Writes <clip>.png for every chosen clip, a row of `choose_clips`, and explain.csv with a row for each.

    Neighbours are looked for among the training clips. Returns the rows with the folder: rank 1 is the highest score of
    `n_clips`, distance_db that of the mean spectra (root mean square over bands), louder_db the clip's level above its
    neighbour's.
    """
    chosen, scorers = material.test, material.detector.scorers
    if material.scorer not in scorers:
        raise AsdError(f"scorer={material.scorer} is unknown to this run; it has {', '.join(scorers)}")
    if chosen.front_end.residual:
        raise AsdError(
            f"residual={chosen.front_end.residual:g} makes a score of two waveforms, and explain alters one of them; "
            f"explain a run without it"
        )
    device, material = material.detector.context.device, material.in_windows(range(len(chosen)))
    nearest, distances_db = NormalSpectra.of(material.train, device).nearest(mean_spectra(material.test, device))
    records = []
    for i, name in enumerate(progress(_pictures(chosen.clips), "explain")):
        pair, row = Pair(material, i, int(nearest[i]), float(distances_db[i])), material.table.iloc[i]
        effects = pair.effects()
        with atomic(folder / name) as temporary:
            save(pair.figure(row, n_clips, effects), temporary, format="png", dpi=150)
        named = {"nearest": pair.nearest, "distance_db": round(pair.distance_db, 2), "figure": name}
        records.append({**row, **named, **effects.as_columns()})
    result = pd.DataFrame(records)[list(_COLUMNS)]
    write_text(folder / "explain.csv", result.to_csv(index=False))
    return result.assign(folder=str(folder))


def _pictures(clips: Sequence[Clip]) -> list[str]:
    """What the picture of each clip is called: as the clip, where no other is and a file can be."""
    stems = [Path(clip.name.replace("/", "_")).stem for clip in clips]
    fits = [stems.count(stem) == 1 and len(os.fsencode(stem)) < 200 for stem in stems]
    longer = [f"{stem[-40:]}-{fingerprint(clip.name)}" for stem, clip in zip(stems, clips, strict=True)]
    return [f"{short if fit else long}.png" for short, fit, long in zip(stems, fits, longer, strict=True)]


_COLUMNS = (
    "kind", "machine", "file", "label", "score", "decision", "verdict", "rank", "nearest", "distance_db",
    "top_bands", "top_stretch", "louder_db", "level_effect", "figure",
)  # fmt: skip


def levels_db(wave: Samples, sample_rate_hz: int, hop_samples: int, n_mels: int = 128) -> FloatArray:
    """The spectrogram of a picture, (mels, frames) in dB."""
    n_fft = 2 ** round(math.log2(_WINDOW_S * sample_rate_hz))
    log_mel = LogMel(sample_rate_hz, n_fft=n_fft, hop_samples=hop_samples, n_mels=n_mels)
    return log_mel(torch.from_numpy(wave)[None])[0].double().numpy()


def _sound(wave: Samples, rate: int, gain_db: int, codec: Literal["flac", "opus"]) -> Medium:
    """The beginning of a clip as it is played."""
    cut = wave[: int(_MOST_SOUND_S * rate)] * np.float32(10 ** (gain_db / 20))
    content = encode(cut[None].clip(-1, 1), rate, codec)
    return Medium(content, "audio/ogg" if content.startswith(b"OggS") else "audio/flac")
