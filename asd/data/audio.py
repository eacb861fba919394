"""Files to samples and back; the only module that knows soundfile. It reads whatever libsndfile reads.

A recording is read whole, once: the same bytes are hashed, their header is checked, they are decoded, the samples
are looked at, and then brought to another rate where that is asked for. What a detector works on afterwards is a
`Sound`, which keeps its samples while memory lasts.

Conventions: a waveform is float32 of shape (channels, samples), full scale is 1.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import weakref
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile

from asd.data.defects import defect
from asd.data.media import is_media, read_media
from asd.data.microphones import Channel
from asd.types import AsdError

Waveform = npt.NDArray[np.float32]  # (channels, samples)
Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]  # the same, as it is in the file

KEPT_BYTES = (
    1 << 29
)  # of samples in memory at once: a machine of 1,600 clips of 10 s at 16 kHz, 16 bit, one microphone
MOST_LEVEL = 2.0**16  # of a float sample: files in units of 16-bit steps pass, absurd numbers do not

OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
_OPUS_BITS_PER_S, _MOST_OPUS_BITS_PER_S = 60_000, 256_000  # libsndfile's levels run from the latter to 6,000

_INT16_SUBTYPES = ("PCM_16", "PCM_U8", "PCM_S8")  # whose samples are exact as 16-bit integers
_TRUNCATED = re.compile(
    r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE
)  # libsndfile's own remark in WAV, AIFF, AU, W64 and RF64
_LEAST_DECODED = 0.99  # share of the samples that the header of a compressed file promises
_STREAMED_BYTES = 0x7FFF0000  # recorders that stream write a size like this and never correct it


@dataclass(frozen=True, eq=False, kw_only=True)
class Sound:
    """A recording that was read.

    Attributes:
        path: of the file; None: the samples come from memory.
        content: SHA-256 of the file, or of the samples.
        sample_rate_hz: of the samples.
        file_rate_hz: of the file, from which they were brought to `sample_rate_hz`.
        n_channels: of the file.
        channel: which of them is used; None: the first ones.
        n_samples: per channel, at `sample_rate_hz`.
        defect: what makes it useless, as the predicate of a sentence; None where nothing does.
        kept: (microphones, samples) that are used; None: they are read again when needed.
    """

    path: Path | None
    content: str
    sample_rate_hz: int
    file_rate_hz: int
    n_channels: int
    n_samples: int
    channel: Channel | None = None
    defect: str | None = None
    kept: Samples | None = None

    @classmethod
    def of(cls, waveform: Waveform, sample_rate_hz: int) -> Sound:
        """The sound of a waveform (channels, samples) in memory.

        Args:
            waveform: (channels, samples).
            sample_rate_hz: of the waveform.

        Raises:
            AsdError: it is empty, or holds samples that no recording holds.
        """
        if not waveform.size:
            raise AsdError("a waveform in memory holds no samples; leave it out")
        _check_levels("a waveform in memory", waveform)
        content = hashlib.sha256(np.ascontiguousarray(waveform).tobytes()).hexdigest()
        n_channels, n_samples = waveform.shape
        broken = defect(waveform, sample_rate_hz)
        return cls(
            path=None,
            content=content,
            sample_rate_hz=sample_rate_hz,
            file_rate_hz=sample_rate_hz,
            n_channels=n_channels,
            n_samples=n_samples,
            defect=broken,
            kept=waveform,
        )

    def waveform(self, n_microphones: int) -> Waveform:
        """The first microphones, (n_microphones, samples).

        Raises:
            AsdError: the file has to be read again, and is another one by now.
        """
        if self.kept is not None:
            return _as_float(self.kept[:n_microphones])
        assert self.path is not None  # samples from memory are kept
        samples, _, content = _decode(self.path)
        if content != self.content:
            raise AsdError(f"{self.path} has changed while it was in use; run the same command again")
        chosen = chosen_channels(self.path, samples, n_microphones, self.channel)
        return _as_float(_resampled(chosen, self.file_rate_hz, self.sample_rate_hz))


def read_sound(
    path: Path, n_microphones: int = 1, *, channel: Channel | None = None, sample_rate_hz: int | None = None
) -> Sound:
    """Reads a recording: the one pass over a file.

    Args:
        path: of the file.
        n_microphones: how many of its channels are of interest, from the first on.
        channel: the one that is used instead, counted from 0, or their mean.
        sample_rate_hz: to which the samples are brought; None: they stay as they are.

    Raises:
        AsdError: the file is missing, truncated, empty or no audio, lacks the channel, or holds samples that no
            recording holds.
    """
    samples, file_rate_hz, content = _decode(path)
    chosen = chosen_channels(path, samples, n_microphones, channel)
    broken = defect(chosen, file_rate_hz)
    chosen = _resampled(chosen, file_rate_hz, sample_rate_hz or file_rate_hz)
    return Sound(
        path=path,
        content=content,
        sample_rate_hz=sample_rate_hz or file_rate_hz,
        file_rate_hz=file_rate_hz,
        n_channels=len(samples),
        n_samples=chosen.shape[1],
        channel=channel,
        defect=broken,
        kept=_MEMORY.keep(chosen),
    )


def read_wav(path: Path) -> tuple[Waveform, int]:
    """Waveform (channels, samples) and sample rate in Hz of one file.

    Raises:
        AsdError: as `read_sound`.
    """
    samples, sample_rate_hz, _ = _decode(path)
    return _as_float(samples), sample_rate_hz


def promised_length(path: Path) -> tuple[float, int]:
    """Seconds and channels of a recording by its header, of the formats that libsndfile reads; nothing is decoded.

    Raises:
        AsdError: the file is missing, or no such recording.
    """
    try:
        with soundfile.SoundFile(path) as file:
            return file.frames / file.samplerate, int(file.channels)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error


def write_wav(path: Path, waveform: Waveform, sample_rate_hz: int) -> None:
    """Writes a waveform (channels, samples) as 16-bit PCM; the folder must exist.

    Args:
        path: of the file.
        waveform: (channels, samples), full scale is 1.
        sample_rate_hz: of the waveform.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        soundfile.write(path, waveform.T, sample_rate_hz, subtype="PCM_16", format="WAV")
    except soundfile.SoundFileError as error:
        raise OSError(f"{path}: {error}") from error


