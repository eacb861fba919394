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

from importlib import import_module
from importlib.util import find_spec
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
    "fit": "asd.library",
    "load": "asd.library",
    "Model": "asd.library",
    "ClipScore": "asd.stages.predictions",
    "AsdError": "asd.types",
}
_PACKAGES = {
    "metrics": "asd.metrics",
    "losses": "asd.core.losses",
    "networks": "asd.core.networks",
    "scoring": "asd.scoring",
}
__all__ = [*_PLACES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name in _PACKAGES:
        return import_module(_PACKAGES[name])
    raise AttributeError(f"module 'asd' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")


def lazy_module(package: str, name: str) -> Any:
    """A module of a package, imported when it is first asked for: with the package, its `__getattr__`."""
    if name.startswith("_") or find_spec(f"{package}.{name}") is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return import_module(f"{package}.{name}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
