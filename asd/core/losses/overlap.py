"""Losses of the overlap of predictions and labels, dice and focal Tversky; true negatives do not count.

Both are one ratio of sums over every clip, frame and class of the batch, so there is nothing left to reduce,
and the loss of a batch is not the mean of the losses of its parts. Where a batch is spread over processes
or steps, add up `sums` and take `from_sums` of the whole.

Source: Imoto et al., "Impact of data imbalance caused by inactive frames and difference in sound duration on
sound event detection performance", Applied Acoustics 2022.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from asd.core.losses.cells import Cells, require_same_shape
from asd.types import AsdError


class FocalBatchTversky(nn.Module):
    """One minus a Tversky index in which cells that are already active count less (FBTL).

    With y the probability, z the target and f = (1 - y)^gamma:
    1 - (sum f y z + eta) / (alpha sum f y + beta sum z + eta). An active cell is drawn to y = 1 / (1 + gamma),
    where f y is largest, not to 1; with gamma small that is a brake on logits that grow for ever.

    Args:
        alpha: price of what is predicted; more of it, fewer false positives.
        beta: price of what is labelled; more of it, fewer misses.
        gamma: focal exponent; gradients flow through the factor.
        eta: smoothing, above 0: the loss of a batch in which nothing is labelled or predicted is 0.

    Raises:
        AsdError: a negative number, or no smoothing.
    """

    def __init__(self, alpha: float = 0.6, beta: float = 0.4, gamma: float = 0.001, eta: float = 1.0) -> None:
        super().__init__()
        if not (alpha >= 0 and beta >= 0 and gamma >= 0 and eta > 0):
            raise AsdError(
                f"alpha, beta and gamma of an overlap loss are numbers from 0 on and its smoothing is above 0; "
                f"got {alpha}, {beta}, {gamma} and {eta}"
            )
        self.alpha, self.beta, self.gamma, self.eta = alpha, beta, gamma, eta

    def forward(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor | None = None,
        ignore: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss, a scalar, of logits (batch, ..., classes) against targets in [0, 1] of the same shape.

        `weight` and `ignore` are those of `cells.CellLoss`.

        Raises:
            AsdError: shapes that do not fit, or a mask that is not bool.
        """
        return self.from_sums(self.sums(logits, targets, weight, ignore))

    def sums(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor | None = None,
        ignore: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The three sums (3,) that the loss is made of: sum f y z, sum f y, sum z; a cell counts `weight`."""
        require_same_shape(logits, targets)
        with torch.autocast(logits.device.type, enabled=False):
            cells = Cells.of(logits, weight, ignore)
            logits, targets = cells.clean(logits), cells.clean(targets)
            predicted = (self.gamma * logsigmoid(-logits) + logsigmoid(logits)).exp()
            parts = torch.stack([predicted * targets, predicted, targets])
            return (cells.weight * parts).flatten(1).sum(1)

    def from_sums(self, sums: torch.Tensor) -> torch.Tensor:
        """Loss of the whole, given the sums (3,) of all its parts."""
        both, predicted, labelled = sums
        return 1 - (both + self.eta) / (self.alpha * predicted + self.beta * labelled + self.eta)


class BatchDice(FocalBatchTversky):
    """One minus the dice coefficient, 1 - (2 sum y z + s) / (sum y + sum z + s), smoothed by s.

    That is a Tversky index with equal prices and without focus, with eta = s / 2.
    """

    def __init__(self, smoothing: float = 1.0) -> None:
        super().__init__(alpha=0.5, beta=0.5, gamma=0.0, eta=smoothing / 2)
