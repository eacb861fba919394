"""Vectors as points: checked, taken in blocks, and in coordinates where every metric is Euclidean.

Metrics: "euclid", and "cosine" = 1 - cos in [0, 2]. A zero vector has no direction: its cosine distance is 0
to other zero vectors and 1 to everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from asd.scoring.references import FloatArray
from asd.types import AsdError

IntArray = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating[Any]]
Metric = Literal["euclid", "cosine"]

LARGEST_VALUE = 1e100  # squares of what is smaller stay finite in float64
BLOCK_BYTES = 32 * 2**20  # of float64 values held at a time


def to_euclidean(vectors: Vectors, metric: Metric) -> FloatArray:
    """Points (..., dims or dims + 1) float64 whose squared Euclidean distance is d² or twice the cosine's.

    For "cosine" these are unit vectors, and one more axis on which only zero vectors lie: at a right angle
    to every other vector, hence at distance 1.
    """
    points = vectors.astype(np.float64)
    if metric == "euclid":
        return points
    norms = np.sqrt(np.square(points).sum(-1, keepdims=True))
    zero = norms == 0
    return np.concatenate([points / np.where(zero, 1.0, norms), zero], axis=-1)


def to_distance(squared: FloatArray, metric: Metric) -> FloatArray:
    """Distances from squared Euclidean distances of the points of `to_euclidean`."""
    return np.sqrt(squared) if metric == "euclid" else np.minimum(0.5 * squared, 2.0)


def blocks(count: int, values_each: int) -> Iterator[slice]:
    """Slices that cover `count` items of so many float64 values within `BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // (8 * values_each))
    return (slice(start, start + step) for start in range(0, count, step))


def checked(vectors: Vectors, what: str) -> Vectors:
    """The vectors (rows, dims), contiguous, float32 or float64; an error where one is not finite."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise AsdError(
            f"expected one {what} per row, (rows, dimensions), got an array of shape {vectors.shape}"
        )
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float64)
    vectors = np.ascontiguousarray(vectors)
    for block in blocks(len(vectors), vectors.shape[1]):
        sound = (np.abs(vectors[block].astype(np.float64)) < LARGEST_VALUE).all(1)  # False for NaN
        if not sound.all():
            raise AsdError(
                f"{what} {block.start + int(np.argmin(sound))} holds NaN, infinity or a value beyond "
                f"{LARGEST_VALUE:g}; find the clip it comes from and check the encoder"
            )
    return vectors
