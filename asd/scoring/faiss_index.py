"""Candidates for the nearest rows of a bank that is too large for one product, by faiss in float32.

On a flat index more candidates are looked at where float32 could have missed one; lists look into the most promising
ones only. With weights, distances are w_y d(x, y), the nearest row in that sense is a maximum inner product in two more
dimensions, -w²d² = (-|x|², 2x, -1) . (w², w²y, w²|y|²), so the same exact index finds it. Lists look for it among
the rows nearest without weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.core.runtime import log
from asd.scoring.references import FloatArray, IntArray, Metric, Vectors, blocks, to_euclidean

NearestOf = Callable[[FloatArray, IntArray, int], tuple[FloatArray, IntArray]]

LEAST_CODED = 10_000  # rows to learn 256 codes from, 39 for each as k-means wants
MOST_CANDIDATES = 2048  # of a query; faiss gives no more on a GPU
# candidates beyond k; measuring again repairs their order
_SPARE = {"flat": 4, "ivf": 64, "ivfpq": 256, "weighted lists": 256}
_LEAST_RADIUS = 1e-50  # a smaller bank is not blown up: values near the largest allowed would overflow
_FAR = 1e15  # queries farther out, in radii of the bank, are searched from there: float32 must not overflow
_ROWS_PER_LIST = 64  # that lists are learnt from: k-means needs about 40
_LANES = 16  # half-precision vectors whose length is no multiple of this are compared ten times slower
_DIMS_PER_CODE = 4  # of a product code, a byte
_PROBED_LISTS = 128  # lists looked into per query; time and recall grow with it


class FaissIndex:
    """Rows as faiss holds them, trained and filled.

    Args:
        vectors: (n, dims) of the bank.
        metric: of the bank.
        kind: "flat", "ivf" or "ivfpq".
        device: where it is searched.
        squares: (n,) factors on squared distances.
    """

    def __init__(self, vectors: Vectors, metric: Metric, kind: str, device: str, squares: FloatArray | None) -> None:
        self._vectors, self._metric, self._kind, self._squares = vectors, metric, kind, squares
        self._by_product = kind == "flat" and squares is not None
        self._centre, self._radius = self._frame()
        self.searcher = self._empty(device)
        if not self.searcher.is_trained:
            n_rows = max(_ROWS_PER_LIST * self.searcher.nlist, LEAST_CODED)
            sample = np.random.default_rng(0).permutation(len(vectors))[:n_rows]
            self.searcher.train(self._as_rows(np.sort(sample)))
        for block in blocks(*vectors.shape):
            self.searcher.add(self._as_rows(block))

    def _frame(self) -> tuple[FloatArray, float]:
        """Mean of the rows and their largest distance from it: float32 keeps most digits in this frame."""

        def points() -> Iterator[FloatArray]:
            return (to_euclidean(self._vectors[rows], self._metric) for rows in blocks(*self._vectors.shape))

        centre = np.asarray(sum(block.sum(0) for block in points()) / len(self._vectors))
        radius = float(np.sqrt(max(np.square(block - centre).sum(1).max() for block in points())))
        return centre, radius if radius > _LEAST_RADIUS else 1.0

    def _empty(self, device: str) -> Any:
        """The index without rows: flat, or lists of half-precision vectors or of product codes; on the CPU or a GPU."""
        faiss = import_faiss()
        dims = len(self._centre) + 2 * self._by_product
        dims += -dims % _LANES
        if self._kind == "flat":
            index = faiss.IndexFlat(dims, faiss.METRIC_INNER_PRODUCT if self._by_product else faiss.METRIC_L2)
        else:
            lists = 2 ** round(np.log2(len(self._vectors)) / 2)
            # "np" leaves out polysemous codes, which nothing here asks for and which take a minute to learn
            codes = "SQfp16" if self._kind == "ivf" else f"PQ{dims // _DIMS_PER_CODE}np"
            index = faiss.index_factory(dims, f"IVF{lists},{codes}")
            index.cp.min_points_per_centroid = 1  # a small bank in lists is odd, not wrong
            index.nprobe = min(_PROBED_LISTS, lists)
        if device.startswith("cuda") and self._kind != "ivfpq":
            if faiss.get_num_gpus():
                return faiss.index_cpu_to_gpu(_gpu_resources(), int(device.partition(":")[2] or 0), index)
            log.warning("device=%s, but this faiss sees no GPU: neighbours are searched on the CPU", device)
        return index

    def _as_rows(self, rows: slice | IntArray) -> npt.NDArray[np.float32]:
        """Rows of the bank as faiss holds them."""
        points = (to_euclidean(self._vectors[rows], self._metric) - self._centre) / self._radius
        if self._squares is not None and self._by_product:
            weights = (self._squares[rows] / self._squares.max())[:, None]
            norms = np.square(points).sum(1, keepdims=True)
            points = np.concatenate([weights, weights * points, weights * norms], axis=1)
        return _single(points)

    def propose(self, points: FloatArray, count: int, everywhere: bool) -> tuple[FloatArray, IntArray]:
        """Squared distances of candidates as float32 sees them, ascending, and rows; -1: none found.

        Args:
            points: (q, dims) in the frame of the bank.
            count: candidates of each point.
            everywhere: look into all lists.
        """
        options = {}
        if everywhere and self._kind != "flat":
            options["params"] = import_faiss().SearchParametersIVF(nprobe=self.searcher.nlist)
        if self._by_product:
            norms = np.square(points).sum(1, keepdims=True)
            points = np.concatenate([-norms, 2 * points, -np.ones_like(norms)], axis=1)
        found, rows = self.searcher.search(_single(points), count, **options)
        proxies = found.astype(np.float64)
        return -proxies if self._by_product else proxies, rows

    def nearest(
        self, points: FloatArray, k: int, exclude: IntArray | None, nearest_of: NearestOf
    ) -> tuple[FloatArray, IntArray]:
        """Squared distances and rows, (q, k): candidates are doubled until float32 leaves no doubt.

        Args:
            points: (q, dims).
            k: rows per point.
            exclude: (q,) a row that is none of them for each point.
            nearest_of: the nearest (q, wanted) of candidates (q, m) of points, measured exactly.
        """
        frame = (points - self._centre) / self._radius
        norms = np.sqrt(np.square(frame).sum(1, keepdims=True))
        frame *= np.minimum(1.0, _FAR / np.maximum(norms, 1.0))
        wanted = k + (exclude is not None)
        squared = np.empty((len(points), wanted))
        rows = np.empty((len(points), wanted), dtype=np.int64)
        in_lists = self._squares is not None and not self._by_product
        count = min(len(self._vectors), wanted + _SPARE["weighted lists" if in_lists else self._kind])
        pending, everywhere = np.arange(len(points)), False
        most = min(len(self._vectors), max(MOST_CANDIDATES, count))
        while len(pending):
            proxies, found = self.propose(frame[pending], count, everywhere)
            squared[pending], rows[pending] = nearest_of(points[pending], found, wanted)
            if everywhere and count == most:
                break
            doubtful = ~np.isfinite(squared[pending, -1])
            if self._kind == "flat" and count < len(self._vectors):
                doubtful |= ~self._certain(norms[pending, 0], squared[pending, -1], proxies[:, -1])
            pending, count, everywhere = pending[doubtful], min(4 * count, most), True
        if exclude is None:
            return squared, rows
        # The excluded row goes last; where it is not among the found, the last one goes.
        order = np.argsort(rows == exclude[:, None], axis=1, kind="stable")[:, :k]
        return np.take_along_axis(squared, order, 1), np.take_along_axis(rows, order, 1)

    def _certain(self, norms: FloatArray, farthest: FloatArray, last_proxy: FloatArray) -> npt.NDArray[np.bool_]:
        """Where no row outside the candidates can be as near as the farthest one found.

        Such a row y has |y| <= 1, and |y| <= |x| + d; a sum of `dims` float32 products errs by at most
        dims * eps * (|x| + |y|)², so its proxy would not have exceeded the last one proposed.
        """
        largest, least = (1.0, 1.0) if self._squares is None else (self._squares.max(), self._squares.min())
        farthest = farthest / self._radius**2 / largest
        reach = norms + np.minimum(1.0, norms + np.sqrt(farthest * largest / least))
        noise = (len(self._centre) + 16) * (np.finfo(np.float32).eps * reach**2 + np.finfo(np.float32).tiny)
        return np.asarray(farthest < last_proxy - noise)


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
