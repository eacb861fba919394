"""What kinds of synthetic faults are made of: ranges to draw from, and bands, sines and levels of waveforms.

Waveforms are (batch, samples) float32 with a mean of zero; parameters are tensors by name, one row per waveform.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

Params = Mapping[str, torch.Tensor]  # name -> (batch,), (batch, n) or (batch, samples)
Apply = Callable[[torch.Tensor, Params, int], torch.Tensor]  # waveforms, parameters, sample rate in Hz -> waveforms

MOST_IMPACTS_HZ = 200.0
HIGHEST = 0.494  # of the sample rate: the highest frequency of anything
_LOWEST_HZ = 20.0
_SLOPE = 12.0  # of a band's edges, per neper of frequency


@dataclass(frozen=True)
class Range:
    """Where a parameter is drawn from.

    Attributes:
        low, high: its ends.
        scale: "linear": uniform; "log": uniform logarithm; "hz": the same, from a frequency in Hz to a share of the
            sample rate; "signed": uniform, with a random sign; "normal": standard normal, without ends.
        size: numbers per row; "samples": one per sample.
    """

    low: float = 0.0
    high: float = 1.0
    scale: Literal["linear", "log", "hz", "signed", "normal"] = "linear"
    size: int | Literal["samples"] = 1

    def draw(self, n: int, n_samples: int, sample_rate_hz: int, generator: torch.Generator | None) -> torch.Tensor:
        """Values of `n` faults, (n,), (n, size) or (n, n_samples), on the CPU."""
        size = n_samples if self.size == "samples" else self.size
        if self.scale == "normal":
            return torch.randn(n, size, generator=generator)
        share = torch.rand(n, size, generator=generator)
        if self.scale in ("log", "hz"):
            high = self.high * sample_rate_hz if self.scale == "hz" else self.high
            values = self.low * (high / self.low) ** share
        else:
            values = self.low + (self.high - self.low) * share
        if self.scale == "signed":
            values = values * (2.0 * torch.randint(2, (n, size), generator=generator) - 1.0)
        return values[:, 0] if self.size == 1 else values


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        ranges: of its parameters, by name.
        apply: to waveforms, which gives them with the fault; a pure function.
    """

    ranges: Mapping[str, Range]
    apply: Apply

    def draw(self, n: int, n_samples: int, sample_rate_hz: int, generator: torch.Generator | None = None) -> Params:
        """Parameters of `n` faults in waveforms of so many samples, on the CPU."""
        return {name: r.draw(n, n_samples, sample_rate_hz, generator) for name, r in self.ranges.items()}


CENTRE = {"centre_hz": Range(80.0, 0.4375, "hz")}  # of a band, see `band`
NOISE = {"noise": Range(scale="normal", size="samples")}
TURN = Range(0.0, 1.0)  # a phase in turns


def sine(x: torch.Tensor, hz: torch.Tensor, phase: torch.Tensor, rate: int) -> torch.Tensor:
    """Sines of frequencies `hz` and phases in turns (batch,), of the shape of `x`."""
    return torch.sin(2 * math.pi * (cycles(x, hz, rate) + phase[:, None]))


def cycles(x: torch.Tensor, hz: torch.Tensor, rate: int, ahead_s: torch.Tensor | float = 0.0) -> torch.Tensor:
    """The phase in turns, 0 to 1, of frequencies (batch,) at each sample of `x`, or `ahead_s` (batch, samples) on."""
    # float32 would have no digits left for a late phase
    time_s = torch.arange(x.shape[1], device=x.device, dtype=torch.float64) / rate
    return ((hz.double()[:, None] * (time_s + ahead_s)) % 1.0).to(x.dtype)


def seconds(x: torch.Tensor, rate: int) -> torch.Tensor:
    """The time of each sample of `x`, (samples,)."""
    return torch.arange(x.shape[1], device=x.device) / rate


