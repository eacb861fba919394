"""Samples of a pipe are those that libsndfile reads of the same bytes in a file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from asd.deploy.wave import BLOCK_S, Coding, at_rate, samples_of
from asd.types import AsdError

RAW = Coding(8000, 1, 1, 16)


def wav(n_samples: int, subtype: str = "PCM_16", n_channels: int = 1, kind: str = "WAV") -> bytes:
    rng, file = np.random.default_rng(n_samples), io.BytesIO()
    soundfile.write(file, rng.uniform(-1, 1, (n_samples, n_channels)), 8000, subtype, format=kind)
    return file.getvalue()


def read(content: bytes, raw: Coding = RAW) -> np.ndarray:
    coding, blocks = samples_of(io.BytesIO(content), "standard input", raw)
    found = list(blocks)
    return np.concatenate(found, axis=1) if found else np.zeros((coding.n_channels, 0), np.float32)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_every_format_is_decoded_as_libsndfile_does(subtype: str, n_channels: int, kind: str) -> None:
    content = wav(2500, subtype, n_channels, kind)
    expected = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].T
    np.testing.assert_array_equal(read(content), expected)


@pytest.mark.parametrize("format_", [(1, 16), (1, 24), (1, 32), (3, 32)])
def test_raw_samples_are_those_after_the_header(format_: tuple[int, int]) -> None:
    subtype = {(1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32", (3, 32): "FLOAT"}[format_]
    content = wav(1234, subtype, 2)
    samples = content[content.index(b"data") + 8 :][: 1234 * 2 * format_[1] // 8]
    np.testing.assert_array_equal(read(samples, Coding(8000, 2, *format_)), read(content))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 11025])
def test_blocks_at_another_rate_are_the_whole_recording_at_that_rate(rate_hz: int) -> None:
    coding, blocks = samples_of(io.BytesIO(wav(2345, "FLOAT", 2)), "it", RAW)
    found = np.concatenate([*at_rate(blocks, coding, rate_hz)], axis=1)
    whole = read(wav(2345, "FLOAT", 2)).T
    np.testing.assert_array_equal(found, (whole if rate_hz == 8000 else soxr.resample(whole, 8000, rate_hz)).T)


@pytest.mark.parametrize("size", [0, 0x7FFF0000, 0x80000000, 0xFFFFFFFF])
def test_a_size_that_a_recorder_could_not_know_means_until_the_end(size: int) -> None:
    content = wav(2000)
    at = content.index(b"data") + 4
    streamed = content[:at] + struct.pack("<I", size) + content[at + 4 :]
    np.testing.assert_array_equal(read(streamed), read(content))


@pytest.mark.parametrize("size", [0, 2**63 - 1, 2**64 - 1])
def test_a_size_of_rf64_that_a_recorder_could_not_know_means_until_the_end(size: int) -> None:
    content = bytearray(wav(2000, kind="RF64"))
    struct.pack_into("<Q", content, 28, size)
    np.testing.assert_array_equal(read(bytes(content)), read(wav(2000)))


@pytest.mark.parametrize("n_samples", [1000, 1001])
@pytest.mark.parametrize("follows", ["samples", "another file"])
def test_samples_beyond_what_the_header_promises_are_named(n_samples: int, follows: str) -> None:
    content = wav(n_samples, "PCM_U8")
    coding, blocks = samples_of(io.BytesIO(content + (b"\x90" * 500 if follows == "samples" else content)), "it", RAW)
    heard: list[int] = []
    with pytest.raises(AsdError, match=f"it goes on after the {n_samples} bytes of samples that its header promises"):
        heard.extend(block.shape[1] for block in blocks)
    assert (coding.bits, sum(heard)) == (8, n_samples)
    assert read(content + bytes(50)).shape == read(content).shape == (1, n_samples)


def test_what_follows_the_samples_is_no_sound_and_an_odd_part_before_them_is_skipped() -> None:
    content = wav(300)
    at = content.index(b"data")
    with_parts = content[:at] + b"LIST" + struct.pack("<I", 5) + b"hello\0" + content[at:] + b"id3 " + bytes(99)
    np.testing.assert_array_equal(read(with_parts), read(content))


@given(st.integers(0, 5000), st.integers(0, 1))
def test_blocks_are_the_whole_without_the_cut_off_frame(n_samples: int, extra: int) -> None:
    samples = np.random.default_rng(n_samples).integers(-30000, 30000, n_samples, dtype="<i2")
    if n_samples < 2:
        return
    _, blocks = samples_of(io.BytesIO(samples.tobytes() + b"\x01" * extra), "it", RAW)
    found = list(blocks)
    assert max(block.shape[1] for block in found) <= BLOCK_S * 8000
    np.testing.assert_array_equal(np.concatenate(found, axis=1)[0] * 32768, samples)


class Pipe(io.BytesIO):
    """Bytes whose end nobody knows before it comes."""

    def seekable(self) -> bool:
        return False


@given(st.integers(1, 1999))
def test_samples_that_are_missing_at_the_end_are_named(n_missing: int) -> None:
    content = wav(2000)[: -2 * n_missing]
    saying = rf"promises 4000 bytes of samples, the file holds {4000 - 2 * n_missing}; copy it again"
    with pytest.raises(AsdError, match=saying):
        samples_of(io.BytesIO(content), "a.wav", RAW)  # a file, before anything is heard
    _, blocks = samples_of(Pipe(content), "standard input", RAW)
    heard = []
    with pytest.raises(AsdError, match=f"standard input is truncated.*{saying}"):
        heard.extend(blocks)
    np.testing.assert_array_equal(np.concatenate(heard, axis=1), read(wav(2000))[:, : 2000 - n_missing])


def _changed(at_name: bytes, offset: int, value: bytes) -> bytes:
    content = wav(100)
    at = content.index(at_name) + offset
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (b"", "is empty"),
        (wav(100)[:20], "ended within its WAV header"),
        (wav(100)[:6], "ended within its WAV header"),
        (_changed(b"WAVE", 0, b"AVI "), "no WAVE file"),
        (_changed(b"fmt ", 0, b"junk"), "samples come before their format"),
        (_changed(b"fmt ", 4, struct.pack("<I", 4)), "broken WAV header"),
        (_changed(b"fmt ", 4, struct.pack("<I", 0x40000000)), "a part of 1073741824 bytes"),
        (_changed(b"fmt ", 10, struct.pack("<H", 0)), "0 channels"),
        (_changed(b"fmt ", 12, struct.pack("<I", 0)), "at 0 Hz"),
        (_changed(b"fmt ", 12, struct.pack("<I", 7)), "at 7 Hz"),
        (wav(100, "PCM_16", kind="RF64")[:-20], "promises 200 bytes of samples, the file holds 180"),
        (_changed(b"fmt ", 8, struct.pack("<H", 2)), "16 bits in the WAV format 2"),
        (wav(100, "PCM_16", kind="FLAC"), "kind FLAC"),
        (wav(100, "VORBIS", kind="OGG"), "kind Ogg"),
        (wav(100, "PCM_16", kind="CAF"), "kind CAF"),
        (wav(100, "PCM_16", kind="W64"), "kind W64"),
        (bytes([0, 0, 0, 32]) + b"ftypM4A " + bytes(100), "kind MP4"),
        (b"\x1a\x45\xdf\xa3" + bytes(100), "kind Matroska"),
    ],
)
def test_a_broken_header_is_one_sentence(content: bytes, saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        read(content)


def test_a_file_is_read_block_by_block(tmp_path: Path) -> None:
    (tmp_path / "it.wav").write_bytes(wav(80000))
    with (tmp_path / "it.wav").open("rb") as file:
        _, blocks = samples_of(file, "it.wav", RAW)
        next(blocks)
        assert file.tell() <= 44 + 2 * BLOCK_S * 8000 + 4096
