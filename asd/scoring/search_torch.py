"""Candidates for the neighbour bank by plain torch in double precision: one path, any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

BLOCK_VALUES = 8 * 2**20  # proxies held at a time


class TorchFlat:
    """All rows on the device in float64 (ten million of 128 dimensions: 10 GB), compared block by block.

    Args:
        coordinates: gives rows of the bank as (rows, dims) float64.
        blocks: slices that cover the bank.
        count: rows of the bank.
        dims: their dimensions.
        device: where they live.
    """

    exact: bool = True
    dtype: type[np.floating[Any]] = np.float64

    def __init__(
        self,
        coordinates: Callable[[slice], npt.NDArray[np.float64]],
        blocks: Sequence[slice],
        count: int,
        dims: int,
        device: torch.device,
    ) -> None:
        self._points = torch.empty(count, dims, dtype=torch.float64, device=device)
        for block in blocks:
            self._points[block] = torch.from_numpy(coordinates(block)).to(device)
        self._squares = torch.cat([self._points[block].square().sum(1) for block in blocks])

    def propose(
        self, points: npt.NDArray[np.float64], count: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Squared distances by expansion, ascending, and rows: both (queries, count)."""
        queries = torch.from_numpy(points).to(self._points.device)
        best = queries.new_empty(len(queries), 0)
        rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        step = max(1, BLOCK_VALUES // max(1, len(queries)))
        for start in range(0, len(self._points), step):
            bank, squares = self._points[start : start + step], self._squares[start : start + step]
            proxies = torch.addmm(squares, queries, bank.T, alpha=-2.0)
            near, places = proxies.topk(min(count, len(bank)), dim=1, largest=False)
            rows = torch.cat([rows, places + start], dim=1)
            best, places = torch.cat([best, near], dim=1).topk(
                min(count, rows.shape[1]), dim=1, largest=False
            )
            rows = rows.gather(1, places)
        best = best + queries.square().sum(1, keepdim=True)
        return best.cpu().numpy(), rows.cpu().numpy()