def encode(waveform: Waveform, sample_rate_hz: int, codec: Literal["flac", "opus"]) -> bytes:
    """A waveform (channels, samples) as the bytes of a file: FLAC of 16 bits, or Opus in Ogg at about 60 kbit/s.

    Opus knows few sample rates; a waveform of another one becomes FLAC.

    Args:
        waveform: (channels, samples), full scale is 1.
        sample_rate_hz: of the waveform.
        codec: "flac" or "opus".
    """
    file = io.BytesIO()
    if codec == "opus" and sample_rate_hz in OPUS_RATES_HZ:
        level = 1.0 - _OPUS_BITS_PER_S / _MOST_OPUS_BITS_PER_S
        soundfile.write(
            file, waveform.T, sample_rate_hz, format="OGG", subtype="OPUS", compression_level=level
        )
    else:
        soundfile.write(file, waveform.T, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


class _Memory:
    """What samples may stay in memory, over all recordings of the process."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self._lock = RLock()  # files are read by several threads, and any of them may release samples

    def keep(self, samples: Samples) -> Samples | None:
        """A copy of the samples, counted until it is released; None where there is no room left."""
        with self._lock:
            if self.n_bytes + samples.nbytes > KEPT_BYTES:
                return None
            self.n_bytes += samples.nbytes
        kept = samples.copy()
        weakref.finalize(kept, self._release, kept.nbytes)
        return kept

    def _release(self, n_bytes: int) -> None:
        with self._lock:
            self.n_bytes -= n_bytes


_MEMORY = _Memory()


def chosen_channels(
    what: Path | str, samples: Samples, n_microphones: int, channel: Channel | None
) -> Samples:
    """The channels of a recording that are used, (microphones, samples).

    Args:
        what: it is called in messages.
        samples: (channels, samples).
        n_microphones: how many are of interest, from the first on.
        channel: the one that is used instead, or the mean of all.

    Raises:
        AsdError: there is no such channel.
    """
    if channel is None:
        return samples[:n_microphones]
    if channel == "mean":
        return samples if len(samples) == 1 else _as_float(samples).mean(0, keepdims=True)
    if channel >= len(samples):
        have = "only channel 0" if len(samples) == 1 else f"channels 0 to {len(samples) - 1}"
        raise AsdError(
            f"{what} has {have} and channel={channel} is asked for; choose another, or channel=mean"
        )
    return samples[channel : channel + 1]


def _resampled(samples: Samples, rate_hz: int, wanted_hz: int) -> Samples:
    """Samples (channels, samples) at another rate, at least one of each channel."""
    if rate_hz == wanted_hz:
        return samples
    import soxr

    resampled = soxr.resample(_as_float(samples).T, rate_hz, wanted_hz).T
    return np.ascontiguousarray(resampled, np.float32)


def _as_float(samples: Samples) -> Waveform:
    """Samples at full scale 1, in memory of their own."""
    return samples * np.float32(1 / 32768) if samples.dtype == np.int16 else samples.astype(np.float32)


def _decode(path: Path) -> tuple[Samples, int, str]:
    """Samples (channels, samples), sample rate in Hz and SHA-256 of a file that is whole, in one reading."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is a folder or a device")
        content = path.read_bytes()
        samples, sample_rate_hz = read_media(path, content) if is_media(content) else _read(path, content)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    if not samples.size:
        raise _empty(path)
    if samples.dtype != np.int16:
        _check_levels(path, samples)
    return samples, sample_rate_hz, hashlib.sha256(content).hexdigest()


