"""How a synthetic machine is built, its scenes and its faults. Levels are dB re `REFERENCE_RMS`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.types import Domain

Array = NDArray[np.float32]

REFERENCE_RMS = 0.02  # of full scale; strokes peak some 25 dB above it and must stay below 1
TABLE_SAMPLES = 4096  # one revolution of the shaft, looked up by phase
ABSENT_DB = -np.inf


@dataclass(frozen=True, slots=True)
class Character:
    """What a kind of machine mostly sounds like."""

    shaft_db: float
    passes_db: float
    turbulence_db: float
    strokes_db: float
    passes_per_turn: tuple[int, int]  # range of the number of blades or teeth


CHARACTERS = {
    "fan": Character(-4.0, -2.0, 0.0, ABSENT_DB, (5, 12)),
    "gearbox": Character(-6.0, 0.0, -5.0, ABSENT_DB, (19, 43)),
    "valve": Character(-9.0, -12.0, -6.0, 0.0, (2, 5)),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a domain changes: speed and load of the machine, background and microphone of the recording."""

    speeds_rpm: tuple[int, ...]
    load_db: float  # added to passes and turbulence
    background_db: float
    background_db_per_octave: float
    microphone_db_per_octave: float


@dataclass(frozen=True, slots=True)
class Design:
    """One machine as built; its clips differ in scene, health and chance only."""

    character: Character
    shaft: Array  # (1 + TABLE_SAMPLES // 2,) amplitude of every multiple of the rotation, unit RMS in all
    shaft_phase: Array  # same shape, radians
    passes_per_turn: int
    turbulence_hz: float
    turbulence_octaves: float
    ring_hz: Array  # (3,) resonances that a stroke or an impact excites
    ring_decay_s: float
    strokes_per_turn: float
    dwell_s: float  # from the opening to the closing click of a stroke
    impacts_per_turn: float  # of a faulty part; never an integer, as in a rolling bearing
    tone_order: float  # multiple of the rotation at which a fault whistles; never an integer
    resonance_hz: float  # where a loosened body starts to resonate
    room_db: Array  # (2, knots) colouration at the near and the far microphone, over log frequency
    scenes: Mapping[Domain, Scene]


@dataclass(frozen=True, slots=True)
class Health:
    """Condition of a machine in one clip; the defaults are a sound machine."""

    tone_db: float = ABSENT_DB
    impacts_db: float = ABSENT_DB
    sidebands_db: float = 0.0
    resonance_db: float = 0.0
    speed_jitter: float = 0.004  # relative standard deviation
    dwell_factor: float = 1.0  # how much longer a stroke stays open


# How each fault shows at a severity from 0 (barely) to 1 (plainly audible).
FAULTS: Mapping[str, Callable[[float], Health]] = {
    "extra tone": lambda severity: Health(tone_db=-29.0 + 16.0 * severity),
    "impacts": lambda severity: Health(impacts_db=-33.0 + 18.0 * severity),
    "sidebands": lambda severity: Health(sidebands_db=2.0 + 11.0 * severity),
    "resonance": lambda severity: Health(resonance_db=1.0 + 5.0 * severity),
    "timing": lambda severity: Health(speed_jitter=0.01 + 0.03 * severity, dwell_factor=1.3 + 0.7 * severity),
}


def generator(*key: object) -> np.random.Generator:
    """Return a random stream of its own per key, so that no clip depends on how many others are made."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def draw_design(machine: str, seed: int) -> Design:
    """Draw the machine that bears this name; a name without a known kind in it gets one by lot."""
    rng = generator("design", seed, machine)
    kinds = [kind for kind in CHARACTERS if kind in machine.lower()]
    lot = str(rng.choice(list(CHARACTERS)))
    character = CHARACTERS[kinds[0] if kinds else lot]
    shaft = np.zeros(1 + TABLE_SAMPLES // 2)
    orders = np.arange(1, shaft.size)
    shaft[1:] = rng.lognormal(0.0, 0.7, orders.size) / orders
    return Design(
        character=character,
        shaft=(shaft / np.sqrt(np.sum(shaft**2) / 2)).astype(np.float32),
        shaft_phase=rng.uniform(0.0, 2 * np.pi, shaft.size).astype(np.float32),
        passes_per_turn=int(rng.integers(*character.passes_per_turn, endpoint=True)),
        turbulence_hz=_log_uniform(rng, 400.0, 2500.0),
        turbulence_octaves=rng.uniform(0.7, 1.8),
        ring_hz=np.array([_log_uniform(rng, 900.0, 6000.0) for _ in range(3)], np.float32),
        ring_decay_s=_log_uniform(rng, 0.003, 0.012),
        strokes_per_turn=rng.uniform(0.07, 0.15),
        dwell_s=rng.uniform(0.06, 0.14),
        impacts_per_turn=int(rng.integers(3, 7)) + rng.uniform(0.25, 0.75),
        tone_order=int(rng.integers(15, 80)) + rng.uniform(0.25, 0.75),
        resonance_hz=_log_uniform(rng, 800.0, 5000.0),
        room_db=rng.normal(0.0, 3.0, (2, 24)).astype(np.float32),
        scenes=_draw_scenes(rng),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _draw_scenes(rng: np.random.Generator) -> dict[Domain, Scene]:
    """Draw both domains; the target lies off the source in speed, load, background and microphone."""
    slowest_rpm = 100 * int(rng.integers(9, 14))
    source = Scene(
        speeds_rpm=(slowest_rpm, slowest_rpm + 100, slowest_rpm + 200),
        load_db=0.0,
        background_db=rng.uniform(-10.0, -6.0),
        background_db_per_octave=rng.uniform(-5.0, -3.0),
        microphone_db_per_octave=0.0,
    )
    target = Scene(
        speeds_rpm=(slowest_rpm + 400, slowest_rpm + 500),
        load_db=float(rng.choice([-1.0, 1.0])) * rng.uniform(1.0, 3.0),
        background_db=source.background_db + rng.uniform(1.0, 4.0),
        background_db_per_octave=source.background_db_per_octave + rng.uniform(0.5, 1.5),
        microphone_db_per_octave=float(rng.choice([-1.0, 1.0])) * rng.uniform(0.2, 0.6),
    )
    return {Domain.SOURCE: source, Domain.TARGET: target}
