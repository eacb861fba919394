"""Fixtures shared by all tests. Data is generated, or comes from `../shared` where that exists."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported, and inherited by commands that tests start: several workers share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared reference material beside the checkout; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: reference material is optional outside the workplace")
    return SHARED
