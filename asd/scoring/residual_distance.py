"""Distances of an autoencoder's residual frames, clip by clip, to the nearer of several domains.

Distances (clips,) are squared.

Args:
    frames: (frames, mels) of clips back to back.
    counts: frames of each clip, (clips,).
    precisions: a matrix (mels, mels) for each domain.
    batches: residual windows (n, frames * mels), and which of them are of the target domain (n,).
    n_mels: bands of a frame.
    values: (rows, ...), of which the rows of each run follow each other; `lengths` (runs,) counts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch


def mean_residual_distance(
    frames: torch.Tensor, counts: torch.Tensor, precisions: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Distance of each clip's mean residual, (clips,).

    Equal to the official mean of r_i^T P r_j over all pairs (i, j) of the clip's frames.
    """
    mean = segment_mean(frames, counts)
    return torch.stack([((mean @ p) * mean).sum(1) for p in precisions]).amin(0)


def mean_frame_distance(frames: torch.Tensor, counts: torch.Tensor, precisions: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean of the distances of each clip's frames, (clips,)."""
    distances = [((frames @ p) * frames).sum(1) for p in precisions]
    return torch.stack([segment_mean(d, counts) for d in distances]).amin(0)


def covariances_around_batches(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]], n_mels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Covariances (mels, mels) of source and target as the official code has them.

    The scatter of each batch around its own mean, summed, over the number of windows less one, although each window
    holds several frames. Where a domain has too few windows, that of the other stands in.
    """
    scatter, counts = [torch.zeros(0), torch.zeros(0)], [0, 0]
    for residual, target in batches:
        for domain in (0, 1):
            part = residual[target == bool(domain)]
            frames = part.view(-1, n_mels)
            if len(part):
                around = frames - frames.mean(0)
                found = around.T @ around
                scatter[domain] = scatter[domain] + found if counts[domain] else found
                counts[domain] += len(part)
    if not counts[0]:  # the official code divides by zero here; a machine of targets only has one domain
        scatter, counts = scatter[::-1], counts[::-1]
    source = scatter[0] / (counts[0] - 1)
    return source, scatter[1] / (counts[1] - 1) if counts[1] > 1 else source


def segment_mean(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Means of consecutive runs of rows, which is deterministic on every device."""
    means: torch.Tensor = torch.segment_reduce(values, "mean", lengths=lengths)
    return means


def inverse(covariance: torch.Tensor) -> torch.Tensor:
    """Precision matrix in float32, by way of float64: without it, a dead band costs three digits."""
    return torch.linalg.inv(covariance.double()).float()
