"""Losses of one choice among classes."""

from __future__ import annotations

import torch
from torch import nn

from asd.core.losses.cells import Cells, Reduction, known_reduction, require_same_shape


class SoftCrossEntropy(nn.Module):
    """Cross entropy between soft labels and the softmax of logits; here a cell is a row of classes.

    Labels are soft because mixup makes them so; a hard one is `one_hot(label, n_classes)`. A row that sums to
    less than one counts less.

    Args:
        reduction: see `cells.Reduction`.

    Raises:
        AsdError: an unknown reduction.
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = known_reduction(reduction)

    def forward(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor | None = None,
        ignore: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reduced loss of logits (batch, ..., classes) against targets of the same shape.

        Args:
            logits: scores of each class, not normalised.
            targets: probabilities of each class.
            weight: (batch, ...) without the classes, or with sizes of 1; None: one everywhere.
            ignore: (batch, ...) bool, likewise, True where a row is left out.

        Raises:
            AsdError: shapes that do not fit, or a mask that is not bool.
        """
        require_same_shape(logits, targets)
        with torch.autocast(logits.device.type, enabled=False):
            rows = Cells.of(logits[..., 0], weight, ignore)
            losses = -(rows.clean(targets) * rows.clean(logits).log_softmax(-1)).sum(-1)
            return rows.reduce(losses, self.reduction)
