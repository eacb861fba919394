"""Normal clips with a faint foreign sound in them: a stand-in for faults that nobody has recorded.

Used to choose between back ends without looking at a test clip. It tells hopeless methods from usable
ones, not good ones from the best: docs/benchmark.md says how well, by rank correlation.

Conventions: waveforms (batch, samples) float32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asd.types import AsdError

Waveforms = npt.NDArray[np.float32]

KINDS = ("tone", "band noise", "impacts", "modulation")
LEVEL_DB = -18.0  # of the added sound, re the clip: audible in a quiet band, drowned in a loud one


def add_foreign_sound(
    waveforms: Waveforms, numbers: npt.NDArray[np.int64], sample_rate_hz: int, seed: int
) -> Waveforms:
    """The clips with one of `KINDS` added to each.

    Args:
        waveforms: (batch, samples).
        numbers: (batch,) a number of each clip, which with the seed decides what is added: the result does
            not depend on the batch.
        sample_rate_hz: of the waveforms.
        seed: for the draws.

    Returns:
        (batch, samples), the added part `LEVEL_DB` below the clip; silent clips stay as they are.
    """
    altered = np.empty_like(waveforms)
    for row, (wave, number) in enumerate(zip(waveforms, numbers, strict=True)):
        rng = np.random.default_rng([seed, int(number)])
        sound = _sound(KINDS[int(number) % len(KINDS)], wave, sample_rate_hz, rng)
        gain = 10 ** (LEVEL_DB / 20) * _rms(wave) / max(_rms(sound), 1e-12)
        altered[row] = wave + gain * sound
    return altered


def _sound(
    kind: str, wave: Waveforms, sample_rate_hz: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    time_s = np.arange(len(wave)) / sample_rate_hz
    centre_hz = np.exp(rng.uniform(np.log(200.0), np.log(0.4 * sample_rate_hz)))
    if kind == "tone":
        return np.sin(2 * np.pi * centre_hz * time_s + rng.uniform(0, 2 * np.pi))
    if kind == "band noise":
        return _band_pass(rng.standard_normal(len(wave)), centre_hz, sample_rate_hz)
    rate_hz = np.exp(rng.uniform(np.log(5.0), np.log(60.0)))
    if kind == "impacts":
        clicks = (np.diff(np.floor(rate_hz * time_s + rng.uniform()), prepend=0.0) > 0).astype(float)
        return _band_pass(clicks, centre_hz, sample_rate_hz)
    if kind == "modulation":  # the machine's own band, swelling at a rate of its own
        swelling = np.sin(2 * np.pi * rate_hz * time_s)
        return _band_pass(np.asarray(wave, float), centre_hz, sample_rate_hz) * swelling
    raise AsdError(f"no pseudo anomaly is called {kind!r}; choose one of {', '.join(KINDS)}")


def _band_pass(
    wave: npt.NDArray[np.float64], centre_hz: float, sample_rate_hz: int
) -> npt.NDArray[np.float64]:
    """A third of an octave on either side of the centre."""
    spectrum = np.fft.rfft(wave)
    hz = np.fft.rfftfreq(len(wave), 1 / sample_rate_hz)
    spectrum[(hz < centre_hz / 2 ** (1 / 3)) | (hz > centre_hz * 2 ** (1 / 3))] = 0.0
    return np.fft.irfft(spectrum, len(wave))


def _rms(wave: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
