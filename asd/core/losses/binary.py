"""Losses of independent yes-or-no decisions, one per class: BCE and three ways to reweight it.

Most frames are silent for most classes, and some classes last a thousand times longer than others. With y
the probability sigmoid(logit) and z the target, soft or hard, all losses here are

    - a z log y - b (1 - z) log(1 - y)

and differ in the factors a of the active and b of the inactive cells:

                                   a                        b
    Bce                            1                        1
    SimpleReweighting     (SRL)    alpha                    beta
    InverseFrequency      (IFL)    (C / (N_m + C))^gamma    1
    AsymmetricFocal       (AFL)    (1 - y)^gamma            y^zeta

Everything is computed from log y = logsigmoid(x) and log(1 - y) = logsigmoid(-x). Computed from y, as it is
published, AFL has a NaN for a gradient as soon as a float32 sigmoid is exactly 0 or 1, which it is from a
logit of 17 on.

Source: Imoto et al., "Impact of sound duration and inactive frames on sound event detection performance",
ICASSP 2021 (arXiv 2102.01927), where they are summed over a clip: reduction "sum_per_item".
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch.nn.functional import logsigmoid

from asd.core.losses.cells import CellLoss, Cells, Reduction
from asd.types import AsdError

Factor = torch.Tensor | float


class BinaryLoss(CellLoss):
    """Cross entropy of each cell's decision, with factors that a subclass chooses."""

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """- a z log y - b (1 - z) log(1 - y)."""
        log_yes, log_no = logsigmoid(logits), logsigmoid(-logits)
        active, inactive = self._factors(log_yes, log_no)
        return -(active * targets * log_yes + inactive * (1 - targets) * log_no)

    @abstractmethod
    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
        """Factors (a, b), given log y and log(1 - y) of every cell; gradients flow through them."""


class Bce(BinaryLoss):
    """Binary cross entropy."""

    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
        """One and one."""
        del log_yes, log_no
        return 1.0, 1.0


class SimpleReweighting(BinaryLoss):
    """Inactive cells count less, because there are so many of them.

    Args:
        beta: factor of the inactive cells; sqrt(2) / 4 is the paper's.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.3535, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.alpha, self.beta = _not_negative("alpha", alpha), _not_negative("beta", beta)

    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
        """Two constants."""
        del log_yes, log_no
        return self.alpha, self.beta


class InverseFrequency(BinaryLoss):
    """Active cells of a class count less, the more of them the class has.

    Args:
        n_active_frames: (classes,) active frames of each class in the training data.
        constant: C, frames; a class with that many active frames has half the weight (gamma 1) of a rare one.
        gamma: exponent; 0 is BCE. The paper does not say its own.
    """

    factor: torch.Tensor

    def __init__(
        self, n_active_frames: torch.Tensor, constant: float = 500.0, gamma: float = 1.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction)
        if n_active_frames.ndim != 1 or not bool((n_active_frames >= 0).all()) or not constant > 0:
            raise AsdError(
                f"inverse frequency needs a count of frames, 0 or more, for each class, and a constant above "
                f"0; got counts of shape {tuple(n_active_frames.shape)} and the constant {constant}"
            )
        share = constant / (n_active_frames.double() + constant)
        self.register_buffer("factor", share.pow(_not_negative("gamma", gamma)).float())

    @classmethod
    def from_labels(
        cls,
        labels: torch.Tensor,
        ignore: torch.Tensor | None = None,
        constant: float = 500.0,
        gamma: float = 1.0,
        reduction: Reduction = "mean",
    ) -> InverseFrequency:
        """Counts the active frames in labels (..., classes); a soft label counts as its part of a frame."""
        cells = Cells.of(labels, ignore=ignore)
        n_active_frames = cells.clean(labels).flatten(0, -2).sum(0, dtype=torch.float64)
        return cls(n_active_frames, constant, gamma, reduction)

    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
        """A constant per class, and one."""
        del log_no
        if log_yes.shape[-1] != len(self.factor):
            raise AsdError(f"inverse frequency knows {len(self.factor)} classes, the logits have {log_yes.shape[-1]}")
        return self.factor, 1.0


class AsymmetricFocal(BinaryLoss):
    """Cells that are already right count less; how much less is set apart for active and inactive ones.

    Args:
        gamma: exponent of (1 - y) for active cells; 0 leaves them as in BCE.
        zeta: exponent of y for inactive cells; 0 leaves them as in BCE.
    """

    def __init__(self, gamma: float = 0.0625, zeta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.gamma, self.zeta = _not_negative("gamma", gamma), _not_negative("zeta", zeta)

    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
        """(1 - y)^gamma and y^zeta."""
        return (self.gamma * log_no).exp(), (self.zeta * log_yes).exp()


def _not_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise AsdError(f"{name} of a loss is a number from 0 on; got {value}")
    return value
