"""The student should say what the teacher says, sure or not (mean teacher)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from asd.core.losses.cells import CellLoss, Reduction
from asd.types import AsdError

Distance = Literal["mse", "bce"]


class Consistency(CellLoss):
    """Distance between the student's and the teacher's probabilities, of clips or of frames.

    Called as consistency(student_logits, teacher_probabilities, weight=None, ignore=None); no gradient flows
    into the teacher.

    Args:
        distance: "mse", squared difference of the probabilities, or "bce", cross entropy with the teacher's
            as soft targets, whose gradient does not vanish where the student is sure and wrong.
        reduction: see `cells.Reduction`.

    Raises:
        AsdError: an unknown distance or reduction.
    """

    def __init__(self, distance: Distance = "mse", reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        if distance not in get_args(Distance):
            raise AsdError(
                f"no consistency is called {distance!r}; choose one of {', '.join(get_args(Distance))}"
            )
        self.distance = distance

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(y - t)^2 or BCE, t being the teacher's probability."""
        teacher = targets.detach()
        if self.distance == "bce":
            return binary_cross_entropy_with_logits(logits, teacher, reduction="none")
        return (logits.sigmoid() - teacher).square()
