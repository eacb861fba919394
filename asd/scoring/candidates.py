"""Which rows can be the nearest of a point, by one product of all points with all rows."""

from __future__ import annotations

import numpy as np

from asd.scoring.references import FloatArray, IntArray


def nearest_candidates(
    points: FloatArray,
    rows: FloatArray,
    k: int,
    lengths: FloatArray,
    squares: FloatArray | None = None,
    exclude: IntArray | None = None,
) -> IntArray:
    """The `k` nearest rows of each point, and all others that rounding cannot tell from these.

    |x|² - 2xy + |y|² is off by rounding only: a sum of float64 products errs by dims * eps * (|x| + |y|)² at most.

    Args:
        points: (q, dims).
        rows: (n, dims).
        k: how many count, at most n, less one with `exclude`; each takes a pass over the distances.
        lengths: (n,) squared lengths of the rows.
        squares: (n,) factors on squared distances.
        exclude: (q,) a row that is none of them for each point.

    Returns:
        (q, k or more) rows; -1: none.
    """
    own = np.einsum("ij,ij->i", points, points)[:, None]
    squared = points @ rows.T
    squared *= -2.0
    squared += own
    squared += lengths
    noise = 4.0 * (rows.shape[1] + 16) * np.finfo(np.float64).eps * (own + lengths.max())
    if squares is not None:
        squared *= squares
        noise *= squares.max()
    every, found = np.arange(len(points)), np.empty((len(points), k), np.int64)
    if exclude is not None:
        squared[every, exclude] = np.inf
    for column in found.T:
        column[:] = squared.argmin(1)
        farthest = squared[every, column]
        squared[every, column] = np.inf
    is_close = squared <= farthest[:, None] + 2.0 * noise
    if not is_close.any():
        return found
    n_close = int(is_close.sum(1).max())
    close = np.argpartition(squared, n_close - 1)[:, :n_close]
    return np.append(found, np.where(np.take_along_axis(is_close, close, 1), close, -1), axis=1)
