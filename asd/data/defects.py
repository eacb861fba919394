"""Finds recordings without usable sound: silence, stuck values, clipping, the same signal on both microphones.

Such a recording can be read, and its scores would look like any others: a dead cable, a converter that hangs, an
amplifier at its limit. Everything is measured in samples as they are, so that no level has to be known.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Recorded = npt.NDArray[np.int16] | npt.NDArray[np.float32]  # (microphones, samples)
_Wave = npt.NDArray[np.int16] | npt.NDArray[np.float32]  # (samples,) of one microphone

_SAME = 1e-5  # share of the near power that one factor on the far microphone may leave: 50 dB below it
_STILL_S, _STILL_SAMPLES = 0.05, 256  # no machine and no room holds one value for both, even in coarse steps
_MOST_STILL = 0.1  # share of a recording in such stretches that is still a recording with a gap
_MOST_SILENT = 0.5  # the same of stretches at zero, which may be padding or a gate
_MOST_CLIPPED = 0.2  # share of samples at the two limits
_LEAST_SPAN = 64 / 32768  # between those limits: the samples of a quieter recording know few values


def defect(recorded: Recorded, sample_rate_hz: int) -> str | None:
    """What makes a recording useless, as the predicate of a sentence; None where nothing does.

    Args:
        recorded: (microphones, samples) that are used, the near one first.
        sample_rate_hz: of the recording.
    """
    if what := _defect_of_one(recorded[0], sample_rate_hz):
        return what
    if len(recorded) == 1:
        return None
    if not recorded[1].any():
        return "has a silent far microphone (all samples are zero)"
    if what := _defect_of_one(recorded[1], sample_rate_hz):
        return f"has a far microphone that {what}"
    near, far = recorded.astype(np.float64)
    left = near @ near - (near @ far) ** 2 / (far @ far)
    if left < _SAME * (near @ near):
        return "has the same sound on both microphones up to a factor"
    return None


def _defect_of_one(wave: _Wave, sample_rate_hz: int) -> str | None:
    """What is wrong with one microphone."""
    lowest, highest = wave.min(), wave.max()
    if lowest == highest:
        value = "zero" if lowest == 0 else f"{_at_full_scale_1(lowest):.4g}"
        return f"is silent (all samples are {value})"
    still, silent = _still_shares(wave, max(_STILL_SAMPLES, round(_STILL_S * sample_rate_hz)))
    if still > _MOST_STILL or still + silent > _MOST_SILENT:
        return f"holds still for {still + silent:.0%} of its length, in stretches of one value"
    clipped = (np.count_nonzero(wave == lowest) + np.count_nonzero(wave == highest)) / len(wave)
    if clipped > _MOST_CLIPPED and _at_full_scale_1(highest) - _at_full_scale_1(lowest) > _LEAST_SPAN:
        return f"is clipped ({clipped:.0%} of its samples are at one of two limits)"
    return None


def _still_shares(wave: _Wave, least_samples: int) -> tuple[float, float]:
    """Shares of a recording in stretches of at least so many equal samples: not at zero, and at zero."""
    changes = wave[1:] != wave[:-1]
    if np.count_nonzero(changes) > (1 - _MOST_STILL) * len(wave):
        return 0.0, 0.0  # most recordings end here: too few equal neighbours for any such share
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(np.append(starts, len(wave)))
    long = lengths >= least_samples
    at_zero = wave[starts] == 0
    still, silent = (float(lengths[long & which].sum()) / len(wave) for which in (~at_zero, at_zero))
    return still, silent


def _at_full_scale_1(value: np.generic) -> float:
    return float(value) / 32768 if value.dtype == np.int16 else float(value)
