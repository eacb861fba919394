"""Nearest neighbours by faiss, measured again in float64: the engine of every neighbour search.

faiss proposes a few candidates more than asked for, in float32 (flat, exact), or from the most promising lists only,
in half precision (ivf, for millions of rows) or as product codes of a byte for four dimensions each (ivfpq, for tens of
millions; Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", PAMI 2011). Their distances are
then computed anew from the original vectors in float64, and sorted by (distance, row): duplicates lie at distance 0,
ties go to the lower row. On a flat index more candidates are looked at where float32 could have missed one, so the
answer is that of a brute-force search; only among more than `MOST_CANDIDATES` rows that float32 cannot tell apart may
it be another.

With weights, distances are w_y d(x, y), the nearest row in that sense is a maximum inner product in two more
dimensions, -w²d² = (-|x|², 2x, -1) . (w², w²y, w²|y|²), so the same exact index finds it. Lists look for it among
the rows nearest without weights. Few rows need no faiss, see `candidates`.
`asd.scoring.references` has the metrics and their coordinates.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache, cached_property
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from asd.core.runtime import log
from asd.scoring.candidates import nearest_candidates
from asd.scoring.references import FloatArray, IntArray, Metric, Vectors, blocks, checked, to_distance, to_euclidean
from asd.types import AsdError, one_of

IndexName = Literal["auto", "flat", "ivf", "ivfpq"]

FLAT_LIMIT = 1_000_000  # rows up to which index=auto is exact: one query takes about 50 ms there
LISTS_LIMIT = 10_000_000  # rows up to which it keeps them in half precision: more take product codes
LEAST_CODED = 10_000  # rows to learn 256 codes from, 39 for each as k-means wants
MOST_CANDIDATES = 2048  # of a query; faiss gives no more on a GPU

# candidates beyond k; measuring again repairs their order
_SPARE = {"flat": 4, "ivf": 64, "ivfpq": 256, "weighted lists": 256}
_ROWS_BY_PRODUCT = 1024  # a flat bank of so few is compared by one product in less time than faiss takes
_MOST_BY_PRODUCT = 8  # neighbours: each takes a pass over the distances
_LEAST_RADIUS = 1e-50  # a smaller bank is not blown up: values near the largest allowed would overflow
_FAR = 1e15  # queries farther out, in radii of the bank, are searched from there: float32 must not overflow
_ROWS_PER_LIST = 64  # that lists are learnt from: k-means needs about 40
_LANES = 16  # half-precision vectors whose length is no multiple of this are compared ten times slower
_DIMS_PER_CODE = 4  # of a product code, a byte
_PROBED_LISTS = 128  # lists looked into per query; time and recall grow with it


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
                f"index=ivfpq learns its codes from {LEAST_CODED:,} vectors or more, and the bank has {len(self):,}; "
                f"use index=flat"
            )
        self._squares = None if weights is None else np.square(weights)
        self._by_product = self.index == "flat" and weights is not None
        self._lengths: FloatArray | None = None  # (n,) squared lengths of the rows, computed when first asked for
        self._device = str(device)
        if self.index != "flat":
            self._searcher  # noqa: B018 - lists are learnt now; a flat index is made when a search needs it

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
        nearest = self._nearest_by_product if few else self._nearest
        parts = blocks(max(len(queries), 1), max(queries.shape[1], len(self) if few else 1))
        each = [
            nearest(to_euclidean(queries[p], self.metric), k, None if exclude is None else exclude[p]) for p in parts
        ]
        squared, rows = each[0] if len(each) == 1 else map(np.concatenate, zip(*each, strict=True))
        return Neighbours(to_distance(squared, self.metric), rows)

    @cached_property
    def _searcher(self) -> Any:
        """The trained and filled faiss index."""
        searcher = self._empty(self._device)
        if not searcher.is_trained:
            n_rows = max(_ROWS_PER_LIST * searcher.nlist, LEAST_CODED)
            sample = np.random.default_rng(0).permutation(len(self))[:n_rows]
            searcher.train(self._as_rows(np.sort(sample)))
        for block in blocks(*self.vectors.shape):
            searcher.add(self._as_rows(block))
        return searcher

    @cached_property
    def _frame(self) -> tuple[FloatArray, float]:
        """Mean of the rows and their largest distance from it: float32 keeps most digits in this frame."""

        def points() -> Iterator[FloatArray]:
            return (to_euclidean(self.vectors[rows], self.metric) for rows in blocks(*self.vectors.shape))

        centre = np.asarray(sum(block.sum(0) for block in points()) / len(self))
        radius = float(np.sqrt(max(np.square(block - centre).sum(1).max() for block in points())))
        return centre, radius if radius > _LEAST_RADIUS else 1.0

    def _empty(self, device: str) -> Any:
        """The index without rows: flat, or lists of half-precision vectors or of product codes; on the CPU or a GPU."""
        faiss = import_faiss()
        dims = len(self._frame[0]) + 2 * self._by_product
        dims += -dims % _LANES
        if self.index == "flat":
            index = faiss.IndexFlat(dims, faiss.METRIC_INNER_PRODUCT if self._by_product else faiss.METRIC_L2)
        else:
            lists = 2 ** round(np.log2(len(self)) / 2)
            # "np" leaves out polysemous codes, which nothing here asks for and which take a minute to learn
            codes = "SQfp16" if self.index == "ivf" else f"PQ{dims // _DIMS_PER_CODE}np"
            index = faiss.index_factory(dims, f"IVF{lists},{codes}")
            index.cp.min_points_per_centroid = 1  # a small bank in lists is odd, not wrong
            index.nprobe = min(_PROBED_LISTS, lists)
        if device.startswith("cuda") and self.index != "ivfpq":
            if faiss.get_num_gpus():
                return faiss.index_cpu_to_gpu(_gpu_resources(), int(device.partition(":")[2] or 0), index)
            log.warning("device=%s, but this faiss sees no GPU: neighbours are searched on the CPU", device)
        return index

    def _as_rows(self, rows: slice | IntArray) -> npt.NDArray[np.float32]:
        """Rows of the bank as faiss holds them."""
        centre, radius = self._frame
        points = (to_euclidean(self.vectors[rows], self.metric) - centre) / radius
        if self._squares is not None and self._by_product:
            weights = (self._squares[rows] / self._squares.max())[:, None]
            norms = np.square(points).sum(1, keepdims=True)
            points = np.concatenate([weights, weights * points, weights * norms], axis=1)
        return _single(points)

    def _propose(self, points: FloatArray, count: int, everywhere: bool) -> tuple[FloatArray, IntArray]:
        """Squared distances of candidates as float32 sees them, ascending, and rows; -1: none found."""
        options = {}
        if everywhere and self.index != "flat":
            options["params"] = import_faiss().SearchParametersIVF(nprobe=self._searcher.nlist)
        if self._by_product:
            norms = np.square(points).sum(1, keepdims=True)
            points = np.concatenate([-norms, 2 * points, -np.ones_like(norms)], axis=1)
        found, rows = self._searcher.search(_single(points), count, **options)
        proxies = found.astype(np.float64)
        return -proxies if self._by_product else proxies, rows

    def _nearest(self, points: FloatArray, k: int, exclude: IntArray | None) -> tuple[FloatArray, IntArray]:
        """Squared distances and rows, (q, k): candidates are doubled until float32 leaves no doubt."""
        centre, radius = self._frame
        frame = (points - centre) / radius
        norms = np.sqrt(np.square(frame).sum(1, keepdims=True))
        frame *= np.minimum(1.0, _FAR / np.maximum(norms, 1.0))
        wanted = k + (exclude is not None)
        squared = np.empty((len(points), wanted))
        rows = np.empty((len(points), wanted), dtype=np.int64)
        in_lists = self._squares is not None and not self._by_product
        count = min(len(self), wanted + _SPARE["weighted lists" if in_lists else self.index])
        pending, everywhere = np.arange(len(points)), False
        most = min(len(self), max(MOST_CANDIDATES, count))
        while len(pending):
            proxies, found = self._propose(frame[pending], count, everywhere)
            squared[pending], rows[pending] = self._nearest_of(points[pending], found, wanted)
            if everywhere and count == most:
                break
            doubtful = ~np.isfinite(squared[pending, -1])
            if self.index == "flat" and count < len(self):
                doubtful |= ~self._certain(norms[pending, 0], squared[pending, -1], proxies[:, -1])
            pending, count, everywhere = pending[doubtful], min(4 * count, most), True
        if exclude is None:
            return squared, rows
        # The excluded row goes last; where it is not among the found, the last one goes.
        order = np.argsort(rows == exclude[:, None], axis=1, kind="stable")[:, :k]
        return np.take_along_axis(squared, order, 1), np.take_along_axis(rows, order, 1)

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

    def _certain(self, norms: FloatArray, farthest: FloatArray, last_proxy: FloatArray) -> npt.NDArray[np.bool_]:
        """Where no row outside the candidates can be as near as the farthest one found.

        Such a row y has |y| <= 1, and |y| <= |x| + d; a sum of `dims` float32 products errs by at most
        dims * eps * (|x| + |y|)², so its proxy would not have exceeded the last one proposed.
        """
        largest, least = (1.0, 1.0) if self._squares is None else (self._squares.max(), self._squares.min())
        centre, radius = self._frame
        farthest = farthest / radius**2 / largest
        reach = norms + np.minimum(1.0, norms + np.sqrt(farthest * largest / least))
        noise = (len(centre) + 16) * (np.finfo(np.float32).eps * reach**2 + np.finfo(np.float32).tiny)
        return np.asarray(farthest < last_proxy - noise)

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


def _single(points: FloatArray) -> npt.NDArray[np.float32]:
    """Points (n, dims) in float32 with zeros appended up to a multiple of `_LANES` dimensions."""
    padded = np.zeros((len(points), points.shape[1] + -points.shape[1] % _LANES), dtype=np.float32)
    padded[:, : points.shape[1]] = points
    return padded


@cache
def _gpu_resources() -> Any:
    """Scratch memory and streams of faiss on the GPU: once for all banks of the process, as each takes its share."""
    resources = import_faiss().StandardGpuResources()
    resources.setTempMemory(256 * 2**20)  # bytes
    return resources


@cache
def import_faiss() -> ModuleType:
    """faiss, after torch: the other order crashed, and gave wrong neighbours on GPUs (faiss issues 2126, 4273)."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which instruction sets it tried
    import torch  # noqa: F401  # isort: skip
    import faiss

    return faiss
