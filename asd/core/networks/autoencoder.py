"""The multilayer-perceptron autoencoder of the official DCASE Task 2 baseline, and how far its residuals lie off.

Layer names equal the official state dict ("encoder.0.weight", ...), so its weights load as they are.
Source: nttcslab/dcase2023_task2_baseline_ae, network of the years 2020-2026.

Distances (clips,) of residual frames are squared, and those to the nearer of several domains.

Args:
    frames: (frames, mels) of clips back to back.
    counts: frames of each clip, (clips,).
    precisions: a matrix (mels, mels) for each domain.
    batches: residual windows (n, frames * mels), and which of them are of the target domain (n,).
    n_mels: bands of a frame.
    values: (rows, ...), of which the rows of each run follow each other; `lengths` (runs,) counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from torch import nn


class MLPAutoencoder(nn.Module):
    """input - hidden x 4 - bottleneck - hidden x 4 - input, batch normalisation and ReLU on all but the last.

    The bottleneck is normalised and rectified too, and the batch-norm constants are Keras's
    (momentum 0.01, eps 1e-3): both as in the official baseline. 267,928 parameters at the defaults, where an input
    vector holds 5 frames of 128 mels.
    """

    def __init__(self, n_inputs: int = 640, n_hidden: int = 128, n_bottleneck: int = 8) -> None:
        super().__init__()
        down = [n_inputs, *[n_hidden] * 4, n_bottleneck]
        up = [n_bottleneck, *[n_hidden] * 4]
        self.encoder = nn.Sequential(*(layer for widths in pairwise(down) for layer in _block(*widths)))
        self.decoder = nn.Sequential(
            *(layer for widths in pairwise(up) for layer in _block(*widths)), nn.Linear(n_hidden, n_inputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruction of x: (batch, inputs) -> (batch, inputs)."""
        return self.decoder(self.encoder(x))


def _block(n_in: int, n_out: int) -> tuple[nn.Module, ...]:
    return nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out, momentum=0.01, eps=1e-3), nn.ReLU()


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


def streamed_ledoit_wolf(batches: Callable[[], Iterable[torch.Tensor]]) -> tuple[torch.Tensor, float]:
    """Ledoit-Wolf covariance in two passes over more vectors than fit in memory; `ValueError` where there are none.

    Args:
        batches: called twice; yields (n, dims) tensors, the same vectors both times.

    Returns:
        Covariance (dims, dims) float64 and the shrinkage in [0, 1] towards mean-variance times identity.
    """
    count, total = 0, torch.zeros(0)
    for batch in batches():
        count += len(batch)
        total = batch.double().sum(0) + (total if total.numel() else 0.0)
    if not count:
        raise ValueError("a covariance needs vectors; got none")
    mean = total / count
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=mean.device)
    fourth = torch.zeros((), dtype=torch.float64, device=mean.device)
    for batch in batches():
        centred = batch.double() - mean
        scatter += centred.T @ centred
        fourth += centred.square().sum(1).square().sum()
    covariance = scatter / count
    mu = covariance.diagonal().mean()
    spread = covariance.square().sum() - len(mean) * mu**2  # distance of the estimate from the sphere
    noise = (fourth / count - covariance.square().sum()) / count  # distance expected from sampling alone
    shrinkage = float((noise / spread).clamp(0.0, 1.0)) if spread > 0 else 0.0
    sphere = mu * torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    return (1.0 - shrinkage) * covariance + shrinkage * sphere, shrinkage


def segment_mean(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Means of consecutive runs of rows, which is deterministic on every device."""
    return torch.segment_reduce(values, "mean", lengths=lengths)


def inverse(covariance: torch.Tensor) -> torch.Tensor:
    """Precision matrix in float32, by way of float64: without it, a dead band costs three digits."""
    return torch.linalg.inv(covariance.double()).float()
