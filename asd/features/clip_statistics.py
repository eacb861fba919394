"""A clip of any length as a few vectors, without training: statistics over time of its spectra and envelopes.

The views, each (batch, dims):

    level_<T>, flux_<T>, skewness_<T>, roughness_<T>     `spectral_statistics` of windows of T = 16, 64, 128, 256 ms
    modulation, variation, kurtosis, band_correlation,   `EnvelopeStatistics` of windows of 16 ms
    step_correlation
    envelope_spectrum, envelope_spectrum_fine            `EnvelopeSpectrum`, of the squared envelope

and, to compare with, what others pool from the official log-mel levels: `log_mel64`, `log_mel128` (mean level),
`gwrp90`, `gwrp98`, `rdp4`, `rdp8`, `rdp_gem`.

A vector depends on its own clip only, and on none of its gain or offset: envelopes are relative to their mean.
docs/benchmark.md measures each view.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from torch import nn

from asd.core.runtime import on_threads
from asd.features.logmel import LogMel, band_means, log_edges, mel_filters
from asd.features.pooling import mean_pool, pooled_views
from asd.features.spectral_statistics import (
    BAND_RANGE,
    SPECTRAL,
    FilterBank,
    SpectralStatistics,
    at_least,
    complex_spectrum,
    frame_power,
    logarithm,
    real_spectrum,
    squared,
)

# Window in ms: mel bands, and mel bands over which roughness is averaged. The longest window has logarithmic bands, of
# which there are as many per octave at low frequencies as at high ones.
_MEL_BANDS = {16: (32, 32), 64: (64, 64), 128: (128, 64)}
_LOG_BANDS = {256: 64}
WINDOWS_MS = (*_MEL_BANDS, *_LOG_BANDS)
ENVELOPE = ("modulation", "variation", "kurtosis", "band_correlation", "step_correlation")
ENVELOPE_SPECTRUM = ("envelope_spectrum", "envelope_spectrum_fine")
VIEWS = (*(f"{name}_{ms}" for name in SPECTRAL for ms in WINDOWS_MS), *ENVELOPE, *ENVELOPE_SPECTRUM)
POOLED_VIEWS = ("log_mel64", "log_mel128", "gwrp98", "gwrp90", "rdp4", "rdp8", "rdp_gem")

OVERLAP, LONG_OVERLAP = 8, 4  # windows that hold a sample, in short clips and in long ones, see `overlap_of`
LONG_S = 4.0

_SHORTEST_MS = min(WINDOWS_MS)
_SHORTEST_OVERLAP = 4  # whose frames are close enough
_LOWEST_HZ = 20.0
_CACHE_SAMPLES = 1 << 17  # transformed at once on a CPU: what its cache holds is twice as fast
SEGMENT_FRAMES = 256  # envelope transformed at once: about 1 s, so the slowest modulation is 1 Hz
_LOWEST_MODULATION_HZ = 2.0
_N_RATES = 8
MOST_CORRELATION = 0.995
LEAST_SPREAD = 1e-4  # of a relative envelope: less, as in silence or a pure tone, is rounding
LEAST_LOG_SPREAD = 1e-3  # of the logarithm of an envelope
OCTAVES_HZ = (125, 250, 500, 1000, 2000, 4000)  # lower edges
SLOWEST_HZ, FASTEST_HZ = 4.0, 400.0  # of the squared envelope: a few times the speed of a shaft


class ClipStatistics(nn.Module):
    """Views of clips of one length.

    Args:
        views: which ones, of `VIEWS` and `POOLED_VIEWS`.
        sample_rate_hz: sample rate of the waveforms. Windows have the power of two of samples next to their length.
        overlap: windows that hold a sample; those of 16 ms overlap fourfold whatever it is.
    """

    def __init__(self, views: Sequence[str] = VIEWS, sample_rate_hz: int = 16000, overlap: int = OVERLAP) -> None:
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
        self.set_overlap(overlap)

    def set_overlap(self, overlap: int) -> None:
        """Has another number of windows hold a sample from now on."""
        self.overlap = overlap
        for part in self.parts:
            if isinstance(part, WindowStatistics):
                part.set_overlap(overlap)

    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of clips: (batch, samples) -> {view: (batch, dims)}."""
        rows = len(waveforms) if waveforms.is_cuda else max(1, _CACHE_SAMPLES // waveforms.shape[1])
        parts = on_threads(self._found, waveforms.split(rows))
        return {view: torch.cat([part[view] for part in parts]) for view in self.views}

    @torch.inference_mode()  # a tenth faster than no_grad; both hold in the thread that says so
    def _found(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        mean = waveforms.mean(1, keepdim=True, dtype=torch.float64)  # so precise that a constant becomes silence
        around_zero = waveforms - mean.to(waveforms)
        for statistics in self.parts:
            found |= statistics(around_zero)
        if self.log_mel64:
            levels = mean_pool(self.log_mel64(waveforms))
            found["log_mel64"] = levels - levels.mean(1, keepdim=True)
        if self.log_mel128:
            found |= pooled_views(self.log_mel128(waveforms))
        return found


def overlap_of(durations_s: npt.NDArray[np.float64]) -> int:
    """How often windows overlap by default on a machine whose normal clips last (clips,) seconds.

    Flux, the step from frame to frame, tells more when steps are short; in long clips the mean over many of them
    tells as much at half the cost. A machine has one overlap, as flux differs between two (docs/benchmark.md).
    """
    return OVERLAP if np.median(durations_s) < LONG_S else LONG_OVERLAP


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
        self.set_overlap(OVERLAP)

    def set_overlap(self, overlap: int) -> None:
        """Sets how many windows hold a sample; the shortest overlap fourfold whatever is asked for."""
        self.hop_samples = len(self.window) // (_SHORTEST_OVERLAP if self.window_ms == _SHORTEST_MS else overlap)

    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of clips: (batch, samples) -> {view: (batch, dims)}."""
        power = frame_power(waveforms, self.window, self.hop_samples)
        bands = at_least(self.bands(power), BAND_RANGE)
        envelopes = self.envelopes(power, bands) if self.envelopes else {}  # before power is overwritten
        spectral = self.spectral(power, bands) if self.spectral else {}
        return {f"{name}_{self.window_ms}": vectors for name, vectors in spectral.items()} | envelopes


class EnvelopeStatistics(nn.Module):
    """Statistics of the envelopes of mel bands.

    modulation        power of 12 band envelopes, by 8 rates, in dB
    variation         log of the relative standard deviation of 32 band envelopes
    kurtosis          log of their kurtosis: impulses raise it
    band_correlation  Fisher's z of the correlations of 12 log envelopes: which bands move together
    step_correlation  the same of their steps over one window: which bands jump together
    """

    rates: torch.Tensor

    def __init__(self, n_fft: int, sample_rate_hz: int) -> None:
        super().__init__()
        self.coarse = FilterBank(mel_filters(n_fft, 12, sample_rate_hz))
        rates = _modulation_filters(sample_rate_hz / (n_fft // _SHORTEST_OVERLAP)).T.contiguous()
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, power: torch.Tensor, bands: torch.Tensor) -> dict[str, torch.Tensor]:
        """Statistics over time."""
        envelope = bands.sqrt()
        squares = envelope.div_(envelope.mean(1, keepdim=True)).sub_(1.0).square_()
        spread = squares.mean(1, dtype=torch.float64).sqrt() + 1e-9  # a sum over time in float32 would cost digits
        kurtosis = squares.square_().mean(1, dtype=torch.float64) / spread.clamp_min(LEAST_SPREAD).pow(4)
        silence = 1e-20 + 1e-10 * power.mean((1, 2), keepdim=True)
        coarse = (self.coarse(power) + silence).sqrt()
        levels = logarithm(coarse)
        return {
            "modulation": self._modulation(coarse),
            "variation": (spread + 1e-3).log(),
            "kurtosis": (kurtosis + 0.1).log(),
            "band_correlation": _correlations(levels),
            "step_correlation": _correlations(_steps(levels)),
        }

    def _modulation(self, envelope: torch.Tensor) -> torch.Tensor:
        """Level in dB of each band's envelope by rate: (batch, frames, bands) -> (batch, bands * rates)."""
        relative = (envelope / envelope.mean(1, keepdim=True) - 1.0).transpose(1, 2).contiguous()
        n = min(SEGMENT_FRAMES, relative.shape[2])
        segments = relative.unfold(2, n, SEGMENT_FRAMES // 2)  # (batch, bands, segments, n)
        window = torch.hann_window(n, periodic=False, device=envelope.device)
        power = squared(torch.fft.rfft(segments * window, SEGMENT_FRAMES)).mean(2) / SEGMENT_FRAMES
        return (10.0 * torch.log10(power @ self.rates + 1e-6)).flatten(1)


class EnvelopeSpectrum(nn.Module):
    """Spectrum of the squared envelope, in which a fault of a bearing or a gear shows as its rate of impacts.

    The envelope is that of the analytic signal of each octave from 125 Hz (Randall and Antoni, "Rolling element
    bearing diagnostics: a tutorial", MSSP 2011).

        envelope_spectrum        level in dB of 20 logarithmic bands from 4 to 400 Hz of each octave
        envelope_spectrum_fine   level in dB of 96 linear bands from 4 to 260 Hz, averaged over the octaves
    """

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz

    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Spectra of clips: (batch, samples) -> {name: (batch, dims)}."""
        n_samples = waveforms.shape[1]
        octaves, coarse, fine = _octaves_and_rates(n_samples, self.sample_rate_hz)
        spectrum = real_spectrum(waveforms)
        envelopes = spectrum.new_zeros(len(waveforms), len(octaves), len(coarse))
        for octave, bins in enumerate(octaves):
            found = _squared_envelope(spectrum[:, bins], len(coarse))
            envelopes[:, octave, : found.shape[1]] = found
        total = envelopes[..., :1].real.clamp_min(torch.finfo(torch.float32).tiny)
        power = squared(envelopes / total) * n_samples  # (batch, octaves, rates)
        power[..., 0] = 0.0  # what is relative to the mean has none
        return {
            "envelope_spectrum": (10.0 * torch.log10(power @ coarse.to(power) + 1e-4)).flatten(1),
            "envelope_spectrum_fine": (10.0 * torch.log10(power @ fine.to(power) + 1e-4)).mean(1),
        }


def _banks(window_ms: int, n_fft: int, sample_rate_hz: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Filters of the bands of a window, and those over which roughness is averaged."""
    if window_ms in _MEL_BANDS:
        bands, averages = (mel_filters(n_fft, n, sample_rate_hz) for n in _MEL_BANDS[window_ms])
        return bands, averages
    bins_hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate_hz / n_fft
    bands = band_means(log_edges(_LOWEST_HZ, sample_rate_hz / 2, _LOG_BANDS[window_ms]), bins_hz)
    return bands, bands


@functools.lru_cache(maxsize=16)
def _octaves_and_rates(n_samples: int, sample_rate_hz: int) -> tuple[list[slice], torch.Tensor, torch.Tensor]:
    """Bins of each octave, and means over bands of rate, (rates, 20) and (rates, 96), for clips of one length."""
    bins_hz = torch.fft.rfftfreq(n_samples, 1 / sample_rate_hz, dtype=torch.float64)
    lows_hz = [low for low in OCTAVES_HZ if 2 * low <= sample_rate_hz / 2]
    edges = torch.searchsorted(bins_hz, torch.tensor([*lows_hz, 2 * lows_hz[-1]]).double()).tolist()
    rates_hz = bins_hz[bins_hz <= FASTEST_HZ]  # the bands end there
    coarse = band_means(log_edges(SLOWEST_HZ, FASTEST_HZ, 20), rates_hz).T.contiguous()
    fine_hz = torch.linspace(SLOWEST_HZ, 260.0, 97, dtype=torch.float64)
    return ([slice(*pair) for pair in itertools.pairwise(edges)], coarse, band_means(fine_hz, rates_hz).T.contiguous())


def _squared_envelope(band: torch.Tensor, n_rates: int) -> torch.Tensor:
    """Spectrum of the squared envelope of one band: (batch, bins) -> (batch, up to n_rates).

    The bins alone, moved down to 0 Hz, have the same envelope as the band of the whole signal, and its square is no
    wider than the band. So many samples as bins and rates hold the slow rates without aliasing: a fraction of a clip's.
    The envelope runs backwards, which changes no magnitude.
    """
    n_bins = band.shape[1]
    n_short = scipy.fft.next_fast_len(max(n_bins + min(n_bins, n_rates), 2), real=True)
    return real_spectrum(squared(complex_spectrum(band, n_short)))[:, :n_rates]


def _correlations(values: torch.Tensor) -> torch.Tensor:
    """Fisher's z of the correlations of every two bands: (batch, frames, bands) -> (batch, pairs)."""
    centred = values - values.mean(1, keepdim=True)
    covariance = centred.transpose(1, 2) @ centred / values.shape[1]
    spread = covariance.diagonal(dim1=1, dim2=2).sqrt().clamp_min(LEAST_LOG_SPREAD)
    correlation = covariance / (spread[:, :, None] * spread[:, None])
    rows, columns = torch.triu_indices(values.shape[2], values.shape[2], 1, device=values.device)
    return correlation[:, rows, columns].clamp(-MOST_CORRELATION, MOST_CORRELATION).atanh()


def _steps(values: torch.Tensor) -> torch.Tensor:
    """Steps over a whole window, four frames: (batch, frames, bands) -> (batch, frames - 4, bands)."""
    lag = min(4, values.shape[1] - 1)
    return values[:, lag:] - values[:, : values.shape[1] - lag]


def _modulation_filters(frame_rate_hz: float) -> torch.Tensor:
    """Means over logarithmic bands of modulation rate, (rates, bins)."""
    rates_hz = torch.fft.rfftfreq(SEGMENT_FRAMES, 1 / frame_rate_hz, dtype=torch.float64)
    return band_means(log_edges(_LOWEST_MODULATION_HZ, frame_rate_hz / 2, _N_RATES), rates_hz)
