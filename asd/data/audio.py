"""WAV files to float32 waveforms and back; the only module that knows soundfile.

Conventions: a waveform is float32 in [-1, 1] of shape (channels, samples). Files are read when needed:
16-bit WAVs in the page cache are the smallest waveform cache there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from asd.data.microphones import NEAR, FrontEnd, defect
from asd.data.mixing import Addition, mix
from asd.types import AsdError, Clip

Waveform = npt.NDArray[np.float32]  # (channels, samples)

_TRUNCATED = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)  # libsndfile's own remark
_STREAMED_BYTES = 0x7FFFFFFF  # recorders that stream write a size like this and never correct it


def read_wav(path: Path) -> tuple[Waveform, int]:
    """Waveform (channels, samples) and sample rate in Hz of one file.

    Raises:
        AsdError: the file is missing, no audio, or holds NaN or infinity.
    """
    try:
        samples, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    if not np.isfinite(samples).all():
        raise AsdError(f"{path} holds NaN or infinite samples; repair or remove the recording")
    return np.ascontiguousarray(samples.T), int(sample_rate_hz)


def write_wav(path: Path, waveform: Waveform, sample_rate_hz: int) -> None:
    """Writes a waveform (channels, samples) as 16-bit PCM; the folder must exist.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        soundfile.write(path, waveform.T, sample_rate_hz, subtype="PCM_16", format="WAV")
    except soundfile.SoundFileError as error:
        raise OSError(f"{path}: {error}") from error


