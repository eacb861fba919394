"""Detectors by name. One file is one idea; detectors do not import each other.

A detector of your own needs no change here: `detector=package.module:Class` takes a subclass of `base.Detector`,
and a package that declares an entry point of the group `asd.detectors` gives it a name.
"""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from asd.types import AsdError

if TYPE_CHECKING:
    from asd.detectors.base import Detector

# name -> "module:class"; imported only when used, so that `--help` needs no torch
REGISTRY = {
    "statistics": "asd.detectors.statistics:Statistics",
    "autoencoder": "asd.detectors.autoencoder:Autoencoder",
    "embedding": "asd.detectors.embedding:Embedding",
}
ENTRY_POINTS = "asd.detectors"


def section_of(detector: str) -> str:
    """Name under which the options of a detector are given: its own, or that of its class in lower case."""
    return detector.rpartition(":")[2].lower() if ":" in detector else detector


def detector_class(detector: str) -> type[Detector]:
    """Class of a detector.

    Args:
        detector: a name in `REGISTRY`, the name of an entry point of the group `asd.detectors`, or
            "package.module:Class".

    Raises:
        AsdError: there is none of that name, it cannot be imported, or it is no detector.
    """
    places = REGISTRY | {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    place = detector if ":" in detector else places.get(detector)
    if place is None:
        near = difflib.get_close_matches(detector, places, n=1)
        hint = f"did you mean {near[0]}?" if near else "or name a class of your own as package.module:Class"
        raise AsdError(f"detector={detector} is unknown; choose one of {', '.join(places)}; {hint}")
    base = import_module("asd.detectors.base").Detector
    module, _, attribute = place.partition(":")
    if "" not in sys.path:
        sys.path.append("")  # the installed command `asd` does not look where it is run, `python -m asd` does
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise AsdError(
            f"detector={detector} cannot be imported ({error}); the module has to be installed, or lie in the folder "
            f"where the command is run"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise AsdError(f"detector={detector} is no subclass of asd.detectors.base.Detector")
    return cast("type[Detector]", found)
