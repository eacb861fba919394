"""Indexes of faiss, empty: flat, or lists of half-precision vectors or of product codes; on the CPU or a GPU."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from asd.core.runtime import log
from asd.scoring.references import FloatArray

TRAINING_ROWS_PER_LIST = 64  # k-means needs about 40

_LANES = 16  # half-precision vectors whose length is no multiple of this are compared ten times slower
_DIMS_PER_CODE = 4  # of a product code, a byte
_PROBED_LISTS = 128  # lists looked into per query; time and recall grow with it
_GPU_SCRATCH_BYTES = 256 * 2**20


def empty_index(
    kind: Literal["flat", "ivf", "ivfpq"], dims: int, n_rows: int, device: str, *, inner_product: bool
) -> Any:
    """An index that holds nothing yet.

    Args:
        kind: "flat" is exact, "ivf" has lists of half-precision vectors, "ivfpq" of product codes.
        dims: of the vectors, before `single` pads them.
        n_rows: how many it is made for.
        device: where it is searched; product codes on the CPU only.
        inner_product: a flat index looks for the largest product, not for the smallest distance.
    """
    faiss = import_faiss()
    dims += -dims % _LANES
    if kind == "flat":
        index = faiss.IndexFlat(dims, faiss.METRIC_INNER_PRODUCT if inner_product else faiss.METRIC_L2)
    else:
        lists = 2 ** round(np.log2(n_rows) / 2)
        # "np" leaves out polysemous codes, which nothing here asks for and which take a minute to learn
        codes = "SQfp16" if kind == "ivf" else f"PQ{dims // _DIMS_PER_CODE}np"
        index = faiss.index_factory(dims, f"IVF{lists},{codes}")
        index.cp.min_points_per_centroid = 1  # a small bank in lists is odd, not wrong
        index.nprobe = min(_PROBED_LISTS, lists)
    if not device.startswith("cuda") or kind == "ivfpq":
        return index
    if not faiss.get_num_gpus():
        log.warning("device=%s, but this faiss sees no GPU: neighbours are searched on the CPU", device)
        return index
    return faiss.index_cpu_to_gpu(_gpu_resources(), int(device.partition(":")[2] or 0), index)


def single(points: FloatArray) -> npt.NDArray[np.float32]:
    """Points (n, dims) in float32 with zeros appended up to a multiple of `_LANES` dimensions."""
    padded = np.zeros((len(points), points.shape[1] + -points.shape[1] % _LANES), dtype=np.float32)
    padded[:, : points.shape[1]] = points
    return padded


@cache
def _gpu_resources() -> Any:
    """Scratch memory and streams of faiss on the GPU: once for all banks of the process, as each takes its share."""
    resources = import_faiss().StandardGpuResources()
    resources.setTempMemory(_GPU_SCRATCH_BYTES)
    return resources


@cache
def import_faiss() -> ModuleType:
    """faiss, after torch: the other order crashed, and gave wrong neighbours on GPUs (faiss issues 2126, 4273)."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which instruction sets it tried
    import torch  # noqa: F401  # isort: skip
    import faiss

    return faiss
