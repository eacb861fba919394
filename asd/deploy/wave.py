"""Sound from a pipe or a long file: raw samples or a WAV file without an end, in memory of one block.

A WAV file from a pipe tells its length wrongly or not at all, and after 2 GiB nobody can: where its header says nothing
sensible, the stream goes on until it ends.

Source: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991), RIFF WAVE; Microsoft,
"Multiple Channel Audio Data and WAVE Files", WAVE_FORMAT_EXTENSIBLE; EBU Tech 3306, RF64, for files of more than 4 GiB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from asd.data.codecs import RATES_HZ, STREAMED_BYTES, truncated
from asd.data.headers import NO_SIZE
from asd.deploy.stream import Samples
from asd.types import AsdError

BLOCK_S = 0.1  # of sound that is read at once
_MOST_HEADER_BYTES = 1 << 20  # in front of the samples, such as a cover picture
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_OTHERS = {
    **{b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF", b".snd": "AU", b"caff": "CAF"},
    **{b"riff": "W64", b"RIFX": "RIFX", b"\x1a\x45\xdf\xa3": "Matroska", b"#!AM": "AMR"},
}
WAVE = (b"RIFF", b"RF64")  # the first four bytes of a WAV file
RAW = {"s16le": (_PCM, 16), "s24le": (_PCM, 24), "s32le": (_PCM, 32), "f32le": (_FLOAT, 32)}


@dataclass(frozen=True, slots=True)
class Coding:
    """How samples lie in a stream of bytes, little-endian: integers (kind 1) or floats (3) of so many bits."""

    sample_rate_hz: int
    n_channels: int
    kind: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.n_channels * self.bits // 8

    def decode(self, content: bytes) -> Samples:
        """Whole frames as samples (channels, n) with full scale 1."""
        flat: npt.NDArray[np.float64]
        if self.kind == _FLOAT:
            flat = np.frombuffer(content, f"<f{self.bits // 8}")
        elif self.bits == 8:
            flat = np.frombuffer(content, np.uint8) / 128 - 1
        elif self.bits == 24:
            wide = np.zeros((len(content) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
            flat = wide.view("<i4")[:, 0] / 2.0**31
        else:
            flat = np.frombuffer(content, f"<i{self.bits // 8}") / 2.0 ** (self.bits - 1)
        return np.ascontiguousarray(flat.astype(np.float32).reshape(-1, self.n_channels).T)


def samples_of(stream: BinaryIO, what: str, raw: Coding) -> tuple[Coding, Iterator[Samples]]:
    """How samples lie in a stream, and blocks of them (channels, n); a frame that is cut off at the end is dropped.

    Its first bytes say whether it is a WAV file; in any other they lie as in `raw`. `AsdError` for an empty stream, a
    broken header, another kind of file, or a file that is cut off; a pipe that is cut off is known, and named, at its
    end.
    """
    head = stream.read(4)
    if not head:
        raise AsdError(f"{what} is empty; check the program that writes it")
    for magic, kind in _OTHERS.items():
        if head.startswith(magic):
            raise _other(what, kind)
    if head not in WAVE:
        head += stream.read(4)
        if head[4:] == b"ftyp":
            raise _other(what, "MP4")
        return raw, _blocks(stream, what, raw, None, head)
    coding, size = _read_header(stream, what)
    if size is not None and stream.seekable():
        begin = stream.tell()
        held = stream.seek(0, 2) - begin
        stream.seek(begin)
        if held < size:
            raise truncated(what, size, held)
    return coding, _blocks(stream, what, coding, size, b"")


class Resampler:
    """Blocks (channels, n) of a stream at another rate, to the last bit as a whole recording is resampled."""

    def __init__(self, n_channels: int, rate_hz: int, wanted_hz: int) -> None:
        self._stream: Any = None
        if rate_hz != wanted_hz:
            import soxr

            self._stream = soxr.ResampleStream(rate_hz, wanted_hz, n_channels, dtype="float32")

    def __call__(self, block: Samples, *, last: bool = False) -> Samples:
        """What there is of it so far, a copy; with `last` all that is left."""
        return block.copy() if self._stream is None else self._stream.resample_chunk(block.T, last).T.copy()


def at_rate(blocks: Iterator[Samples], coding: Coding, sample_rate_hz: int) -> Iterator[Samples]:
    """The blocks of a stream at another rate."""
    resampler = Resampler(coding.n_channels, coding.sample_rate_hz, sample_rate_hz)
    yield from map(resampler, blocks)
    yield resampler(np.zeros((coding.n_channels, 0), np.float32), last=True)


def _other(what: str, kind: str) -> AsdError:
    return AsdError(
        f"{what} is a file of the kind {kind}, which is not read from a stream; convert it on the way, such as by "
        f"ffmpeg -i FILE -f wav -"
    )


def _blocks(stream: BinaryIO, what: str, coding: Coding, size: int | None, rest: bytes) -> Iterator[Samples]:
    block = max(1, round(BLOCK_S * coding.sample_rate_hz)) * coding.frame_bytes
    left = size
    while left is None or left > 0:
        wanted = block if left is None else min(block, left)
        content = rest + stream.read(wanted - len(rest))
        if whole := len(content) // coding.frame_bytes * coding.frame_bytes:
            yield coding.decode(content[:whole])
        if len(content) < wanted:
            if size is not None and left is not None:
                raise truncated(what, size, size - left + len(content))
            return
        rest, left = b"", None if left is None else left - wanted
    if size and not _is_end(stream.read(size % 2 + 4)[size % 2 :]):
        raise AsdError(
            f"{what} goes on after the {size} bytes of samples that its header promises, and the rest is not read; "
            f"write a header without a length, or raw samples"
        )


def _is_end(follows: bytes) -> bool:
    """Whether a WAV file may end so: with nothing, zeros, or a further chunk, by the four characters of its name."""
    return not follows.strip(b"\0") or (follows != b"RIFF" and follows.isascii() and follows.decode().isprintable())


def _read_header(stream: BinaryIO, what: str) -> tuple[Coding, int | None]:
    """Everything up to the samples: how they lie, and how many bytes of them there are; None: until the end."""
    if _exactly(stream, 8, what)[4:] != b"WAVE":
        raise AsdError(f"{what} begins as RIFF and is no WAVE file; send WAV, or raw samples")
    coding, n_read, long_size = None, 12, 0
    while True:
        name, size = struct.unpack("<4sI", _exactly(stream, 8, what))
        if name == b"data":
            break
        n_read += size
        if n_read > _MOST_HEADER_BYTES:
            raise _broken(what, f"a part of {size} bytes comes before the samples")
        content = _exactly(stream, size + size % 2, what)
        if name == b"fmt ":
            coding = _coding(content, what)
        elif name == b"ds64" and size >= 16:
            (long_size,) = struct.unpack_from("<Q", content, 8)
    if coding is None:
        raise _broken(what, "samples come before their format")
    if size == 0xFFFFFFFF and 0 < long_size < NO_SIZE:
        return coding, long_size
    return coding, None if size == 0 or size >= STREAMED_BYTES else size


def _coding(content: bytes, what: str) -> Coding:
    if len(content) < 16:
        raise _broken(what, f"its format takes {len(content)} bytes, not 16 or more")
    kind, n_channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", content)
    if kind == _EXTENSIBLE and len(content) >= 26:
        (kind,) = struct.unpack_from("<H", content, 24)
    if not n_channels or not RATES_HZ[0] <= rate <= RATES_HZ[1] or frame_bytes != n_channels * bits // 8:
        raise _broken(what, f"{n_channels} channels of {bits} bits at {rate} Hz, {frame_bytes} bytes a sample")
    if (kind, bits) not in {*RAW.values(), (_PCM, 8), (_FLOAT, 64)}:
        raise AsdError(
            f"{what} holds samples of {bits} bits in the WAV format {kind}; send integers of 8 to 32 bits or floats"
        )
    return Coding(rate, n_channels, kind, bits)


def _exactly(stream: BinaryIO, n: int, what: str) -> bytes:
    content = stream.read(n)
    if len(content) < n:
        raise AsdError(f"{what} ended within its WAV header; check the program that writes it")
    return content


def _broken(what: str, why: str) -> AsdError:
    return AsdError(f"{what} has a broken WAV header: {why}; check the program that writes it")
