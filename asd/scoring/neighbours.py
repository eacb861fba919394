"""Nearest neighbours by faiss, measured again in float64: the engine of every neighbour search.

faiss proposes candidates: in float32 (flat, exact), or from the most promising lists only, in half precision (ivf, for
millions of rows) or as product codes of a byte for four dimensions each (ivfpq, for tens of millions; Jégou, Douze and
Schmid, "Product quantization for nearest neighbor search", PAMI 2011). Those that may be among the nearest are measured
again in float64, from the original vectors, and sorted by distance, ties by the lower row. On a flat index these are
all that float32 cannot tell from the nearest, so the answer is that of a brute-force search, as long as no more than
`MOST_CANDIDATES` rows are in doubt.

With weights, distances are w_y d(x, y), the nearest row in that sense is a maximum inner product in two more
dimensions, -w²d² = (-|x|², 2x, -1) . (w², w²y, w²|y|²), so the same exact index finds it. Lists look for it among
the rows nearest without weights.
"""

from __future__ import annotations

import logging
import os
from functools import cache, cached_property
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from asd.core.runtime import log
from asd.scoring.references import FloatArray, IntArray, Metric, Vectors, blocks, checked, to_distance, to_euclidean
from asd.types import AsdError, one_of

IndexName = Literal["auto", "flat", "ivf", "ivfpq"]

FLAT_LIMIT = 1_000_000  # rows up to which index=auto is exact: one query takes about 50 ms there
LISTS_LIMIT = 10_000_000  # rows up to which it keeps them in half precision: more take product codes
LEAST_CODED = 10_000  # rows to learn 256 codes from, 39 for each as k-means wants
MOST_CANDIDATES = 2048  # of a query; faiss gives no more on a GPU

