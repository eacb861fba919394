"""Samples of a file as a waveform: at full scale 1, and at another rate.

Args:
    samples: (channels, samples), as they are in the file.
"""

from __future__ import annotations

import numpy as np

from asd.data.codecs import Samples, Waveform

_BLOCK = 1 << 20  # samples that are resampled at once, to the same digits as all at once


def resampled(samples: Samples, rate_hz: int, wanted_hz: int) -> Samples:
    """Samples at another rate, at least one of each channel."""
    if rate_hz == wanted_hz:
        return samples
    import soxr

    stream, n_samples = soxr.ResampleStream(rate_hz, wanted_hz, len(samples), dtype="float32"), samples.shape[1]
    parts = [  # block by block, of whose copies at full scale an hour would take twice as much again
        stream.resample_chunk(as_float(samples[:, at : at + _BLOCK]).T, last=at + _BLOCK >= n_samples)
        for at in range(0, n_samples, _BLOCK)
    ]
    return np.ascontiguousarray(np.concatenate(parts).T, np.float32)


def as_float(samples: Samples) -> Waveform:
    """Samples at full scale 1, in memory of their own."""
    return samples * np.float32(1 / 32768) if samples.dtype == np.int16 else samples.astype(np.float32)
