"""torch without CUDA libraries that nothing can use: imported before torch, on a computer without an NVIDIA driver.

torch loads `nvidia/*/lib` beforehand, for two of its libraries that may not find each other on a GPU. Where faiss for
GPUs is installed it meets those of faiss there, which are of another CUDA than its own and take 180 MiB of memory. What
torch is linked with it finds in any case, and faiss loads its own. With a driver everything stays as it is.

Source: `_load_global_deps` in torch/__init__.py of torch 2.11, to which libraries that are not there are no error.
"""

from __future__ import annotations

import ctypes
import glob
from typing import Any, AnyStr


def _import_torch() -> None:
    """Imports torch while its loader finds no CUDA libraries."""
    found = glob.glob

    def without_cuda(pathname: AnyStr, **options: Any) -> list[AnyStr]:
        return [] if "/nvidia/" in str(pathname) else found(pathname, **options)

    glob.glob = without_cuda
    try:
        import torch  # noqa: F401
    finally:
        glob.glob = found


try:
    ctypes.CDLL("libcuda.so.1")
except OSError:
    _import_torch()
