"""The study of supplemental recordings: what each use of noise-only and of clean recordings gains."""

from __future__ import annotations

from asd.studies.config import Supplemental
from asd.studies.halls import compare

NOISE, CLEAN = ("mix", "negatives", "profile"), ("references", "activity")

_USES = {
    "ignore": [],
    **{f"noise={use}": [f"supplemental.noise={use}"] for use in NOISE},
    **{f"clean={use}": [f"supplemental.clean={use}"] for use in CLEAN},
}
METHODS = {
    "statistics": _USES,
    "nearest": _USES,
    "autoencoder": {name: options for name, options in _USES.items() if name != "noise=negatives"},
    "embedding": _USES,
}


def run(config: Supplemental) -> str:
    """Runs what is missing of the study; returns its tables."""
    hall = {"supplemental": config.supplemental}
    return compare(config, "supplemental", "Uses of supplemental recordings", hall, METHODS, "ignore")
