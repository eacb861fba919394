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
from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from torch import nn

from asd.core.runtime import on_threads, progress
from asd.data.recordings import Recordings
from asd.features.logmel import LogMel, band_means, log_edges, mel_filters
from asd.features.pooling import mean_pool, pooled_views
from asd.features.spectral_statistics import (
    BAND_RANGE,
    ENVELOPE,
    ENVELOPE_OVERLAP,
    SPECTRAL,
    EnvelopeStatistics,
    FilterBank,
    SpectralStatistics,
    at_least,
    complex_spectrum,
    frame_power,
    real_spectrum,
    squared,
)

FloatArray = npt.NDArray[np.float64]
Alter = Callable[[npt.NDArray[np.int64], torch.Tensor], torch.Tensor]  # indices (b,), waveforms (b, samples)

# Window in ms: mel bands, and mel bands over which roughness is averaged. The longest window has logarithmic bands, of
# which there are as many per octave at low frequencies as at high ones.
_MEL_BANDS = {16: (32, 32), 64: (64, 64), 128: (128, 64)}
_LOG_BANDS = {256: 64}
WINDOWS_MS = (*_MEL_BANDS, *_LOG_BANDS)
ENVELOPE_SPECTRUM = ("envelope_spectrum", "envelope_spectrum_fine")
VIEWS = (*(f"{name}_{ms}" for name in SPECTRAL for ms in WINDOWS_MS), *ENVELOPE, *ENVELOPE_SPECTRUM)
POOLED_VIEWS = ("log_mel64", "log_mel128", "gwrp98", "gwrp90", "rdp4", "rdp8", "rdp_gem")

OVERLAP, LONG_OVERLAP = 8, 4  # windows that hold a sample, in short clips and in long ones, see `overlap_of`
LONG_S = 4.0

_SHORTEST_MS = min(WINDOWS_MS)
_LOWEST_HZ = 20.0
_BATCH_SAMPLES = 1 << 19  # of clips that one thread works on
_CACHE_SAMPLES = 1 << 17  # transformed at once on a CPU: what its cache holds is twice as fast
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
        parts = on_threads(self._views, waveforms.split(rows))
        return {view: torch.cat([part[view] for part in parts]) for view in self.views}

    @torch.inference_mode()  # a tenth faster than no_grad; both hold in the thread that says so
    def _views(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
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
        self.hop_samples = len(self.window) // (ENVELOPE_OVERLAP if self.window_ms == _SHORTEST_MS else overlap)

    def forward(self, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of clips: (batch, samples) -> {view: (batch, dims)}."""
        power = frame_power(waveforms, self.window, self.hop_samples)
        bands = at_least(self.bands(power), BAND_RANGE)
        envelopes = self.envelopes(power, bands) if self.envelopes else {}  # before power is overwritten
        spectral = self.spectral(power, bands) if self.spectral else {}
        return {f"{name}_{self.window_ms}": vectors for name, vectors in spectral.items()} | envelopes


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

    The bins alone, moved down to 0 Hz, have the same envelope as the band of the whole signal, and the squared envelope
    is no wider than the band. So a signal of n_bins + n_rates samples, a fraction of the clip's, holds the slow rates
    without aliasing. A forward transform stands in for the inverse one: the envelope runs backwards in time, which
    changes no magnitude.
    """
    n_bins = band.shape[1]
    n_short = scipy.fft.next_fast_len(max(n_bins + min(n_bins, n_rates), 2), real=True)
    return real_spectrum(squared(complex_spectrum(band, n_short)))[:, :n_rates]


def views_of(
    recordings: Recordings,
    extract: ClipStatistics,
    device: torch.device,
    what: str = "mean spectra",
    alter: Alter | None = None,
) -> dict[str, FloatArray]:
    """Clip statistics of recordings of any lengths, kept in `recordings.computed` for whoever asks next.

    Args:
        recordings: the clips.
        extract: computes the views.
        device: where to compute.
        what: text of the progress bar.
        alter: changes the waveforms (batch, samples) of clips (batch,) before, such as by faults; nothing is kept then.

    Returns:
        {view: (clips, dims)}.
    """
    if alter is not None:
        return _computed(recordings, extract, device, what, alter)
    names = {view: computed_name(view, extract.overlap) for view in extract.views}
    if not recordings.computed.keys() >= {*names.values()}:
        first, copy_of = recordings.distinct()
        views = _computed(recordings.subset(first), extract, device, what)
        if len(first) < len(recordings):
            views = {view: rows[copy_of] for view, rows in views.items()}  # equal to the last bit
        recordings.computed.update({names[view]: rows for view, rows in views.items()})
    return {view: recordings.computed[name] for view, name in names.items()}


def _computed(
    recordings: Recordings, extract: ClipStatistics, device: torch.device, what: str, alter: Alter | None = None
) -> dict[str, FloatArray]:
    """What `views_of` gives, computed: {view: (clips, dims)}."""
    vectors: dict[str, FloatArray] = {}

    def add(indices: npt.NDArray[np.int64]) -> None:
        waveforms = recordings.stacked(indices, device)
        for view, rows in extract(alter(indices, waveforms) if alter else waveforms).items():
            every = vectors.setdefault(view, np.empty((len(recordings), rows.shape[1])))
            every[indices] = rows.double().cpu().numpy()

    batches = recordings.batch_rows(_BATCH_SAMPLES)
    if alter or device.type != "cpu":  # what is drawn has an order, and a GPU takes one batch after the other
        for indices in progress(batches, what):
            add(indices)
    else:
        on_threads(add, batches, what)
    return vectors


def computed_name(view: str, overlap: int) -> str:
    """The name of a view in `Recordings.computed`."""
    return f"{view}/{overlap}"


def clip_means(values: FloatArray, owner: npt.NDArray[np.int64]) -> FloatArray:
    """Means over the windows of each clip: (windows, ...) -> (clips, ...)."""
    counts = np.bincount(owner)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))
