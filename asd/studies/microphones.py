"""The study of two microphones: what each front end gains, by how loud the noise is at the near one."""

from __future__ import annotations

from asd.studies.config import Microphones
from asd.studies.halls import compare

FRONT_ENDS = ("near", "far", "mean", "cancel", "subtract")

_WORDS = {name: [f"frontend={name}"] for name in FRONT_ENDS}
_RESIDUAL = {"near - 0.5 far": ["residual=0.5"], "cancel - 0.5 far": ["frontend=cancel", "residual=0.5"]}
METHODS = {
    "statistics": _WORDS | _RESIDUAL,
    "nearest": _WORDS | _RESIDUAL,
    "autoencoder": _WORDS,
    "embedding": _WORDS | _RESIDUAL,
}


def run(config: Microphones) -> str:
    """Runs what is missing of the study; returns its tables."""
    return compare(config, "microphones", "Front ends for two microphones", {"channels": 2}, METHODS, "near")
