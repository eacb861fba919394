"""A spectrogram to one vector: ways to pool levels over time.

Conventions: levels (batch, bands, frames) -> (batch, bands).
"""

from __future__ import annotations

import torch


def mean_pool(levels: torch.Tensor) -> torch.Tensor:
    """Mean level of each band."""
    return levels.mean(2)


def gwrp_pool(levels: torch.Tensor, decay: float) -> torch.Tensor:
    """Global weighted ranking pooling: frames of each band sorted by level, weighted by decay^rank.

    `decay` 1 is the mean, 0 the maximum; in between it follows short loud events. Used per machine as
    time-weighted frequency-domain representation (TWFR) by Guan et al., ICASSP 2023.
    """
    ranked = levels.sort(2, descending=True).values
    weights = decay ** torch.arange(levels.shape[2], device=levels.device, dtype=levels.dtype)
    return ranked @ (weights / weights.sum())


def rdp_pool(levels: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Relative deviation pooling: a mean in which frames far from the clip's mean spectrum count more.

    Weights (1 + d_t / max d)^sharpness with d_t the distance of frame t to the mean frame (arXiv 2603.04605); a
    clip whose frames are all equal has equal weights.
    """
    return (levels * _deviation_weights(levels, sharpness)[:, None]).sum(2)


def rdp_gem_pool(values: torch.Tensor) -> torch.Tensor:
    """Relative deviation pooling of a generalised mean, (sum_t w_t max(x_t, 0)^3)^(1/3); w as in `rdp_pool` with 9.

    The values are magnitudes or the activations of a network; what is negative counts as 0. Source: arXiv 2603.04605,
    with its sharpness and exponent for machines of which nothing is known.
    """
    weights = _deviation_weights(values, 9.0)[:, None]
    largest = values.amax((1, 2), keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    relative = (values / largest).clamp_min(0.0)  # no power leaves the range of float32
    return largest[:, 0] * (relative**3.0 * weights).sum(2) ** (1.0 / 3.0)


def pooled_views(levels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Levels (batch, bands, frames) pooled over time as others do it, {view: (batch, bands)}."""
    return {
        "log_mel128": mean_pool(levels),
        "gwrp98": gwrp_pool(levels, 0.98),
        "gwrp90": gwrp_pool(levels, 0.9),
        "rdp4": rdp_pool(levels, 4.0),
        "rdp8": rdp_pool(levels, 8.0),
        "rdp_gem": 20.0 * rdp_gem_pool(10.0 ** (levels / 20.0)).log10(),
    }


def _deviation_weights(values: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Weights of frames, (batch, bands, frames) -> (batch, frames); each row sums to 1."""
    distance = (values - values.mean(2, keepdim=True)).norm(dim=1)
    relative = distance / distance.amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    weights = (1.0 + relative) ** sharpness
    return weights / weights.sum(1, keepdim=True)
