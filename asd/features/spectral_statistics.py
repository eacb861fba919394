"""Statistics over time of one resolution of the short-time spectrum, and of the envelopes of its bands, as vectors.

Conventions: waveforms (batch, samples) float32; power (batch, frames, bins) of overlapping periodic Hann windows;
vectors (batch, bands). All statistics are levels or ratios, so a gain changes none of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import scipy.fft
import torch
from torch import nn

from asd.features.logmel import band_means, log_edges, mel_filters

SPECTRAL = ("level", "flux", "skewness", "roughness")
ENVELOPE = ("modulation", "variation", "kurtosis", "band_correlation", "step_correlation")
ENVELOPE_OVERLAP = 4  # windows that hold a sample where envelopes are followed: their frames are close enough

BAND_RANGE = 1e-6  # 60 dB below the loudest band; what lies lower is the converter's noise
BIN_RANGE = 1e-7  # 70 dB below the strongest bin
LEAST_POWER = 1e-20  # keeps digital silence finite
_FILTERS_AT_ONCE = 16
_CACHED_VALUES = 1 << 17  # of windowed frames at once: with their spectra they stay in the cache of a core
_LONG_ROW = 10_000  # complex values from which on MKL takes a third of the time of scipy
LEAST_STEP_DB = 0.05  # a band that never moves has this step
SEGMENT_FRAMES = 256  # envelope transformed at once: about 1 s, so the slowest modulation is 1 Hz
_LOWEST_MODULATION_HZ = 2.0
_N_RATES = 8
MOST_CORRELATION = 0.995
LEAST_SPREAD = 1e-4  # of a relative envelope: less, as in silence or a pure tone, is rounding
LEAST_LOG_SPREAD = 1e-3  # of the logarithm of an envelope


class FilterBank(nn.Module):
    """Weighted sums over bins, (..., bins) -> (..., filters).

    Filters are few bins wide, so blocks of neighbouring filters multiply only the bins that one of them takes.

    Args:
        filters: (filters, bins), by frequency.
    """

    def __init__(self, filters: torch.Tensor) -> None:
        super().__init__()
        self.bins: list[slice] = []
        for number, block in enumerate(filters.split(_FILTERS_AT_ONCE)):
            taken = block.any(0).nonzero().flatten().tolist() or [0]
            self.bins.append(slice(taken[0], taken[-1] + 1))
            weights = block[:, self.bins[-1]].T.contiguous()
            self.register_buffer(f"weights{number}", weights, persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Sums of values (..., bins): (..., filters)."""
        parts = zip(self.bins, self.buffers(), strict=True)
        return torch.cat([values[..., bins] @ weights for bins, weights in parts], -1)


class SpectralStatistics(nn.Module):
    """Level, flux, skewness and roughness of the bands of one short-time Fourier transform.

        level       mean over time of the band's level in dB, less its mean over bands: the spectrum's shape.
                    A mean of levels, not of power, so that a door or a voice in one second does not decide.
        flux        log of the mean step from frame to frame in dB: how restless the band is
        skewness    skewness over time of the level: whether the band is loud or quiet for moments
        roughness   log of the mean step from bin to bin of the mean level in dB: how tonal the band is

    Args:
        averages: (bands, bins) bank over which the steps of roughness are averaged.
    """

    averages: torch.Tensor

    def __init__(self, averages: torch.Tensor, names: Collection[str] = SPECTRAL) -> None:
        super().__init__()
        self.names = frozenset(names)
        averages = (averages / averages.sum(1, keepdim=True)).nan_to_num()  # a band may be narrower than a bin
        averages = averages.T[:-1].contiguous().double()
        self.register_buffer("averages", averages, persistent=False)

    def forward(self, power: torch.Tensor, bands: torch.Tensor) -> dict[str, torch.Tensor]:
        """Statistics over time, {name: (batch, bands)}.

        Args:
            power: of frames, (batch, frames, bins), which may be overwritten.
            bands: the same summed over bands and raised to the least power, (batch, frames, bands).
        """
        levels = decibels(bands).double()  # sums over time would cost digits
        level = levels.mean(1)
        found = {"level": level - level.mean(1, keepdim=True)}
        if "flux" in self.names:
            found["flux"] = (mean_step(levels) + LEAST_STEP_DB).log()
        if "skewness" in self.names:
            found["skewness"] = _skewness(levels - level[:, None])
        if "roughness" in self.names:
            steps_db = mean_decibels(power, BIN_RANGE).diff(dim=1).abs()
            found["roughness"] = (steps_db @ self.averages + LEAST_STEP_DB).log()
        return found


