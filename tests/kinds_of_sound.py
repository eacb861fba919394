"""Machines of many kinds as waveforms in memory: a normal one, and the same with a fault of the kind it would have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from asd.data.recordings import Recordings, in_memory
from asd.types import Clip, Domain, Split

Array = np.ndarray
Render = Callable[
    [np.random.Generator, Array, bool, float], Array
]  # draws, seconds (samples,), faulty?, age from 0 to 1


def _noise(rng: np.random.Generator, time_s: Array, low_hz: float, high_hz: float) -> Array:
    """Noise of a band, of unit power."""
    filters = butter(2, [low_hz, high_hz], "bandpass", fs=1 / time_s[1], output="sos")
    noise = sosfilt(filters, rng.normal(size=len(time_s)))
    return noise / noise.std()


def _harmonics(rng: np.random.Generator, time_s: Array, pitch_hz: float, count: int) -> Array:
    parts = [np.sin(2 * np.pi * k * pitch_hz * time_s + rng.uniform(0, 6.3)) / k for k in range(1, count + 1)]
    return np.sum(parts, axis=0)


def _train(rng: np.random.Generator, time_s: Array, rate_hz: float, jitter: float) -> Array:
    """Where events of a rate begin: one in one sample of each, zeros elsewhere."""
    starts_s = np.arange(rng.uniform(), time_s[-1] * rate_hz) / rate_hz
    starts_s = starts_s + rng.normal(0.0, jitter / rate_hz, len(starts_s))
    events = np.zeros(len(time_s))
    events[np.clip(np.round(starts_s / time_s[1]).astype(int), 0, len(events) - 1)] = 1.0
    return events


def _behind(events: Array, answer: Array) -> Array:
    return np.convolve(events, answer)[: len(events)]


def _tonal(rng: np.random.Generator, time_s: Array, faulty: bool, age: float) -> Array:
    """A gear: harmonics of a turning shaft. The fault modulates them at a third of its speed."""
    pitch_hz = 97.0 * (1 + 0.005 * rng.normal())
    sound = _harmonics(rng, time_s, pitch_hz, 20)
    if faulty:
        sound *= 1 + 0.3 * np.sin(2 * np.pi * pitch_hz / 3 * time_s)
    return sound + 0.1 * _noise(rng, time_s, 50, 3500)


def _broadband(rng: np.random.Generator, time_s: Array, faulty: bool, age: float) -> Array:
    """A fan: rushing noise. The fault is a broad peak 12 dB below it."""
    sound = _noise(rng, time_s, 80, 1500) + 0.3 * _noise(rng, time_s, 1000, 3500)
    return sound + 0.25 * faulty * _noise(rng, time_s, 1500, 2200)


def _strokes(rng: np.random.Generator, time_s: Array, faulty: bool, age: float) -> Array:
    """A valve: four clicks a second. The fault leaves them where they are in the mean and makes them irregular."""
    rate_hz = 1 / time_s[1]
    decay = np.exp(-np.arange(round(0.2 * rate_hz)) / (0.02 * rate_hz))
    envelope = _behind(_train(rng, time_s, 8.0, 0.25 if faulty else 0.02), decay)
    return envelope * _noise(rng, time_s, 500, 3500) + 0.05 * _noise(rng, time_s, 80, 3500)


def _impacts(rng: np.random.Generator, time_s: Array, faulty: bool, age: float) -> Array:
    """A bearing in noise. The fault is a train of small impacts that ring."""
    rate_hz = 1 / time_s[1]
    late_s = np.arange(round(0.02 * rate_hz)) / rate_hz
    ring = np.sin(2 * np.pi * 2600 * late_s) * np.exp(-late_s / 0.003)
    sound = _noise(rng, time_s, 80, 3500)
    return sound + 2.0 * faulty * _behind(_train(rng, time_s, 31.0, 0.02), ring)


def _pulsed(rng: np.random.Generator, time_s: Array, faulty: bool, age: float) -> Array:
    """A pump: noise in pulses. The fault makes the pulses of all bands lag behind each other."""
    phase = 2 * np.pi * (5.0 * (1 + 0.01 * rng.normal()) * time_s + rng.uniform())
    bands = [(100, 400), (400, 900), (900, 1800), (1800, 3500)]
    lags = 0.5 * np.arange(4) * faulty
    return np.sum(
        [(1.2 + np.sin(phase - lag)) * _noise(rng, time_s, *band) for lag, band in zip(lags, bands, strict=True)],
        axis=0,
    )


def _drifting(rng: np.random.Generator, time_s: Array, faulty: bool, age: float) -> Array:
    """A machine that warms up: level, tilt and pitch wander all along the recordings. The fault is a faint tone."""
    sound = _noise(rng, time_s, 80, 800) + (0.3 + 0.7 * age) * _noise(rng, time_s, 800, 3500)
    sound += 0.5 * _harmonics(rng, time_s, 120.0 * (1 + 0.1 * age), 5)
    return (1 + 2 * age) * (sound + 0.2 * faulty * np.sin(2 * np.pi * 1930.0 * time_s))


def _stuttering(rng: np.random.Generator, time_s: Array, faulty: bool, age: float) -> Array:
    """A motor in noise. The fault lets it stand still for a moment, now and then."""
    stops = _train(rng, time_s, 2.0, 0.2) * faulty
    moment = np.ones(round(0.06 / time_s[1]))
    running = 1.0 - np.minimum(_behind(stops, moment), 1.0)
    return running * _noise(rng, time_s, 80, 3500) + 0.1 * _noise(rng, time_s, 80, 3500)


KINDS: dict[str, Render] = {
    "tonal": _tonal,
    "broadband": _broadband,
    "strokes": _strokes,
    "impacts": _impacts,
    "pulsed": _pulsed,
    "drifting": _drifting,
    "stuttering": _stuttering,
}


def _impulses(rng: np.random.Generator, time_s: Array) -> Array:
    """Jittered impulses that let something ring."""
    ring = np.sin(2 * np.pi * 1700 * time_s[: len(time_s) // 20]) * np.exp(-time_s[: len(time_s) // 20] / 0.002)
    return _behind(_train(rng, time_s, 23.0, 0.02), ring)


# What a fault adds to a sound (samples,) of a machine, of any power.
FAULTS: dict[str, Callable[[np.random.Generator, Array, Array], Array]] = {
    "tone": lambda rng, time_s, sound: np.sin(2 * np.pi * 2900 * time_s + rng.uniform(0, 6.3)),
    "harmonics": lambda rng, time_s, sound: _harmonics(rng, time_s, 73.0, 30),
    "band": lambda rng, time_s, sound: _noise(rng, time_s, 1800, 2600),
    "impulses": lambda rng, time_s, sound: _impulses(rng, time_s),
    "modulation": lambda rng, time_s, sound: sound * np.sin(2 * np.pi * 31 * time_s + rng.uniform(0, 6.3)),
}


def with_fault(fault: str, sounds: Sequence[Array], snr_db: float, rate_hz: int = 16000) -> list[Array]:
    """Sounds of a machine with a fault, so much above the machine; what is drawn is the same at every level."""
    faulty = []
    for i, sound in enumerate(sounds):
        rng = np.random.default_rng([i, *fault.encode()])
        added = FAULTS[fault](rng, np.arange(len(sound)) / rate_hz, sound)
        gain = 10 ** (snr_db / 20) * sound.std() / added.std()
        faulty.append((sound + gain * added).astype(np.float32))
    return faulty


def clips_of(
    kind: str, n: int, seed: int, *, faulty: bool = False, seconds: float = 2.0, rate_hz: int = 16000
) -> Recordings:
    """Recordings of a machine, a sixth of them in the target domain, where its sound is duller."""
    rng = np.random.default_rng([seed, *kind.encode()])
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    waves, clips = [], []
    for i in range(n):
        domain = Domain.TARGET if i % 6 == 5 else Domain.SOURCE
        wave = KINDS[kind](rng, time_s, faulty, rng.uniform())
        if domain is Domain.TARGET:
            wave = wave + 0.7 * np.append(0.0, wave[:-1])
        gain = 0.02 * 10 ** (rng.normal() / 20)
        waves.append((gain * wave / wave.std()).astype(np.float32))
        clips.append(Clip(Path(f"{i:04d}.wav"), "machine", "00", Split.TRAIN, domain))
    return in_memory(waves, rate_hz, clips)
