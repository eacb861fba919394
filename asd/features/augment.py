"""Augmentation on the device: what is random is drawn first, then applied as a pure function.

    params = draw_mixup(n, share=0.5)               random numbers only, on the CPU, for a batch of n
    x, labels = mixup(x, params), mixup(labels, params)

`draw_*` takes a `torch.Generator` (None: torch's own, which the training loop seeds per epoch); the same
parameters applied twice give the same result, and every row of a batch only depends on the rows that its
parameters name. Labels are soft: (batch, classes), rows sum to one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

Generator = torch.Generator | None


class Mixing(NamedTuple):
    """Row i becomes `own[i]` of itself and the rest of row `partner[i]`: both (batch,)."""

    partner: torch.Tensor
    own: torch.Tensor


class Exchange(NamedTuple):
    """Part k of row i comes from row `source[i, k]`: (batch, parts)."""

    source: torch.Tensor


class Masks(NamedTuple):
    """Where a band or a stretch is blanked, in shares of the axis: all (batch,)."""

    band_start: torch.Tensor
    band_width: torch.Tensor
    time_start: torch.Tensor
    time_width: torch.Tensor


def draw_mixup(n: int, share: float, generator: Generator = None) -> Mixing:
    """A partner for each of `n` rows; the weight is uniform for a `share` of them and 1 for the others.

    Source: Zhang et al., "mixup", ICLR 2018, with Beta(1, 1).
    """
    own = torch.rand(n, generator=generator)
    untouched = torch.rand(n, generator=generator) >= share
    return Mixing(torch.randperm(n, generator=generator), own.masked_fill(untouched, 1.0))


def mixup(x: torch.Tensor, params: Mixing) -> torch.Tensor:
    """Mixed rows of `x` (batch, ...), waveforms or labels, by what `draw_mixup` drew."""
    own = params.own.to(x.device).view(-1, *[1] * (x.dim() - 1))
    return own * x + (1 - own) * x[params.partner.to(x.device)]


def draw_exchange(n: int, n_parts: int, share: float, generator: Generator = None) -> Exchange:
    """Rows to take parts from: part 0 stays; of a `share` of the rows each other part comes from any row."""
    own = torch.arange(n)[:, None].expand(n, n_parts)
    others = torch.stack([torch.randperm(n, generator=generator) for _ in range(n_parts)], 1)
    others[:, 0] = own[:, 0]
    exchanged = torch.rand(n, 1, generator=generator) < share
    return Exchange(torch.where(exchanged, others, own))


def exchange_parts(x: torch.Tensor, params: Exchange) -> torch.Tensor:
    """FeatEx: embeddings (batch, parts, dims) whose parts come from several clips.

    Source: Wilkinghoff, "Self-supervised learning for anomalous sound detection", ICASSP 2024.
    """
    parts = torch.arange(x.shape[1], device=x.device)
    return x[params.source.to(x.device), parts]


def exchange_statistics(x: torch.Tensor, params: Exchange) -> torch.Tensor:
    """StatEx: spectra (batch, bands, frames) that take mean and spread over time from the row of part 1.

    Source: Chen et al., "Effective anomalous sound detection based on statistics exchange", ICASSP 2023.
    """
    source = params.source[:, 1].to(x.device)
    mean = x.mean(-1, keepdim=True)
    spread = x.std(-1, correction=0, keepdim=True)
    # A band that does not move has no shape to keep, only a level to take over.
    shape = ((x - mean) / spread).masked_fill(spread <= 1e-5 * mean.abs(), 0.0)
    exchanged = shape * spread[source] + mean[source]
    changed = (source != torch.arange(len(x), device=x.device)).view(-1, 1, 1)
    return torch.where(changed, exchanged, x)


def exchange_labels(labels: torch.Tensor, params: Exchange) -> torch.Tensor:
    """Labels (batch, classes) of exchanged rows, (batch, (1 + parts) * classes).

    The first block is for rows left as they are; block 1 + k for the classes that part k was taken from,
    each with a share of 1 / parts. So an exchange is to be recognised, part by part, as what it is.
    """
    n, n_parts = params.source.shape
    source = params.source.to(labels.device)
    own = (source == torch.arange(n, device=labels.device)[:, None]).all(1)[:, None]
    parts = labels[source].flatten(1) / n_parts
    return torch.cat([labels * own, parts * ~own], 1)


def draw_masks(n: int, widest: float, generator: Generator = None) -> Masks:
    """One band and one stretch of time for each of `n` rows, each up to the share `widest` of its axis.

    Source: Park et al., "SpecAugment", Interspeech 2019. In shares, so that one draw fits every resolution.
    """
    band_width, time_width, band, time = torch.rand(4, n, generator=generator)
    band_width, time_width = widest * band_width, widest * time_width
    return Masks(band * (1 - band_width), band_width, time * (1 - time_width), time_width)


def mask(x: torch.Tensor, params: Masks) -> torch.Tensor:
    """Spectra (batch, bands, frames), or (batch, bands), with the band and the stretch set to zero."""
    masks = Masks(*(values.to(x.device) for values in params))
    keep = ~_inside(x.shape[1], masks.band_start, masks.band_width)
    if x.dim() == 2:
        return x * keep
    return x * keep[:, :, None] * ~_inside(x.shape[2], masks.time_start, masks.time_width)[:, None]


def _inside(length: int, start: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Which of `length` equal cells have their middle in [start, start + width): (batch, length)."""
    middle = (torch.arange(length, device=start.device) + 0.5) / length
    return (middle >= start[:, None]) & (middle < (start + width)[:, None])
