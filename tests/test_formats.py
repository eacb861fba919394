"""Recordings in any format, at any rate, with any number of channels: what a detector gets of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import firwin, resample_poly

from asd.data.audio import read_sound
from asd.data.recordings import check
from asd.data.remarks import notices
from asd.types import AsdError, Clip, FrontEnd, Split
from tests.machines import write_media

TONE_HZ, SECONDS = 440.0, 0.5
FORMATS = {  # suffix: (format, subtype, rate in Hz, largest error of a sample)
    ".wav": ("WAV", "PCM_24", 44100, 1e-6),
    ".flac": ("FLAC", "PCM_16", 44100, 4e-5),
    ".ogg": ("OGG", "VORBIS", 44100, 0.05),
    ".opus": ("OGG", "OPUS", 48000, 0.05),
    ".mp3": ("MP3", "MPEG_LAYER_III", 44100, 0.05),
    ".aiff": ("AIFF", "PCM_16", 22050, 4e-5),
    ".caf": ("CAF", "ALAC_16", 48000, 4e-5),
    ".w64": ("W64", "PCM_16", 44100, 4e-5),
    ".rf64": ("RF64", "PCM_16", 44100, 4e-5),
    ".au": ("AU", "ULAW", 8000, 0.01),
}
COMPRESSED_BY_BLOCKS = {".flac", ".caf"}  # libsndfile refuses half of such a file in its own words


def tone(rate_hz: int, tone_hz: float = TONE_HZ, seconds: float = SECONDS) -> np.ndarray[Any, Any]:
    return 0.3 * np.sin(2 * np.pi * tone_hz * np.arange(round(rate_hz * seconds)) / rate_hz)


@pytest.mark.parametrize("suffix", FORMATS)
def test_whatever_libsndfile_writes_is_read(tmp_path: Path, suffix: str) -> None:
    kind, subtype, rate_hz, most = FORMATS[suffix]
    path, wave = tmp_path / f"a{suffix}", tone(rate_hz)
    soundfile.write(path, wave, rate_hz, format=kind, subtype=subtype)
    sound = read_sound(path)
    assert (sound.sample_rate_hz, sound.n_samples, sound.defect) == (rate_hz, len(wave), None)
    assert np.abs(sound.waveform(1)[0] - wave)[1000:-1000].max() < most
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    saying = "is not a readable" if suffix in COMPRESSED_BY_BLOCKS else "is truncated: its header promises"
    with pytest.raises(AsdError, match=saying):
        read_sound(path)


def test_a_codec_in_which_nothing_can_be_sought_is_read(tmp_path: Path) -> None:
    path, wave = tmp_path / "a.wav", tone(8000)
    soundfile.write(path, wave, 8000, subtype="GSM610")  # as telephone systems record
    sound = read_sound(path)
    assert (sound.sample_rate_hz, sound.lossy) == (8000, "GSM610")
    assert np.corrcoef(sound.waveform(1)[0][: len(wave)], wave)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz"),
    [(".m4a", "aac", 44100), (".aac", "aac", 44100), (".webm", "libopus", 48000), (".mov", "pcm_s16le", 44100)],
)
def test_what_the_libraries_of_ffmpeg_read_is_read(tmp_path: Path, suffix: str, codec: str, rate_hz: int) -> None:
    path = write_media(tmp_path / f"a{suffix}", codec, tone(rate_hz), rate_hz)
    sound = read_sound(path, sample_rate_hz=16000)
    assert (sound.sample_rate_hz, sound.file_rate_hz, sound.n_channels) == (16000, rate_hz, 1)
    spectrum = np.abs(np.fft.rfft(sound.waveform(1)[0]))
    assert np.argmax(spectrum) * 16000 / sound.n_samples == pytest.approx(TONE_HZ, abs=3)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(AsdError, match=rf"a\{suffix} .*(is not a readable recording|holds no)"):
        read_sound(path)


def test_without_the_extra_a_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_media(tmp_path / "a.m4a", "aac", tone(44100), 44100)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AsdError, match=r"a\.m4a is read by the extra media; pip install 'asd\[media\]'"):
        read_sound(path)


@given(rate_hz=st.sampled_from([8000, 22050, 44100, 48000, 96000]), tone_hz=st.floats(50, 3500))
@settings(max_examples=20)
def test_a_tone_is_the_same_tone_at_another_rate(
    tmp_path_factory: pytest.TempPathFactory, rate_hz: int, tone_hz: float
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{rate_hz}.wav"
    soundfile.write(path, tone(rate_hz, tone_hz), rate_hz, subtype="FLOAT")
    sound = read_sound(path, sample_rate_hz=16000)
    assert sound.n_samples == 16000 * SECONDS
    inner = slice(800, -800)
    np.testing.assert_allclose(sound.waveform(1)[0][inner], tone(16000, tone_hz)[inner], atol=2e-3)


def test_resampling_agrees_with_another_resampler_and_keeps_aliases_out(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 48000)
    soundfile.write(tmp_path / "a.wav", noise, 48000, subtype="FLOAT")
    ours = read_sound(tmp_path / "a.wav", sample_rate_hz=16000).waveform(1)[0]
    theirs = resample_poly(noise, 1, 3, window=firwin(1201, 7700, fs=48000))
    both = np.abs(np.fft.rfft([ours, theirs]))[:, :7000]
    np.testing.assert_allclose(both[0], both[1], rtol=0.02, atol=0.02 * both.mean())
    soundfile.write(tmp_path / "b.wav", tone(48000, 11000), 48000, subtype="FLOAT")
    alias = read_sound(tmp_path / "b.wav", sample_rate_hz=16000).waveform(1)[0][800:-800]
    assert np.abs(alias).max() < 1e-4  # 70 dB below the tone


def test_channels_by_number_and_their_mean(tmp_path: Path) -> None:
    waves = np.random.default_rng(0).uniform(-0.5, 0.5, (8, 4000)).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, waves.T, 16000, subtype="FLOAT")
    clip = Clip(path, "fan", "00", Split.TRAIN)
    wanted = {None: waves[0], 0: waves[0], 7: waves[7], "mean": waves.mean(0)}
    for channel, wave in wanted.items():
        found = check([clip], sample_rate_hz=16000, front_end=FrontEnd(channel=channel))  # type: ignore[arg-type]
        np.testing.assert_allclose(found.waveform(0), wave, atol=1e-7)
        assert bool(notices(found)) == (channel is None)
    assert len({str(FrontEnd(channel=channel).key()) for channel in wanted}) == 4  # type: ignore[arg-type]
    with pytest.raises(AsdError, match=r"a\.wav has channels 0 to 7 and channel=8 is asked for"):
        read_sound(path, channel=8)


def test_what_is_read_again_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)), 22050)
    kept = read_sound(path, channel="mean", sample_rate_hz=16000)
    monkeypatch.setattr("asd.data.audio.KEPT_BYTES", 0)
    again = read_sound(path, channel="mean", sample_rate_hz=16000)
    assert (again.kept, again.n_samples) == (None, kept.n_samples)
    np.testing.assert_array_equal(again.waveform(1), kept.waveform(1))


def test_one_notice_for_rates_and_one_for_channels(tmp_path: Path) -> None:
    clips = []
    for i, (rate_hz, n_channels) in enumerate([(16000, 1), (44100, 2), (44100, 2), (8000, 1)]):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, np.random.default_rng(i).uniform(-0.5, 0.5, (4000, n_channels)), rate_hz)
        clips.append(Clip(path, "fan", "00", Split.TRAIN))
    found = check(clips, sample_rate_hz=16000, resample=True)
    rates, channels = notices(found)
    assert "resampled to 16000 Hz: 1 of 4 at 8000 Hz, 2 of 4 at 44100 Hz; those at 8000 Hz hold nothing above" in rates
    assert channels.startswith("2 of 4 recordings have 2 channels, and the first is used")
    soundfile.write(tmp_path / "2.wav", np.random.default_rng(2).uniform(-0.5, 0.5, (4000, 3)), 44100)
    _, channels = notices(check(clips, sample_rate_hz=16000, resample=True))
    assert channels.startswith("2 of 4 recordings have up to 3 channels, and the first is used")
    with pytest.raises(AsdError, match="44100 Hz, not 16000 Hz"):
        check(clips, sample_rate_hz=16000)
