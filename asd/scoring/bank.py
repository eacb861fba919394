"""Nearest neighbours at any scale: exact to the last bit for thousands of vectors, approximate for millions.

How the flat index is exact. A backend proposes a few candidates more than asked for, by the fast but noisy
expansion |x - y|² = |x|² + |y|² - 2xy. The bank measures them directly, sum((x - y)²) in float64, and sorts
by (distance, index). The answer stands only where a bound on the rounding error proves that no row outside
the candidates comes first; elsewhere (a tie group larger than the surplus, differences below float32) the
query is compared with every row. So results depend on no backend, device, block or batch size: duplicates
lie at distance exactly 0, and ties go to the lower index.

How large banks are searched. Above `FLAT_LIMIT` rows faiss looks only into the most promising lists (IVF) or
along a graph (HNSW), with vectors in half precision: neighbours may be missed, but distances that are
returned are measured as above. `tools/bench_bank.py` states time, memory and recall.

Metrics, and what a zero vector means to the cosine: `asd.scoring.space`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch

from asd.core.runtime import pick_device
from asd.scoring.search_faiss import FaissIndex
from asd.scoring.search_torch import TorchFlat
from asd.scoring.space import FloatArray, IntArray, Metric, checked, to_distance, unfold
from asd.types import AsdError

BackendName = Literal["auto", "faiss", "torch"]
IndexName = Literal["auto", "flat", "ivf", "hnsw"]

FAISS_FROM = 20_000  # rows: below, torch in float64 answers in milliseconds, faster than faiss is imported
FLAT_LIMIT = 1_000_000  # rows: the 300 frames of a clip against 128-d rows take about a second on two cores
SPARE_EXACT = 8  # candidates beyond k: enough for the proof unless more rows than that tie
SPARE_APPROXIMATE = 64  # measuring again repairs the order that half precision lost
LEAST_RADIUS = 1e-50  # a smaller bank is not blown up: values near the largest allowed would overflow
BLOCK_BYTES = 64 * 2**20  # of intermediate float64 values, whatever the number of rows and queries
BLOCK_QUERIES = 4096


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest rows of each query, nearest first, ties by lower index.

    Attributes:
        distances: (queries, k) float64.
        indices: (queries, k) int64 rows of the bank.
    """

    distances: FloatArray
    indices: IntArray


class Backend(Protocol):
    """Proposes candidates in the bank's coordinates (`Bank.coordinates`)."""

    exact: bool  # whether the proposed rows have the smallest proxies of all rows
    dtype: type[np.floating[Any]]  # arithmetic of the proxies

    def propose(self, points: FloatArray, count: int) -> tuple[FloatArray, IntArray]:
        """Squared proxy distances, ascending, and rows: both (queries, count); row -1 = none found."""


