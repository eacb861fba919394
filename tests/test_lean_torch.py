"""torch as the default detector imports it: without libraries of faiss where no driver is, and faiss works after it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

TOLD = """
import glob
before = glob.glob
import asd.detectors.base
assert glob.glob is before
maps = open("/proc/self/maps").read()
assert "libtorch_cpu" in maps
assert "libcublas.so.12" not in maps and "libnvrtc.so.12" not in maps
import numpy as np
from asd.scoring.faiss_index import import_faiss
rows = np.eye(8, dtype=np.float32)
index = import_faiss().IndexFlatL2(8)
index.add(rows)
print(index.search(rows, 1)[1].ravel().tolist())
"""


def has_driver() -> bool:
    """Whether there is one, in a container without a card as well."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(has_driver() or sys.platform != "linux", reason="with a driver torch loads what it wants")
def test_torch_leaves_the_libraries_of_faiss_alone_and_faiss_takes_them() -> None:
    said = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == str([*range(8)]), said.stderr
