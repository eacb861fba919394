"""A clip of any length as a few vectors, without training: statistics over time of its spectra and envelopes.

The views, each (batch, dims):

    level_<T>, flux_<T>, skewness_<T>, roughness_<T>     `spectral_statistics` of windows of T = 16, 64, 128, 256 ms
    modulation, variation, kurtosis, band_correlation,   `envelope_statistics` of windows of 16 ms
    step_correlation
    envelope_spectrum, envelope_spectrum_fine            `envelope_statistics` of the squared envelope

and, to compare with, what others pool from the official log-mel levels: `log_mel64`, `log_mel128` (mean level),
`gwrp90`, `gwrp98`, `rdp4`, `rdp8`, `rdp_gem`.

A vector depends on its own clip only, and on none of its gain or offset. docs/benchmark.md measures each view.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn

from asd.core.runtime import on_threads
from asd.features.envelope_statistics import EnvelopeSpectrum, EnvelopeStatistics
from asd.features.logmel import LogMel, band_means, log_edges, mel_filters
from asd.features.pooling import gwrp_pool, mean_pool, rdp_gem_pool, rdp_pool
from asd.features.spectral_statistics import BAND_RANGE, SPECTRAL, FilterBank, SpectralStatistics, at_least, frame_power

# Window in ms: mel bands, and mel bands over which roughness is averaged. The longest window has logarithmic bands, of
# which there are as many per octave at low frequencies as at high ones.
_MEL_BANDS = {16: (32, 32), 64: (64, 64), 128: (128, 64)}
_LOG_BANDS = {256: 64}
WINDOWS_MS = (*_MEL_BANDS, *_LOG_BANDS)
ENVELOPE = ("modulation", "variation", "kurtosis", "band_correlation", "step_correlation")
ENVELOPE_SPECTRUM = ("envelope_spectrum", "envelope_spectrum_fine")
VIEWS = (*(f"{name}_{ms}" for name in SPECTRAL for ms in WINDOWS_MS), *ENVELOPE, *ENVELOPE_SPECTRUM)
POOLED_VIEWS = ("log_mel64", "log_mel128", "gwrp98", "gwrp90", "rdp4", "rdp8", "rdp_gem")

_SHORTEST_MS = min(WINDOWS_MS)
_LOWEST_HZ = 20.0
_CACHE_SAMPLES = 1 << 17  # transformed at once on a CPU: what its cache holds is twice as fast


class ClipStatistics(nn.Module):
    """Views of clips of one length.

    Args:
        views: which ones, of `VIEWS` and `POOLED_VIEWS`.
        sample_rate_hz: sample rate of the waveforms. Windows have the power of two of samples next to their length.
    """

    def __init__(self, views: Sequence[str] = VIEWS, sample_rate_hz: int = 16000) -> None:
        super().__init__()
        self.views = tuple(views)
        wanted = set(views)
        windows = [WindowStatistics(ms, sample_rate_hz, wanted) for ms in WINDOWS_MS]
        self.parts = nn.ModuleList(window for window in windows if window.spectral or window.envelopes)
        if wanted & set(ENVELOPE_SPECTRUM):
            self.parts.append(EnvelopeSpectrum(sample_rate_hz))
        self.log_mel64 = LogMel(sample_rate_hz, n_mels=64) if "log_mel64" in wanted else None
        pooled = wanted & (set(POOLED_VIEWS) - {"log_mel64"})
        self.log_mel128 = LogMel(sample_rate_hz, n_mels=128) if pooled else None

    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of clips: (batch, samples) -> {view: (batch, dims)}."""
        rows = len(waveforms) if waveforms.is_cuda else max(1, _CACHE_SAMPLES // waveforms.shape[1])
        parts = on_threads(self._found, waveforms.split(rows))
        return {view: torch.cat([part[view] for part in parts]) for view in self.views}

    @torch.no_grad()  # which holds in the thread that says so
    def _found(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        around_zero = waveforms - waveforms.mean(1, keepdim=True)
        for statistics in self.parts:
            found |= statistics(around_zero)
        if self.log_mel64:
            levels = mean_pool(self.log_mel64(waveforms))
            found["log_mel64"] = levels - levels.mean(1, keepdim=True)
        if self.log_mel128:
            found |= _pooled(self.log_mel128(waveforms))
        return found


def window_samples(window_ms: int, sample_rate_hz: int) -> int:
    """Power of two next to a window's length: 16 ms are 256 samples at 16 kHz and 512 at 44.1 kHz."""
    return int(2 ** round(torch.tensor(window_ms * 1e-3 * sample_rate_hz).log2().item()))


class WindowStatistics(nn.Module):
    """The views that are made of one short-time spectrum, which is transformed once."""

    window: torch.Tensor

    def __init__(self, window_ms: int, sample_rate_hz: int, wanted: Collection[str]) -> None:
        super().__init__()
        self.window_ms = window_ms
        n_fft = window_samples(window_ms, sample_rate_hz)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        names = [name for name in SPECTRAL if f"{name}_{window_ms}" in wanted]
        bands, averages = _banks(window_ms, n_fft, sample_rate_hz)
        self.bands = FilterBank(bands)
        self.spectral = SpectralStatistics(averages, names) if names else None
        has_envelopes = window_ms == _SHORTEST_MS and not set(ENVELOPE).isdisjoint(wanted)
        self.envelopes = EnvelopeStatistics(n_fft, sample_rate_hz) if has_envelopes else None

    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of clips: (batch, samples) -> {view: (batch, dims)}."""
        power = frame_power(waveforms, self.window)
        bands = at_least(self.bands(power), BAND_RANGE)
        spectral = self.spectral(power, bands) if self.spectral else {}
        envelopes = self.envelopes(power, bands) if self.envelopes else {}
        return {f"{name}_{self.window_ms}": vectors for name, vectors in spectral.items()} | envelopes


def _banks(window_ms: int, n_fft: int, sample_rate_hz: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Filters of the bands of a window, and those over which roughness is averaged."""
    if window_ms in _MEL_BANDS:
        bands, averages = (mel_filters(n_fft, n, sample_rate_hz) for n in _MEL_BANDS[window_ms])
        return bands, averages
    bins_hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate_hz / n_fft
    bands = band_means(log_edges(_LOWEST_HZ, sample_rate_hz / 2, _LOG_BANDS[window_ms]), bins_hz)
    return bands, bands


def _pooled(levels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Log-mel levels, pooled over time as others do it."""
    return {
        "log_mel128": mean_pool(levels),
        "gwrp98": gwrp_pool(levels, 0.98),
        "gwrp90": gwrp_pool(levels, 0.9),
        "rdp4": rdp_pool(levels, 4.0),
        "rdp8": rdp_pool(levels, 8.0),
        "rdp_gem": 20.0 * rdp_gem_pool(10.0 ** (levels / 20.0)).log10(),
    }
