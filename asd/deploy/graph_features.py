"""The features of a clip as a graph: what `asd.features` computes, for clips of any length.

The formulas stand in `features.spectral_statistics`, `features.envelope_statistics`, `features.clip_statistics` and
`features.logmel`; windows and filters are taken from their modules. `tests/test_export.py` compares both.

Conventions: waveforms (clips, samples), spectra (clips, frames, bins), vectors (clips, dims), all float64.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from asd.deploy.graph import Graph, Value
from asd.features import envelope_statistics as envelope
from asd.features import spectral_statistics as spectral
from asd.features.clip_statistics import ClipStatistics, WindowStatistics
from asd.features.envelope_statistics import EnvelopeSpectrum, EnvelopeStatistics
from asd.features.logmel import POWER_FLOOR, LogMel, log_edges
from asd.features.spectral_statistics import FilterBank, SpectralStatistics
from asd.types import AsdError

_MOST_COLUMNS = 2048  # of a whole clip as a matrix: products of longer rows are slower than DFT


def clip_statistics(g: Graph, extract: ClipStatistics, waveforms: Value) -> dict[str, Value]:
    """The views of clips: (clips, samples) -> {view: (clips, dims)}.

    Args:
        g: the graph that is built.
        extract: what it computes.
        waveforms: (clips, samples).

    Raises:
        AsdError: a view that has no formula here.
    """
    around_zero = waveforms - g.mean(waveforms, 1)
    found: dict[str, Value] = {}
    for statistics in extract.parts:
        if isinstance(statistics, EnvelopeSpectrum):
            found |= _envelope_spectrum(g, statistics, around_zero)
        else:
            assert isinstance(statistics, WindowStatistics)
            power = _frame_power(g, around_zero, statistics.window)
            if statistics.spectral:
                spectral = _spectral(g, statistics.spectral, power).items()
                found |= {f"{name}_{statistics.window_ms}": x for name, x in spectral}
            found |= _envelopes(g, statistics.envelopes, power) if statistics.envelopes else {}
    if extract.log_mel64:
        levels = g.mean(log_mel(g, extract.log_mel64, waveforms), 1, keepdims=False)
        found["log_mel64"] = levels - g.mean(levels, 1)
    if extract.log_mel128:
        found["log_mel128"] = g.mean(log_mel(g, extract.log_mel128, waveforms), 1, keepdims=False)
    if missing := [view for view in extract.views if view not in found]:
        raise AsdError(f"the view {missing[0]} cannot be exported; train with statistics.views without it")
    return {view: found[view] for view in extract.views}


def log_mel(g: Graph, transform: LogMel, waveforms: Value) -> Value:
    """Log-mel levels in dB: (clips, samples) -> (clips, frames, mels).

    Args:
        g: the graph that is built.
        transform: what it computes.
        waveforms: (clips, samples).
    """
    n_fft, window = transform.mel.n_fft, transform.mel.spectrogram.window
    padded = g.op.Pad(waveforms, [0, n_fft // 2, 0, n_fft // 2])
    power = g.power(frames(g, padded, n_fft, transform.hop_samples) * g.constant(window))
    mel = g.op.MatMul(power, g.constant(transform.mel.mel_scale.fb))
    return 10.0 * g.log10(g.op.Max(mel, POWER_FLOOR))


def frames(g: Graph, waveforms: Value, n_samples: int, hop: int) -> Value:
    """Frames from the first sample on, as many as are whole: (clips, samples) -> (clips, frames, n_samples).

    Args:
        g: the graph that is built.
        waveforms: (clips, samples).
        n_samples: of a frame.
        hop: samples from frame to frame.
    """
    block = math.gcd(n_samples, hop)  # copied at once
    n_blocks = g.size(waveforms, 1) / block
    blocks = g.shaped(g.part(waveforms, 1, 0, n_blocks * block), 0, n_blocks, block)
    n_frames = (n_blocks * block - n_samples) / hop + 1
    first = g.axes_added(g.range(n_frames) * (hop // block), 1)
    taken = g.taken(blocks, 1, first + g.constant(np.arange(n_samples // block)))
    return g.shaped(taken, 0, n_frames, n_samples)


def _frame_power(g: Graph, waveforms: Value, window: torch.Tensor) -> Value:
    """`spectral_statistics.frame_power`; what repeats a short clip back and forth is an index of its samples."""
    n_fft, n = len(window), g.size(waveforms, 1)
    half = n_fft // 2
    octaves = g.op.Log(half / g.real(n)) * (1 / math.log(2.0))
    doublings = g.op.Max(g.op.Floor(octaves + 1e-9) + 1.0, 0.0)
    place = g.op.Mod(g.range(n * g.whole(g.op.Pow(g.constant(2.0), doublings))), n * 2)
    there = g.op.Where(g.op.Less(place, n), place, n * 2 - 1 - place)
    padded = g.op.Pad(g.taken(waveforms, 1, there), [0, half, 0, half], mode="reflect")
    return g.power(frames(g, padded, n_fft, n_fft // 4) * g.constant(window))


def _decibels(g: Graph, power: Value, dynamic_range: float) -> Value:
    least = g.op.Max(g.largest(g.mean(power, 1), 2) * dynamic_range, spectral.LEAST_POWER)
    return 10.0 * g.log10(g.op.Max(power, least))


def _spectral(g: Graph, statistics: SpectralStatistics, power: Value) -> dict[str, Value]:
    levels = _decibels(g, _summed(g, statistics.bands, power), spectral.BAND_RANGE)
    steps = g.real(g.op.Max(g.size(levels, 1) - 1, 1))
    level = g.mean(levels, 1, keepdims=False)
    found = {"level": level - g.mean(level, 1)}
    if "flux" in statistics.names:
        step = g.total(g.op.Abs(_lagged(g, levels, 1, 1)), 1, keepdims=False) / steps
        found["flux"] = g.op.Log(step + spectral.LEAST_STEP_DB)
    if "skewness" in statistics.names:
        deviations = levels - g.axes_added(level, 1)
        spread = g.op.Sqrt(g.total(g.square(deviations), 1, keepdims=False) / steps)
        cubes = g.mean(g.square(deviations) * deviations, 1, keepdims=False)
        found["skewness"] = cubes / (g.square(spread) * spread + 1e-3)
    if "roughness" in statistics.names:
        mean_db = g.mean(_decibels(g, power, spectral.BIN_RANGE), 1, keepdims=False)
        step = g.op.MatMul(g.op.Abs(_lagged(g, mean_db, 1, 1)), g.constant(statistics.averages))
        found["roughness"] = g.op.Log(step + spectral.LEAST_STEP_DB)
    return found


def _summed(g: Graph, bank: FilterBank, power: Value) -> Value:
    """A filter bank, whose weights are what it makes of single bins: (..., bins) -> (..., filters)."""
    n_bins = max(bins.stop for bins in bank.bins)
    weights = bank(torch.eye(n_bins).to(next(bank.buffers())))
    return g.op.MatMul(g.part(power, 2, 0, n_bins), g.constant(weights))


def _lagged(g: Graph, x: Value, axis: int, lag: Value | int) -> Value:
    """Differences between places of an axis that lie so far apart."""
    n = g.size(x, axis)
    return g.part(x, axis, lag, n) - g.part(x, axis, 0, n - lag)


def _envelopes(g: Graph, statistics: EnvelopeStatistics, power: Value) -> dict[str, Value]:
    bands = _summed(g, statistics.fine, power)
    least = g.op.Max(g.largest(g.mean(bands, 1), 2) * spectral.BAND_RANGE, spectral.LEAST_POWER)
    fine = g.op.Sqrt(g.op.Max(bands, least))
    relative = fine / g.mean(fine, 1)
    spread = g.op.Sqrt(g.mean(g.square(relative - g.mean(relative, 1)), 1)) + 1e-9
    standard = (relative - 1.0) / g.op.Max(spread, envelope.LEAST_SPREAD)
    silence = 1e-20 + 1e-10 * g.mean(power, 1, 2)
    coarse = g.op.Sqrt(_summed(g, statistics.coarse, power) + silence)
    lag = g.op.Min(g.size(coarse, 1) - 1, 4)
    n_bands = sum(bank.shape[1] for bank in statistics.coarse.buffers())
    return {
        "modulation": _modulation(g, coarse, statistics.rates),
        "variation": g.op.Log(g.op.Squeeze(spread, [1]) + 1e-3),
        "kurtosis": g.op.Log(g.mean(g.square(g.square(standard)), 1, keepdims=False) + 0.1),
        "band_correlation": _correlations(g, g.op.Log(coarse), n_bands),
        "step_correlation": _correlations(g, _lagged(g, g.op.Log(coarse), 1, lag), n_bands),
    }


def _modulation(g: Graph, levels: Value, rates: torch.Tensor) -> Value:
    """Of each band's envelope in segments; one that is shorter than a segment is filled up with zeros."""
    longest = envelope.SEGMENT_FRAMES
    relative = levels / g.mean(levels, 1) - 1.0
    n_frames = g.size(levels, 1)
    n = g.op.Min(n_frames, longest)
    first = g.range((n_frames - n) / (longest // 2) + 1) * (longest // 2)
    there = g.op.Min(g.axes_added(first, 1) + g.constant(np.arange(longest)), n_frames - 1)
    angle = g.constant(2 * math.pi * np.arange(longest)) / g.real(n - 1)
    within = g.real(g.op.Less(g.constant(np.arange(longest)), n))
    window = (0.5 - 0.5 * g.op.Cos(angle)) * within
    segments = g.op.Transpose(g.taken(relative, 1, there), perm=[0, 1, 3, 2]) * window
    power = g.mean(g.power(segments), 1, keepdims=False) * (1 / longest)
    found = 10.0 * g.log10(g.op.MatMul(power, g.constant(rates)) + 1e-6)
    return g.shaped(found, 0, -1)


def _correlations(g: Graph, values: Value, n_bands: int) -> Value:
    """Fisher's z of the correlations of every two bands: (clips, frames, bands) -> (clips, pairs)."""
    centred = values - g.mean(values, 1)
    standard = centred / g.op.Max(g.op.Sqrt(g.mean(g.square(centred), 1)), envelope.LEAST_LOG_SPREAD)
    products = g.op.MatMul(g.op.Transpose(standard, perm=[0, 2, 1]), standard)
    rows, columns = np.triu_indices(n_bands, 1)
    correlation = g.taken(g.shaped(products, 0, -1), 1, rows * n_bands + columns) / g.real(g.size(values, 1))
    most = envelope.MOST_CORRELATION
    clipped = g.op.Clip(correlation, g.constant(-most), g.constant(most))
    return 0.5 * g.op.Log((1.0 + clipped) / (1.0 - clipped))


def _envelope_spectrum(g: Graph, statistics: EnvelopeSpectrum, waveforms: Value) -> dict[str, Value]:
    n_samples = g.size(waveforms, 1)
    step_hz = g.op.Reciprocal(g.real(n_samples) * (1 / statistics.sample_rate_hz))
    bins_hz = g.real(g.range(n_samples / 2 + 1)) * step_hz
    n_rates = g.count(g.op.LessOrEqual(bins_hz, envelope.FASTEST_HZ))
    rates_hz = g.part(bins_hz, 0, 0, n_rates)
    coarse = _band_means(g, log_edges(envelope.SLOWEST_HZ, envelope.FASTEST_HZ, 20), rates_hz)
    fine = _band_means(g, torch.linspace(envelope.SLOWEST_HZ, 260.0, 97, dtype=torch.float64), rates_hz)
    spectrum = _whole_transform(g, waveforms)
    rows, levels = [], []
    for low_hz in (low for low in envelope.OCTAVES_HZ if 2 * low <= statistics.sample_rate_hz / 2):
        first, end = (g.count(g.op.Less(bins_hz, float(hz))) for hz in (low_hz, 2 * low_hz))
        power = _squared_envelope_power(g, g.part(spectrum, 1, first, end), n_rates) * g.real(n_samples)
        rows.append(10.0 * g.log10(g.op.MatMul(power, coarse) + 1e-4))
        levels.append(g.axes_added(10.0 * g.log10(g.op.MatMul(power, fine) + 1e-4), 0))
    return {
        "envelope_spectrum": g.op.Concat(*rows, axis=1),
        "envelope_spectrum_fine": g.mean(g.op.Concat(*levels, axis=0), 0, keepdims=False),
    }


def _whole_transform(g: Graph, waveforms: Value) -> Value:
    """Fourier transform of whole clips, (clips, samples) -> (clips, bins, 2).

    A length that is rows * columns takes two matrix products (Cooley and Tukey, Mathematics of Computation 19, 1965), a
    tenth of the time that a runtime needs for a length that is no power of two; that is left for primes and the like.
    """
    n = g.size(waveforms, 1)
    candidates = g.range(_MOST_COLUMNS) + 1
    fits = g.op.And(g.op.Equal(g.op.Mod(n, candidates), 0), g.op.LessOrEqual(candidates * candidates, n))
    rows = g.op.ReduceMax(g.op.Where(fits, candidates, 1), keepdims=0)
    return g.choice(
        g.op.LessOrEqual(n / rows, _MOST_COLUMNS),
        lambda inner: _by_products(inner, waveforms, rows, n / rows),
        lambda inner: inner.transform(waveforms),
    )


def _by_products(g: Graph, waveforms: Value, rows: Value, columns: Value) -> Value:
    """The transform of rows * columns samples; bin k = row + rows * column."""
    n, n_kept = rows * columns, columns / 2 + 1
    row, column = g.axes_added(g.range(rows), 1), g.range(columns)
    x = g.shaped(waveforms, 0, rows, columns)
    cos, sin = _turns(g, g.op.Mod(row * g.range(rows), rows), rows)
    real, imaginary = g.op.MatMul(cos, x), g.op.MatMul(sin, x)
    cos, sin = _turns(g, row * column, n)
    real, imaginary = real * cos - imaginary * sin, real * sin + imaginary * cos
    cos, sin = _turns(g, g.op.Mod(g.axes_added(column, 1) * g.range(n_kept), columns), columns)
    parts = (
        g.op.MatMul(real, cos) - g.op.MatMul(imaginary, sin),
        g.op.MatMul(real, sin) + g.op.MatMul(imaginary, cos),
    )
    bins = [g.shaped(g.op.Transpose(part, perm=[0, 2, 1]), 0, -1, 1) for part in parts]
    return g.part(g.op.Concat(*bins, axis=2), 1, 0, n / 2 + 1)


def _turns(g: Graph, k: Value, n: Value) -> tuple[Value, Value]:
    """Real and imaginary part of exp(-2 pi i k / n)."""
    angle = g.real(k) * (-2 * math.pi) / g.real(n)
    return g.op.Cos(angle), g.op.Sin(angle)


def _squared_envelope_power(g: Graph, band: Value, n_rates: Value) -> Value:
    """Power of the squared envelope of a band, relative to its mean: (clips, bins, 2) -> (clips, rates).

    The transform of the squared envelope is the autocorrelation of the band's bins, whatever the length that holds
    both without aliasing; here a power of two, which is transformed fastest.
    """
    most = g.real(g.op.Max(g.size(band, 1), n_rates)) * 2.0
    octaves = g.op.Ceil(g.op.Log(most) * (1 / math.log(2.0)))
    n_short = g.whole(g.op.Pow(g.constant(2.0), octaves))
    squared = g.total(g.square(g.op.DFT(band, n_short, g.constant(1), inverse=1)), -1, keepdims=False)
    mean = g.op.Max(g.mean(squared, 1), float(np.finfo(np.float32).tiny))
    power = g.power(squared / mean - 1.0) / g.square(g.real(n_short))
    return g.part(power, 1, 0, n_rates)


def _band_means(g: Graph, edges_hz: torch.Tensor, bins_hz: Value) -> Value:
    """`features.logmel.band_means`, transposed: (bins,) -> (bins, bands)."""
    low, high = g.constant(edges_hz[:-1]), g.constant(edges_hz[1:])
    bins = g.axes_added(bins_hz, 1)
    inside = g.op.And(g.op.GreaterOrEqual(bins, low), g.op.Less(bins, high))
    nearest = g.op.ArgMin(g.op.Abs(bins - (low + high) / 2.0), axis=0)
    is_nearest = g.op.Equal(g.axes_added(g.range(g.size(bins_hz, 0)), 1), nearest)
    is_empty = g.op.Equal(g.op.ReduceMax(g.whole(inside), [0]), 0)
    chosen = g.real(g.op.Or(inside, g.op.And(is_nearest, is_empty)))
    return chosen / g.total(chosen, 0)
