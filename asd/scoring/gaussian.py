"""Gaussian back ends: how far is a vector from normal, in units of how normal clips scatter.

All of them are Mahalanobis distances (squared, per dimension); they differ in which clips share a mean and
which share a covariance. Covariances are shrunk (Ledoit and Wolf 2004), for there are seldom more clips
than a few times the dimensions. Source of the shrinkage: `sklearn.covariance.ledoit_wolf_shrinkage`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.covariance import ledoit_wolf_shrinkage

from asd.scoring.references import FloatArray, References, spread_of

Share = Literal["all", "domain", "condition"]


class Mahalanobis:
    """Distance to the nearest mean under one covariance shared by all.

    The covariance is that of the clips around the mean of their group, so that the shift between groups
    does not widen it: within domains or conditions it knows what varies at one speed and load. Each
    dimension is first divided by its own spread within groups, so that shrinkage treats loud and quiet
    bands alike. The distance to the mean of a small group is divided by 1 + 1/n: such a mean is uncertain,
    and without that, few target clips would make normal target clips look far.

    Args:
        references: training clips.
        means: whose clips share a mean: "all", "domain" or "condition" (section x domain x attributes).
        shrinkage: factor on the Ledoit-Wolf intensity; its derivation assumes independent clips, while
            recordings of one machine come in runs, so it errs towards too little.

    Raises:
        AsdError: the clips do not differ at all.
    """

    def __init__(self, references: References, *, means: Share = "condition", shrinkage: float = 1.0) -> None:
        groups = _groups(references, means)
        names, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
        centres = np.stack([references.vectors[groups == name].mean(0) for name in names])
        residuals = references.vectors - centres[index]
        self.scale = spread_of(residuals, len(names))
        residuals = residuals / self.scale
        freedom = max(len(residuals) - len(names), 1)
        intensity = min(1.0, shrinkage * _ledoit_wolf(residuals))
        self.whitening = _whitening(residuals / np.sqrt(freedom), intensity)
        self.centres = self.whiten(centres)
        self.uncertainty = 1.0 + 1.0 / counts

    def whiten(self, vectors: FloatArray) -> FloatArray:
        """Coordinates in which normal scatter within groups is a sphere: (n, dims) -> (n, dims)."""
        return self.whitening(vectors / self.scale)

    def score(self, queries: FloatArray) -> FloatArray:
        """Distances (queries,) of vectors (queries, dims)."""
        white = self.whiten(queries)
        distances = _squared_distances(white, self.centres) / self.uncertainty
        nearest: FloatArray = distances.min(1) / white.shape[1]
        return nearest


class SelectiveMahalanobis:
    """Distance to the nearer domain, each with its own mean and its own shrunk covariance.

    With ten target clips the target covariance is mostly shrinkage; a domain of one clip takes the other
    domain's covariance.
    """

    def __init__(self, references: References) -> None:
        self.parts = []
        for domain in (False, True):
            mask = references.is_target == domain
            if mask.sum() >= 2:
                part = references[mask]
                self.parts.append(Mahalanobis(part, means="all"))

    def score(self, queries: FloatArray) -> FloatArray:
        """Distances (queries,) of vectors (queries, dims)."""
        return np.min([part.score(queries) for part in self.parts], axis=0)


def _groups(references: References, share: Share) -> npt.NDArray[np.int64]:
    if share == "all":
        return np.zeros(len(references), np.int64)
    return references.is_target.astype(np.int64) if share == "domain" else references.conditions


def _ledoit_wolf(residuals: FloatArray) -> float:
    """Intensity of the shrinkage for residuals (clips, dims).

    scikit-learn's way is through the (dims, dims) covariance; where there are fewer clips than dimensions,
    the same sums are taken over the (clips, clips) products, which have the same norm.
    """
    n, dims = residuals.shape
    if dims <= n:
        return float(ledoit_wolf_shrinkage(residuals, assume_centered=True))
    products = residuals @ residuals.T
    squares = np.diag(products)  # of each clip's residual
    sphere = squares.sum() / n / dims
    covariance = np.square(products).sum() / n**2  # its squared norm
    noise = (np.square(squares).sum() / n - covariance) / n
    return float(min(1.0, noise / (covariance - dims * sphere**2)))


def _whitening(residuals: FloatArray, intensity: float) -> Callable[[FloatArray], FloatArray]:
    """Map x -> w, (n, dims) -> (n, dims), with |w|^2 = x^T S^-1 x for S the covariance shrunk towards a sphere.

    Args:
        residuals: (clips, dims) whose products sum to the covariance.
        intensity: of the shrinkage.
    """
    if residuals.shape[1] > len(residuals):
        return _wide_whitening(residuals, intensity)
    covariance = residuals.T @ residuals
    sphere = np.trace(covariance) / len(covariance)
    values, axes = np.linalg.eigh((1 - intensity) * covariance)
    values = np.maximum(values + intensity * sphere, 1e-9 * sphere)
    matrix = axes / np.sqrt(values)
    return lambda vectors: vectors @ matrix


def _wide_whitening(residuals: FloatArray, intensity: float) -> Callable[[FloatArray], FloatArray]:
    """The same for more dimensions than clips: no (dims, dims) matrix is ever formed.

    The clips span a few axes; in all directions at right angles to them S is the sphere alone.
    """
    squares, mixtures = np.linalg.eigh(residuals @ residuals.T)
    held = squares > 1e-12 * squares[-1]
    squares, axes = squares[held], residuals.T @ (mixtures[:, held] / np.sqrt(squares[held]))
    sphere = squares.sum() / residuals.shape[1]
    floor = max(intensity, 1e-9) * sphere
    gains = 1 / np.sqrt(np.maximum((1 - intensity) * squares + intensity * sphere, 1e-9 * sphere))
    rest = 1 / np.sqrt(floor)
    return lambda vectors: rest * vectors + vectors @ axes * (gains - rest) @ axes.T


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """All squared Euclidean distances: (n, dims), (m, dims) -> (n, m)."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.maximum(squared, 0.0)
