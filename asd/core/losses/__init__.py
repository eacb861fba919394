"""Losses shared by anomaly and event detection: tensors in, an explicit reduction, no data.

Read `cells` first: what is counted, weighted and ignored, by which name it is reduced, the squared error and the cross
entropy. On it stand `binary` (BCE, its reweightings, dice, Tversky; by name), `graph` (co-occurrence) and `multitask`
(their weighted sum). `metric_learning` shapes embeddings and stands alone.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def __getattr__(name: str) -> Any:
    """A module of this package, imported when it is first asked for."""
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
