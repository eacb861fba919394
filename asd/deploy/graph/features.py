"""The features of a clip as a graph: what `asd.features` computes, for clips of any length.

The formulas stand in `features.spectral_statistics`, `features.clip_statistics` and
`features.logmel`; windows and filters are taken from their modules. `tests/test_export.py` compares both.

Conventions: waveforms (clips, samples) and spectra (clips, frames, bins) float32, as the detectors have them; what is
summed over time, and vectors (clips, dims), float64.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch

from asd.deploy.graph.formula import MOST_COLUMNS, TINY, Graph, Value
from asd.detectors import LEAST_SAMPLES
from asd.features import clip_statistics as envelope
from asd.features import spectral_statistics as spectral
from asd.features.clip_statistics import ClipStatistics, EnvelopeSpectrum, WindowStatistics
from asd.features.logmel import POWER_FLOOR, LogMel, log_edges
from asd.features.spectral_statistics import EnvelopeStatistics, FilterBank, SpectralStatistics


def clip_statistics(g: Graph, extract: ClipStatistics, waveforms: Value) -> dict[str, Value]:
    """The views of clips: (clips, samples) -> {view: (clips, dims)}."""
    around_zero = g.single(g.real(waveforms) - g.mean(g.real(waveforms), 1))
    found: dict[str, Value] = {}
    for statistics in extract.parts:
        if isinstance(statistics, EnvelopeSpectrum):
            found |= _envelope_spectrum(g, statistics, around_zero)
        else:
            assert isinstance(statistics, WindowStatistics)
            power = _frame_power(g, around_zero, statistics.window, statistics.hop_samples)
            bands = _at_least(g, g.real(_summed(g, statistics.bands, power)), spectral.BAND_RANGE)
            if statistics.spectral:
                views = _spectral(g, statistics.spectral, power, bands).items()
                found |= {f"{name}_{statistics.window_ms}": x for name, x in views}
            found |= _envelopes(g, statistics.envelopes, power, bands) if statistics.envelopes else {}
    if extract.log_mel64:
        levels = g.mean(log_mel(g, extract.log_mel64, waveforms), 1, keepdims=False)
        found["log_mel64"] = levels - g.mean(levels, 1)
    if extract.log_mel128:
        found |= _pooled(g, log_mel(g, extract.log_mel128, waveforms), extract.views)
    return {view: found[view] for view in extract.views}


def _pooled(g: Graph, levels: Value, wanted: Collection[str]) -> dict[str, Value]:
    """`features.pooling` of levels (clips, frames, mels); views that nobody wants are dropped with their nodes."""
    decays, sharpnesses = {"gwrp98": 0.98, "gwrp90": 0.9}, {"rdp4": 4.0, "rdp8": 8.0}
    found = {"log_mel128": g.mean(levels, 1, keepdims=False)}
    for view in decays.keys() & wanted:
        n_frames = g.size(levels, 1)
        ranked, _ = g.op.TopK(levels, g.op.Reshape(n_frames, [1]), axis=1, _outputs=2)
        weights = g.op.Unsqueeze(g.op.Pow(g.constant(decays[view]), g.real(g.range(n_frames))), [1])
        found[view] = g.total(ranked * weights, 1, keepdims=False) / g.total(weights, 0, 1)
    for view in sharpnesses.keys() & wanted:
        weights = _deviation_weights(g, levels, sharpnesses[view])
        found[view] = g.total(levels * weights, 1, keepdims=False)
    if "rdp_gem" in wanted:
        values = g.op.Exp(levels * (math.log(10.0) / 20.0))
        mean = g.total(g.square(values) * values * _deviation_weights(g, values, 9.0), 1, keepdims=False)
        found["rdp_gem"] = 20.0 / 3.0 * g.log10(mean)
    return found


def _deviation_weights(g: Graph, values: Value, sharpness: float) -> Value:
    """`pooling._deviation_weights`: (clips, frames, mels) -> (clips, frames, 1)."""
    distance = g.op.Sqrt(g.total(g.square(values - g.mean(values, 1)), 2))
    relative = distance / g.op.Max(g.op.ReduceMax(distance, [1]), TINY)
    weights = g.op.Pow(1.0 + relative, g.constant(sharpness))
    return weights / g.total(weights, 1)


def log_mel(g: Graph, transform: LogMel, waveforms: Value) -> Value:
    """Log-mel levels in dB: (clips, samples) -> (clips, frames, mels)."""
    n_fft, window = transform.mel.n_fft, transform.mel.spectrogram.window
    padded = g.padded(waveforms, 1, n_fft // 2, n_fft // 2)
    cut = frames(g, padded, n_fft, transform.hop_samples) * g.constant(window, single=True)
    mel = g.op.MatMul(g.power(cut, n_fft), g.constant(transform.mel.mel_scale.fb, single=True))
    return 10.0 * g.log10(g.op.Max(g.real(mel), POWER_FLOOR))


def frames(g: Graph, waveforms: Value, n_samples: int, hop: int) -> Value:
    """Frames from the first sample on, as many as are whole: (clips, samples) -> (clips, frames, n_samples)."""
    block = math.gcd(n_samples, hop)  # copied at once
    n_blocks = g.size(waveforms, 1) / block
    blocks = g.shaped(g.part(waveforms, 1, 0, n_blocks * block), 0, n_blocks, block)
    n_frames = (n_blocks * block - n_samples) / hop + 1
    first = g.op.Unsqueeze(g.range(n_frames) * (hop // block), [1])
    taken = g.taken(blocks, 1, first + g.constant(np.arange(n_samples // block)))
    return g.shaped(taken, 0, n_frames, n_samples)


def _frame_power(g: Graph, waveforms: Value, window: torch.Tensor, hop_samples: int) -> Value:
    """`spectral_statistics.frame_power`."""
    n_fft = len(window)
    half = n_fft // 2
    if half >= LEAST_SAMPLES:
        waveforms = g.choice(
            g.op.Greater(g.size(waveforms, 1), half),
            lambda inner: inner.op.Identity(waveforms),
            lambda inner: _repeated(inner, waveforms, half),
        )
    padded = g.op.Pad(waveforms, [0, half, 0, half], mode="reflect")
    return g.power(frames(g, padded, n_fft, hop_samples) * g.constant(window, single=True), n_fft)


def _repeated(g: Graph, waveforms: Value, n_exceeded: int) -> Value:
    """A short clip back and forth, doubled until it is longer than that; an index of its samples."""
    n = g.size(waveforms, 1)
    octaves = g.op.Log(n_exceeded / g.real(n)) * (1 / math.log(2.0))
    doublings = g.op.Floor(octaves + 1e-9) + 1.0
    place = g.op.Mod(g.range(n * g.whole(g.op.Pow(g.constant(2.0), doublings))), n * 2)
    return g.taken(waveforms, 1, g.op.Where(g.op.Less(place, n), place, n * 2 - 1 - place))


def _at_least(g: Graph, power: Value, dynamic_range: float) -> Value:
    """`spectral_statistics.at_least`."""
    return g.op.Max(power, g.op.Max(g.op.ReduceMax(g.mean(power, 1), [2]) * dynamic_range, spectral.LEAST_POWER))


def _decibels(g: Graph, power: Value) -> Value:
    return g.real(10.0 * g.log10(power))


def _spectral(g: Graph, statistics: SpectralStatistics, power: Value, bands: Value) -> dict[str, Value]:
    levels = _decibels(g, bands)
    steps = g.real(g.op.Max(g.size(levels, 1) - 1, 1))
    level = g.mean(levels, 1, keepdims=False)
    found = {"level": level - g.mean(level, 1)}
    if "flux" in statistics.names:
        step = g.total(g.op.Abs(_lagged(g, levels, 1)), 1, keepdims=False) / steps
        found["flux"] = g.op.Log(step + spectral.LEAST_STEP_DB)
    if "skewness" in statistics.names:
        deviations = levels - g.op.Unsqueeze(level, [1])
        spread = g.op.Sqrt(g.total(g.square(deviations), 1, keepdims=False) / steps)
        cubes = g.mean(g.square(deviations) * deviations, 1, keepdims=False)
        found["skewness"] = cubes / (g.square(spread) * spread + 1e-3)
    if "roughness" in statistics.names:
        mean_db = g.mean(_decibels(g, _at_least(g, power, spectral.BIN_RANGE)), 1, keepdims=False)
        step = g.op.MatMul(g.op.Abs(_lagged(g, mean_db, 1)), g.constant(statistics.averages))
        found["roughness"] = g.op.Log(step + spectral.LEAST_STEP_DB)
    return found


def _summed(g: Graph, bank: FilterBank, power: Value) -> Value:
    """A filter bank, whose weights are what it makes of single bins: (..., bins) -> (..., filters)."""
    n_bins = max(bins.stop for bins in bank.bins)
    weights = bank(torch.eye(n_bins).to(next(bank.buffers())))
    return g.op.MatMul(g.part(power, 2, 0, n_bins), g.constant(weights, single=True))


def _lagged(g: Graph, x: Value, lag: Value | int) -> Value:
    """Differences between places of axis 1 that lie so far apart."""
    n = g.size(x, 1)
    return g.part(x, 1, lag, n) - g.part(x, 1, 0, n - lag)


def _envelopes(g: Graph, statistics: EnvelopeStatistics, power: Value, bands: Value) -> dict[str, Value]:
    fine = g.op.Sqrt(bands)
    relative = fine / g.mean(fine, 1)
    spread = g.op.Sqrt(g.mean(g.square(relative - g.mean(relative, 1)), 1)) + 1e-9
    standard = (relative - 1.0) / g.op.Max(spread, spectral.LEAST_SPREAD)
    silence = 1e-20 + 1e-10 * g.real(g.mean(power, 1, 2))
    coarse = g.op.Sqrt(g.real(_summed(g, statistics.coarse, power)) + silence)
    lag = g.op.Min(g.size(coarse, 1) - 1, 4)
    n_bands = sum(bank.shape[1] for bank in statistics.coarse.buffers())
    return {
        "modulation": _modulation(g, coarse, n_bands, statistics.rates),
        "variation": g.op.Log(g.op.Squeeze(spread, [1]) + 1e-3),
        "kurtosis": g.op.Log(g.mean(g.square(g.square(standard)), 1, keepdims=False) + 0.1),
        "band_correlation": _correlations(g, g.op.Log(coarse), n_bands),
        "step_correlation": _correlations(g, _lagged(g, g.op.Log(coarse), lag), n_bands),
    }


def _modulation(g: Graph, levels: Value, n_bands: int, rates: torch.Tensor) -> Value:
    """Of each band's envelope in segments; one that is shorter than a segment is filled up with zeros."""
    longest = spectral.SEGMENT_FRAMES
    relative = levels / g.mean(levels, 1) - 1.0
    n_frames = g.size(levels, 1)
    n = g.op.Min(n_frames, longest)
    first = g.range((n_frames - n) / (longest // 2) + 1) * (longest // 2)
    there = g.op.Min(g.op.Unsqueeze(first, [1]) + g.constant(np.arange(longest)), n_frames - 1)
    angle = g.constant(2 * math.pi * np.arange(longest)) / g.real(n - 1)
    within = g.real(g.op.Less(g.constant(np.arange(longest)), n))
    window = (0.5 - 0.5 * g.op.Cos(angle)) * within
    segments = g.op.Transpose(g.taken(relative, 1, there), perm=[0, 1, 3, 2]) * window
    power = g.power(g.single(g.shaped(segments, 0, -1, longest)), longest)
    power = g.real(g.shaped(power, 0, -1, n_bands, longest // 2 + 1))
    power = g.mean(power, 1, keepdims=False) * (1 / longest)
    found = 10.0 * g.log10(g.op.MatMul(power, g.constant(rates)) + 1e-6)
    return g.shaped(found, 0, -1)


def _correlations(g: Graph, values: Value, n_bands: int) -> Value:
    """Fisher's z of the correlations of every two bands: (clips, frames, bands) -> (clips, pairs)."""
    centred = values - g.mean(values, 1)
    standard = centred / g.op.Max(g.op.Sqrt(g.mean(g.square(centred), 1)), spectral.LEAST_LOG_SPREAD)
    products = g.op.MatMul(g.op.Transpose(standard, perm=[0, 2, 1]), standard)
    rows, columns = np.triu_indices(n_bands, 1)
    correlation = g.taken(g.shaped(products, 0, -1), 1, rows * n_bands + columns) / g.real(g.size(values, 1))
    most = spectral.MOST_CORRELATION
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
        power = _squared_envelope_power(g, g.part(spectrum, 2, first, end), n_rates) * g.real(n_samples)
        rows.append(10.0 * g.log10(g.op.MatMul(power, coarse) + 1e-4))
        levels.append(g.op.Unsqueeze(10.0 * g.log10(g.op.MatMul(power, fine) + 1e-4), [0]))
    return {
        "envelope_spectrum": g.op.Concat(*rows, axis=1),
        "envelope_spectrum_fine": g.mean(g.op.Concat(*levels, axis=0), 0, keepdims=False),
    }


def _whole_transform(g: Graph, waveforms: Value) -> Value:
    """Fourier transform of whole clips, (clips, samples) -> (clips, real and imaginary, bins)."""
    n, clips = g.size(waveforms, 1), g.op.Unsqueeze(waveforms, [1])
    candidates = g.range(MOST_COLUMNS) + 1
    fits = g.op.And(g.op.Equal(g.op.Mod(n, candidates), 0), g.op.LessOrEqual(candidates * candidates, n))
    rows = g.op.ReduceMax(g.op.Where(fits, candidates, 1), keepdims=0)
    return g.choice(
        g.op.LessOrEqual(n / rows, MOST_COLUMNS),
        lambda inner: inner.op.Concat(*inner.transform([clips], rows, n / rows, n / 2 + 1), axis=1),
        lambda inner: inner.op.Concat(*inner.chirp_transform(clips), axis=1),
    )


def _squared_envelope_power(g: Graph, band: Value, n_rates: Value) -> Value:
    """Power of the squared envelope of a band, relative to its mean: (clips, 2, bins) -> (clips, rates).

    The transform of the squared envelope is the autocorrelation of the band's bins, whatever the length that holds
    both without aliasing; here the next square. A transform forwards in place of one back turns time round, which
    the power does not show.
    """
    n_bins = g.size(band, 2)
    side = g.whole(g.op.Ceil(g.op.Sqrt(g.real(n_bins + n_rates))))
    n_short = side * side
    parts = g.op.Split(g.padded(band, 2, 0, n_short - n_bins), axis=1, num_outputs=2, _outputs=2)
    real, imaginary = g.transform(parts, side, side, n_short)
    squared = g.square(real) + g.square(imaginary)
    mean = g.mean(squared, 2)
    relative = (squared - mean) / g.op.Max(mean, TINY)  # 0 in silence, too
    real, imaginary = g.transform([relative], side, side, n_rates)
    power = g.op.Squeeze(g.square(real) + g.square(imaginary), [1])
    return g.real(power) / g.square(g.real(n_short))


def _band_means(g: Graph, edges_hz: torch.Tensor, bins_hz: Value) -> Value:
    """`features.logmel.band_means`, transposed: (bins,) -> (bins, bands)."""
    low, high = g.constant(edges_hz[:-1]), g.constant(edges_hz[1:])
    bins = g.op.Unsqueeze(bins_hz, [1])
    inside = g.op.And(g.op.GreaterOrEqual(bins, low), g.op.Less(bins, high))
    nearest = g.op.ArgMin(g.op.Abs(bins - (low + high) / 2.0), axis=0)
    is_nearest = g.op.Equal(g.op.Unsqueeze(g.range(g.size(bins_hz, 0)), [1]), nearest)
    is_empty = g.op.Equal(g.op.ReduceMax(g.whole(inside), [0]), 0)
    chosen = g.real(g.op.Or(inside, g.op.And(is_nearest, is_empty)))
    return chosen / g.total(chosen, 0)