class EnvelopeStatistics(nn.Module):
    """Statistics of the envelopes of mel bands, from frames that overlap `ENVELOPE_OVERLAP` times.

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
        rates = _modulation_filters(sample_rate_hz / (n_fft // ENVELOPE_OVERLAP)).T.contiguous()
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, power: torch.Tensor, bands: torch.Tensor) -> dict[str, torch.Tensor]:
        """Statistics over time, {name: (batch, dims)}; arguments as those of `SpectralStatistics.forward`."""
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


def frame_power(waveforms: torch.Tensor, window: torch.Tensor, hop_samples: int) -> torch.Tensor:
    """Power (batch, frames, bins) of frames that begin `hop_samples` apart, centred from the first sample on.

    The ends are mirrored; a clip shorter than half a window is repeated back and forth until it is long enough.
    """
    n_fft = len(window)
    half = n_fft // 2
    while waveforms.shape[1] <= half:
        waveforms = torch.cat([waveforms, waveforms.flip(1)], 1)
    before, after = waveforms[:, 1 : half + 1].flip(1), waveforms[:, -half - 1 : -1].flip(1)
    frames = torch.cat([before, waveforms, after], 1).unfold(1, n_fft, hop_samples)
    n_values = frames.numel() if frames.is_cuda else _CACHED_VALUES
    n_frames = max(1, n_values // (n_fft * len(frames)))
    power = frames.new_empty(*frames.shape[:2], half + 1)
    for block, found in zip(frames.split(n_frames, 1), power.split(n_frames, 1), strict=True):
        squared(torch.fft.rfft(block * window), out=found)
    return power


def real_spectrum(values: torch.Tensor) -> torch.Tensor:
    """Spectrum of long real rows, (batch, n) -> (batch, n // 2 + 1)."""
    if values.is_cuda:
        return torch.fft.rfft(values)
    if _suits_mkl(values.shape[1]):  # as complex rows, since for real ones MKL takes three times as long
        return _one_by_one(values.to(values.dtype.to_complex()), values.shape[1])[:, : values.shape[1] // 2 + 1]
    return torch.from_numpy(scipy.fft.rfft(values.numpy()))


def complex_spectrum(values: torch.Tensor, n: int) -> torch.Tensor:
    """Spectrum of long complex rows with zeros behind them, (batch, up to n) -> (batch, n), divided by n."""
    if values.is_cuda:
        return torch.fft.fft(values, n, norm="forward")
    if _suits_mkl(n):
        return _one_by_one(values, n, "forward")
    return torch.from_numpy(scipy.fft.fft(values.numpy(), n, norm="forward"))


def _one_by_one(values: torch.Tensor, n: int, norm: str = "backward") -> torch.Tensor:
    """Spectra of complex rows, each transformed alone: MKL rounds a row differently in a batch."""
    return torch.stack([torch.fft.fft(row, n, norm=norm) for row in values])


def _suits_mkl(n: int) -> bool:
    """Whether MKL transforms complex rows of n values sooner than scipy, which prepares for a length only once."""
    return n >= _LONG_ROW and n == scipy.fft.next_fast_len(n) and n & (n - 1) != 0


def squared(values: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Squared magnitudes of complex values, which may be overwritten."""
    real, imaginary = torch.view_as_real(values).square_().unbind(-1)
    return torch.add(real, imaginary, out=out)


def at_least(power: torch.Tensor, dynamic_range: float) -> torch.Tensor:
    """Power (batch, frames, dims), none below the share `dynamic_range` of the strongest mean over time."""
    return torch.maximum(power, _least(power, dynamic_range))


def decibels(power: torch.Tensor) -> torch.Tensor:
    """Levels in dB of power."""
    return logarithm(power).mul_(10.0 / math.log(10.0))


def logarithm(values: torch.Tensor) -> torch.Tensor:
    """Natural logarithm: on a CPU numpy takes a third of torch's time."""
    return values.log() if values.is_cuda else torch.from_numpy(np.log(values.numpy()))


def mean_decibels(power: torch.Tensor, dynamic_range: float) -> torch.Tensor:
    """Mean over time of the `decibels` of power, (batch, frames, dims) -> (batch, dims).

    A sum of logarithms is the logarithm of a product: of four frames at a time, as a logarithm of every bin costs as
    much as the transform. The factors are centred within the range, so that no product leaves float32.

    Args:
        power: (batch, frames, dims), which is overwritten.
        dynamic_range: share of the strongest mean over time that is the least power of all.
    """
    least = _least(power, dynamic_range)
    scale = dynamic_range**0.5 / least
    factors = torch.maximum(power, least, out=power).mul_(scale)
    n_frames = factors.shape[1]
    quarter = n_frames // 4
    parts = (factors[:, : 4 * quarter].unflatten(1, (4, quarter)).prod(1), factors[:, 4 * quarter :])
    levels = sum(decibels(part).sum(1, dtype=torch.float64) for part in parts)
    return levels / n_frames - 10.0 * scale[:, 0].double().log10()


def _least(power: torch.Tensor, dynamic_range: float) -> torch.Tensor:
    """What power (batch, frames, dims) is raised to at least, (batch, 1, 1)."""
    return (dynamic_range * power.mean(1).amax(1)).clamp_min(LEAST_POWER)[:, None, None]


def mean_step(levels: torch.Tensor) -> torch.Tensor:
    """Mean absolute step from frame to frame: (batch, frames, dims) -> (batch, dims); 0 for a single frame."""
    return levels.diff(dim=1).abs().sum(1) / max(levels.shape[1] - 1, 1)


def _skewness(deviations: torch.Tensor) -> torch.Tensor:
    """Skewness over time of deviations from the mean: (batch, frames, bands) -> (batch, bands); 0 if constant."""
    squares = deviations.square()
    spread = (squares.sum(1) / max(deviations.shape[1] - 1, 1)).sqrt()
    return (squares * deviations).mean(1) / (spread**3 + 1e-3)


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
