"""Synthetic faults of a machine, made from its own normal recordings on the device: one function for each kind.

    params = KINDS["tone"].draw(n, n_samples, sample_rate_hz, generator)      random numbers only, on the CPU
    faulty = KINDS["tone"].apply(waveforms, params, sample_rate_hz)           a pure function of both

How a fault of a real machine sounds is not known beforehand, so the kinds are many and their ranges wide: a network
that tells them apart (`asd.detectors.encoders.fault_mlp`) has to look at a sound from many sides. Waveforms are
(batch, samples) float32 with a mean of zero; every row has parameters of its own and does not depend on other rows.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import interpolate

from asd.features.fault_kinds import (
    CENTRE,
    HIGHEST,
    MOST_IMPACTS_HZ,
    NOISE,
    TURN,
    Apply,
    Kind,
    Params,
    Range,
    added,
    at,
    band,
    between,
    bumps,
    cycles,
    pulses,
    ringing,
    rms,
    seconds,
    sine,
    stretched,
)

_N_HARMONICS, _N_BURSTS, _N_GAPS, _N_KNOTS = 8, 5, 6, 8
_SOUND = {"level_db": Range(-25.0, 0.0)}


def _tone(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A fundamental and up to seven harmonics, with a slight vibrato."""
    vibrato_s = 3e-4 * sine(x, p["vibrato_hz"], p["vibrato_phase"], rate)
    turns = cycles(x, p["hz"], rate, vibrato_s)
    sound = torch.zeros_like(x)
    for k in range(1, _N_HARMONICS + 1):
        audible = (k <= p["n_harmonics"]) & (k * p["hz"] < HIGHEST * rate)
        amplitude = p["amplitudes"][:, k - 1] * k ** -p["roll_off"] * audible
        sound += amplitude[:, None] * torch.sin(2 * math.pi * (k * turns + p["phases"][:, k - 1, None]))
    return sound


