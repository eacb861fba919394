"""A teacher that is the running average of its student (mean teacher), and a loss that draws the student to it.

Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, Self, get_args

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from asd.core.losses.cells import CellLoss, Reduction
from asd.types import AsdError

# What becomes of the buffers, above all the running statistics of batch normalisation:
#     copy    the student's at every update; the teacher always runs in eval mode
#     ema     averaged like the parameters, integers copied; the teacher always runs in eval mode
#     own     untouched: told to `train()`, the teacher really runs in train mode, dropout included, and
#             gathers statistics of its own
# Averaging the parameters alone and running in eval mode would leave them at their first values for ever.
Buffers = Literal["copy", "ema", "own"]

Distance = Literal["mse", "bce"]


class EmaTeacher(nn.Module):
    """Exponential moving average of a student; gives no gradient and takes none.

    Update n, counted from 0, keeps the share min(1 - 1 / (n + 1), decay) of the teacher: the first one copies
    the student, the next ones average all students so far, until `decay` forgets the oldest. With "copy" this
    equals `torch.optim.swa_utils.AveragedModel` with that averaging.

    The state dictionary holds the module and the number of updates, so a resumed run goes on as it would have.

    Raises:
        AsdError: a decay out of range or an unknown policy.
    """

    n_updates: torch.Tensor

    def __init__(self, student: nn.Module, decay: float = 0.999, buffers: Buffers = "copy") -> None:
        super().__init__()
        if not 0 <= decay < 1 or buffers not in get_args(Buffers):
            raise AsdError(
                f"an EMA teacher needs a decay from 0 to below 1 and buffers out of "
                f"{', '.join(get_args(Buffers))}; got {decay} and {buffers!r}"
            )
        self.module = copy.deepcopy(student).requires_grad_(False)
        self.decay, self.buffer_policy = decay, buffers
        device = next(student.parameters()).device
        # A tensor where the parameters are: the GPU never waits to learn which update this is.
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64, device=device))
        self.train(student.training)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged module returns."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Train mode reaches the averaged module only where its buffers are its own."""
        super().train(mode)
        self.module.train(mode and self.buffer_policy == "own")
        return self

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Moves the average to the student's present parameters; to be called after each optimiser step."""
        share = torch.clamp(1 / (self.n_updates + 1.0), min=1 - self.decay)
        self.n_updates += 1
        for average, weight in zip(self.module.parameters(), student.parameters(), strict=True):
            average.lerp_(weight, share.to(average.dtype))
        if self.buffer_policy == "own":
            return
        for mine, buffer in zip(self.module.buffers(), student.buffers(), strict=True):
            if self.buffer_policy == "ema" and mine.is_floating_point():
                mine.lerp_(buffer, share.to(mine.dtype))
            else:
                mine.copy_(buffer)


class Consistency(CellLoss):
    """Distance between the student's and the teacher's probabilities, of clips or of frames.

    Called as consistency(student_logits, teacher_probabilities, weight=None, ignore=None); no gradient flows
    into the teacher.

    Args:
        distance: "mse", squared difference of the probabilities, or "bce", cross entropy with the teacher's
            as soft targets, whose gradient does not vanish where the student is sure and wrong.

    Raises:
        AsdError: an unknown distance or reduction.
    """

    def __init__(self, distance: Distance = "mse", reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        if distance not in get_args(Distance):
            raise AsdError(f"no consistency is called {distance!r}; choose one of {', '.join(get_args(Distance))}")
        self.distance = distance

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(y - t)^2 or BCE, t being the teacher's probability."""
        teacher = targets.detach()
        if self.distance == "bce":
            return binary_cross_entropy_with_logits(logits, teacher, reduction="none")
        return (logits.sigmoid() - teacher).square()
