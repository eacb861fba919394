"""Synthetic faults that change the sound of the machine itself."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import interpolate

from asd.features.fault_kinds import (
    CENTRE,
    HIGHEST,
    TURN,
    Kind,
    Params,
    Range,
    at,
    band,
    between,
    bumps,
    pulses,
    rms,
    seconds,
    sine,
    stretched,
)

_N_GAPS, _N_KNOTS = 6, 8


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

CHANGED: dict[str, Kind] = {
    "modulated": Kind(
        _WIDE
        | {
            "depth": Range(0.3, 1.0),
            "rate_hz": Range(2.0, 120.0, "log"),
            "phase": TURN,
            "gain_db": Range(-6.0, 6.0),
        },
        _modulated,
    ),
    "pulsed": Kind(_WIDE | _PULSES | {"depth": Range(0.4, 2.8)}, _pulsed),
    "equalised": Kind(
        CENTRE | {"octaves": Range(0.2, 2.0, "log"), "gain_db": Range(1.5, 9.0, "signed")}, _equalised
    ),
    "peak": Kind(
        CENTRE | {"octaves": Range(0.05, 0.3, "log"), "gain_db": Range(3.0, 15.0, "signed")}, _equalised
    ),
    "drifting": Kind(
        _WIDE | {"strength": Range(0.1, 0.5), "knots": Range(scale="normal", size=_N_KNOTS)}, _drifting
    ),
    "gaps": Kind(
        _WIDE
        | {
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
