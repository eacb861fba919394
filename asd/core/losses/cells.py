"""What a loss counts: cells, their weights, which of them are ignored, and reductions by name.

A cell is one entry of the logits: a class in a frame of a clip, or in a clip. Weights and masks have as many axes as
the logits, of size 1 where they are the same for all: (batch, frames, 1) for padding, (1, 1, classes) for a weight per
class. Fewer axes are refused, because (batch, frames) beside (batch, frames, classes) would be broadcast to the wrong
axes without a word.

A cell that is ignored, or whose weight is zero, is replaced before anything is computed from it. So a NaN
there reaches neither the loss nor the gradient, which a multiplication by zero would not prevent.
All arithmetic is done in float32 or better, whatever autocast says.

Args:
    logits, targets: (batch, ..., classes) each; targets lie in [0, 1].
    weight: how much each cell counts; no gradient flows into it. None: all alike.
    ignore: bool, True where nothing is known: padding, a class that this data set does not label. None: nowhere.
    losses: of every cell.
    reduction: how they are joined, see `Reduction`.

Raises:
    AsdError: shapes that do not fit, a mask that is not bool, or an unknown reduction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from asd.types import AsdError, one_of

# With l the loss of a cell and w its weight:
#     none           w l of each cell, 0 where ignored
#     sum            sum of w l
#     mean           sum of w l / number of cells not ignored; a weight of zero counts
#     mean_active    sum of w l / number of cells of a weight other than zero
#     weighted_mean  sum of w l / sum of w
#     sum_per_item   sum of w l / number of items (first axis) with a cell not ignored: the sum of the papers,
#                    whose formulas are written for one clip
# A batch in which nothing counts has the loss 0.
Reduction = Literal["none", "sum", "mean", "mean_active", "weighted_mean", "sum_per_item"]


@dataclass(frozen=True, slots=True)
class Cells:
    """Which cells count, and how much; made by `Cells.of`."""

    counted: torch.Tensor  # bool, False where ignored
    weight: torch.Tensor  # float32 or float64, 0 where ignored; same shape

    @classmethod
    def of(cls, like: torch.Tensor, weight: torch.Tensor | None = None, ignore: torch.Tensor | None = None) -> Cells:
        """The cells of a tensor of any shape, which gives device and precision, too; `AsdError` for a mask not bool."""
        if ignore is None:
            ignore = torch.zeros((1,) * like.ndim, dtype=torch.bool, device=like.device)
        if ignore.dtype != torch.bool:
            raise AsdError(f"an ignore mask is bool, True where a cell is left out; got {ignore.dtype}")
        if weight is None:
            dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
            weight = torch.ones((1,) * like.ndim, dtype=dtype, device=like.device)
        ignored = _spread(ignore, like.shape, "ignore")
        weight = _spread(at_least_float32(weight.detach()), like.shape, "weight")
        return cls(~ignored, torch.where(ignored, 0.0, weight))

    def clean(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the cells, or rows of values (..., classes), with 0 where they do not matter."""
        matters = (self.weight != 0).reshape(self.weight.shape + (1,) * (values.ndim - self.weight.ndim))
        return torch.where(matters, at_least_float32(values), 0.0)

    def reduce(self, losses: torch.Tensor, reduction: Reduction) -> torch.Tensor:
        """Losses of the cells, joined."""
        weighted = self.weight * losses
        if reduction == "none":
            return weighted
        return weighted.sum() if reduction == "sum" else weighted.sum() / self._divisor(reduction)

    def _divisor(self, reduction: Reduction) -> torch.Tensor:
        if reduction == "weighted_mean":
            mass = self.weight.sum()
            return torch.where(mass > 0, mass, 1.0)
        counts = {
            "mean": self.counted,
            "mean_active": self.weight != 0,
            "sum_per_item": self.counted.unsqueeze(-1).flatten(1).any(1),
        }
        return counts[reduction].sum().clamp_min(1)


class DecisionLoss(nn.Module, ABC):
    """A loss of logits against targets, both (batch, ..., classes), whose formula is that of a subclass."""

    def forward(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor | None = None,
        ignore: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of the logits against the targets; `AsdError` where their shapes differ."""
        # A loss of (batch, classes) against (classes,) would be broadcast, and is a mistake.
        if logits.shape != targets.shape:
            raise AsdError(
                f"targets of shape {tuple(targets.shape)} do not fit logits of shape {tuple(logits.shape)}; "
                "give one target per logit"
            )
        with torch.autocast(logits.device.type, enabled=False):
            cells = Cells.of(self._like_cells(logits), weight, ignore)
            return self._loss(cells, cells.clean(logits), cells.clean(targets))

    def _like_cells(self, logits: torch.Tensor) -> torch.Tensor:
        """A tensor with a value for each cell: by default every logit is one."""
        return logits

    @abstractmethod
    def _loss(self, cells: Cells, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor: ...


class CellLoss(DecisionLoss):
    """A loss that is computed cell by cell, by a subclass, and then reduced."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        one_of(reduction, get_args(Reduction), "reduction")
        self.reduction: Reduction = reduction

    def _loss(self, cells: Cells, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cells.reduce(self._cell_losses(logits, targets), self.reduction)

    @abstractmethod
    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of every cell; finite, and with a finite gradient, for finite input."""


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or in float64 where it was that."""
    return x if x.dtype == torch.float64 else x.float()


def _spread(x: torch.Tensor, shape: torch.Size, name: str) -> torch.Tensor:
    fits = x.ndim == len(shape) and all(n in (1, size) for n, size in zip(x.shape, shape, strict=True))
    if not fits:
        raise AsdError(
            f"{name} of shape {tuple(x.shape)} does not fit cells of shape {tuple(shape)}; "
            "give it as many axes, of size 1 where it is the same for all"
        )
    return x.expand(shape)


class SquaredError(CellLoss):
    """Squared difference between each prediction (in the place of the logits) and its target."""

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (logits - targets).square()


class SoftCrossEntropy(CellLoss):
    """Cross entropy between soft labels and the softmax of logits; here a cell is a row of classes.

    Labels are soft because mixup makes them so; a hard one is `one_hot(label, n_classes)`. A row that sums to
    less than one counts less. `weight` and `ignore` have the shape of the logits without the classes.
    """

    def _like_cells(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[..., 0]

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -(targets * logits.log_softmax(-1)).sum(-1)
