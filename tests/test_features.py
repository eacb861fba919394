from __future__ import annotations

from pathlib import Path
from typing import Literal

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from asd.data.audio import read_wav
from asd.features.logmel import KaldiFbank, LogMel, mel_filters, resample
from asd.types import AsdError

# The official baseline takes sys.float_info.epsilon as the least power.
POWER_FLOOR = np.finfo(np.float64).eps


def librosa_log_mel(wave: np.ndarray, n_fft: int = 1024, hop: int = 512, n_mels: int = 128) -> np.ndarray:
    """The official baseline's formula, by the library it uses."""
    mel = librosa.feature.melspectrogram(y=wave, sr=16000, n_fft=n_fft, hop_length=hop, n_mels=n_mels, power=2.0)
    return 20.0 / 2.0 * np.log10(np.maximum(mel, POWER_FLOOR))


@pytest.mark.parametrize(("n_fft", "hop", "n_mels"), [(1024, 512, 128), (512, 128, 64), (2048, 512, 128)])
def test_log_mel_equals_librosa_on_noise(n_fft: int, hop: int, n_mels: int) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 12345).astype(np.float32)
    transform = LogMel(16000, n_fft, hop, n_mels)
    ours = transform(torch.from_numpy(wave)[None])[0].numpy()
    expected = librosa_log_mel(wave, n_fft, hop, n_mels)
    assert ours.shape == expected.shape == (n_mels, transform.n_frames(len(wave)))
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


def assert_log_mel_is_that_of_librosa(paths: list[Path]) -> None:
    assert len(paths) >= 12
    transform = LogMel()
    for path in paths:
        wave = read_wav(path)[0]
        ours, expected = transform(torch.from_numpy(wave))[0].numpy(), librosa_log_mel(wave[0])
        assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max(), path


def test_log_mel_equals_librosa_on_machines(tiny: Path) -> None:
    assert_log_mel_is_that_of_librosa(sorted(tiny.glob("*/test/*.wav")))


def test_log_mel_equals_librosa_on_real_machines(shared: Path) -> None:
    assert_log_mel_is_that_of_librosa(sorted(shared.glob("data/machines/*/test/*.wav"))[::25])


def test_silence_lies_on_the_floor() -> None:
    levels = LogMel()(torch.zeros(1, 16000))
    assert levels.unique().tolist() == pytest.approx([10 * np.log10(POWER_FLOOR)])


def test_a_batch_equals_its_clips() -> None:
    waves = torch.randn(3, 8000, generator=torch.Generator().manual_seed(0))
    transform = LogMel()
    torch.testing.assert_close(transform(waves), torch.cat([transform(wave[None]) for wave in waves]))


@pytest.mark.parametrize("window", ["povey", "hanning"])
@pytest.mark.parametrize("n_samples", [400, 559, 560, 16000, 16123])
def test_the_batched_filter_bank_is_kaldi_s(window: Literal["povey", "hanning"], n_samples: int) -> None:
    waveforms = torch.from_numpy(np.random.default_rng(n_samples).normal(size=(3, n_samples))).float()
    waveforms[1] = 0.5 + waveforms[1] * 1e-3
    waveforms[2] = 0.0
    theirs = [
        torchaudio.compliance.kaldi.fbank(
            wave[None], num_mel_bins=128, sample_frequency=16000, window_type=window, dither=0.0
        )
        for wave in waveforms
    ]
    ours = KaldiFbank(window)(waveforms)
    torch.testing.assert_close(ours, torch.stack(theirs), atol=1e-4, rtol=1e-5)
    assert KaldiFbank.n_samples(ours.shape[1]) <= n_samples < KaldiFbank.n_samples(ours.shape[1] + 1)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_mel_filters_are_those_of_librosa(rate_hz: int) -> None:
    expected = librosa.filters.mel(sr=rate_hz, n_fft=1024, n_mels=64)
    np.testing.assert_allclose(mel_filters(1024, 64, rate_hz).numpy(), expected, atol=2e-6)


def test_a_tone_is_the_same_tone_at_another_rate() -> None:
    def tone(rate_hz: int) -> torch.Tensor:
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate_hz) / rate_hz)[None]

    wave = tone(48000)
    assert resample(wave, 48000, 48000) is wave
    found = resample(wave, 48000, 16000)
    assert found.shape == (1, 16000)
    assert (found - tone(16000))[0, 200:-200].abs().max() < 1e-2


def test_the_usual_window_is_kaldi_s_own_and_another_is_refused() -> None:
    waves = torch.randn(2, 1600, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(KaldiFbank()(waves), KaldiFbank("povey")(waves), rtol=0, atol=0)
    with pytest.raises(AsdError, match=r"window=hamming is unknown; choose one of povey, hanning$"):
        KaldiFbank("hamming")  # type: ignore[arg-type]