class Bank:
    """Reference vectors that can be searched.

    Args:
        vectors: (n, dims) float32 or float64, finite. Kept without a copy where contiguous: leave it alone.
        metric: "euclid" or "cosine" (1 - cos).
        backend: "torch" holds float64 on `device` and is always flat; "faiss" holds float32 (flat) or
            float16 (ivf, hnsw). "auto" takes faiss from `FAISS_FROM` rows on.
        index: "flat" is exact; "auto" takes "ivf" above `flat_limit` rows.
        device: "cpu", "cuda" or a torch device; faiss without a GPU build stays on the CPU and says so.
        flat_limit: rows up to which "auto" is exact.

    Raises:
        AsdError: no vectors, NaN or infinity (the row is named), unknown words, backend "torch" with an
            index other than flat.
    """

    def __init__(
        self,
        vectors: npt.NDArray[np.floating[Any]],
        *,
        metric: Metric = "euclid",
        backend: BackendName = "auto",
        index: IndexName = "auto",
        device: str | torch.device = "cpu",
        flat_limit: int = FLAT_LIMIT,
    ) -> None:
        for key, word, words in (
            ("metric", metric, Metric),
            ("backend", backend, BackendName),
            ("index", index, IndexName),
        ):
            if word not in get_args(words):
                raise AsdError(
                    f"{key}={word} is unknown to the bank; use one of {', '.join(get_args(words))}"
                )
        self.vectors = checked(vectors, "bank vector")
        if not len(self.vectors):
            raise AsdError("a neighbour bank needs at least one vector, got none; check the training clips")
        self.metric = metric
        self._centre, self._scale = self._frame()
        self._backend = self._build(backend, index, pick_device(str(device)), flat_limit)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def exact(self) -> bool:
        """Whether `search` gives the true neighbours (flat) or may miss some (ivf, hnsw)."""
        return self._backend.exact

    def search(
        self,
        queries: npt.NDArray[np.floating[Any]],
        k: int,
        exclude: npt.NDArray[np.integer[Any]] | None = None,
    ) -> Neighbours:
        """The `k` nearest rows of each query.

        Args:
            queries: (q, dims), finite.
            k: neighbours per query, at most the number of rows (less one if any row is excluded).
            exclude: (q,) the row that is the query itself and must not be found (leave-one-out); -1 = none.

        Raises:
            AsdError: other dimensions than the bank's, NaN or infinity (the row is named), too large a `k`.
        """
        queries = checked(queries, "query")
        self._check_request(queries, k, exclude)
        wanted = k if exclude is None or not (exclude >= 0).any() else k + 1
        spare = SPARE_EXACT if self.exact else SPARE_APPROXIMATE
        candidates = min(len(self), wanted + spare)
        step = min(BLOCK_QUERIES, max(1, BLOCK_BYTES // (8 * self.vectors.shape[1] * candidates)))
        distances = np.empty((len(queries), wanted))
        rows = np.empty((len(queries), wanted), dtype=np.int64)
        for start in range(0, len(queries), step):
            block = slice(start, start + step)
            points = unfold(queries[block], self.metric)
            distances[block], rows[block] = self._nearest(points, wanted, candidates)
        if wanted > k and exclude is not None:
            # The excluded row goes last; where it is not among the found, the last one goes.
            order = np.argsort(rows == exclude[:, None], axis=1, kind="stable")[:, :k]
            distances, rows = np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)
        return Neighbours(distances, rows)

    def coordinates(self, rows: slice | IntArray) -> FloatArray:
        """Rows as backends see them: centred, inside the unit ball, both metrics Euclidean; float64."""
        return (unfold(self.vectors[rows], self.metric) - self._centre) / self._scale

    def _check_request(
        self, queries: npt.NDArray[np.floating[Any]], k: int, exclude: npt.NDArray[np.integer[Any]] | None
    ) -> None:
        if queries.shape[1] != self.vectors.shape[1]:
            raise AsdError(
                f"queries have {queries.shape[1]} dimensions but the bank was made of {self.vectors.shape[1]}; "
                "use the encoder that made the bank"
            )
        left = len(self)
        if exclude is not None:
            if exclude.shape != (len(queries),) or (exclude >= len(self)).any():
                raise AsdError(
                    f"exclude must name one row below {len(self)} (or -1) for each of {len(queries)} queries, "
                    f"got shape {exclude.shape} and largest value {exclude.max(initial=-1)}"
                )
            left -= bool((exclude >= 0).any())
        if not 1 <= k <= left:
            raise AsdError(
                f"{k} neighbours were asked for but {left} of the bank's {len(self)} vectors can be found; "
                f"ask for 1 to {left}, or give more training clips"
            )

    def _frame(self) -> tuple[FloatArray, float]:
        """Mean of the rows and their largest distance from it: float32 keeps most digits in this frame."""
        blocks = self._blocks()
        centre = sum(unfold(self.vectors[rows], self.metric).sum(0) for rows in blocks) / len(self)
        radius = 0.0
        for rows in blocks:
            squared = np.square(unfold(self.vectors[rows], self.metric) - centre).sum(1)
            radius = max(radius, float(np.sqrt(squared.max())))
        return centre, radius if radius > LEAST_RADIUS else 1.0

    def _blocks(self) -> list[slice]:
        step = max(1, BLOCK_BYTES // (8 * self.vectors.shape[1]))
        return [slice(start, start + step) for start in range(0, len(self), step)]

    def _build(
        self, backend: BackendName, index: IndexName, device: torch.device, flat_limit: int
    ) -> Backend:
        if index == "auto":
            index = "flat" if len(self) <= flat_limit or backend == "torch" else "ivf"
        if backend == "auto":
            backend = "torch" if len(self) < FAISS_FROM and index == "flat" else "faiss"
        if backend == "torch" and index != "flat":
            raise AsdError(f"index={index} is faiss's; use backend=faiss, or index=flat with backend=torch")
        dims = len(self._centre)
        if backend == "torch":
            return TorchFlat(self.coordinates, self._blocks(), len(self), dims, device)
        return FaissIndex(self.coordinates, self._blocks(), len(self), dims, index, device)

    def _nearest(self, points: FloatArray, wanted: int, candidates: int) -> tuple[FloatArray, IntArray]:
        frame = (points - self._centre) / self._scale
        proxies, rows = self._backend.propose(frame, candidates)
        squared = np.square(unfold(self.vectors[rows], self.metric) - points[:, None]).sum(-1)
        squared[rows < 0] = np.inf
        distances = to_distance(squared, self.metric)
        order = np.lexsort((rows, distances), axis=-1)[:, :wanted]
        farthest = np.take_along_axis(squared, order, 1).max(1) / self._scale**2
        distances, rows = np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)
        certain = np.isfinite(farthest)
        if self.exact and candidates < len(self):
            certain &= _proven(frame, farthest, proxies[:, -1], self._backend.dtype)
        if not certain.all():
            distances[~certain], rows[~certain] = self._compare_with_all(points[~certain], wanted)
        return distances, rows

    def _compare_with_all(self, points: FloatArray, wanted: int) -> tuple[FloatArray, IntArray]:
        """The slow and certain way; equal queries (digital silence, say) are compared once."""
        points, inverse = np.unique(points, axis=0, return_inverse=True)
        found = np.empty((len(points), wanted))
        rows = np.empty((len(points), wanted), dtype=np.int64)
        step = max(1, BLOCK_BYTES // (8 * len(self)))
        for start in range(0, len(points), step):
            some = points[start : start + step]
            squared = np.empty((len(some), len(self)))
            for block in self._blocks():
                bank = unfold(self.vectors[block], self.metric)
                for row, point in enumerate(some):
                    squared[row, block] = np.square(bank - point).sum(-1)
            for row, distances in enumerate(to_distance(squared, self.metric), start):
                edge = np.partition(distances, wanted - 1)[wanted - 1]
                near = np.flatnonzero(distances <= edge)  # ascending, so a stable sort ends ties by index
                rows[row] = near[np.argsort(distances[near], kind="stable")[:wanted]]
                found[row] = distances[rows[row]]
        return found[inverse.reshape(-1)], rows[inverse.reshape(-1)]


def _proven(
    points: FloatArray, farthest: FloatArray, last_proxy: FloatArray, dtype: type[np.floating[Any]]
) -> npt.NDArray[np.bool_]:
    """Where no row outside the candidates can be as near as the farthest one to be returned.

    Such a row y would satisfy |y| <= |x| + d, so its proxy would err by at most dims * eps * (|x| + |y|)²
    (rounding of a sum of `dims` products) and could not have exceeded the last proxy proposed.

    Args:
        points: (q, dims) queries x.
        farthest: (q,) squared distance d² of the last neighbour to be returned.
        last_proxy: (q,) largest proposed proxy.
        dtype: arithmetic of the proxies.
    """
    limits = np.finfo(dtype)
    reach = 2.0 * np.sqrt(np.square(points).sum(1)) + np.sqrt(farthest)
    terms = points.shape[1] + 8  # 8: subtraction, scaling and conversion to dtype
    slack = terms * (float(limits.eps) * reach**2 + float(limits.tiny))
    with np.errstate(invalid="ignore"):
        return np.isfinite(last_proxy) & (farthest < last_proxy - slack)
