"""Covariance of more vectors than fit in memory, shrunk towards a sphere.

Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004,
in the form of `sklearn.covariance.ledoit_wolf`, which the tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch


def streamed_ledoit_wolf(batches: Callable[[], Iterable[torch.Tensor]]) -> tuple[torch.Tensor, float]:
    """Ledoit-Wolf covariance in two passes over batches of vectors.

    Args:
        batches: called twice; yields (n, dims) tensors, the same vectors both times.

    Returns:
        Covariance (dims, dims) float64 and the shrinkage in [0, 1] towards mean-variance times identity.

    Raises:
        ValueError: no vectors.
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