# candidates beyond k; measuring again repairs their order
_SPARE = {"flat": 1, "ivf": 64, "ivfpq": 256, "weighted lists": 256}
_LEAST_RADIUS = 1e-50  # a bank of a smaller radius is not scaled: values near the largest allowed would overflow
_FAR = 1e15  # queries farther out, in radii of the bank, are searched from there: float32 must not overflow
_ROWS_PER_LIST = 64  # that lists are learnt from: k-means needs about 40
_LANES = 16  # half-precision vectors whose length is no multiple of this are compared ten times slower
_DIMS_PER_CODE = 4  # of a product code, a byte
_PROBED_LISTS = 128  # lists looked into per query; time and recall grow with it
_KERNELS = {"AVX512": "SkylakeX", "AVX2": "Haswell"}  # of OpenBLAS, by what torch can run
_LEAST_BY_BLAS = 2048  # queries times dimensions; fewer are compared one by one in less time
_EPS, _TINY = (float(x) for x in (np.finfo(np.float32).eps, np.finfo(np.float32).tiny))


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
        AsdError: no vectors, too few for product codes, NaN or infinity (the row is named), unusable options.
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
        self.index: IndexName = index
        if index == "auto":
            by_list: IndexName = "ivf" if len(self) <= LISTS_LIMIT else "ivfpq"
            self.index = "flat" if len(self) <= FLAT_LIMIT else by_list
        if self.index == "ivfpq" and len(self) < LEAST_CODED:
            raise AsdError(f"index=ivfpq takes {LEAST_CODED:,} vectors or more, not {len(self):,}; use index=flat")
        if weights is not None and (np.shape(weights) != (len(self),) or not (np.asarray(weights) > 0).all()):
            raise AsdError(f"weights have to be positive and one for each of the {len(self):,} vectors of the bank")
        self._squares = None if weights is None else np.square(weights)
        self._by_product = self.index == "flat" and weights is not None
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
        n_excluded = 0 if exclude is None else 1
        left = len(self) - n_excluded
        if not 1 <= k <= left:
            raise AsdError(
                f"neighbours={k} were asked for, but a clip has {left} others to compare with; "
                f"ask for 1 to {left}, or give more training clips"
            )
        spare = _SPARE["weighted lists" if self._squares is not None and self.index != "flat" else self.index]
        count = min(len(self), k + n_excluded + spare)
        squared, rows = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
        for part in blocks(len(queries), queries.shape[1]):
            points, gone = to_euclidean(queries[part], self.metric), None if exclude is None else exclude[part]
            squared[part], rows[part] = self._nearest(points, k, gone, count, self.index == "flat")
        return Neighbours(to_distance(squared, self.metric), rows)

    def _nearest(
        self, points: FloatArray, k: int, exclude: IntArray | None, count: int, everywhere: bool
    ) -> tuple[FloatArray, IntArray]:
        """Squared distances (q, k) of the nearest rows of points (q, dims), and these rows (q, k).

        Args:
            exclude: (q,) a row that is none of them for each point.
            count: candidates of each point, more than `k` if the bank has so many; where float32 leaves a doubt which
                of them are nearest, the points are searched again with more.
            everywhere: look into all lists.
        """
        frame, norms = self._framed(points)
        proxies, found = self._propose(frame, norms, count, everywhere)
        wanted = found >= 0 if exclude is None else (found >= 0) & (found != exclude[:, None])
        if self.index == "flat":
            # Sums of `dims` float32 products err by dims * eps * (|x| + |y|)² at most, where |y| <= 1.
            noise = (points.shape[1] + 16) * (_EPS * np.square(norms + 1.0) + _TINY)
            farthest = proxies[:, k - (exclude is None)] + 2.0 * noise
            wanted &= proxies <= farthest[:, None]
            doubtful = proxies[:, -1] <= farthest
        else:
            doubtful = wanted.sum(1) < k
        exact = self._measured(points, found, wanted)
        order = np.lexsort((found, exact))[:, :k]
        every = np.arange(len(points))[:, None]
        squared, rows = exact[every, order], found[every, order]
        most = min(len(self), MOST_CANDIDATES)
        if doubtful.any() and (count < most or not everywhere):
            gone = None if exclude is None else exclude[doubtful]
            more = min(4 * count, most)
            squared[doubtful], rows[doubtful] = self._nearest(points[doubtful], k, gone, max(count, more), True)
        return squared, rows

    def _measured(self, points: FloatArray, rows: IntArray, wanted: npt.NDArray[np.bool_]) -> FloatArray:
        """Squared (weighted) distances of points (q, dims) to rows (q, m) in float64; infinite where not wanted."""
        squared = np.full(rows.shape, np.inf)
        point, column = wanted.nonzero()
        row = rows[point, column]
        each = np.empty(len(row))
        for block in blocks(len(row), points.shape[1]):
            there = to_euclidean(self.vectors[row[block]], self.metric)  # a copy
            there -= points[point[block]]
            each[block] = np.square(there, out=there).sum(1)
        squared[point, column] = each if self._squares is None else each * self._squares[row]
        return squared

    def _propose(
        self, frame: FloatArray, norms: FloatArray, count: int, everywhere: bool
    ) -> tuple[FloatArray, IntArray]:
        """Squared distances of candidates as faiss sees them, (q, count), ascending, and rows; -1: none found.

        Args:
            frame, norms: points (q, dims) in the frame of the bank, and how far they lie from its centre, (q,).
            count, everywhere: as in `_nearest`.
        """
        import torch

        faiss, searcher = import_faiss(), self._searcher
        options = {}
        if everywhere and self.index != "flat":
            options["params"] = faiss.SearchParametersIVF(nprobe=searcher.nlist)
        points = np.zeros((len(frame), searcher.d), np.float32)
        if not self._by_product:
            points[:, : frame.shape[1]] = frame
        else:
            points[:, 0], points[:, 1:-1], points[:, -1] = -np.square(norms), 2.0 * frame, -1.0
        faiss.omp_set_num_threads(torch.get_num_threads())  # one where others compute beside it
        found, rows = searcher.search(points, count, **options)
        return (-found if self._by_product else found).astype(np.float64), rows

    @cached_property
    def _frame(self) -> tuple[FloatArray, float]:
        """Mean of the rows and their largest distance from it: float32 keeps most digits in this frame."""
        parts = [self.vectors[rows] for rows in blocks(*self.vectors.shape)]
        centre = np.asarray(sum(to_euclidean(part, self.metric).sum(0) for part in parts) / len(self))
        radius = max(np.square(to_euclidean(part, self.metric) - centre).sum(1).max() for part in parts) ** 0.5
        return centre, float(radius) if radius > _LEAST_RADIUS else 1.0

    def _framed(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Points (q, dims) in the frame of the bank, and their distances from its centre (q,), `_FAR` at most."""
        centre, radius = self._frame
        frame = (points - centre) / radius
        norms = np.sqrt(np.square(frame).sum(1))
        if norms.max(initial=0.0) > _FAR:
            frame *= np.minimum(1.0, _FAR / np.maximum(norms, 1.0))[:, None]
        return frame, np.minimum(norms, _FAR)

    @cached_property
    def _searcher(self) -> Any:
        """The index of faiss, trained and filled: flat, or lists; on the CPU or a GPU."""
        index = self._empty_searcher()
        if not index.is_trained:
            n_rows = max(_ROWS_PER_LIST * index.nlist, LEAST_CODED)
            sample = np.random.default_rng(0).permutation(len(self))[:n_rows]
            index.train(self._as_rows(np.sort(sample), index.d))
        for block in blocks(*self.vectors.shape):
            index.add(self._as_rows(block, index.d))
        return index

    def _empty_searcher(self) -> Any:
        faiss = import_faiss()
        dims = len(self._frame[0])
        if self.index == "flat":
            metric = faiss.METRIC_INNER_PRODUCT if self._by_product else faiss.METRIC_L2
            index = faiss.IndexFlat(dims + 2 * self._by_product, metric)
        else:
            dims += -dims % _LANES
            lists = 2 ** round(np.log2(len(self)) / 2)
            # "np" leaves out polysemous codes, which nothing here asks for and which take a minute to learn
            codes = "SQfp16" if self.index == "ivf" else f"PQ{dims // _DIMS_PER_CODE}np"
            index = faiss.index_factory(dims, f"IVF{lists},{codes}")
            index.cp.min_points_per_centroid = 1  # a small bank in lists is allowed: faiss is not to warn of it
            index.nprobe = min(_PROBED_LISTS, lists)
        if self._device.startswith("cuda") and self.index != "ivfpq" and (resources := _gpu_resources()):
            return faiss.index_cpu_to_gpu(resources, int(self._device.partition(":")[2] or 0), index)
        return index

    def _as_rows(self, rows: slice | IntArray, dims: int) -> npt.NDArray[np.float32]:
        """Rows of the bank as faiss holds them, (rows, dims): in the frame, with zeros up to so many dimensions."""
        frame, norms = self._framed(to_euclidean(self.vectors[rows], self.metric))
        points = np.zeros((len(frame), dims), np.float32)
        if self._squares is None or not self._by_product:
            points[:, : frame.shape[1]] = frame
        else:
            weights = self._squares[rows] / self._squares.max()
            points[:, 0], points[:, 1:-1] = weights, weights[:, None] * frame
            points[:, -1] = weights * np.square(norms)
        return points


@cache
def _gpu_resources() -> Any:
    """Scratch memory and streams of faiss on a GPU, once for all banks, as each takes its share; None without one."""
    faiss = import_faiss()
    if not faiss.get_num_gpus():
        log.warning("device=cuda, but this faiss sees no GPU: neighbours are searched on the CPU")
        return None
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(256 * 2**20)  # bytes
    return resources


@cache
def import_faiss() -> ModuleType:
    """faiss, after torch: the other order crashed, and gave wrong neighbours on GPUs (faiss issues 2126, 4273).

    It brings an OpenBLAS of 2021, which does not know newer processors, and asks it only for 500 queries of 256
    dimensions or more. Told what the processor can run, and asked from eight on, it is four to ten times faster.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which instruction sets it tried
    import torch  # isort: skip

    is_given = "OPENBLAS_CORETYPE" in os.environ
    if kernels := _KERNELS.get(torch.backends.cpu.get_cpu_capability()):
        os.environ.setdefault("OPENBLAS_CORETYPE", kernels)
    import faiss

    if not is_given:
        os.environ.pop("OPENBLAS_CORETYPE", None)
    faiss.cvar.distance_compute_blas_threshold = _LEAST_BY_BLAS
    return faiss
