"""WAV files of every kind: what is read, what is refused, and in which words."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.audio import Sound, _Memory, chosen_channels, read_sound, read_wav
from asd.data.codecs import write_wav
from asd.types import AsdError
from tests.machines import write_clip


def test_wav_round_trip_is_exact_to_16_bits(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 1600)).astype(np.float32)
    write_wav(tmp_path / "a.wav", wave, 16000)
    read, rate_hz = read_wav(tmp_path / "a.wav")
    assert rate_hz == 16000
    assert read.shape == (2, 1600)
    assert np.abs(read - wave).max() <= 1 / 32768


HEADERS: dict[str, int | None] = {"of its own": None, "0": 0, "-1": 0xFFFFFFFF, "pipe": 0x7FFFF000, "half": 0x7FFFFFFF}


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize("riff", ["of its own", "0", "-1"])
@pytest.mark.parametrize("size", HEADERS)
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_a_size_that_a_recorder_never_corrected(tmp_path: Path, subtype: str, riff: str, size: str, kind: str) -> None:
    path = tmp_path / "a.wav"
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 1002)  # an odd number of bytes would be filled up
    soundfile.write(path, wave, 16000, subtype=subtype, format=kind)
    whole, _ = read_wav(path)
    content = bytearray(path.read_bytes())
    for at, value in ((4, HEADERS[riff]), (content.index(b"data") + 4, HEADERS[size])):
        if value is not None:
            content[at : at + 4] = struct.pack("<I", value)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_wav(path)[0], whole)


@pytest.mark.parametrize("body", [b"INFO", b"INFO-", b""])
def test_a_chunk_before_the_samples_may_have_any_length(tmp_path: Path, body: bytes) -> None:
    path = write_clip(tmp_path / "a.wav", 0)
    content = path.read_bytes()
    whole, at = read_wav(path)[0], content.index(b"data")
    chunk = b"LIST" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    path.write_bytes(content[:at] + chunk + b"data" + bytes(4) + content[at + 8 :])
    np.testing.assert_array_equal(read_wav(path)[0], whole)


@pytest.mark.parametrize("body", [b"INFO", b"INFO-", b""])
def test_no_samples_are_made_of_what_follows_none(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), 16000)
    chunk = b"LIST" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    path.write_bytes(path.read_bytes() + chunk + chunk)
    with pytest.raises(AsdError, match="holds no samples"):
        read_wav(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"0 bytes\) is not a readable WAV file"),
        (b"RIFF1234WAVEfmt ", "is not a readable WAV file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4398\nsize 37088\n",
            "is a pointer of Git LFS in place of the recording; fetch that with `git lfs pull`",
        ),
        (b"hello, this is no sound", r"is not a readable WAV file \(Format not recogni[sz]ed\)"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "broken.wav").write_bytes(content)
    with pytest.raises(AsdError, match=r"broken\.wav.*" + sentence):
        read_sound(tmp_path / "broken.wav")


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", 0)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(AsdError, match="truncated: its header promises 32000 bytes of samples"):
        read_sound(path)


@given(st.binary(max_size=200), st.integers(0, 60))
@settings(max_examples=300)
def test_no_bytes_give_anything_but_samples_or_a_sentence(noise: bytes, n_kept: int) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.linspace(-0.5, 0.5, 30), 16000, format="WAV")
    path = Path(os.environ.get("TMPDIR", "/tmp"), f"asd-fuzz-{os.getpid()}.wav")
    path.write_bytes(content.getvalue()[:n_kept] + noise)
    sentence = ""
    try:
        samples, _ = read_wav(path)
    except AsdError as error:
        sentence = str(error)
    finally:
        path.unlink()
    assert str(path) in sentence or (samples.size and np.isfinite(samples).all())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, -1e20, 1e10, -70000.0])
def test_samples_that_no_recording_holds_are_refused(tmp_path: Path, value: float) -> None:
    wave = np.zeros(1000, np.float32)
    wave[3] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    saying = f"a sample of {value:.3g}, and full scale is 1" if np.isfinite(value) else "NaN or infinite"
    with pytest.raises(AsdError, match=rf"a\.wav holds {saying}".replace("+", r"\+")):
        read_wav(tmp_path / "a.wav")


def test_floats_in_units_of_16_bit_steps_are_read(tmp_path: Path) -> None:
    wave = np.array([-32768, 32767, 5], np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav")[0], wave[None])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_what_is_kept_is_what_soundfile_reads(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.9, 0.9, (500, 3)), 8000, subtype=subtype)
    wanted = soundfile.read(path, dtype="float32")[0].T
    sound = read_sound(path, 2)
    np.testing.assert_array_equal(sound.waveform(2), wanted[:2])
    np.testing.assert_array_equal(sound.waveform(1), wanted[:1])
    np.testing.assert_array_equal(read_wav(path)[0], wanted)
    assert (sound.n_channels, sound.n_samples, sound.sample_rate_hz) == (3, 500, 8000)
    assert sound.content == hashlib.sha256(path.read_bytes()).hexdigest()


def test_places_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "folder.wav").mkdir()
    for name, saying in (("pipe", "a folder or a device"), ("folder", "a folder or"), ("loop", "does not exist")):
        with pytest.raises(AsdError, match=rf"{name}\.wav .*{saying}"):
            read_wav(tmp_path / f"{name}.wav")


def test_a_waveform_in_memory_is_a_sound_with_all_that_a_file_tells() -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 800)).astype(np.float32)
    wave[1, 7] = -0.75
    sound = Sound.of(wave, 8000, n_microphones=1)
    assert (sound.sample_rate_hz, sound.file_rate_hz, sound.n_channels, sound.n_samples) == (8000, 8000, 3, 800)
    assert sound.path is None
    assert sound.peak == 0.75
    assert sound.level_db == pytest.approx(10 * np.log10(np.var(wave[0], dtype=np.float64)), abs=1e-4)
    assert sound.defect is None
    assert sound.content == hashlib.sha256(wave.tobytes()).hexdigest()
    np.testing.assert_array_equal(sound.waveform(2), wave[:2])
    assert Sound.of(wave + 0.25, 8000).level_db == pytest.approx(sound.level_db, abs=1e-4)  # without an offset
    long = np.tile(wave[:1], (1, 6000))  # 4.8 million samples
    assert Sound.of(long, 8000).level_db == pytest.approx(sound.level_db, abs=0.1)
    assert Sound.of(np.ones((1, 800), np.float32), 8000).level_db == -200.0
    assert Sound.of(np.zeros((1, 800), np.float32), 8000).defect == "is silent (all samples are zero)"
    with pytest.raises(AsdError, match=r"^a waveform in memory holds no samples; leave it out$"):
        Sound.of(np.zeros((1, 0), np.float32), 8000)


def test_the_level_of_a_file_is_that_of_its_used_channel_in_any_coding(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (800, 2)) * [1.0, 0.1]
    for subtype in ("PCM_16", "FLOAT", "PCM_24"):
        soundfile.write(tmp_path / "a.wav", wave, 8000, subtype)
        for channel in (0, 1):
            level_db = 10 * np.log10(wave[:, channel].var())
            assert read_sound(tmp_path / "a.wav", channel=channel).level_db == pytest.approx(level_db, abs=0.01)


def test_of_one_channel_the_mean_is_itself() -> None:
    samples = np.arange(-3, 4, dtype=np.int16)[None]
    assert chosen_channels("a.wav", samples, 1, "mean") is samples
    both = np.concatenate([samples, -samples, np.abs(samples)])
    np.testing.assert_allclose(chosen_channels("a.wav", both, 1, "mean")[0] * 32768, np.abs(samples[0]) / 3, atol=1e-6)


def test_as_many_microphones_are_read_again_as_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asd.data.audio.KEPT_BYTES", 0)
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 800)).astype(np.float32)
    write_wav(tmp_path / "a.wav", wave, 16000)
    sound = read_sound(tmp_path / "a.wav", 2)
    assert sound.kept is None
    np.testing.assert_array_equal(sound.waveform(2), read_wav(tmp_path / "a.wav")[0][:2])


def test_memory_is_used_to_its_last_byte_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asd.data.audio.KEPT_BYTES", 200)
    memory, samples = _Memory(), np.ones((1, 50), np.int16)
    kept = [memory.keep(samples), memory.keep(samples)]
    assert all(each is not None and each is not samples for each in kept)
    assert memory.keep(samples) is None
    kept.pop()
    assert memory.keep(samples) is not None


def test_nothing_is_left_of_one_sample_at_a_higher_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [0.5], 48000)
    sound = read_sound(tmp_path / "a.wav", sample_rate_hz=16000)
    assert (sound.n_samples, sound.level_db) == (0, -200.0)
