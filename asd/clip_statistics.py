"""A clip of any length as a few vectors, without training: its mean spectrum and how its bands move.

Eight views, each (batch, dims):

    mel32, linear64, mel64, log64   spectrum of the mean power in dB, from fine time to fine frequency,
                                    with the clip's level (mean over bands) removed
    mel32_level                     the first of them with its level: a fault may make a machine louder
    modulation                      power of the band envelopes, by rate of modulation
    variation, kurtosis             spread and peakedness of the band envelopes

Mean power, not mean level, is averaged: a band's estimate is less noisy that way (Welch 1967). The level
is removed because it follows distance, gain and load more than faults. Nothing here knows other clips, so
a vector never depends on the company of its clip. What each view brings is measured in docs/benchmark.md.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

from asd.features import Spectrogram, band_filters, mel_filters

VIEWS = ("mel32_level", "mel32", "linear64", "mel64", "log64", "modulation", "variation", "kurtosis")

_SHORT, _MEDIUM, _LONG = 256, 1024, 4096  # transform lengths in samples; hops are a quarter
_DYNAMIC_RANGE = 1e-6  # power below the loudest band of the clip that still counts: 60 dB; the rest is
# the converter's noise, or what a low-pass filter before it left over
_SEGMENT_FRAMES = 256  # envelope transformed at once: 1 s at 16 kHz, so the slowest modulation is 1 Hz
_LOWEST_MODULATION_HZ = 2.0
_LOWEST_HZ = 20.0


class ClipStatistics(nn.Module):
    """All views of clips of one length.

    Args:
        sample_rate_hz: sample rate of the waveforms.
    """

    def __init__(self, sample_rate_hz: int = 16000) -> None:
        super().__init__()
        nyquist_hz = sample_rate_hz / 2
        self.short, self.medium, self.long = (Spectrogram(n, n // 4) for n in (_SHORT, _MEDIUM, _LONG))
        linear_hz = torch.linspace(0.5, _SHORT // 2 + 0.5, 65) * sample_rate_hz / _SHORT
        log_hz = torch.logspace(math.log10(_LOWEST_HZ), math.log10(nyquist_hz), 65)
        self.register_buffer("mel32", mel_filters(_SHORT, 32, sample_rate_hz))
        self.register_buffer("mel12", mel_filters(_SHORT, 12, sample_rate_hz))
        self.register_buffer("linear64", band_filters(_SHORT, linear_hz, sample_rate_hz))
        self.register_buffer("mel64", mel_filters(_MEDIUM, 64, sample_rate_hz))
        self.register_buffer("log64", band_filters(_LONG, log_hz, sample_rate_hz))
        self.register_buffer("rates", _modulation_filters(sample_rate_hz / (_SHORT // 4)))

    @torch.no_grad()
    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of clips: (batch, samples) -> {view: (batch, dims)}."""
        short = self.short(waveforms)
        # keeps digital silence finite, far below anything recorded
        silence = 1e-20 + 1e-10 * short.mean((1, 2), keepdim=True)
        envelope = (self.mel32 @ short + silence).sqrt()
        relative = envelope / envelope.mean(2, keepdim=True)
        spread = relative.std(2, correction=0) + 1e-9
        standard = (relative - 1.0) / spread[..., None]
        mel32 = _levels(envelope.square().mean(2))
        return {
            "mel32_level": mel32,
            "mel32": mel32 - mel32.mean(1, keepdim=True),
            "linear64": _shape(short.mean(2) @ self.linear64.T),
            "mel64": _shape(self.medium(waveforms).mean(2) @ self.mel64.T),
            "log64": _shape(self.long(waveforms).mean(2) @ self.log64.T),
            "modulation": self._modulation((self.mel12 @ short + silence).sqrt()),
            "variation": (spread + 1e-3).log(),
            "kurtosis": (standard.square().square().mean(2) + 0.1).log(),
        }

    def _modulation(self, envelope: torch.Tensor) -> torch.Tensor:
        """Level in dB of each band's envelope by rate: (batch, bands, frames) -> (batch, bands * rates)."""
        relative = envelope / envelope.mean(2, keepdim=True) - 1.0
        n = min(_SEGMENT_FRAMES, relative.shape[2])
        segments = relative.unfold(2, n, _SEGMENT_FRAMES // 2)  # (batch, bands, segments, n)
        window = torch.hann_window(n, periodic=False, device=envelope.device)
        power = torch.fft.rfft(segments * window, _SEGMENT_FRAMES).abs().square().mean(2) / _SEGMENT_FRAMES
        return (10.0 * torch.log10(power @ self.rates.T + 1e-6)).flatten(1)


def _levels(power: torch.Tensor) -> torch.Tensor:
    """Levels in dB: (batch, bands) -> (batch, bands)."""
    floor = (_DYNAMIC_RANGE * power.amax(1, keepdim=True)).clamp_min(1e-20)
    return 10.0 * torch.log10(torch.maximum(power, floor))


def _shape(power: torch.Tensor) -> torch.Tensor:
    """Levels in dB around their mean over bands: (batch, bands) -> (batch, bands)."""
    levels = _levels(power)
    return levels - levels.mean(1, keepdim=True)


def _modulation_filters(frame_rate_hz: float, n_rates: int = 8) -> torch.Tensor:
    """Means over logarithmic bands of modulation rate, (rates, bins); a band without a bin takes the nearest."""
    rates_hz = torch.fft.rfftfreq(_SEGMENT_FRAMES, 1 / frame_rate_hz)
    edges = torch.logspace(math.log10(_LOWEST_MODULATION_HZ), math.log10(frame_rate_hz / 2), n_rates + 1)
    filters = torch.zeros(n_rates, len(rates_hz))
    for row, (low, high) in enumerate(pairwise(edges)):
        inside = (rates_hz >= low) & (rates_hz < high)
        if not inside.any():
            inside[(rates_hz - (low + high) / 2).abs().argmin()] = True
        filters[row, inside] = 1.0 / int(inside.sum())
    return filters
