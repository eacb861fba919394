"""Candidates for the neighbour bank by faiss: the only file that imports it.

faiss is imported late, and after torch: the other order has crashed and has given wrong neighbours on GPUs
(faiss issues 2126 and 4273).

Sizes for ten million 128-d vectors: flat 5.1 GB (float32), ivf 2.7 GB (float16 and an identifier each),
hnsw 5.5 GB (float16 and 64 links each) and hours to build on two cores. Recall against exact neighbours
as `tools/bench_bank.py` measures it: ivf, 1,000,000 x 128: recall@1 0.996, recall@10 0.989; hnsw,
200,000 x 128: 0.996 and 0.995.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from asd.core.runtime import log
from asd.types import AsdError

PROBED_LISTS = 128  # ivf: lists looked into per query; time and recall grow with it
TRAINING_ROWS_PER_LIST = 64  # ivf: k-means needs about 40; more costs time and moves the lists little
HNSW_LINKS = 32  # hnsw: links of a row on each level (twice as many on the lowest)
HNSW_BUILD_WIDTH = 80  # hnsw: candidates kept while a row is linked
HNSW_SEARCH_WIDTH = 256  # hnsw: candidates kept while a query walks the graph
GPU_MOST_NEIGHBOURS = 2048  # a limit of faiss
LANES = 16  # float16 vectors whose length is no multiple of this are compared ten times slower

Coordinates = Callable[[slice | npt.NDArray[np.int64]], npt.NDArray[np.float64]]


class FaissIndex:
    """A faiss index over the rows of a bank, on the GPU where the device asks for one and faiss sees it.

    Args:
        coordinates: gives rows of the bank as (rows, dims) float64.
        blocks: slices that cover the bank.
        count: rows of the bank.
        dims: their dimensions.
        kind: "flat" is exact in float32; "ivf" has about sqrt(count) lists of float16 vectors, trained by
            k-means on a fixed sample; "hnsw" is a graph over float16 vectors and stays on the CPU.
        device: where torch would work.
    """

    dtype: type[np.floating[Any]] = np.float32

    def __init__(
        self,
        coordinates: Coordinates,
        blocks: Sequence[slice],
        count: int,
        dims: int,
        kind: Literal["flat", "ivf", "hnsw"],
        device: torch.device,
    ) -> None:
        self.exact = kind == "flat"
        dims += -dims % LANES
        faiss = _import_faiss()
        if kind == "flat":
            index = faiss.IndexFlatL2(dims)
        elif kind == "hnsw":
            index = faiss.IndexHNSWSQ(dims, faiss.ScalarQuantizer.QT_fp16, HNSW_LINKS)
            index.hnsw.efConstruction = HNSW_BUILD_WIDTH
        else:
            lists = 2 ** round(np.log2(count) / 2)
            index = faiss.index_factory(dims, f"IVF{lists},SQfp16")
            index.cp.min_points_per_centroid = 1  # small banks in lists are odd, not wrong
            index.nprobe = min(PROBED_LISTS, lists)
        self._index = self._place(faiss, index, kind, device)
        if kind == "ivf":
            sample = np.random.default_rng(0).permutation(count)[: TRAINING_ROWS_PER_LIST * lists]
            self._index.train(_single(coordinates(np.sort(sample))))
        elif kind == "hnsw":
            self._index.train(_single(coordinates(blocks[0])))  # float16 has nothing to learn
        for block in blocks:
            self._index.add(_single(coordinates(block)))

    def propose(
        self, points: npt.NDArray[np.float64], count: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Squared float32 distances, ascending, and rows (-1 = none found): both (queries, count).

        Raises:
            AsdError: more neighbours than faiss gives on a GPU.
        """
        if self._on_gpu and count > GPU_MOST_NEIGHBOURS:
            raise AsdError(
                f"faiss gives at most {GPU_MOST_NEIGHBOURS} candidates on a GPU, {count} were needed; "
                "use backend=torch or device=cpu"
            )
        if hasattr(self._index, "hnsw"):
            self._index.hnsw.efSearch = max(HNSW_SEARCH_WIDTH, count)
        proxies, rows = self._index.search(_single(points), count)
        return proxies.astype(np.float64), rows

    def _place(self, faiss: ModuleType, index: Any, kind: str, device: torch.device) -> Any:
        """The empty index, moved to the GPU if it can be; the move keeps the number of probed lists."""
        self._on_gpu = False
        if device.type != "cuda" or kind == "hnsw":
            return index
        if not faiss.get_num_gpus():
            log.warning("device=%s, but this faiss sees no GPU: neighbours are searched on the CPU", device)
            return index
        self._on_gpu = True
        self._resources = faiss.StandardGpuResources()  # must live as long as the index
        return faiss.index_cpu_to_gpu(self._resources, device.index or 0, index)


def _single(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Points in float32 with zeros appended up to a multiple of `LANES` dimensions."""
    padded = np.zeros((len(points), points.shape[1] + -points.shape[1] % LANES), dtype=np.float32)
    with np.errstate(over="ignore"):  # a query too far for float32 is compared with every row anyway
        padded[:, : points.shape[1]] = points
    return padded


def _import_faiss() -> ModuleType:
    import faiss

    return faiss
