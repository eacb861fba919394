"""A machine in a noisy hall, recorded by a near and a far microphone: everything at a known ratio.

Two sources, the machine and the hall's noise, reach each microphone by a random impulse response of its own. The
noise is one and the same at both, apart from a tenth of its power that each place has alone; its colour differs
from clip to clip and its level wanders within a clip, as that of other machines does. Levels follow `design`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import fft

from asd.synthetic.design import REFERENCE_RMS, Array, Design, Health, Scene, draw_design, generator
from asd.synthetic.sound import FAR_DB, amplitude, emitted, noise_spectrum, octaves_of
from asd.types import Domain

Content = Literal["both", "machine", "noise"]

ALONE_DB = -10.0  # of the noise: the part that is not the same at both microphones
COLOUR_DB, WANDER_DB, LEVEL_DB = 4.0, 3.0, 1.5  # standard deviations of the noise, see above
LOAD_DB = 1.0  # standard deviation of the machine's level

_MACHINE, _NOISE = 0, 1
_DIRECT_DB = ((12.0, 0.0), (3.0, 3.0))  # direct sound over reverberation, by source and microphone
_LATEST_S = 0.01  # of the direct sound: 3.4 m
_REVERBERATION_S = (0.1, 0.3)  # range of the time in which it falls by 60 dB
_REFERENCE_S = 4.0


@dataclass(frozen=True, slots=True)
class Hall:
    """Where a machine stands."""

    responses: Array  # (2 sources, 2 microphones, taps), machine and noise, near and far
    rms: Mapping[Domain, float]  # of the healthy machine at the near microphone, per domain; what the ratio refers to
    sample_rate_hz: int  # of the responses


def draw_hall(machine: str, seed: int, sample_rate_hz: int) -> Hall:
    """The hall of the machine that bears this name."""
    rng = generator("hall", seed, machine)
    decay_s = rng.uniform(*_REVERBERATION_S) / np.log(1000.0)
    responses = np.array([[_response(rng, db, decay_s, sample_rate_hz) for db in source] for source in _DIRECT_DB])
    responses[_MACHINE, 1] *= amplitude(FAR_DB)
    design = draw_design(machine, seed)
    rms = {}
    for domain, scene in design.scenes.items():
        speed_rpm = float(np.mean(scene.speeds_rpm))
        sound = _machine(design, Health(), scene.load_db, rng, speed_rpm, _REFERENCE_S, sample_rate_hz)
        rms[domain] = float(_at_microphones(sound, responses[_MACHINE])[0].std())
    return Hall(responses.astype(np.float32), rms, sample_rate_hz)


def record_in_hall(
    hall: Hall,
    design: Design,
    domain: Domain,
    health: Health,
    rng: np.random.Generator,
    *,
    speed_rpm: float,
    duration_s: float,
    snr_db: float,
    content: Content = "both",
) -> Array:
    """Records the machine, the hall, or both once: (2, samples) float32 in [-1, 1], near and far.

    `snr_db` is the power of the healthy machine over that of the noise at the near microphone, mean over clips.
    """
    scene, n_samples = design.scenes[domain], round(duration_s * hall.sample_rate_hz)
    load_db = scene.load_db + rng.normal(0.0, LOAD_DB)
    machine = _machine(design, health, load_db, rng, speed_rpm, duration_s, hall.sample_rate_hz)
    level_db = 20 * np.log10(hall.rms[domain]) - snr_db + rng.normal(0.0, LEVEL_DB)
    colour = _colour(scene, machine.size, hall.sample_rate_hz, rng)
    shared, *alone = (_noise(colour, machine.size, hall.sample_rate_hz, rng) for _ in range(3))
    noise = _at_microphones(shared, hall.responses[_NOISE])
    noise *= np.sqrt(1 - 10 ** (ALONE_DB / 10)) / noise.std(axis=1, keepdims=True)
    noise += amplitude(ALONE_DB) * np.stack([part / part.std() for part in alone])
    parts = {"machine": _at_microphones(machine, hall.responses[_MACHINE]), "noise": amplitude(level_db) * noise}
    mixed = parts["machine"] + parts["noise"] if content == "both" else parts[content]
    return np.asarray(np.clip(REFERENCE_RMS * mixed[:, :n_samples], -1.0, 1.0), np.float32)


def _machine(
    design: Design,
    health: Health,
    load_db: float,
    rng: np.random.Generator,
    speed_rpm: float,
    duration_s: float,
    sample_rate_hz: int,
) -> Array:
    """What the machine emits, (samples,), a little longer than asked for where that is faster."""
    n_fft = fft.next_fast_len(round(duration_s * sample_rate_hz), real=True)
    spectrum = emitted(design, health, load_db, rng, speed_rpm, n_fft, sample_rate_hz)
    return np.asarray(fft.irfft(spectrum, n_fft), np.float32)


def _response(rng: np.random.Generator, direct_db: float, decay_s: float, sample_rate_hz: int) -> Array:
    """An impulse response of energy 1, (taps,): one direct sound, then noise that decays."""
    first = int(rng.integers(round(_LATEST_S * sample_rate_hz)))
    time_s = np.arange(round(7 * decay_s * sample_rate_hz)) / sample_rate_hz
    tail = rng.standard_normal(time_s.size) * np.exp(-time_s / decay_s)
    response = np.zeros(round((_LATEST_S + 7 * decay_s) * sample_rate_hz) + 1)
    response[first : first + tail.size] = amplitude(-direct_db) * tail / np.sqrt(np.sum(tail**2))
    response[first] += 1.0
    return np.asarray(response / np.sqrt(np.sum(response**2)), np.float32)


def _at_microphones(sound: Array, responses: Array) -> Array:
    """A sound (samples,) at both microphones (2, taps): (2, samples), its beginning under its own echo."""
    spectrum = fft.rfft(sound) * fft.rfft(responses, sound.size)
    return np.asarray(fft.irfft(spectrum, sound.size), np.float32)


def _colour(scene: Scene, n_fft: int, sample_rate_hz: int, rng: np.random.Generator) -> Array:
    """Amplitude of the noise over frequency, (bins,): the scene's slope, and a colour of the clip's own."""
    octaves = octaves_of(n_fft, sample_rate_hz)
    own_db = np.interp(octaves, np.linspace(-5.0, 3.0, 9), rng.normal(0.0, COLOUR_DB, 9))
    return amplitude(scene.background_db_per_octave * octaves + own_db)


def _noise(colour: Array, n_fft: int, sample_rate_hz: int, rng: np.random.Generator) -> Array:
    """Noise of this colour (bins,) whose level wanders, (n_fft,)."""
    wave = fft.irfft(noise_spectrum(colour, 0.0, n_fft, rng), n_fft)
    knots = np.arange(0, n_fft + sample_rate_hz, sample_rate_hz // 2)
    wander_db = np.interp(np.arange(n_fft), knots, rng.normal(0.0, WANDER_DB, knots.size))
    return np.asarray(wave * amplitude(wander_db), np.float32)