def _modulated_tone(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A tone with sidebands, as of a gear."""
    swing = 1 + p["depth"][:, None] * sine(x, p["rate_hz"], p["phase"], rate)
    return sine(x, p["hz"], p["carrier_phase"], rate) * swing.clamp_min(0)


def _squeal(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A tone whose frequency wanders and whose level flutters."""
    wander_hz = p["noise"].cumsum(1) / math.sqrt(rate) * p["wander_hz"][:, None]
    hz = (p["hz"][:, None] + wander_hz).clamp(50.0, HIGHEST * rate)
    tone = torch.sin(2 * math.pi * ((hz.double().cumsum(1) / rate) % 1.0).to(x.dtype))
    return tone * (1 + 0.5 * sine(x, p["flutter_hz"], p["phase"], rate))


def _noise(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A band of noise."""
    return band(p["noise"], p, rate)


def _rubbing(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A band of noise in pulses, from smooth to sharp."""
    return _noise(x, p, rate) * pulses(x, p, rate)


def _bursts(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A few bursts of band noise."""
    return _noise(x, p, rate) * bumps(x, p, rate)


def _loaded_impacts(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """Impacts that grow and fade with the turn of a shaft, as of an inner race."""
    return ringing(x, p, rate) * (1 + sine(x, p["shaft_hz"], p["shaft_phase"], rate))


def _beside(sound: Apply) -> Apply:
    """The machine with a sound beside it that is `level_db` above its own."""
    return lambda x, p, rate: added(x, sound(x, p, rate), p["level_db"])


_IMPACTS = {
    **(_SOUND | NOISE),
    "phase": TURN,
    "jitter": Range(0.0, 0.15),
    "strengths": Range(0.3, 1.0, size="samples"),
    "resonance_hz": Range(200.0, 0.40625, "hz"),
    "decay_s": Range(0.0005, 0.01, "log"),
}
_NOISE_BAND = _SOUND | NOISE | CENTRE

ADDED: dict[str, Kind] = {  # a sound to that of the machine
    "tone": Kind(
        {
            **_SOUND,
            "hz": Range(40.0, 0.3125, "hz"),
            "n_harmonics": Range(1.0, _N_HARMONICS + 1.0),
            "amplitudes": Range(0.2, 1.0, size=_N_HARMONICS),
            "roll_off": Range(0.0, 1.0),
            "phases": Range(size=_N_HARMONICS),
            "vibrato_hz": Range(1.0, 10.0),
            "vibrato_phase": TURN,
        },
        _beside(_tone),
    ),
    "modulated_tone": Kind(
        {
            **_SOUND,
            "hz": Range(200.0, 0.4, "hz"),
            "carrier_phase": TURN,
            "rate_hz": Range(4.0, 200.0, "log"),
            "phase": TURN,
            "depth": Range(0.4, 1.5),
        },
        _beside(_modulated_tone),
    ),
    "squeal": Kind(
        {
            **(_SOUND | NOISE),
            "hz": Range(800.0, 0.40625, "hz"),
            "wander_hz": Range(10.0, 150.0),
            "flutter_hz": Range(1.0, 20.0),
            "phase": TURN,
        },
        _beside(_squeal),
    ),
    "noise": Kind(_NOISE_BAND | {"octaves": Range(0.3, 3.0, "log")}, _beside(_noise)),
    "rubbing": Kind(
        {
            **_NOISE_BAND,
            "octaves": Range(0.5, 4.0, "log"),
            "sharpness": Range(0.5, 12.0, "log"),
            "rate_hz": Range(2.0, 60.0, "log"),
            "phase": TURN,
        },
        _beside(_rubbing),
    ),
    "bursts": Kind(
        {
            **_NOISE_BAND,
            "octaves": Range(0.5, 3.0, "log"),
            "n_bumps": Range(1.0, _N_BURSTS + 1.0),
            "places": Range(size=_N_BURSTS),
            "lengths_s": Range(0.01, 0.15, "log", size=_N_BURSTS),
        },
        _beside(_bursts),
    ),
    "impacts": Kind(_IMPACTS | {"rate_hz": Range(3.0, MOST_IMPACTS_HZ, "log")}, _beside(ringing)),
    "loaded_impacts": Kind(
        _IMPACTS
        | {"rate_hz": Range(20.0, MOST_IMPACTS_HZ, "log"), "shaft_hz": Range(3.0, 30.0, "log"), "shaft_phase": TURN},
        _beside(_loaded_impacts),
    ),
    "another_speed": Kind({"speed": Range(0.03, 0.4, "signed"), "level_db": Range(-20.0, 0.0)}, _beside(stretched)),
}


def _modulated(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A band swells and fades periodically."""
    swing = p["depth"] * 10 ** (p["gain_db"] / 20)
    return x + swing[:, None] * band(x, p, rate) * sine(x, p["rate_hz"], p["phase"], rate)


def _pulsed(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A band comes in pulses, from smooth to sharp, at its own level."""
    envelope = pulses(x, p, rate)
    return x + p["depth"][:, None] * band(x, p, rate) * (envelope - envelope.mean(1, keepdim=True))


def _equalised(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A band is louder or fainter."""
    return x + (10 ** (p["gain_db"] / 20) - 1)[:, None] * band(x, p, rate)


def _drifting(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """The level of a band drifts slowly."""
    knots = p["strength"][:, None] * p["knots"]
    gain = interpolate(knots[:, None], x.shape[1], mode="linear", align_corners=True)[:, 0]
    return x + band(x, p, rate) * (gain.exp() - 1)


def _gaps(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A band drops out for some moments."""
    fall = p["depth"][:, None] * bumps(x, p, rate).clamp_max(1.0)
    return x + band(x, p, rate) * ((-fall).exp() - 1)


def _comb(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A delayed copy beside the sound: another way to the microphone, or a loose part."""
    delay = (p["delay_s"] * rate).long().clamp_min(1)[:, None]
    place = torch.arange(x.shape[1], device=x.device) - delay
    return x + p["gain"][:, None] * x.gather(1, place.clamp_min(0)) * (place >= 0)


def _wavering(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """The speed swings periodically."""
    swing_s = p["depth"] / (2 * math.pi * p["rate_hz"])
    moment_s = seconds(x, rate) + swing_s[:, None] * sine(x, p["rate_hz"], p["phase"], rate)
    return at(x, moment_s.double() * rate)


def _saturated(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """Saturation, or for one half of the rows what a rectifier makes of the sound beside it."""
    limit = (rms(x) * p["limit"])[:, None]
    rectified = x.abs() - x.abs().mean(1, keepdim=True)
    low_hz, high_hz = torch.full_like(p["limit"], 30.0), torch.full_like(p["limit"], HIGHEST * rate)
    gain = 1.5 * 10 ** (p["level_db"] / 20)
    beside = x + gain[:, None] * between(rectified, low_hz, high_hz, rate)
    saturated = torch.tanh(x / limit.clamp_min(torch.finfo(x.dtype).tiny)) * limit
    return torch.where((p["which"] < 0.5)[:, None], saturated, beside)


_PULSES = {"rate_hz": Range(2.0, 60.0, "log"), "phase": TURN, "sharpness": Range(0.5, 12.0, "log")}
_WIDE = CENTRE | {"octaves": Range(0.5, 4.0, "log")}

CHANGED: dict[str, Kind] = {  # the sound of the machine itself
    "modulated": Kind(
        _WIDE
        | {"depth": Range(0.3, 1.0), "rate_hz": Range(2.0, 120.0, "log"), "phase": TURN, "gain_db": Range(-6.0, 6.0)},
        _modulated,
    ),
    "pulsed": Kind(_WIDE | _PULSES | {"depth": Range(0.4, 2.8)}, _pulsed),
    "equalised": Kind(CENTRE | {"octaves": Range(0.2, 2.0, "log"), "gain_db": Range(1.5, 9.0, "signed")}, _equalised),
    "peak": Kind(CENTRE | {"octaves": Range(0.05, 0.3, "log"), "gain_db": Range(3.0, 15.0, "signed")}, _equalised),
    "drifting": Kind(_WIDE | {"strength": Range(0.1, 0.5), "knots": Range(scale="normal", size=_N_KNOTS)}, _drifting),
    "gaps": Kind(
        {
            **_WIDE,
            "n_bumps": Range(1.0, _N_GAPS + 1.0),
            "places": Range(size=_N_GAPS),
            "lengths_s": Range(0.02, 0.2, "log", size=_N_GAPS),
            "depth": Range(0.7, 3.0),
        },
        _gaps,
    ),
    "comb": Kind({"delay_s": Range(0.0002, 0.02, "log"), "gain": Range(0.15, 0.8, "signed")}, _comb),
    "stretched": Kind({"speed": Range(0.02, 0.12, "signed")}, stretched),
    "wavering": Kind(
        {"depth": Range(0.003, 0.05, "log"), "rate_hz": Range(0.7, 15.0, "log"), "phase": TURN}, _wavering
    ),
    "saturated": Kind({"limit": Range(0.6, 2.5), "which": TURN, "level_db": Range(-25.0, 0.0)}, _saturated),
}

KINDS = ADDED | CHANGED


def draw_kinds(n: int, copies: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Numbers of kinds for altered copies of `n` clips, (copies, n): each kind once before one comes again."""
    rounds = -(-copies // len(KINDS))
    orders = [torch.rand(len(KINDS), n, generator=generator).argsort(0) for _ in range(rounds)]
    return torch.cat(orders)[:copies]


def with_faults(
    waveforms: torch.Tensor, kinds: torch.Tensor, sample_rate_hz: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """The waveforms (batch, samples) less their means, each with a new fault of its kind (batch,), by number."""
    faulty = waveforms - waveforms.mean(1, keepdim=True)
    for number, kind in enumerate(KINDS.values()):
        rows = (kinds == number).nonzero()[:, 0]
        if len(rows):
            params = kind.draw(len(rows), waveforms.shape[1], sample_rate_hz, generator)
            here = {name: values.to(faulty.device) for name, values in params.items()}
            rows = rows.to(faulty.device)
            faulty[rows] = kind.apply(faulty[rows], here, sample_rate_hz)
    return faulty
