"""Detectors by name. One file is one idea; siblings do not know each other.

To add one: write `asd/detectors/<file>.py` with a subclass of `base.Detector`, name it here and give it a
section in `settings/detectors.py`. The registry suite in `tests/test_detectors.py` tests it from then on.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asd.detectors.base import Detector

# name -> "module:class"; imported only when used, so that `--help` needs no torch
REGISTRY = {
    "statistics": "asd.detectors.statistics:Statistics",
    "autoencoder": "asd.detectors.autoencoder:Autoencoder",
    "embedding": "asd.detectors.embedding:Embedding",
}


def detector_class(name: str) -> type[Detector]:
    """Class of a registered detector."""
    module, attribute = REGISTRY[name].split(":")
    found: type[Detector] = getattr(import_module(module), attribute)
    return found
