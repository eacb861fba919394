"""Synthetic faults of a machine, made from its own normal recordings on the device.

    params = draw("tone", n, n_samples, sample_rate_hz, generator)      random numbers only, on the CPU
    faulty = apply("tone", waveforms, params, sample_rate_hz)           a pure function of both

How a fault of a real machine sounds is not known beforehand, so the kinds are many and their ranges wide: a network
that tells them apart (`asd.detectors.encoders.fault_mlp`) has to look at a sound from many sides. Waveforms are
(batch, samples) float32 with a mean of zero; every row has parameters of its own and does not depend on other rows.
"""

from __future__ import annotations

import torch

from asd.features.fault_kinds import Kind, Params
from asd.features.fault_sounds import ADDED, CHANGED
from asd.types import one_of

KINDS: dict[str, Kind] = ADDED | CHANGED

Generator = torch.Generator | None


def draw(kind: str, n: int, n_samples: int, sample_rate_hz: int, generator: Generator = None) -> Params:
    """Parameters of `n` faults of a kind, by name, on the CPU.

    Raises:
        AsdError: there is no such kind.
    """
    ranges = KINDS[one_of(kind, tuple(KINDS), "fault")].ranges
    return {name: r.draw(n, n_samples, sample_rate_hz, generator) for name, r in ranges.items()}


def apply(kind: str, waveforms: torch.Tensor, params: Params, sample_rate_hz: int) -> torch.Tensor:
    """The waveforms (batch, samples) with a fault of a kind in each, by parameters of `draw`.

    Raises:
        AsdError: there is no such kind.
    """
    here = {name: values.to(waveforms.device) for name, values in params.items()}
    return KINDS[one_of(kind, tuple(KINDS), "fault")].apply(waveforms, here, sample_rate_hz)


def draw_kinds(n: int, copies: int, generator: Generator = None) -> torch.Tensor:
    """Numbers of kinds for altered copies of `n` clips, (copies, n): each kind once before one comes again."""
    rounds = -(-copies // len(KINDS))
    orders = [torch.rand(len(KINDS), n, generator=generator).argsort(0) for _ in range(rounds)]
    return torch.cat(orders)[:copies]


def with_faults(
    waveforms: torch.Tensor, kinds: torch.Tensor, sample_rate_hz: int, generator: Generator = None
) -> torch.Tensor:
    """The waveforms (batch, samples) less their means, each with a new fault of its kind (batch,), by number."""
    faulty = waveforms - waveforms.mean(1, keepdim=True)
    for number, name in enumerate(KINDS):
        rows = (kinds == number).nonzero()[:, 0]
        if len(rows):
            params = draw(name, len(rows), waveforms.shape[1], sample_rate_hz, generator)
            rows = rows.to(faulty.device)
            faulty[rows] = apply(name, faulty[rows], params, sample_rate_hz)
    return faulty
