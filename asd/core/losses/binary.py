"""Losses of independent yes-or-no decisions, one per class: BCE, three ways to reweight it, two of overlap; by name.

Most frames are silent for most classes, and some classes last a thousand times longer than others. With y
the probability sigmoid(logit) and z the target, soft or hard, the first losses here are

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

The losses of overlap, dice and focal Tversky, are one ratio of sums over every clip, frame and class of the batch, in
which true negatives do not count. So there is nothing left to reduce, and the loss of a batch is not the mean of the
losses of its parts.

Source: Imoto et al., "Impact of data imbalance caused by inactive frames and difference in sound duration on
sound event detection performance", Applied Acoustics 2022.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from asd.core.losses.cells import CellLoss, Cells, DecisionLoss, Reduction
from asd.types import AsdError, one_of

Factor = torch.Tensor | float


class BinaryLoss(CellLoss):
    """Cross entropy of each cell's decision, with factors that a subclass chooses."""

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_yes, log_no = logsigmoid(logits), logsigmoid(-logits)
        active, inactive = self._factors(log_yes, log_no)
        return -(active * targets * log_yes + inactive * (1 - targets) * log_no)

    @abstractmethod
    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
        """Factors (a, b), given log y and log(1 - y) of every cell; gradients flow through them."""


class Bce(BinaryLoss):
    """Binary cross entropy."""

    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
        return 1.0, 1.0


class SimpleReweighting(BinaryLoss):
    """Inactive cells count less, because there are so many of them: by `beta`, sqrt(2) / 4 in the paper."""

    def __init__(self, alpha: float = 1.0, beta: float = 0.3535, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.alpha, self.beta = _not_negative("alpha", alpha), _not_negative("beta", beta)

    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
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
    def from_labels(cls, labels: torch.Tensor, ignore: torch.Tensor | None = None, **options: Any) -> InverseFrequency:
        """Counts the active frames in labels; a soft label counts as its part of a frame.

        Args:
            labels: (..., classes), in [0, 1].
            ignore: True where a cell is not counted, shape of labels.
            options: of the class.
        """
        cells = Cells.of(labels, ignore=ignore)
        return cls(cells.clean(labels).flatten(0, -2).sum(0, dtype=torch.float64), **options)

    def _factors(self, log_yes: torch.Tensor, log_no: torch.Tensor) -> tuple[Factor, Factor]:
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
        return (self.gamma * log_no).exp(), (self.zeta * log_yes).exp()


def _not_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise AsdError(f"{name} of a loss is a number from 0 on; got {value}")
    return value


class FocalBatchTversky(DecisionLoss):
    """One minus a Tversky index in which cells that are already active count less (FBTL).

    With y the probability, z the target and f = (1 - y)^gamma:
    1 - (sum f y z + eta) / (alpha sum f y + beta sum z + eta). An active cell is drawn to y = 1 / (1 + gamma),
    where f y is largest, not to 1; with gamma small that is a brake on logits that grow for ever.

    Args:
        alpha: price of what is predicted; more of it, fewer false positives.
        beta: price of what is labelled; more of it, fewer misses.
        gamma: focal exponent; gradients flow through the factor.
        eta: smoothing, above 0: the loss of a batch in which nothing is labelled or predicted is 0.
    """

    def __init__(self, alpha: float = 0.6, beta: float = 0.4, gamma: float = 0.001, eta: float = 1.0) -> None:
        super().__init__()
        if not (alpha >= 0 and beta >= 0 and gamma >= 0 and eta > 0):
            raise AsdError(
                f"alpha, beta and gamma of an overlap loss are numbers from 0 on and its smoothing is above 0; "
                f"got {alpha}, {beta}, {gamma} and {eta}"
            )
        self.alpha, self.beta, self.gamma, self.eta = alpha, beta, gamma, eta

    def _loss(self, cells: Cells, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found = (self.gamma * logsigmoid(-logits) + logsigmoid(logits)).exp()
        both, predicted, labelled = (cells.weight * torch.stack([found * targets, found, targets])).flatten(1).sum(1)
        return 1 - (both + self.eta) / (self.alpha * predicted + self.beta * labelled + self.eta)


class BatchDice(FocalBatchTversky):
    """One minus the dice coefficient, 1 - (2 sum y z + s) / (sum y + sum z + s), smoothed by s.

    That is a Tversky index with equal prices and without focus, with eta = s / 2.
    """

    def __init__(self, smoothing: float = 1.0) -> None:
        super().__init__(alpha=0.5, beta=0.5, gamma=0.0, eta=smoothing / 2)


# name -> class; every one is called as loss(logits, targets, weight=None, ignore=None) and returns a scalar,
# or cells where its reduction is "none"
DECISION_LOSSES: dict[str, Callable[..., nn.Module]] = {
    "bce": Bce,
    "srl": SimpleReweighting,
    "ifl": InverseFrequency,
    "afl": AsymmetricFocal,
    "dice": BatchDice,
    "fbtl": FocalBatchTversky,
}


def decision_loss(name: str, **settings: Any) -> nn.Module:
    """The loss of that name; `AsdError` for an unknown one, a setting that it does not have, or one that it needs.

    Args:
        settings: arguments of its class, "reduction" among them where the class reduces anything.
    """
    signature = inspect.signature(DECISION_LOSSES[one_of(name, tuple(DECISION_LOSSES), "loss")])
    try:
        signature.bind(**settings)
    except TypeError as error:
        given = ", ".join(settings) or "none"
        raise AsdError(
            f"the loss {name!r} has the settings {', '.join(signature.parameters)}; got {given}: {error}"
        ) from error
    return DECISION_LOSSES[name](**settings)
