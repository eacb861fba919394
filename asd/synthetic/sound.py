"""Render one clip of a synthetic machine.

What repeats with the shaft is looked up in a table of one revolution; everything else is drawn and shaped
in the frequency domain, where a clip costs a few milliseconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from asd.synthetic.design import ABSENT_DB, REFERENCE_RMS, TABLE_SAMPLES, Array, Design, Health, Scene

Spectrum = NDArray[np.complex64]
Phase = NDArray[np.float64]

FAR_DB = -12.0  # the machine at the far microphone; the background is as loud there as at the near one


def render_clip(
    design: Design,
    scene: Scene,
    health: Health,
    rng: np.random.Generator,
    *,
    speed_rpm: float,
    duration_s: float,
    sample_rate_hz: int = 16000,
    channels: int = 1,
) -> Array:
    """Record the machine once.

    Returns a float32 waveform (channels, samples) in [-1, 1]. Channel 0 is the near microphone and does not
    depend on `channels`; channel 1 is the far one.
    """
    n_samples = round(duration_s * sample_rate_hz)
    n_fft = fft.next_fast_len(n_samples, real=True)
    octaves = octaves_of(n_fft, sample_rate_hz)
    load_db = scene.load_db + rng.normal(0.0, 1.0)
    background_db = scene.background_db + rng.normal(0.0, 1.5)
    background = amplitude(scene.background_db_per_octave * octaves)

    machine = emitted(design, health, load_db, rng, speed_rpm, n_fft, sample_rate_hz)
    hall = noise_spectrum(background, background_db, n_fft, rng)
    recorded = np.empty((channels, octaves.size), np.complex64)
    for channel in range(channels):
        room_knots = np.linspace(-4.5, 3.0, design.room_db.shape[1])
        room_db = np.interp(octaves, room_knots, design.room_db[channel]) + FAR_DB * channel
        here = noise_spectrum(background, background_db, n_fft, rng)  # the part of the background this place has alone
        recorded[channel] = machine * amplitude(room_db) + 0.8 * hall + 0.6 * here
    recorded *= amplitude(scene.microphone_db_per_octave * octaves)
    waveform = REFERENCE_RMS * fft.irfft(recorded, n_fft)[:, :n_samples]
    return np.asarray(np.clip(waveform, -1.0, 1.0), np.float32)  # as a converter does


def octaves_of(n_fft: int, sample_rate_hz: int) -> Array:
    """Octaves from 1 kHz of every bin, (bins,)."""
    frequency_hz = fft.rfftfreq(n_fft, 1 / sample_rate_hz)
    return np.asarray(np.log2(np.maximum(frequency_hz, 20.0) / 1000.0), np.float32)


def amplitude(level_db: NDArray[np.floating] | float) -> Array:
    """Factor of a level in dB."""
    return np.asarray(10 ** (np.asarray(level_db) / 20), np.float32)


def _shaft_turns(
    rotation_hz: float, jitter: float, n_samples: int, sample_rate_hz: int, rng: np.random.Generator
) -> Phase:
    """Revolutions of the shaft, (samples,): the speed wanders from quarter second to quarter second by the jitter."""
    knots = np.arange(0, n_samples + sample_rate_hz, sample_rate_hz // 4)
    offset = rng.normal(0.0, 0.004)  # no clip runs at exactly the named speed
    wander = rng.normal(offset, jitter, knots.size)
    speed_hz = rotation_hz * np.interp(np.arange(n_samples), knots, 1 + wander)
    return np.asarray(rng.uniform() + np.cumsum(speed_hz) / sample_rate_hz)


def emitted(
    design: Design,
    health: Health,
    load_db: float,
    rng: np.random.Generator,
    speed_rpm: float,
    n_fft: int,
    sample_rate_hz: int,
) -> Spectrum:
    """Spectrum (bins,) of what the machine emits, before any room; `load_db` is how much louder it is under load."""
    turns = _shaft_turns(speed_rpm / 60, health.speed_jitter, n_fft, sample_rate_hz, rng)
    octaves = octaves_of(n_fft, sample_rate_hz)
    ringing = fft.rfft(_clicks(design, health, turns, sample_rate_hz, rng))
    ringing *= fft.rfft(_ring(design, sample_rate_hz), turns.size)
    band = _bell(octaves, design.turbulence_hz, design.turbulence_octaves)
    rush = noise_spectrum(band, design.character.turbulence_db + load_db, n_fft, rng)
    body = amplitude(health.resonance_db * _bell(octaves, design.resonance_hz, 0.2))
    shaft = fft.rfft(_shaft(design, health, turns, load_db, sample_rate_hz))
    return np.asarray((shaft + ringing + rush) * body, np.complex64)


def _bell(octaves: Array, centre_hz: float, width_octaves: float) -> Array:
    """Gaussian over log frequency, peak 1, (bins,)."""
    return np.asarray(np.exp(-0.5 * ((octaves - np.log2(centre_hz / 1000)) / width_octaves) ** 2), np.float32)


def _shaft(design: Design, health: Health, turns: Phase, load_db: float, sample_rate_hz: int) -> Array:
    """What repeats with the shaft, (samples,): harmonics, passes with sidebands, the whistle of a fault."""
    level = design.character
    orders = design.shaft * amplitude(level.shaft_db)
    for multiple in (1, 2, 3):
        for side in range(-3, 4):
            order = multiple * design.passes_per_turn + side
            below_db = 6.0 * (multiple - 1) + 9.0 * abs(side) - (health.sidebands_db if side else 0.0)
            if order > 0:
                orders[order] += np.sqrt(2.0) * amplitude(level.passes_db + load_db - below_db)
    rotation_hz = (turns[-1] - turns[0]) / turns.size * sample_rate_hz
    orders[int(0.45 * sample_rate_hz / rotation_hz) :] = 0.0  # nothing near or beyond the Nyquist frequency
    table = fft.irfft(orders * np.exp(1j * design.shaft_phase), TABLE_SAMPLES) * (TABLE_SAMPLES / 2)
    sound = np.interp(turns % 1.0, np.arange(TABLE_SAMPLES + 1) / TABLE_SAMPLES, np.append(table, table[0]))
    if health.tone_db > ABSENT_DB:
        sound += np.sqrt(2.0) * amplitude(health.tone_db) * np.sin(2 * np.pi * design.tone_order * turns)
    return np.asarray(sound, np.float32)


def _clicks(design: Design, health: Health, turns: Phase, sample_rate_hz: int, rng: np.random.Generator) -> Array:
    """Impulses that make the body ring, (samples,): strokes of the valve and impacts of a faulty part."""
    clicks = np.zeros(turns.size, np.float32)
    if health.impacts_db > ABSENT_DB:
        impacts = _moments(turns, design.impacts_per_turn)
        clicks[impacts] = amplitude(health.impacts_db + rng.normal(0.0, 2.0, impacts.size))
    if design.character.strokes_db > ABSENT_DB:
        opening = _moments(turns, design.strokes_per_turn)
        opening = opening[rng.uniform(size=opening.size) < 0.8]  # now and then the valve rests
        dwell_s = health.dwell_factor * design.dwell_s * rng.normal(1.0, 0.03, opening.size)
        closing = opening + np.rint(dwell_s * sample_rate_hz).astype(np.int64)
        closing = closing[closing < turns.size]
        clicks[opening] += amplitude(design.character.strokes_db + rng.normal(0.0, 1.0, opening.size))
        clicks[closing] += amplitude(design.character.strokes_db - 4.0 + rng.normal(0.0, 1.0, closing.size))
    return clicks


def _moments(turns: Phase, per_turn: float) -> NDArray[np.int64]:
    """Return the samples at which something that happens so often per turn happens."""
    return np.flatnonzero(np.diff(np.floor(turns * per_turn)))


def _ring(design: Design, sample_rate_hz: int) -> Array:
    """Return the decaying resonances after a click of 0 dB, (samples,), with the energy of 50 ms at 0 dB."""
    time_s = np.arange(round(8 * design.ring_decay_s * sample_rate_hz)) / sample_rate_hz
    ring = np.sin(2 * np.pi * np.outer(design.ring_hz, time_s)).sum(axis=0)
    ring *= np.exp(-time_s / design.ring_decay_s)
    return np.asarray(ring * np.sqrt(0.05 * sample_rate_hz / np.sum(ring**2)), np.float32)


def noise_spectrum(shape: Array, level_db: float, n_fft: int, rng: np.random.Generator) -> Spectrum:
    """Spectrum (bins,) of Gaussian noise with this amplitude over frequency, at this level."""
    white = rng.standard_normal(2 * shape.size, np.float32).view(np.complex64)
    scale = 10 ** (level_db / 20) * n_fft / (2 * np.sqrt(np.sum(np.square(shape), dtype=np.float64)))
    return np.asarray(white * (shape * np.float32(scale)), np.complex64)
