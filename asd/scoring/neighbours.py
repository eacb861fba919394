"""Nearest neighbours by faiss, measured again in float64: the engine of every neighbour search.

faiss proposes a few candidates more than asked for, in float32 (flat, exact), or from the most promising lists only,
in half precision (ivf, for millions of rows) or as product codes of a byte for four dimensions each (ivfpq, for tens of
millions; Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", PAMI 2011). Their distances are
then computed anew from the original vectors in float64, and sorted by (distance, row): duplicates lie at distance 0,
ties go to the lower row. On a flat index more candidates are looked at where float32 could have missed one, so the
answer is that of a brute-force search; only among more than `MOST_CANDIDATES` rows that float32 cannot tell apart may
it be another. A small bank is compared by one product, without faiss. `faiss_index` and `references` beside this module
have what faiss holds, and the metrics with their coordinates.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np

from asd.scoring.faiss_index import LEAST_CODED, FaissIndex
from asd.scoring.references import FloatArray, IntArray, Metric, Vectors, blocks, checked, to_distance, to_euclidean
from asd.types import AsdError, one_of

IndexName = Literal["auto", "flat", "ivf", "ivfpq"]

FLAT_LIMIT = 1_000_000  # rows up to which index=auto is exact: one query takes about 50 ms there
LISTS_LIMIT = 10_000_000  # rows up to which it keeps them in half precision: more take product codes

_ROWS_BY_PRODUCT = 1024  # a flat bank of so few is compared by one product in less time than faiss takes
_MOST_BY_PRODUCT = 8  # neighbours: each takes a pass over the distances


class Neighbours(NamedTuple):
    """The k nearest rows of each query, nearest first, ties by lower row."""

    distances: FloatArray  # (queries, k) float64
    rows: IntArray  # (queries, k) int64, of the bank


class NeighbourBank:
    """Reference vectors that can be searched.

    Args:
        vectors: (n, dims) finite float32 or float64, kept without a copy where contiguous.
        metric: "euclid" or "cosine".
        index: "flat" is exact, "ivf" and "ivfpq" may miss neighbours; "auto" goes by `FLAT_LIMIT` and `LISTS_LIMIT`.
        device: a CUDA device searches where faiss sees one, but never by product codes: these stay on the CPU.
        weights: (n,) positive factors of the distances to each row, by default 1.

    Raises:
        AsdError: no vectors, too few for product codes, NaN or infinity (the row is named), an unknown metric or index.
    """

    def __init__(
        self,
        vectors: Vectors,
        *,
        metric: Metric = "euclid",
        index: IndexName = "auto",
        device: object = "cpu",
        weights: FloatArray | None = None,
    ) -> None:
        one_of(metric, get_args(Metric), "metric")
        one_of(index, get_args(IndexName), "index")
        self.vectors = checked(vectors, "training vector")
        if not len(self.vectors):
            raise AsdError("a neighbour bank needs at least one vector, got none; check the training clips")
        self.metric = metric
        by_size = "flat" if len(self) <= FLAT_LIMIT else "ivf" if len(self) <= LISTS_LIMIT else "ivfpq"
        self.index = by_size if index == "auto" else index
        if self.index == "ivfpq" and len(self) < LEAST_CODED:
            raise AsdError(
                f"index=ivfpq learns its codes from {LEAST_CODED:,} vectors or more, and the bank has "
                f"{len(self):,}; use index=flat"
            )
        self._squares = None if weights is None else np.square(weights)
        self._lengths: FloatArray | None = None  # (n,) squared lengths of the rows, computed when first asked for
        self._device = str(device)
        if self.index != "flat":
            self._faiss  # noqa: B018 - lists are learnt now; a flat index is made when a search needs it

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: Vectors, k: int, exclude: IntArray | None = None) -> Neighbours:
        """The `k` nearest rows of each query.

        Args:
            queries: (q, dims), finite.
            k: neighbours per query, at most the number of rows, less one with `exclude`.
            exclude: (q,) a row that is not found for each query: with the query's own, leave-one-out.

        Raises:
            AsdError: other dimensions than the bank's, NaN or infinity (the row is named), too large a `k`.

        Example:
            >>> bank = NeighbourBank(np.array([[0.0], [1.0], [3.0]]))
            >>> bank.search(np.array([[0.9]]), 2).rows
            array([[1, 0]])
        """
        queries = checked(queries, "vector")
        if queries.shape[1] != self.vectors.shape[1]:
            raise AsdError(
                f"the vectors have {queries.shape[1]} dimensions but those of the bank {self.vectors.shape[1]}; "
                "use the encoder that made the bank"
            )
        left = len(self) - (exclude is not None)
        if not 1 <= k <= left:
            raise AsdError(
                f"neighbours={k} were asked for, but a clip has {left} others to compare with; "
                f"ask for 1 to {left}, or give more training clips"
            )
        few = self.index == "flat" and k <= _MOST_BY_PRODUCT and len(self) <= _ROWS_BY_PRODUCT
        nearest = self._nearest_by_product if few else self._nearest_by_faiss
        parts = blocks(max(len(queries), 1), max(queries.shape[1], len(self) if few else 1))
        each = [
            nearest(to_euclidean(queries[p], self.metric), k, None if exclude is None else exclude[p]) for p in parts
        ]
        squared, rows = each[0] if len(each) == 1 else map(np.concatenate, zip(*each, strict=True))
        return Neighbours(to_distance(squared, self.metric), rows)

    @cached_property
    def _faiss(self) -> FaissIndex:
        return FaissIndex(self.vectors, self.metric, self.index, self._device, self._squares)

    def _nearest_by_faiss(self, points: FloatArray, k: int, exclude: IntArray | None) -> tuple[FloatArray, IntArray]:
        """Squared distances and rows, (q, k)."""
        return self._faiss.nearest(points, k, exclude, self._nearest_of)

    def _nearest_by_product(self, points: FloatArray, k: int, exclude: IntArray | None) -> tuple[FloatArray, IntArray]:
        """The same for few points and rows."""
        rows = to_euclidean(self.vectors, self.metric)
        if self._lengths is None:
            self._lengths = np.einsum("ij,ij->i", rows, rows)
        found = nearest_candidates(points, rows, k, self._lengths, self._squares, exclude)
        return self._nearest_of(points, found, k)

    def _nearest_of(self, points: FloatArray, candidates: IntArray, wanted: int) -> tuple[FloatArray, IntArray]:
        """Squared distances and rows, (q, wanted), of the nearest candidates (q, m), of equal ones the lower row."""
        exact = self._measured(points, candidates)
        if candidates.shape[1] == 1:
            return exact, candidates
        order = np.lexsort((candidates, exact), axis=-1)[:, :wanted]
        return np.take_along_axis(exact, order, 1), np.take_along_axis(candidates, order, 1)

    def _measured(self, points: FloatArray, rows: IntArray) -> FloatArray:
        """Squared (weighted) distances of points (q, dims) to rows (q, m) in float64; infinite for row -1."""
        squared = np.empty(rows.shape)
        for block in blocks(len(points), points.shape[1] * rows.shape[1]):
            there = to_euclidean(self.vectors[rows[block]], self.metric)
            there -= points[block, None]
            squared[block] = np.square(there, out=there).sum(-1)
        if self._squares is not None:
            squared *= self._squares[rows]
        squared[rows < 0] = np.inf
        return squared


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
