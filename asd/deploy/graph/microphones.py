"""Front ends as graphs: from the microphones of a recording to one waveform, by the formulas of `data.frontends`.

Conventions: recordings (clips, microphones, samples), waveforms (clips, samples), and spectra as real and imaginary
part (clips, frames, bins), all float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal.windows import hann

from asd.data import frontends
from asd.deploy.graph.features import frames
from asd.deploy.graph.formula import TINY, Graph, Value
from asd.types import FrontEnd

Spectrum = tuple[Value, Value]


def one_waveform(g: Graph, front_end: FrontEnd, recorded: Value) -> Value:
    """One waveform of each recording: (clips, microphones, samples) -> (clips, samples)."""
    waveforms = _FRONT_ENDS[front_end.name](g, recorded)
    if front_end.profile:
        spectrum = _spectrum(g, waveforms, frontends.SUBTRACT_SAMPLES)
        waveforms = _less(g, spectrum, g.constant(front_end.profile, single=True), waveforms)
    return _turned_down(g, waveforms, front_end.activity) if front_end.activity else waveforms


def less_far(
    g: Graph, front_end: FrontEnd, recorded: Value, vectors: Callable[[Value], dict[str, Value]]
) -> dict[str, Value]:
    """Vectors (clips, dims) by name, in the residual view less a share of those of the far microphone.

    Recordings are (clips, microphones, samples); `vectors` makes them of waveforms (clips, samples).
    """
    near = vectors(one_waveform(g, front_end, recorded))
    if not front_end.residual:
        return near
    far = vectors(one_waveform(g, FrontEnd("far"), recorded))
    return {name: x - far[name] * front_end.residual for name, x in near.items()}


def _cancel(g: Graph, recorded: Value) -> Value:
    near, far = (g.taken(recorded, 1, i) for i in (0, 1))
    (a, b), (c, d) = (_spectrum(g, x, frontends.CANCEL_SAMPLES) for x in (near, far))
    power = g.total(g.square(c) + g.square(d), 1) + frontends.LEAST_POWER
    real, imaginary = g.total(a * c + b * d, 1) / power, g.total(b * c - a * d, 1) / power
    left = a - (real * c - imaginary * d), b - (real * d + imaginary * c)
    return _waveforms(g, left, near, frontends.CANCEL_SAMPLES)


def _subtract(g: Graph, recorded: Value) -> Value:
    near, far = (g.taken(recorded, 1, i) for i in (0, 1))
    spectrum, noise = (_spectrum(g, x, frontends.SUBTRACT_SAMPLES) for x in (near, far))
    return _less(g, spectrum, _magnitude(g, noise), near)


_FRONT_ENDS = {
    "near": lambda g, recorded: g.taken(recorded, 1, 0),
    "far": lambda g, recorded: g.taken(recorded, 1, 1),
    "mean": lambda g, recorded: g.mean(recorded, 1, keepdims=False),
    "cancel": _cancel,
    "subtract": _subtract,
}


def _less(g: Graph, spectrum: Spectrum, magnitudes: Value, like: Value) -> Value:
    """Magnitudes taken off a spectrum, as a waveform as long as another one."""
    own = _magnitude(g, spectrum)
    left = g.op.Where(g.op.Greater(own, magnitudes), own - magnitudes, own * frontends.FLOOR)
    gain = left / g.op.Max(own, TINY)
    return _waveforms(g, (spectrum[0] * gain, spectrum[1] * gain), like, frontends.SUBTRACT_SAMPLES)


def _magnitude(g: Graph, spectrum: Spectrum) -> Value:
    return g.op.Sqrt(g.square(spectrum[0]) + g.square(spectrum[1]))


def _turned_down(g: Graph, waveforms: Value, weights: tuple[float, ...]) -> Value:
    """`frontends.turn_down`: gains of frames, joined by straight lines."""
    n_fft = frontends.ACTIVITY_SAMPLES
    real, imaginary = (g.part(x, 2, 1, n_fft) for x in _spectrum(g, waveforms, n_fft))
    power = g.mean(g.shaped(g.square(real) + g.square(imaginary), 0, 0, frontends.N_BANDS, -1), 3, keepdims=False)
    usual = g.mean(power, 1)
    levels = g.log10((power + usual * 1e-4) / g.op.Max(usual, 1e-20) + 1e-20)
    predicted = g.op.MatMul(levels, g.constant(np.array(weights[:-1])[:, None], single=True)) + weights[-1]
    least, most = (g.constant(weight, single=True) for weight in (frontends.LEAST_WEIGHT, 1.0))
    gain = g.op.Sqrt(g.op.Clip(predicted, least, most))
    hop, count = frontends.ACTIVITY_HOP_SAMPLES, g.size(gain, 1)
    way = g.constant(np.arange(hop) / hop, single=True)
    smooth = g.part(gain, 1, 0, count - 1) * (1.0 - way) + g.part(gain, 1, 1, count) * way
    return waveforms * g.part(g.shaped(smooth, 0, -1), 1, 0, g.size(waveforms, 1))


def _spectrum(g: Graph, waveforms: Value, n_fft: int) -> Spectrum:
    """Of frames centred on multiples of half a window, from the first sample to the end, filled up with zeros."""
    hop = n_fft // 2
    behind = g.op.Mod(g.op.Neg(g.size(waveforms, 1)), g.constant(hop)) + hop
    padded = g.padded(waveforms, 1, hop, behind)
    return g.spectrum(frames(g, padded, n_fft, hop) * g.constant(hann(n_fft, sym=False), single=True), n_fft)


def _waveforms(g: Graph, spectrum: Spectrum, like: Value, n_fft: int) -> Value:
    """The inverse of `_spectrum`, as long as another waveform; every sample lies in two frames."""
    hop, window = n_fft // 2, hann(n_fft, sym=False)
    turns = 2 * np.pi * np.outer(np.arange(hop + 1), np.arange(n_fft)) / n_fft
    twice = np.where(np.arange(hop + 1) % hop == 0, 1, 2)[:, None] / n_fft * window  # bins that have no mirror: once
    bases = (twice * np.cos(turns), -twice * np.sin(turns))
    real, imaginary = (g.op.MatMul(x, g.constant(y, single=True)) for x, y in zip(spectrum, bases, strict=True))
    cut, count = real + imaginary, g.size(spectrum[0], 1)
    both = g.part(g.part(cut, 2, hop, n_fft), 1, 0, count - 1) + g.part(g.part(cut, 2, 0, hop), 1, 1, count)
    whole = both / g.constant(window[:hop] ** 2 + window[hop:] ** 2, single=True)
    return g.part(g.shaped(whole, 0, -1), 1, 0, g.size(like, 1))
