"""A clip of any length as a few vectors, without training: its mean spectrum and how its bands move.

The default views, each (batch, dims):

    mel32, linear64, mel64, log64   spectrum of the mean power in dB, from fine time to fine frequency,
                                    with the clip's level (mean over bands) removed
    mel32_level                     the first of them with its level: a fault may make a machine louder
    modulation                      power of the band envelopes, by rate of modulation
    variation, kurtosis             spread and peakedness of the band envelopes

Mean power, not mean level, is averaged: a band's estimate is less noisy that way (Welch 1967). The level
is removed because it follows distance, gain and load more than faults. Further views are the field's own,
to compare with: mean log-mel, TWFR and RDP pooling of it, a high-resolution spectrum. Nothing here knows
other clips, so a vector never depends on the company of its clip. docs/benchmark.md measures each view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from asd.features.logmel import LogMel, Spectrogram, band_filters, mel_filters
from asd.features.pooling import gwrp_pool, mean_pool, rdp_pool

VIEWS = ("mel32_level", "mel32", "linear64", "mel64", "log64", "modulation", "variation", "kurtosis")

FURTHER_VIEWS = ("log_mel128", "log_mel64", "gwrp98", "gwrp90", "rdp4", "rdp8", "psd96")

_SHORT, _MEDIUM, _LONG, _FINEST = 256, 1024, 4096, 8192  # transform lengths in samples; hops are a quarter
_DYNAMIC_RANGE = 1e-6  # power below the loudest band of the clip that still counts: 60 dB; the rest is
# the converter's noise, or what a low-pass filter before it left over
_SEGMENT_FRAMES = 256  # envelope transformed at once: 1 s at 16 kHz, so the slowest modulation is 1 Hz
_LOWEST_MODULATION_HZ = 2.0
_LOWEST_HZ = 20.0


class ClipStatistics(nn.Module):
    """Views of clips of one length.

    Args:
        views: which ones, of `VIEWS` and `FURTHER_VIEWS`.
        sample_rate_hz: sample rate of the waveforms.
    """

    def __init__(self, views: Sequence[str] = VIEWS, sample_rate_hz: int = 16000) -> None:
        super().__init__()
        self.views = tuple(views)
        self.short, self.medium, self.long = (Spectrogram(n, n // 4) for n in (_SHORT, _MEDIUM, _LONG))
        self.finest = Spectrogram(_FINEST, _FINEST // 4)
        self.log_mel128 = LogMel(sample_rate_hz, n_mels=128)
        self.log_mel64 = LogMel(sample_rate_hz, n_mels=64)
        for name, filters in _filters(sample_rate_hz).items():
            self.register_buffer(name, filters)

    @torch.no_grad()
    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of clips: (batch, samples) -> {view: (batch, dims)}."""
        groups = (
            (("mel32_level", "mel32", "linear64", "modulation", "variation", "kurtosis"), self._envelopes),
            (("mel64",), lambda x: {"mel64": _shape(self.medium(x).mean(2) @ self.mel64.T)}),
            (("log64",), lambda x: {"log64": _shape(self.long(x).mean(2) @ self.log64.T)}),
            (("psd96",), lambda x: {"psd96": _shape(self.finest(x).mean(2) @ self.log96.T)}),
            (("log_mel64",), lambda x: {"log_mel64": _centred(mean_pool(self.log_mel64(x)))}),
            (("log_mel128", "gwrp98", "gwrp90", "rdp4", "rdp8"), self._pooled),
        )
        found: dict[str, torch.Tensor] = {}
        for names, compute in groups:
            if set(names) & set(self.views):
                found |= compute(waveforms)
        return {view: found[view] for view in self.views}

    def _envelopes(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Everything the fast spectrogram gives."""
        short = self.short(waveforms)
        # keeps digital silence finite, far below anything recorded
        silence = 1e-20 + 1e-10 * short.mean((1, 2), keepdim=True)
        envelope = (self.filters32 @ short + silence).sqrt()
        relative = envelope / envelope.mean(2, keepdim=True)
        spread = relative.std(2, correction=0) + 1e-9
        standard = (relative - 1.0) / spread[..., None]
        mel32 = _levels(envelope.square().mean(2))
        return {
            "mel32_level": mel32,
            "mel32": _centred(mel32),
            "linear64": _shape(short.mean(2) @ self.linear64.T),
            "modulation": self._modulation((self.filters12 @ short + silence).sqrt()),
            "variation": (spread + 1e-3).log(),
            "kurtosis": (standard.square().square().mean(2) + 0.1).log(),
        }

    def _pooled(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Log-mel levels, pooled over time as others do it."""
        levels = self.log_mel128(waveforms)
        return {
            "log_mel128": mean_pool(levels),
            "gwrp98": gwrp_pool(levels, 0.98),
            "gwrp90": gwrp_pool(levels, 0.9),
            "rdp4": rdp_pool(levels, 4.0),
            "rdp8": rdp_pool(levels, 8.0),
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
    return _centred(_levels(power))


def _centred(levels: torch.Tensor) -> torch.Tensor:
    return levels - levels.mean(1, keepdim=True)


def _filters(sample_rate_hz: int) -> dict[str, torch.Tensor]:
    """All filter banks, (bands, bins)."""
    nyquist_hz = sample_rate_hz / 2
    # pairs of bins, without the one at 0 Hz
    linear_hz = torch.linspace(0.5, _SHORT // 2 + 0.5, 65) * sample_rate_hz / _SHORT
    log_hz = torch.logspace(math.log10(_LOWEST_HZ), math.log10(nyquist_hz), 65)
    return {
        "filters32": mel_filters(_SHORT, 32, sample_rate_hz),
        "filters12": mel_filters(_SHORT, 12, sample_rate_hz),
        "linear64": band_filters(_SHORT, linear_hz, sample_rate_hz),
        "mel64": mel_filters(_MEDIUM, 64, sample_rate_hz),
        "log64": band_filters(_LONG, log_hz, sample_rate_hz),
        "log96": band_filters(_FINEST, torch.logspace(1.0, math.log10(nyquist_hz / 2), 97), sample_rate_hz),
        "rates": _modulation_filters(sample_rate_hz / (_SHORT // 4)),
    }


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