def _read(path: Path, content: bytes) -> tuple[Samples, int]:
    """Samples (channels, samples) and sample rate in Hz of the bytes of a file, by libsndfile."""
    with soundfile.SoundFile(io.BytesIO(_with_its_size(content))) as file:
        _check_header(path, file)
        kind = "int16" if file.subtype in _INT16_SUBTYPES else "float32"
        samples = file.read(dtype=kind, always_2d=True).T
        if samples.shape[1] < _LEAST_DECODED * file.frames:
            raise _truncated(path, f"{file.frames} samples", str(samples.shape[1]))
        return samples, int(file.samplerate)


def _truncated(path: Path, promised: str, held: str) -> AsdError:
    return AsdError(
        f"{path} is truncated: its header promises {promised}, the file holds {held}; copy it again"
    )


def _empty(path: Path) -> AsdError:
    return AsdError(f"{path} holds no samples; remove it or copy it again")


def _check_header(path: Path, file: soundfile.SoundFile) -> None:
    data = _TRUNCATED.search(file.extra_info)
    if data and int(data[2]) < int(data[1]) < _STREAMED_BYTES:
        raise _truncated(path, f"{data[1]} bytes of samples", data[2])
    if file.frames == 0:
        raise _empty(path)


def _check_levels(what: Path | str, samples: Samples) -> None:
    """Refuses samples that are no numbers, or whose powers would leave the range of the features."""
    highest, lowest = float(samples.max()), float(samples.min())  # NaN where one is
    if not np.isfinite([highest, lowest]).all():
        raise AsdError(f"{what} holds NaN or infinite samples; repair or remove the recording")
    if max(highest, -lowest) > MOST_LEVEL:
        raise AsdError(
            f"{what} holds a sample of {max(highest, lowest, key=abs):.3g}, and full scale is 1; repair, scale or "
            f"remove the recording"
        )


def _with_its_size(content: bytes) -> bytes:
    """The file with the size of its samples in its header, where a recorder left 0 for it.

    libsndfile itself understands the largest numbers, which other recorders leave.
    """
    at = 12
    while content[:4] == b"RIFF" and at + 8 < len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        at += 8
        if name == b"data" and size == 0 and not _is_all_chunks(content, at):
            return content[: at - 4] + struct.pack("<I", len(content) - at) + content[at:]
        at += size + size % 2
    return content


def _is_all_chunks(content: bytes, at: int) -> bool:
    """Whether what follows is RIFF chunks up to the end, and no samples."""
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        if not (name.isascii() and name.decode().isprintable()):
            return False
        at += 8 + size + size % 2
    return at >= len(content)


def _unreadable(path: Path, error: Exception) -> AsdError:
    if not path.exists():
        return AsdError(f"{path} does not exist; check the data folder")
    if isinstance(error, PermissionError):
        return AsdError(f"{path} may not be read; change its permissions")
    size = path.stat().st_size
    kind = path.suffix.strip(". ").upper() or "audio"
    return AsdError(
        f"{path} ({size} bytes) is not a readable {kind} file ({error}); remove it or copy it again"
    )
