from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd.data.audio import check, defects, joined, mono, read_wav, write_wav
from asd.data.microphones import FrontEnd
from asd.data.mixing import Addition, mix
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


def two_microphones(path: Path, near: float, far: float, seed: int = 0) -> Path:
    """A file whose microphones hear noise of these levels, independent of each other."""
    wave = np.random.default_rng(seed).normal(size=(2, 1600)) * [[near], [far]]
    write_wav(path, wave.astype(np.float32), 16000)
    return path


def test_the_front_end_decides_what_is_heard(tmp_path: Path) -> None:
    some = [clip(two_microphones(tmp_path / f"{i}.wav", 0.1, 0.05, i)) for i in range(3)]
    near, far = np.stack([read_wav(one.path)[0] for one in some]).swapaxes(0, 1)
    for name, wanted in (("near", near), ("far", far), ("mean", (near + far) / 2)):
        heard = check(some, sample_rate_hz=16000, front_end=FrontEnd(name))
        (_, batch), *none = heard.batches()
        assert not none
        np.testing.assert_allclose(batch, wanted, atol=1e-7)
        np.testing.assert_array_equal(heard.waveform(1), batch[1])
    cancelled = check(some, sample_rate_hz=16000, front_end=FrontEnd("cancel", residual=0.5))
    np.testing.assert_array_equal(cancelled.far().waveform(2), far[2])
    assert cancelled.key() != cancelled.far().key()


def test_broken_recordings_are_named(tmp_path: Path) -> None:
    levels = {"good": (0.1, 0.1), "deaf": (0.1, 0.0), "silent": (0.0, 0.1)}
    some = [clip(two_microphones(tmp_path / f"{name}.wav", *pair)) for name, pair in levels.items()]
    both = defects(check(some, sample_rate_hz=16000, front_end=FrontEnd("cancel")))
    assert [(one.path.stem, what.split(" (")[0]) for one, what in both] == [
        ("deaf", "has a silent far microphone"),
        ("silent", "is silent"),
    ]
    assert [one.path.stem for one, _ in defects(check(some, sample_rate_hz=16000))] == ["silent"]


def test_noise_is_mixed_in_before_the_front_end(tmp_path: Path) -> None:
    one, noise = (clip(two_microphones(tmp_path / f"{i}.wav", 0.1, 0.1, i)) for i in range(2))
    heard = check([one], sample_rate_hz=16000, front_end=FrontEnd("mean"))
    louder = replace(heard, additions=(Addition(noise, 3.0, 0.25),))
    wanted = mix(read_wav(one.path)[0], read_wav(noise.path)[0], 3.0, 0.25).mean(0)
    np.testing.assert_allclose(louder.waveform(0), wanted, atol=1e-7)
    assert louder.key() != heard.key()


def test_joined_recordings_keep_what_is_mixed_in_and_a_subset_its_own(tmp_path: Path) -> None:
    one, other = (clip(write_clip(tmp_path / f"{i}.wav", i)) for i in range(2))
    plain = check([one, other], sample_rate_hz=16000)
    noisy = replace(plain, additions=(Addition(other, 0.0, 0.0), None))
    every = joined([plain, noisy])
    assert len(every) == 4
    assert every.additions == (None, None, noisy.additions[0], None)
    assert joined([plain, plain]).additions == ()
    some = replace(every, further=plain).subset([2, 0])
    assert (some.further, some.additions) == (None, (noisy.additions[0], None))
    np.testing.assert_array_equal(some.waveform(0), noisy.waveform(0))
    assert plain.with_further() is plain
    assert replace(plain, further=noisy).with_further().clips == every.clips


def test_mono_files_are_found(tmp_path: Path) -> None:
    one, two = clip(write_clip(tmp_path / "1.wav", 0)), clip(two_microphones(tmp_path / "2.wav", 0.1, 0.1))
    assert mono([one, two]) == [one]


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


def test_wrong_rate_and_a_missing_microphone_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", 0)
    with pytest.raises(AsdError, match="sampled at 16000 Hz, not 8000 Hz"):
        check([clip(path)], sample_rate_hz=8000)
    for front_end, word in (
        (FrontEnd("cancel"), "frontend=cancel"),
        (FrontEnd(residual=0.5), "residual=0.5"),
    ):
        with pytest.raises(AsdError, match=rf"a\.wav has one channel and {word} needs two"):
            check([clip(path)], sample_rate_hz=16000, front_end=front_end)
