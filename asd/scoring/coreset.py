"""A few vectors that stand for many: greedy k-centre selection."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from asd.core.runtime import pick_device
from asd.scoring.space import IntArray, checked
from asd.types import AsdError

BLOCK_VALUES = 4 * 2**20  # float64 differences held at a time


def k_centre_greedy(
    vectors: npt.NDArray[np.floating[Any]], count: int, *, seed: int = 0, device: str | torch.device = "cpu"
) -> IntArray:
    """Rows that cover all others: first one by chance, then always the one farthest from those chosen.

    No choice of as many rows can have less than half the covering radius (Gonzalez 1985): the largest
    Euclidean distance of a row to the nearest chosen one. Time grows with rows * dims * count.

    Args:
        vectors: (n, dims), finite.
        count: rows to choose, 1 to n. Once only duplicates of chosen rows are left, these follow by index.
        seed: fixes the first row, which is always kept.
        device: where distances are computed, in float64 and block by block.

    Returns:
        (count,) distinct rows in the order of choice: a prefix is the choice for a smaller count.

    Raises:
        AsdError: a count out of range, NaN or infinity.
    """
    vectors = checked(vectors, "vector")
    if not 1 <= count <= len(vectors):
        raise AsdError(
            f"{count} centres cannot be chosen from {len(vectors)} vectors; ask for 1 or more of them"
        )
    points = torch.from_numpy(vectors).to(pick_device(str(device)))
    uncovered = torch.full((len(points),), torch.inf, dtype=torch.float64, device=points.device)
    chosen = torch.empty(count, dtype=torch.int64, device=points.device)
    newest = torch.tensor(int(np.random.default_rng(seed).integers(len(points))), device=points.device)
    for place in range(count):
        chosen[place] = newest
        _cover(uncovered, points, points[newest])
        uncovered[newest] = -1.0  # below every distance: chosen once, even among duplicates
        newest = uncovered.argmax()  # of equals the lowest index
    return chosen.cpu().numpy()


def _cover(uncovered: torch.Tensor, points: torch.Tensor, centre: torch.Tensor) -> None:
    """Lowers squared distances to the nearest centre, (n,) in place, by those to one more centre (dims,)."""
    step = max(1, BLOCK_VALUES // points.shape[1])
    for start in range(0, len(points), step):
        squared = (points[start : start + step].double() - centre.double()).square().sum(1)
        block = uncovered[start : start + step]
        torch.minimum(block, squared, out=block)
