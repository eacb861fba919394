"""A teacher that is the running average of its student (mean teacher), and a loss that draws the student to it.

Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, Self, get_args

import torch
from torch import nn

from asd.core.losses.cells import CellLoss
from asd.types import AsdError

# What becomes of the buffers, above all the running statistics of batch normalisation: the student's at every update
# ("copy"), or averaged like the parameters, integers copied ("ema"). Averaging the parameters alone would leave them at
# their first values for ever.
Buffers = Literal["copy", "ema"]


class EmaTeacher(nn.Module):
    """Exponential moving average of a student; gives no gradient and takes none, and always runs in eval mode.

    Update n, counted from 0, keeps the share min(1 - 1 / (n + 1), decay) of the teacher: the first one copies
    the student, the next ones average all students so far, until `decay` forgets the oldest. With "copy" this
    equals `torch.optim.swa_utils.AveragedModel` with that averaging.

    The state dictionary holds the module and the number of updates, so a resumed run goes on as it would have.
    `AsdError` for a decay out of range or an unknown policy.
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
        """Train mode does not reach the averaged module."""
        super().train(mode)
        self.module.eval()
        return self

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Moves the average to the student's present parameters; to be called after each optimiser step."""
        share = torch.clamp(1 / (self.n_updates + 1.0), min=1 - self.decay)
        self.n_updates += 1
        for average, weight in zip(self.module.parameters(), student.parameters(), strict=True):
            average.lerp_(weight, share.to(average.dtype))
        for mine, buffer in zip(self.module.buffers(), student.buffers(), strict=True):
            if self.buffer_policy == "ema" and mine.is_floating_point():
                mine.lerp_(buffer, share.to(mine.dtype))
            else:
                mine.copy_(buffer)


class Consistency(CellLoss):
    """Squared distance between the student's and the teacher's probabilities, of clips or of frames.

    Called as consistency(student_logits, teacher_probabilities, weight=None, ignore=None); no gradient flows
    into the teacher.
    """

    def _cell_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (logits.sigmoid() - targets.detach()).square()