@dataclass(frozen=True)
class Recordings:
    """The clips of a machine as a sequence of waveforms, checked before long work.

    Args:
        clips: what is recorded; order is kept.
        sample_rate_hz: every file must have it.
        front_end: from the microphones of a file to one waveform.
        lengths_samples: (clips,) filled in by `check`.
        additions: what is mixed into each clip, None for nothing; empty: into none.
        further: recordings to learn from besides these; they are not scored.
        contrast: recordings without the machine.
    """

    clips: Sequence[Clip]
    sample_rate_hz: int = 16000
    front_end: FrontEnd = NEAR
    lengths_samples: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    additions: tuple[Addition | None, ...] = ()
    further: Recordings | None = None
    contrast: Recordings | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def recorded(self, index: int) -> Waveform:
        """The microphones of clip `index` that are listened to, (channels, samples), with what is mixed in."""
        n_microphones = self.front_end.n_microphones
        waveform = read_wav(self.clips[index].path)[0][:n_microphones]
        addition = self.additions[index] if self.additions else None
        if addition is None:
            return waveform
        noise = read_wav(addition.noise.path)[0][:n_microphones]
        return mix(waveform, noise, addition.snr_db, addition.start)

    def waveform(self, index: int) -> npt.NDArray[np.float32]:
        """Samples of clip `index`, shape (samples,)."""
        waveform: npt.NDArray[np.float32] = self._heard([index])[0]
        return waveform

    def batches(self, max_samples: int = 1 << 22) -> Iterator[tuple[npt.NDArray[np.int64], Waveform]]:
        """Batches of clips of equal length: (indices (b,), waveforms (b, samples)), longest batch first.

        Memory is bounded by `max_samples` (at least one clip), not by the number of clips.
        """
        for length in np.unique(self.lengths_samples)[::-1]:
            same = np.flatnonzero(self.lengths_samples == length)
            size = max(1, int(max_samples // length))
            for start in range(0, len(same), size):
                indices = same[start : start + size]
                yield indices, self._heard(indices)

    def _heard(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Waveform:
        """Waveforms (batch, samples) of clips of one length, in one call of the front end."""
        recorded = np.stack([self.recorded(int(i)) for i in indices])
        if self.front_end.leaves_near:
            return recorded[:, 0]
        from asd.data.frontends import hear  # brings torch

        return hear(self.front_end, recorded)

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Recordings:
        """Some of the clips, in the order given, by themselves."""
        chosen = [int(i) for i in indices]
        return replace(
            self,
            clips=tuple(self.clips[i] for i in chosen),
            lengths_samples=self.lengths_samples[chosen],
            additions=tuple(self.additions[i] for i in chosen) if self.additions else (),
            further=None,
            contrast=None,
        )

    def far(self) -> Recordings:
        """The same clips as the far microphone heard them."""
        return replace(self, front_end=self.front_end.far())

    def with_further(self) -> Recordings:
        """Everything there is to learn from: these clips first."""
        return self if self.further is None else joined([self, self.further])

    def key(self) -> list[Any]:
        """What decides the waveforms besides the clips' own files: plain values, for a hash."""
        added = [addition and addition.key() for addition in self.additions]
        return [self.sample_rate_hz, self.front_end.key(), added]


def check(
    clips: Sequence[Clip],
    *,
    sample_rate_hz: int,
    front_end: FrontEnd = NEAR,
    least_samples: int = 1,
) -> Recordings:
    """Looks at every file's header and refuses what cannot be used, before anything expensive starts.

    Raises:
        AsdError: a file is unreadable, truncated, empty or too short, of another sample rate, or lacks a
            microphone.
    """
    lengths = [_check_header(clip.path, sample_rate_hz, front_end) for clip in clips]
    for clip, length in zip(clips, lengths, strict=True):
        if length < least_samples:
            raise AsdError(
                f"{clip.path} has {length} samples, fewer than the {least_samples} of the detector's shortest "
                f"input; remove it or let the detector look at less at once"
            )
    return Recordings(tuple(clips), sample_rate_hz, front_end, np.asarray(lengths, np.int64))


def joined(parts: Sequence[Recordings]) -> Recordings:
    """Several recordings as one, in order, heard by the front end of the first."""
    additions = [part.additions or (None,) * len(part) for part in parts]
    return Recordings(
        tuple(clip for part in parts for clip in part.clips),
        parts[0].sample_rate_hz,
        parts[0].front_end,
        np.concatenate([part.lengths_samples for part in parts]),
        tuple(addition for part in additions for addition in part) if any(map(any, additions)) else (),
    )


def defects(recordings: Recordings) -> list[tuple[Clip, str]]:
    """Clips of which nothing can be learnt, each with what is wrong: broken rather than quiet recordings."""
    found = ((clip, defect(recordings.recorded(i))) for i, clip in enumerate(recordings.clips))
    return [(clip, what) for clip, what in found if what]


def mono(clips: Sequence[Clip]) -> list[Clip]:
    """Clips recorded by one microphone alone."""
    return [clip for clip in clips if soundfile.info(clip.path).channels == 1]


def header_defects(paths: Sequence[Path], *, sample_rate_hz: int, n_channels: int) -> list[str]:
    """Looks at every file's header; a sentence for each that is not a recording of this rate and channels."""
    found = (_header_defect(path, sample_rate_hz, n_channels) for path in paths)
    return [sentence for sentence in found if sentence]


def _header_defect(path: Path, sample_rate_hz: int, n_channels: int) -> str | None:
    try:
        has = _header(path, sample_rate_hz).channels
    except AsdError as error:
        return str(error)
    if has == n_channels:
        return None
    channels = "1 channel" if has == 1 else f"{has} channels"
    return f"{path} has {channels}, not {n_channels}; check that it is of that year, or copy it again"


def _check_header(path: Path, sample_rate_hz: int, front_end: FrontEnd) -> int:
    """Length in samples of a file that the front end can listen to."""
    info = _header(path, sample_rate_hz)
    if info.channels < front_end.n_microphones:
        word = f"residual={front_end.residual:g}" if front_end.residual else f"frontend={front_end.name}"
        raise AsdError(
            f"{path} has one channel and {word} needs two (0 near the machine, 1 far, as in 2026); listen with "
            f"frontend=near residual=0, or check the data"
        )
    return int(info.frames)


def _header(path: Path, sample_rate_hz: int) -> Any:
    """What soundfile reads in the header of a file that is whole, not empty and of this sample rate."""
    try:
        info = soundfile.info(path, verbose=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    data = _TRUNCATED.search(info.extra_info)
    if data and int(data[2]) < int(data[1]) < _STREAMED_BYTES:
        raise AsdError(
            f"{path} is truncated: its header promises {data[1]} bytes of samples, the file holds {data[2]}; "
            f"copy it again"
        )
    if info.frames == 0:
        raise AsdError(f"{path} holds no samples; remove it or copy it again")
    if info.samplerate != sample_rate_hz:
        raise AsdError(
            f"{path} is sampled at {info.samplerate} Hz, not {sample_rate_hz} Hz; resample it, or set "
            f"sample_rate_hz={info.samplerate} for the whole run"
        )
    return info


def _unreadable(path: Path, error: Exception) -> AsdError:
    if not path.exists():
        return AsdError(f"{path} does not exist; check the data folder")
    size = path.stat().st_size
    return AsdError(f"{path} ({size} bytes) is not a readable WAV file ({error}); remove it or copy it again")
