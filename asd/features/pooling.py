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

    Args:
        levels: (batch, bands, frames).
        decay: from 0 to 1.
    """
    ranked = levels.sort(2, descending=True).values
    weights = decay ** torch.arange(levels.shape[2], device=levels.device, dtype=levels.dtype)
    return ranked @ (weights / weights.sum())


def rdp_pool(levels: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Relative deviation pooling: frames far from the clip's mean spectrum count more.

    Weights (1 + d_t / max d)^sharpness with d_t the distance of frame t to the mean frame (BEAM,
    arXiv 2603.13749); a clip whose frames are all equal has equal weights.

    Args:
        levels: (batch, bands, frames).
        sharpness: exponent of the weights.
    """
    distance = (levels - levels.mean(2, keepdim=True)).norm(dim=1)
    relative = distance / distance.amax(1, keepdim=True).clamp_min(1e-9)
    weights = (1.0 + relative) ** sharpness
    return (levels * (weights / weights.sum(1, keepdim=True))[:, None]).sum(2)
