"""Arrays, files or a folder, as they are given to the library, as recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.challenge.files import parse_name
from asd.data.audio import read_sound
from asd.data.microphones import FrontEnd
from asd.data.recordings import Recordings, check, in_memory
from asd.recording_names import find_recordings
from asd.types import AsdError, Clip, Label, Split

Waveform = npt.NDArray[Any]  # (samples,), or (microphones, samples) with the one near the machine first
Files = str | Path | Iterable[str | Path]  # a folder, a file, or several files


def training_recordings(normal: Any, sample_rate_hz: int | None, machine: str) -> Recordings:
    """Whatever is given to `asd.fit` as checked recordings.

    Args:
        normal: `Recordings`, waveforms, files, or a folder whose recordings are searched for at any depth.
        sample_rate_hz: of the waveforms; of files, None takes that of the first.
        machine: what the machine is called.

    Raises:
        AsdError: there are none, one cannot be used, or the sample rate of waveforms is missing.
    """
    if isinstance(normal, Recordings):
        return normal
    normal = normal if isinstance(normal, (str, Path, np.ndarray)) else list(normal)
    if isinstance(normal, (str, Path)) or (len(normal) and isinstance(normal[0], (str, Path))):
        clips = clips_of_files(normal, machine, Split.TRAIN)
        return check(clips, sample_rate_hz=sample_rate_hz or read_sound(clips[0].path).sample_rate_hz)
    if sample_rate_hz is None:
        raise AsdError(
            "sample_rate_hz= is missing; waveforms do not tell it, so give it, such as sample_rate_hz=16000"
        )
    return from_arrays(normal, sample_rate_hz, FrontEnd(), Split.TRAIN, machine)


def from_arrays(
    waveforms: Sequence[Waveform],
    sample_rate_hz: int,
    front_end: FrontEnd,
    split: Split,
    machine: str = "machine",
) -> Recordings:
    """Waveforms that are in no file as recordings.

    Args:
        waveforms: each (samples,), or (microphones, samples) with the one near the machine first.
        sample_rate_hz: of all of them.
        front_end: from the microphones to one waveform.
        split: what they are for.
        machine: what the machine is called.

    Raises:
        AsdError: there are none, they are no floats, or of another shape.
    """
    if not len(waveforms):
        raise AsdError("there are no waveforms; give some of the machine in good order")
    arrays = [np.asarray(waveform) for waveform in waveforms]
    for i, array in enumerate(arrays):
        if not np.issubdtype(array.dtype, np.floating):
            raise AsdError(
                f"waveform {i} holds {array.dtype}, not floats with full scale 1; divide 16-bit integers by 32768"
            )
        if array.ndim not in (1, 2):
            raise AsdError(
                f"waveform {i} has {array.ndim} dimensions; it has to be (samples,) or (microphones, samples)"
            )
    label = Label.NORMAL if split is Split.TRAIN else None
    clips = [Clip(Path(f"waveform {i}"), machine, "00", split, None, label) for i in range(len(arrays))]
    return in_memory([array.astype(np.float32) for array in arrays], sample_rate_hz, clips, front_end)


def check_lengths(recordings: Recordings, least_samples: int) -> None:
    """Makes sure that a detector can use recordings.

    Args:
        recordings: to be fitted on or scored.
        least_samples: shortest clip that the detector can use.

    Raises:
        AsdError: one is shorter.
    """
    for clip, length in zip(recordings.clips, recordings.lengths_samples, strict=True):
        if length < least_samples:
            raise AsdError(
                f"{clip.path} has {length} samples, the detector needs {least_samples} at least; leave it out"
            )


def clips_of_files(paths: Files, machine: str, split: Split) -> list[Clip]:
    """Recordings in files, with what their names tell where they are names of the challenge.

    Args:
        paths: a folder, a file, or several files.
        machine: what the machine is called.
        split: what they are for.

    Raises:
        AsdError: there are none, or one to learn from is an anomaly by its name.
    """
    if isinstance(paths, (str, Path)):
        place = Path(paths)
        found = find_recordings(place, "**/*") if place.is_dir() else [place]
    else:
        found = [Path(path) for path in paths]
    if not found:
        raise AsdError(f"{paths} holds no recordings; name a folder with WAV files, or the files")
    return [_clip(path, machine, split) for path in found]


def _clip(path: Path, machine: str, split: Split) -> Clip:
    """A recording; its name is read under both roles, as a folder of one's own may mix them."""
    label = Label.NORMAL if split is Split.TRAIN else None
    for named in (Split.TRAIN, Split.TEST):
        try:
            clip = parse_name(path, machine, named)
        except AsdError:
            continue
        if split is Split.TRAIN and clip.label is Label.ANOMALY:
            raise AsdError(
                f"{path} is an anomaly by its name, and a model is fitted on normal recordings; leave it out"
            )
        return replace(clip, split=split, label=label or clip.label)
    return Clip(path, machine, "00", split, None, label)
