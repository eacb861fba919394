"""Losses of numbers that are predicted as they are: positions, angles, activities."""

from __future__ import annotations

import torch

from asd.core.losses.cells import CellLoss


class SquaredError(CellLoss):
    """Squared difference between each prediction (in the place of the logits) and its target."""

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(x - z)^2."""
        return (logits - targets).square()
