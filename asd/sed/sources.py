"""What soundscapes are made of: labelled recordings of events, and recordings to put behind them.

Labelled recordings, in one of two forms:

    <events>/<label>/<source>_<anything>.wav    or any name without _, which then is a source of its own
    <events>/<label>_<source>_<anything>.wav

A source is what must not be met again in the test: the speaker, the device, the original recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from asd.core.runtime import log
from asd.core.storage import list_names
from asd.data.audio import read_wav
from asd.features.logmel import resample
from asd.places import find_in_tree, find_recordings, mirrored
from asd.synthetic.design import CHARACTERS, Health, draw_design, generator
from asd.synthetic.sound import render_clip
from asd.types import AsdError, Domain

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}  # of sources and of backgrounds, which parts do not share
Samples = npt.NDArray[np.float32]  # (samples,)


@dataclass(frozen=True, slots=True)
class Recording:
    """One labelled recording of an event."""

    path: Path
    label: str
    source: str


def list_recordings(folder: Path) -> list[Recording]:
    """Labelled recordings of a folder, in the order of their names."""
    list_names(folder)
    if not folder.is_dir():
        raise AsdError(f"events={folder} is not a folder; give one of labelled WAV files")
    found = []
    for path in sorted([*find_recordings(folder), *find_recordings(folder, "*/*")]):
        parts = path.stem.split("_")
        if path.parent != folder:
            found.append(Recording(path, path.parent.name, parts[0]))
        elif len(parts) >= 3:
            found.append(Recording(path, parts[0], parts[1]))
        else:
            raise AsdError(
                f"{path} names no label; name it <label>_<source>_<anything>.wav, or put it into a folder that "
                f"bears its label"
            )
    if not found:
        raise AsdError(f"events={folder} holds no WAV files; give a folder of labelled ones")
    return found


class RecordedBackgrounds:
    """Stretches of recordings; no recording is behind clips of two parts."""

    def __init__(self, folder: Path, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        paths = find_in_tree(folder)
        if len(paths) < len(SHARES):
            raise AsdError(
                f"background={folder} holds {len(paths)} WAV files, but {len(SHARES)} parts need one each at "
                f"least; give a folder with more, or background=synthetic"
            )
        self.paths = paths
        rng = generator("backgrounds", *[path.name for path in paths])
        self.by_part = {part: [paths[i] for i in chosen] for part, chosen in _dealt(len(paths), rng).items()}

    def draw(self, part: str, duration_s: float, rng: np.random.Generator) -> tuple[str, float]:
        """Any recording of the part, and where in it to begin, in seconds; one too short is repeated."""
        path = self.by_part[part][rng.integers(len(self.by_part[part]))]
        length_s = len(load(path, self.sample_rate_hz)) / self.sample_rate_hz
        return str(path), round(float(rng.uniform(0.0, max(length_s - duration_s, 0.0))), 6)

    def samples(self, name: str, start_s: float, duration_s: float) -> Samples:
        """That stretch, (samples,)."""
        return stretch(Path(name), start_s, duration_s, self.sample_rate_hz)


class SyntheticBackgrounds:
    """Synthetic machines running, another one for every clip."""

    paths: Sequence[Path] = ()

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz

    def draw(self, part: str, duration_s: float, rng: np.random.Generator) -> tuple[str, float]:
        """A kind of machine and a number that designs it."""
        kind = sorted(CHARACTERS)[rng.integers(len(CHARACTERS))]
        return f"{kind}/{int(rng.integers(2**31))}", 0.0

    def samples(self, name: str, start_s: float, duration_s: float) -> Samples:
        """The machine in good order, (samples,)."""
        kind, number = name.split("/")
        design, rate, whole_s = draw_design(kind, int(number)), self.sample_rate_hz, start_s + duration_s
        scene, rng = design.scenes[Domain.SOURCE], generator("background", number)
        waveform = render_clip(
            design, scene, Health(), rng, speed_rpm=scene.speeds_rpm[0], duration_s=whole_s, sample_rate_hz=rate
        )
        return np.asarray(waveform[0, -round(duration_s * rate) :], np.float32)


Backgrounds = RecordedBackgrounds | SyntheticBackgrounds


def backgrounds(place: str, sample_rate_hz: int) -> Backgrounds:
    """Backgrounds of a folder, or "synthetic" ones."""
    if not place:
        raise AsdError("background= is missing: give a folder of WAV files, or background=synthetic")
    if place == "synthetic":
        return SyntheticBackgrounds(sample_rate_hz)
    folder = mirrored(place)
    list_names(folder)
    return RecordedBackgrounds(folder, sample_rate_hz)


def split_sources(recordings: Sequence[Recording], seed: int) -> dict[str, list[Recording]]:
    """Recordings of each part; no source is in two of them, and every part has every class."""
    sources = sorted({recording.source for recording in recordings})
    if len(sources) < len(SHARES):
        raise AsdError(
            f"the events come from {len(sources)} source(s) ({', '.join(sources)}), and {len(SHARES)} parts must "
            f"not share one; name the files <label>_<source>_<anything>.wav, with more sources"
        )
    classes = {recording.label for recording in recordings}
    by_part = {}
    for part, chosen in _dealt(len(sources), generator("sources", seed)).items():
        names = {sources[i] for i in chosen}
        by_part[part] = [recording for recording in recordings if recording.source in names]
        if absent := sorted(classes - {recording.label for recording in by_part[part]}):
            raise AsdError(
                f"the sources of the part {part} ({', '.join(sorted(names))}) have no recording of "
                f"{', '.join(absent)}; choose another seed=, or record more"
            )
        log.info("%s: %d recordings of %s", part, len(by_part[part]), ", ".join(sorted(names)))
    return by_part


@lru_cache(maxsize=512)
def load(path: Path, sample_rate_hz: int) -> Samples:
    """First channel of a recording at that rate, (samples,); not to be written to."""
    waveform, own_rate_hz = read_wav(path)
    if not np.ptp(waveform[0]):
        raise AsdError(f"{path} holds no sound: all its samples are {waveform[0, 0]:g}; remove it or copy it again")
    samples = resample(torch.from_numpy(waveform[:1]), own_rate_hz, sample_rate_hz)[0].numpy()
    samples.setflags(write=False)
    return np.asarray(samples, np.float32)


def stretch(path: Path, start_s: float, duration_s: float, sample_rate_hz: int) -> Samples:
    """A part of a recording, which is repeated where it is shorter, (samples,): at least one sample."""
    start, length = round(start_s * sample_rate_hz), max(round(duration_s * sample_rate_hz), 1)
    return np.take(load(path, sample_rate_hz), np.arange(start, start + length), mode="wrap")


def _dealt(n: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.int64]]:
    """Numbers 0 to n - 1, drawn into parts of about `SHARES`, one at least in each; n is not less than the parts."""
    counts = np.array([max(int(share * n), 1) for share in SHARES.values()])
    while counts.sum() > n:
        counts[counts.argmax()] -= 1
    counts[0] += n - counts.sum()
    return dict(zip(SHARES, np.split(rng.permutation(n), np.cumsum(counts)[:-1]), strict=True))