def pulses(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """A periodic envelope between 0 and 1: the larger `sharpness`, the shorter its pulses at `rate_hz`."""
    return (p["sharpness"][:, None] * (sine(x, p["rate_hz"], p["phase"], rate) - 1)).exp()


def bumps(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """The sum of `n_bumps` Gaussians of `lengths_s` at `places`, which are shares of the clip."""
    envelope = torch.zeros_like(x)
    for k in range(p["places"].shape[1]):
        middle_s = p["places"][:, k, None] * (x.shape[1] / rate)
        distance = (seconds(x, rate) - middle_s) / p["lengths_s"][:, k, None]
        envelope += torch.exp(-0.5 * distance.square()) * (k + 1 <= p["n_bumps"])[:, None]
    return envelope


def ringing(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """Impacts at an unsteady `rate_hz`, each of which rings at `resonance_hz` and fades within `decay_s`."""
    n_samples = x.shape[1]
    n = math.ceil(n_samples / rate * MOST_IMPACTS_HZ) + 2
    unsteady = p["jitter"][:, None] * p["noise"][:, :n]
    turns = torch.arange(unsteady.shape[1], device=x.device) + p["phase"][:, None] + unsteady
    place = (turns / p["rate_hz"][:, None] * rate).long()
    strength = p["strengths"][:, : place.shape[1]] * ((place >= 0) & (place < n_samples))
    impulses = torch.zeros_like(x).scatter_add_(1, place.clamp(0, n_samples - 1), strength)
    time_s = seconds(x, rate)
    ring = torch.sin(2 * math.pi * p["resonance_hz"][:, None] * time_s)
    kernel = torch.exp(-time_s / p["decay_s"][:, None]) * ring
    spectrum = torch.fft.rfft(impulses, 2 * n_samples) * torch.fft.rfft(kernel, 2 * n_samples)
    return torch.fft.irfft(spectrum, 2 * n_samples)[:, :n_samples]


def band(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """The part of `x` around `centre_hz`, `octaves` wide."""
    half = 2 ** (p["octaves"] / 2)
    low_hz = (p["centre_hz"] / half).clamp_min(_LOWEST_HZ)
    return between(x, low_hz, (p["centre_hz"] * half).clamp_max(HIGHEST * rate), rate)


def between(x: torch.Tensor, low_hz: torch.Tensor, high_hz: torch.Tensor, rate: int) -> torch.Tensor:
    """The part of `x` (batch, samples) between two frequencies (batch,), with soft edges."""
    n = x.shape[1]
    f = (torch.fft.rfftfreq(n, 1 / rate, device=x.device) + 1).log()
    above = torch.sigmoid(_SLOPE * (f - (low_hz[:, None] + 1).log()))
    below = torch.sigmoid(_SLOPE * ((high_hz[:, None] + 1).log() - f))
    return torch.fft.irfft(torch.fft.rfft(x) * above * below, n)


def at(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """`x` at places (batch, samples) between its samples, mirrored beyond its ends."""
    last = x.shape[1] - 1
    places = last - ((places % (2 * last)) - last).abs()
    before = places.floor().long().clamp(0, last - 1)
    share = (places - before).to(x.dtype)
    return torch.lerp(x.gather(1, before), x.gather(1, before + 1), share)


def stretched(x: torch.Tensor, p: Params, rate: int) -> torch.Tensor:
    """`x` at another speed, by a factor of e to the power of `speed`."""
    return at(x, torch.arange(x.shape[1], device=x.device) * p["speed"].double().exp()[:, None])


def added(x: torch.Tensor, sound: torch.Tensor, level_db: torch.Tensor) -> torch.Tensor:
    """`x` and a sound whose power is `level_db` (batch,) above that of `x`; silence stays silent."""
    gain = 10 ** (level_db / 20) * rms(x) / rms(sound).clamp_min(1e-12)
    return x + gain[:, None] * sound


def rms(x: torch.Tensor) -> torch.Tensor:
    """Root mean square of each row."""
    return x.square().mean(1).sqrt()
