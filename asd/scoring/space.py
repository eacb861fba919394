"""Distances between vectors, and coordinates in which every metric is Euclidean.

"euclid" is the Euclidean distance; "cosine" is 1 - cos, in [0, 2]. A zero vector has no direction: its cosine
distance is 0 to other zero vectors and 1 to everything else.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Metric = Literal["euclid", "cosine"]

LARGEST_VALUE = 1e100  # squares of what is smaller stay finite in float64
BLOCK_VALUES = 8 * 2**20  # looked at in one go


def unfold(vectors: npt.NDArray[np.floating[Any]], metric: Metric) -> FloatArray:
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
    """Distances from squared Euclidean distances of unfolded points."""
    return np.sqrt(squared) if metric == "euclid" else np.minimum(0.5 * squared, 2.0)


def checked(vectors: npt.NDArray[np.floating[Any]], what: str) -> npt.NDArray[np.floating[Any]]:
    """The vectors (rows, dims), contiguous, float32 or float64; copied only where they are not.

    Args:
        vectors: to be checked.
        what: one of them, in words, for the message.

    Raises:
        AsdError: not two-dimensional, or a row with NaN, infinity or an absurdly large value.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise AsdError(
            f"expected one {what} per row, (rows, dimensions), got an array of shape {vectors.shape}"
        )
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float32 if vectors.dtype == np.float16 else np.float64)
    vectors = np.ascontiguousarray(vectors)
    step = max(1, BLOCK_VALUES // vectors.shape[1])
    limit = np.inf if vectors.dtype == np.float32 else LARGEST_VALUE
    for start in range(0, len(vectors), step):
        sound = (np.abs(vectors[start : start + step]) < limit).all(1)  # False for NaN
        if not sound.all():
            raise AsdError(
                f"{what} {start + int(np.argmin(sound))} holds NaN, infinity or a value beyond "
                f"{LARGEST_VALUE:g}; find the clip it comes from and check the encoder"
            )
    return vectors
