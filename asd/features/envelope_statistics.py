"""How the bands of a clip move in time: rate, spread and peakedness of their envelopes, and how they move together.

Conventions: waveforms (batch, samples) float32; vectors (batch, dims). Envelopes are relative to their mean, so a
gain changes nothing.
"""

from __future__ import annotations

import functools
import itertools

import scipy.fft
import torch
from torch import nn
from torch.nn.functional import pad

from asd.features.logmel import band_means, log_edges, mel_filters
from asd.features.spectral_statistics import FilterBank, logarithm, squared

SEGMENT_FRAMES = 256  # envelope transformed at once: about 1 s, so the slowest modulation is 1 Hz
_LOWEST_MODULATION_HZ = 2.0
_N_RATES = 8
MOST_CORRELATION = 0.995
LEAST_SPREAD = 1e-4  # of a relative envelope: less, as in silence or a pure tone, is rounding
LEAST_LOG_SPREAD = 1e-3  # of the logarithm of an envelope
OCTAVES_HZ = (125, 250, 500, 1000, 2000, 4000)  # lower edges
SLOWEST_HZ, FASTEST_HZ = 4.0, 400.0  # of the squared envelope: a few times the speed of a shaft


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
        rates = _modulation_filters(sample_rate_hz / (n_fft // 4)).T.contiguous()
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, power: torch.Tensor, bands: torch.Tensor) -> dict[str, torch.Tensor]:
        """Statistics over time."""
        envelope = bands.sqrt()
        squares = (envelope / envelope.mean(1, keepdim=True) - 1.0).square()
        spread = squares.mean(1, dtype=torch.float64).sqrt() + 1e-9  # a sum over time in float32 would cost digits
        standard = squares / spread.clamp_min(LEAST_SPREAD)[:, None].square().to(squares)
        kurtosis = standard.square().mean(1, dtype=torch.float64)
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
        relative = envelope / envelope.mean(1, keepdim=True) - 1.0
        n = min(SEGMENT_FRAMES, relative.shape[1])
        segments = relative.unfold(1, n, SEGMENT_FRAMES // 2)  # (batch, segments, bands, n)
        window = torch.hann_window(n, periodic=False, device=envelope.device)
        power = squared(torch.fft.rfft(segments * window, SEGMENT_FRAMES)).mean(1) / SEGMENT_FRAMES
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
        bands = [_squared_envelope_power(spectrum[:, bins], n_samples, len(coarse)) for bins in octaves]
        power = torch.stack(bands, 1)  # (batch, octaves, rates)
        return {
            "envelope_spectrum": (10.0 * torch.log10(power @ coarse.to(power) + 1e-4)).flatten(1),
            "envelope_spectrum_fine": (10.0 * torch.log10(power @ fine.to(power) + 1e-4)).mean(1),
        }


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


def _squared_envelope_power(band: torch.Tensor, n_samples: int, n_rates: int) -> torch.Tensor:
    """Power spectrum of the relative squared envelope of one band: (batch, bins) -> (batch, rates).

    The bins alone, moved down to 0 Hz, have the same envelope as the band of the whole signal, and its square is no
    wider than the band. So many samples as bins and rates hold the slow rates without aliasing: a fraction of a clip's.
    """
    n_bins = band.shape[1]
    n_short = scipy.fft.next_fast_len(max(n_bins + min(n_bins, n_rates), 2), real=True)
    spectrum = real_spectrum(squared(torch.fft.ifft(band, n_short)))[:, :n_rates]
    total = spectrum[:, :1].real.clamp_min(torch.finfo(torch.float32).tiny)
    power = squared(spectrum / total) * n_samples
    power[:, 0] = 0.0  # what is relative to the mean has none
    return pad(power, (0, n_rates - power.shape[1]))


def real_spectrum(values: torch.Tensor) -> torch.Tensor:
    """Spectrum of long real rows, (batch, n) -> (batch, n // 2 + 1): on a CPU scipy takes half of torch's time."""
    if values.is_cuda:
        return torch.fft.rfft(values)
    return torch.from_numpy(scipy.fft.rfft(values.numpy()))


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
