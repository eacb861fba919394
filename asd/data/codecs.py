"""Files to samples and samples to files: the only module that knows soundfile.

libsndfile reads most files; what it does not read, or not to the end, the libraries of ffmpeg do (the extra `media`).

Sources: Multimedia Programming Interface and Data Specifications 1.0 (RIFF); EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from asd.core.memory import require_free
from asd.core.runtime import imported
from asd.core.storage import read_bytes
from asd.data.headers import (
    NO_SIZE,
    behind_chunks,
    behind_id3,
    cut_ogg,
    is_chained_ogg,
    is_flac_piece,
    is_flac_without_length,
    is_large_wav,
    riff_chunks,
    wav_frame_bytes,
    with_its_length,
)
from asd.places import forbidden
from asd.types import AsdError

Waveform = npt.NDArray[np.float32]  # (channels, samples)
Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]  # the same, as it is in the file
MOST_LEVEL = 2.0**16  # of a float sample: files in units of 16-bit steps pass, absurd numbers do not
OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
_OPUS_BITS_PER_S, _MOST_OPUS_BITS_PER_S = 60_000, 256_000  # libsndfile's levels run from the latter to 6,000
_LOSSY = re.compile("VORBIS|OPUS|MPEG|GSM|DPCM|G72|LAW")  # subtypes of libsndfile
_BYTES = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # of a sample in WAV
_INT16_SUBTYPES = ("PCM_16", "PCM_U8", "PCM_S8")  # whose samples are exact as 16-bit integers
# libsndfile's own remark in WAV, AIFF, AU, W64 and RF64
_TRUNCATED = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_LONGEST_FRAME_S = 0.15  # of AAC or Opus: what may be padding at either end
_SHORTEST_GAP_S = 0.05  # more than times that are written in steps of 1 ms are wrong by
_LEAST_DECODED = 0.99  # share of the samples that the header of a compressed file promises
RATES_HZ = (100, 1_000_000)  # what is sampled: other numbers are those of a broken header
_LARGE_BYTES = 1 << 23  # of a file that may not fit into memory: a day of silence as FLAC is larger
STREAMED_BYTES = 0x7FFF0000  # recorders that stream write a size like this and never correct it


def promised_length(path: Path, content: bytes) -> tuple[float, int, int]:
    """Seconds, channels and samples of all channels by the header; `AsdError` where it promises nothing, or is none."""
    content = content[behind_id3(content) :]
    if _is_media(content):
        kinds = "m4a, webm, FLAC from a pipe and the like"
        raise AsdError(f"{path} does not tell its length before it is decoded ({kinds}); send WAV or other FLAC")
    try:
        with soundfile.SoundFile(io.BytesIO(with_its_length(content))) as file:
            return file.frames / file.samplerate, int(file.channels), int(file.frames * file.channels)
    except soundfile.SoundFileError as error:
        raise _unreadable(path, error) from error


def write_wav(path: Path, waveform: Waveform, sample_rate_hz: int) -> None:
    """Writes a waveform (channels, samples) as 16-bit PCM; the folder must exist."""
    file = io.BytesIO()  # libsndfile would wait for the disk after every file
    soundfile.write(file, waveform.T, sample_rate_hz, subtype="PCM_16", format="WAV")
    path.write_bytes(file.getbuffer())


def encode(waveform: Waveform, sample_rate_hz: int, codec: Literal["flac", "opus"]) -> bytes:
    """A waveform (channels, samples) as FLAC of 16 bits, or as Opus of about 60 kbit/s where that has its rate."""
    file = io.BytesIO()
    if codec == "opus" and sample_rate_hz in OPUS_RATES_HZ:
        level = 1.0 - _OPUS_BITS_PER_S / _MOST_OPUS_BITS_PER_S
        soundfile.write(file, waveform.T, sample_rate_hz, format="OGG", subtype="OPUS", compression_level=level)
    else:
        soundfile.write(file, waveform.T, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


class Decoded(NamedTuple):
    """Content of a file."""

    samples: Samples  # (channels, samples)
    sample_rate_hz: int
    lossy: str  # what compressed them with a loss, such as MP3; "" where nothing did
    content: str  # SHA-256 of the file


def decode(path: Path) -> Decoded:
    """Content of a file, read once; `AsdError` where it is missing, cut off, empty or no recording."""
    content = b""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is a folder or a device")
        _check_memory(path)
        content = read_bytes(path)
        if content.startswith(b"version https://git-lfs"):
            raise AsdError(f"{path} is a pointer of Git LFS in place of the recording; fetch that with `git lfs pull`")
        sound = content[behind_id3(content) :]
        samples, rate_hz, lossy = _read_media(path, sound) if _is_media(sound) else _read(path, sound)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error, len(content)) from error
    if not samples.size:
        raise _empty(path)
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise AsdError(f"{path} is sampled at {rate_hz} Hz by its header; write the true rate into it, or remove it")
    if samples.dtype != np.int16:
        check_levels(path, samples)
    return Decoded(samples, rate_hz, lossy, hashlib.sha256(content).hexdigest())


def _check_memory(path: Path) -> None:
    """Refuses a recording that does not fit into memory by its header: the file, its samples, a truth value of each."""
    if path.is_file() and (size := path.stat().st_size) >= _LARGE_BYTES:
        with suppress(soundfile.SoundFileError), soundfile.SoundFile(path) as file:  # what is wrong is said when read
            frames = file.frames if file.frames < NO_SIZE else 0  # a stream does not tell them
            n_bytes = size + frames * file.channels * (3 if file.subtype in _INT16_SUBTYPES else 5)
            way = "cut it into shorter recordings, or give it as WAV to `listen`, which reads block by block"
            require_free(n_bytes, f"{path} lasts {frames / file.samplerate / 3600:.3g} h and", way)


def _read(path: Path, content: bytes) -> tuple[Samples, int, str]:
    """Samples (channels, samples), sample rate in Hz and lossy coding of the bytes of a file, by libsndfile."""
    if content[:4] == b"OggS" and (cut := cut_ogg(content)):
        raise truncated(path, *cut, "bytes")
    with soundfile.SoundFile(io.BytesIO(with_its_length(content))) as file:
        data = _TRUNCATED.search(file.extra_info)
        if data and int(data[2]) < int(data[1]) < STREAMED_BYTES:
            raise truncated(path, int(data[1]), int(data[2]))
        if file.frames == 0:  # whatever else is wrong with its header
            raise _empty(path)
        kind = "int16" if file.subtype in _INT16_SUBTYPES else "float32"
        frame_bytes, told = file.channels * _BYTES.get(file.subtype, 0), wav_frame_bytes(content)
        if told and frame_bytes and told != frame_bytes:
            raise AsdError(
                f"{path} contradicts itself: its header says {file.channels} x {file.subtype} a sample, and {told} "
                f"bytes, not {frame_bytes}; write it anew with a right header, or remove it"
            )
        if unfinished := _unfinished(path, content):
            promised, held = unfinished
            raise AsdError(
                f"{path} was not finished: its header promises {promised} bytes of samples, the file holds "
                f"{held}; copy it again, or have its length corrected (WAV: ffmpeg -ignore_length 1 -i IN OUT)"
            )
        samples = file.read(file.frames, dtype=kind, always_2d=True).T
        if samples.shape[1] < _LEAST_DECODED * file.frames:
            raise truncated(path, file.frames, samples.shape[1], "samples")
        lossy = file.subtype.replace("MPEG_LAYER_III", "MP3") if _LOSSY.search(file.subtype) else ""
        return samples, int(file.samplerate), lossy


def _unfinished(path: Path, content: bytes) -> tuple[int, int] | None:
    """Bytes of samples that a header of WAV or AIFF promises, and more that there are; None where it tells all of them.

    A recorder that is cut off has written the length now and then before, or not at all: samples follow behind the last
    chunk. Zeros there are space that it had set aside. `AsdError` for RF64 that holds less than it promises.
    """
    for name, at, size in riff_chunks(content):
        if name not in (b"data", b"SSND"):
            continue
        if is_large_wav(content) and len(content) - at < size < NO_SIZE:
            raise truncated(path, size, len(content) - at)
        rest = max(behind_chunks(content, at + size + padding) for padding in (0, size % 2))
        is_more = len(content[rest:].rstrip(b"\0")) > (1 - _LEAST_DECODED) * size > 0
        return (size, len(content) - at) if is_more else None
    return None


def truncated(what: Path | str, promised: int, held: int, unit: str = "bytes of samples") -> AsdError:
    """The error for a recording that ends before its header says so."""
    return AsdError(f"{what} is truncated: its header promises {promised} {unit}, the file holds {held}; copy it again")


def _empty(path: Path) -> AsdError:
    return AsdError(f"{path} holds no samples; remove it or copy it again")


def check_levels(what: Path | str, samples: Samples) -> None:
    """Refuses samples that are not finite, or so far beyond full scale that their powers would leave float32."""
    highest, lowest = float(samples.max()), float(samples.min())  # NaN where one is
    if not np.isfinite([highest, lowest]).all():
        raise AsdError(f"{what} holds NaN or infinite samples; repair or remove the recording")
    if max(highest, -lowest) > MOST_LEVEL:
        raise AsdError(
            f"{what} holds a sample of {max(highest, lowest, key=abs):.3g}, and full scale is 1; repair, scale or "
            f"remove the recording"
        )


def _unreadable(path: Path, error: Exception, size: int = 0) -> AsdError:
    if not size and not path.exists():
        return AsdError(f"{path} does not exist; check the data folder")
    if isinstance(error, PermissionError):
        return forbidden(path)
    size = size or path.stat().st_size
    kind = path.suffix.strip(". ").upper() or "audio"
    reason = re.sub(r"^Error opening <.*?>: ", "", str(error)).rstrip(".")  # it is read from memory
    return AsdError(f"{path} ({size} bytes) is not a readable {kind} file ({reason}); remove it or copy it again")


def _is_media(content: bytes) -> bool:
    """Whether a file is not for libsndfile: MP4 (m4a, mov, 3gp), Matroska (webm, mka), ASF (wma), AMR, ADTS (aac).

    Nor does that read FLAC that was written to a pipe, or more than the first of several Ogg files in one.
    """
    if content[:4] in (b"fLaC", b"OggS"):
        return is_flac_without_length(content) or is_chained_ogg(content)
    is_adts = len(content) > 1 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0
    beginnings = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR")
    return content[4:8] == b"ftyp" or content.startswith(beginnings) or is_adts


def _read_media(path: Path, content: bytes) -> tuple[npt.NDArray[np.float32], int, str]:
    """Samples (channels, samples), rate in Hz and lossy coding of the first sound of a file, by ffmpeg."""
    av = imported("av", f"{path} is read by the extra media; pip install 'asd[media]', or write it as WAV or FLAC")
    try:
        with av.open(io.BytesIO(content), mode="r") as container:
            if not container.streams.audio:
                raise AsdError(f"{path} holds no sound; remove it")
            stream = container.streams.audio[0]
            promised_s = _promised_seconds(container, stream)
            begins_late = container.format.name != "flac" or is_flac_piece(content)
            samples, lasts_s = _decoded(container, stream, av.AudioResampler(format="fltp"), begins_late)
            rate_hz, codec, is_mp4 = int(stream.rate), stream.codec_context.codec, "mp4" in container.format.name
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AsdError(f"{path} is not a readable recording ({reason}); remove it or copy it again") from error
    length_s, n_promised = samples.shape[1] / rate_hz, round(promised_s * rate_hz)
    if length_s < _LEAST_DECODED * promised_s - _LONGEST_FRAME_S:
        raise truncated(path, n_promised, samples.shape[1], "samples")
    if length_s < _LEAST_DECODED * lasts_s - _SHORTEST_GAP_S:
        raise AsdError(f"{path} lasts {lasts_s:.3g} s and holds sound of {length_s:.3g} s; copy or record it again")
    if is_mp4 and 0 < samples.shape[1] - n_promised <= _LONGEST_FRAME_S * rate_hz:
        samples = samples[:, :n_promised]  # without the silence by which an encoder has filled its last frame
    return samples, rate_hz, codec.canonical_name.upper() if codec.lossy else ""


def _decoded(container: Any, stream: Any, to_float: Any, begins_late: bool) -> tuple[npt.NDArray[np.float32], float]:
    """Samples (channels, samples) of a stream, and seconds by the times of its frames: damaged ones are left out."""
    if stream.codec_context.name == "flac":
        stream.codec_context.options = {"err_detect": "crccheck+explode"}  # else damaged frames are noise
    parts: list[npt.NDArray[np.float32]] = []
    begins_s = [] if begins_late else [0.0]  # where its first frame would be, were it damaged
    ends_s = [0.0]
    for frame in [*container.decode(stream), None]:
        parts += [part.to_ndarray().astype(np.float32) for part in to_float.resample(frame)]
        if frame is not None and frame.time is not None:
            begins_s.append(frame.time)
            ends_s.append(frame.time + frame.samples / frame.sample_rate)
    samples = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), np.float32)
    return samples, max(ends_s) - min(begins_s, default=0.0)


def _promised_seconds(container: Any, stream: Any) -> float:
    """Length of a sound by the header of MP4, or of Matroska that holds nothing else; 0 where that does not say."""
    if "mp4" in container.format.name:
        return float((stream.duration or 0) * stream.time_base)
    if "matroska" in container.format.name and len(container.streams) == 1:
        return ((container.duration or 0) - max(container.start_time or 0, 0)) / 1e6
    return 0.0
