"""Anomalous sound detection for machines, in the protocol of DCASE Challenge Task 2.

    import asd

    model = asd.fit("recordings/of/a/good/fan")      # or arrays: asd.fit(waveforms, sample_rate_hz=16000)
    model.score(waveform, sample_rate_hz=16000)      # score, threshold, decision, scorer

As a command it goes from folders of recordings to scores, reports and challenge submissions: `asd --help`.

    recordings -> clips -> waveforms -> features -> detector.fit / score
               -> score table -> metrics -> submission package, report

`asd.pipeline` strings these stages together: start reading there. A higher score is more anomalous, everywhere. This
module imports nothing until a name is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules, resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asd import metrics as metrics
    from asd import scoring as scoring
    from asd.core import losses as losses
    from asd.core import networks as networks
    from asd.library import Model as Model
    from asd.library import fit as fit
    from asd.library import load as load
    from asd.stages.predictions import ClipScore as ClipScore
    from asd.types import AsdError as AsdError

_PLACES = {
    "fit": "asd.library:fit",
    "load": "asd.library:load",
    "Model": "asd.library:Model",
    "ClipScore": "asd.stages.predictions:ClipScore",
    "AsdError": "asd.types:AsdError",
    "metrics": "asd.metrics:",
    "losses": "asd.core.losses:",
    "networks": "asd.core.networks:",
    "scoring": "asd.scoring:",
}
__all__ = [*_PLACES]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module 'asd' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    return resolve_name(_PLACES[name])


def lazy_modules(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose modules are imported when they are first asked for."""

    def names() -> list[str]:
        return sorted(module.name for module in iter_modules(sys.modules[package].__path__))

    def module(name: str) -> Any:
        if name not in names():
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names())}")
        return import_module(f"{package}.{name}")

    return module, names


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
