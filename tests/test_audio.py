from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd.audio import check, read_wav, silent, write_wav
from asd.types import AsdError, Clip, Split
from tests.machines import write_clip


def clip(path: Path) -> Clip:
    return Clip(path, "fan", "00", Split.TRAIN)


def test_wav_round_trip_is_exact_to_16_bits(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 1600)).astype(np.float32)
    write_wav(tmp_path / "a.wav", wave, 16000)
    read, rate_hz = read_wav(tmp_path / "a.wav")
    assert rate_hz == 16000
    assert read.shape == (2, 1600)
    assert np.abs(read - wave).max() <= 1 / 32768


def test_batches_hold_every_clip_once_in_bounded_memory(tmp_path: Path) -> None:
    durations = [1.0, 0.5, 1.0, 0.25, 1.0, 0.5]
    paths = [write_clip(tmp_path / f"{i}.wav", i, duration) for i, duration in enumerate(durations)]
    recordings = check([clip(path) for path in paths], sample_rate_hz=16000)
    batches = list(recordings.batches(max_samples=32000))
    assert sorted(int(i) for indices, _ in batches for i in indices) == list(range(6))
    assert all(waves.size <= 32000 for _, waves in batches)
    for indices, waves in batches:
        for index, wave in zip(indices, waves, strict=True):
            np.testing.assert_array_equal(wave, read_wav(paths[index])[0][0])


def test_second_channel_is_read(tmp_path: Path) -> None:
    wave = np.stack([np.zeros(1600), np.full(1600, 0.5)]).astype(np.float32)
    write_wav(tmp_path / "a.wav", wave, 16000)
    far = check([clip(tmp_path / "a.wav")], sample_rate_hz=16000, channel=1)
    assert far.waveform(0).mean() == pytest.approx(0.5, abs=1e-4)
    assert silent(check([clip(tmp_path / "a.wav")], sample_rate_hz=16000)) != []


def test_a_wav_streamed_by_a_recorder_is_not_called_truncated(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", 0)
    content = bytearray(path.read_bytes())
    content[40:44] = (0xFFFFFFFF).to_bytes(4, "little")  # size of the data chunk, never corrected
    path.write_bytes(content)
    assert check([clip(path)], sample_rate_hz=16000).lengths_samples[0] == 16000


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"0 bytes\) is not a readable WAV file"),
        (b"RIFF1234WAVEfmt ", "is not a readable WAV file"),
        (b"hello, this is no sound", "is not a readable WAV file"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "broken.wav").write_bytes(content)
    with pytest.raises(AsdError, match=r"broken\.wav.*" + sentence):
        check([clip(tmp_path / "broken.wav")], sample_rate_hz=16000)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", 0)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(AsdError, match="truncated: its header promises 32000 bytes of samples"):
        check([clip(path)], sample_rate_hz=16000)


def test_nan_is_refused(tmp_path: Path) -> None:
    wave = np.zeros(1000, np.float32)
    wave[3] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    with pytest.raises(AsdError, match="NaN or infinite"):
        read_wav(tmp_path / "a.wav")


def test_wrong_rate_and_missing_channel_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", 0)
    with pytest.raises(AsdError, match="sampled at 16000 Hz, not 8000 Hz"):
        check([clip(path)], sample_rate_hz=8000)
    with pytest.raises(AsdError, match="no channel 1"):
        check([clip(path)], sample_rate_hz=16000, channel=1)
