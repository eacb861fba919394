"""How other speakers and microphones might have sounded: what is random is drawn first, then applied.

A recording played at another speed has another pitch and other formants, as another speaker would; a smooth
filter is another microphone and room, and white noise another recorder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from asd.features.augment import Generator


@dataclass(frozen=True, slots=True)
class Strength:
    """How far from the recording a perturbation may be.

    Attributes:
        speed: largest factor by which it is faster or slower; 1: none.
        shift_s: largest shift to earlier or later.
        filter_db: standard deviation of the filter's gains.
        snr_db: signal-to-noise ratios, from the loudest noise to the softest.
    """

    speed: float
    shift_s: float
    filter_db: float
    snr_db: tuple[float, float]


class Perturbation(NamedTuple):
    """Drawn for a batch.

    Attributes:
        speed: (batch,) above 1: faster, shorter and higher.
        shift: (batch,) in samples, positive: later.
        gains_db: (batch, bands) at equally spaced frequencies from 0 Hz to half the sample rate.
        noise: (batch, samples) its root mean square is to be added to that of the recording, 1.
    """

    speed: torch.Tensor
    shift: torch.Tensor
    gains_db: torch.Tensor
    noise: torch.Tensor


_N_BANDS = 9  # every 500 Hz at 8 kHz: as wide as a formant, so that none is made or lost


def draw_perturbation(
    n: int, n_samples: int, sample_rate_hz: int, strength: Strength, generator: Generator = None
) -> Perturbation:
    """Random numbers for a batch of `n` waveforms of `n_samples`."""
    speed = strength.speed ** (2 * torch.rand(n, generator=generator) - 1)
    shift = (2 * torch.rand(n, generator=generator) - 1) * strength.shift_s * sample_rate_hz
    gains_db = strength.filter_db * torch.randn(n, _N_BANDS, generator=generator)
    loudest, softest = strength.snr_db
    snr_db = loudest + (softest - loudest) * torch.rand(n, 1, generator=generator)
    noise = 10 ** (-snr_db / 20) * torch.randn(n, n_samples, generator=generator)
    return Perturbation(speed, shift, gains_db, noise)


def perturb(waveforms: torch.Tensor, params: Perturbation) -> torch.Tensor:
    """Waveforms (batch, samples) as they might have been."""
    speed, shift, gains_db, noise = (values.to(waveforms.device) for values in params)
    return _filtered(_played(waveforms, speed, shift), gains_db) + noise


def _played(waveforms: torch.Tensor, speed: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """At another speed around the middle, then shifted; zeros where the recording has ended.

    Between samples a straight line is drawn: at 8 kHz it costs up to 3 dB at 2 kHz, less than the filters do.
    """
    n_samples = waveforms.shape[1]
    middle = (n_samples - 1) / 2
    times = torch.arange(n_samples, device=waveforms.device)
    places = (times - middle - shift[:, None]) * speed[:, None] + middle
    before = places.floor()
    after_part = places - before
    padded = torch.nn.functional.pad(waveforms, (1, 2))  # zeros stand for everything outside
    index = before.long().clamp(-1, n_samples) + 1
    return (1 - after_part) * padded.gather(1, index) + after_part * padded.gather(1, index + 1)


def _filtered(waveforms: torch.Tensor, gains_db: torch.Tensor) -> torch.Tensor:
    """With the gains, straight lines in decibels between them; without delay."""
    spectrum = torch.fft.rfft(waveforms)
    curve_db = torch.nn.functional.interpolate(
        gains_db[:, None], spectrum.shape[1], mode="linear", align_corners=True
    )
    return torch.fft.irfft(spectrum * 10 ** (curve_db[:, 0] / 20), n=waveforms.shape[1])
