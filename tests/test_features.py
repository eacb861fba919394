from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from asd.audio import read_wav
from asd.features import POWER_FLOOR, LogMel


def librosa_log_mel(wave: np.ndarray, n_fft: int = 1024, hop: int = 512, n_mels: int = 128) -> np.ndarray:
    """The official baseline's formula, by the library it uses."""
    mel = librosa.feature.melspectrogram(
        y=wave, sr=16000, n_fft=n_fft, hop_length=hop, n_mels=n_mels, power=2.0
    )
    return 20.0 / 2.0 * np.log10(np.maximum(mel, POWER_FLOOR))


@pytest.mark.parametrize(("n_fft", "hop", "n_mels"), [(1024, 512, 128), (512, 128, 64), (2048, 512, 128)])
def test_log_mel_equals_librosa_on_noise(n_fft: int, hop: int, n_mels: int) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 12345).astype(np.float32)
    transform = LogMel(16000, n_fft, hop, n_mels)
    ours = transform(torch.from_numpy(wave)[None])[0].numpy()
    expected = librosa_log_mel(wave, n_fft, hop, n_mels)
    assert ours.shape == expected.shape == (n_mels, transform.n_frames(len(wave)))
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


def test_log_mel_equals_librosa_on_real_machines(shared: Path) -> None:
    paths = sorted(shared.glob("data/machines/*/test/*.wav"))[::25]
    assert len(paths) >= 16
    transform = LogMel()
    for path in paths:
        wave = read_wav(path)[0]
        ours, expected = transform(torch.from_numpy(wave))[0].numpy(), librosa_log_mel(wave[0])
        assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max(), path


def test_silence_lies_on_the_floor() -> None:
    levels = LogMel()(torch.zeros(1, 16000))
    assert levels.unique().tolist() == pytest.approx([10 * np.log10(POWER_FLOOR)])


def test_a_batch_equals_its_clips() -> None:
    waves = torch.randn(3, 8000, generator=torch.Generator().manual_seed(0))
    transform = LogMel()
    torch.testing.assert_close(transform(waves), torch.cat([transform(wave[None]) for wave in waves]))
