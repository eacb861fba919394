"""Spectra of long rows against numpy, and means of levels in dB against their formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asd.features.spectral_statistics import complex_spectrum, frame_power, mean_decibels, real_spectrum

# Short, odd, a power of two, a product of small primes long enough for MKL, its neighbour, and a long power of two.
LENGTHS = [8, 999, 4096, 16000, 16001, 16384]


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(2, 3, n)).astype(np.float32)


@pytest.mark.parametrize("n", LENGTHS)
def test_spectra_of_real_rows_are_those_of_numpy(n: int) -> None:
    values = rows(n)[0]
    found = real_spectrum(torch.from_numpy(values))
    np.testing.assert_allclose(found.numpy(), np.fft.rfft(values), atol=2e-6 * n)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("given", [1.0, 0.6])
def test_spectra_of_complex_rows_are_those_of_numpy_with_zeros_behind_and_divided(n: int, given: float) -> None:
    real, imaginary = rows(n)[..., : int(given * n)]
    values = real + 1j * imaginary
    found = complex_spectrum(torch.from_numpy(values), n)
    np.testing.assert_allclose(found.numpy(), np.fft.fft(values, n) / n, atol=2e-6)


@pytest.mark.parametrize("n_frames", [1, 3, 4, 9, 22])
def test_mean_levels_are_those_of_every_frame_within_the_range(n_frames: int) -> None:
    power = np.exp(4.0 * np.random.default_rng(n_frames).normal(size=(2, n_frames, 5)) + [[[5.0]], [[-5.0]]])
    least = 1e-3 * power.mean(1).max(1)  # below the strongest mean over time, of each clip
    expected = (10.0 * np.log10(np.maximum(power, least[:, None, None]))).mean(1)
    found = mean_decibels(torch.from_numpy(power.astype(np.float32)), 1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_clip_has_the_same_power_whatever_stands_beside_it() -> None:
    waves = torch.randn(300, 4000, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(512)
    torch.testing.assert_close(frame_power(waves, window, 256)[7:8], frame_power(waves[7:8], window, 256))
