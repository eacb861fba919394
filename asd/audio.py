"""WAV files to float32 waveforms and back; the only module that knows soundfile.

Conventions: a waveform is float32 in [-1, 1] of shape (channels, samples). Files are read when needed:
16-bit WAVs in the page cache are the smallest waveform cache there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

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
    """The clips of a machine as a sequence of waveforms of one microphone, checked before long work.

    Args:
        clips: what is recorded; order is kept.
        sample_rate_hz: every file must have it.
        channel: which microphone (2026: 0 near, 1 far).
        lengths_samples: (clips,) filled in by `check`.
    """

    clips: Sequence[Clip]
    sample_rate_hz: int = 16000
    channel: int = 0
    lengths_samples: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.clips)

    def waveform(self, index: int) -> npt.NDArray[np.float32]:
        """Samples of clip `index`, shape (samples,)."""
        return np.asarray(read_wav(self.clips[index].path)[0][self.channel], dtype=np.float32)

    def batches(self, max_samples: int = 1 << 22) -> Iterator[tuple[npt.NDArray[np.int64], Waveform]]:
        """Batches of clips of equal length: (indices (b,), waveforms (b, samples)), longest batch first.

        Memory is bounded by `max_samples` (at least one clip), not by the number of clips.
        """
        for length in np.unique(self.lengths_samples)[::-1]:
            same = np.flatnonzero(self.lengths_samples == length)
            size = max(1, int(max_samples // length))
            for start in range(0, len(same), size):
                indices = same[start : start + size]
                yield indices, np.stack([self.waveform(int(i)) for i in indices])


def check(
    clips: Sequence[Clip], *, sample_rate_hz: int, channel: int = 0, least_samples: int = 1
) -> Recordings:
    """Looks at every file's header and refuses what cannot be used, before anything expensive starts.

    Raises:
        AsdError: a file is unreadable, truncated, empty or too short, of another sample rate, or lacks the
            channel.
    """
    lengths = [_check_header(clip.path, sample_rate_hz, channel) for clip in clips]
    for clip, length in zip(clips, lengths, strict=True):
        if length < least_samples:
            raise AsdError(
                f"{clip.path} has {length} samples, fewer than the {least_samples} of the detector's shortest "
                f"input; remove it or let the detector look at less at once"
            )
    return Recordings(tuple(clips), sample_rate_hz, channel, np.asarray(lengths, np.int64))


def joined(parts: Sequence[Recordings]) -> Recordings | None:
    """Several recordings as one, in order; None of none."""
    if not parts:
        return None
    clips = [clip for part in parts for clip in part.clips]
    lengths = np.concatenate([part.lengths_samples for part in parts])
    return Recordings(tuple(clips), parts[0].sample_rate_hz, parts[0].channel, lengths)


def silent(recordings: Recordings) -> list[Clip]:
    """Clips whose samples are all zero: a broken recording rather than a quiet machine."""
    return [clip for i, clip in enumerate(recordings.clips) if not recordings.waveform(i).any()]


def _check_header(path: Path, sample_rate_hz: int, channel: int) -> int:
    """Length in samples of a usable file."""
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
    if info.channels <= channel:
        raise AsdError(
            f"{path} has {info.channels} channel(s), so there is no channel {channel} (2026 has two: 0 near, "
            f"1 far); set channel=0 or check the data"
        )
    return int(info.frames)


def _unreadable(path: Path, error: Exception) -> AsdError:
    if not path.exists():
        return AsdError(f"{path} does not exist; check the data folder")
    size = path.stat().st_size
    return AsdError(f"{path} ({size} bytes) is not a readable WAV file ({error}); remove it or copy it again")
