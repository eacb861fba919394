"""Directions in which vectors move for a reason of no interest, and vectors without them.

Recordings of the noise alone show how vectors vary when only the noise does. What lies along the main axes of that
variation is taken out of every vector before anything is measured, so that no back end mistakes it for a fault.

Source: Solomonoff, Campbell and Boardman, "Advances in channel compensation for SVM speaker recognition", ICASSP
2005 (nuisance attribute projection).
"""

from __future__ import annotations

import numpy as np

from asd.scoring.references import FloatArray
from asd.types import AsdError

SHARE = (
    0.5  # of the noise's variance that goes; the rest of its axes are the machine's as much as the noise's
)


def nuisance_directions(noise: FloatArray, share: float = SHARE) -> FloatArray:
    """The fewest axes that hold `share` of the variance: (clips, dims) of noise -> (directions, dims), orthonormal.

    Raises:
        AsdError: too few recordings to vary.
    """
    if len(noise) < 2:
        raise AsdError(
            f"{len(noise)} noise-only recording is too few to see how noise varies; give two or more in "
            f"supplemental/, or set supplemental.noise=ignore"
        )
    _, spread, axes = np.linalg.svd(noise - noise.mean(0), full_matrices=False)
    held = np.cumsum(np.square(spread))
    return np.asarray(axes[: 1 + int(np.searchsorted(held, share * held[-1]))])


def without_directions(vectors: FloatArray, directions: FloatArray) -> FloatArray:
    """Vectors (n, dims) projected onto what is at right angles to the directions (k, dims)."""
    return vectors - vectors @ directions.T @ directions
