"""One step of the optimiser: precision, pieces of a batch, clipping, averaging teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Adam, AdamW, Optimizer, RAdam

from asd.core.distributed import Shared, World
from asd.core.semi.teacher import EmaTeacher
from asd.core.train_settings import TrainSettings

# indices (batch,) -> loss, a scalar with gradient; or that and the detached scalars it is made of, by name
Step = Callable[[torch.Tensor], torch.Tensor | tuple[torch.Tensor, Mapping[str, torch.Tensor]]]

# The weight decay of AdamW is decoupled; that of the others is a part of the gradient.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": lambda *arguments, **options: AdamW(*arguments, **options, fused=True),
    "adam": lambda *arguments, **options: Adam(*arguments, **options, fused=True),
    "radam": RAdam,
}
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Update:
    """Moves a network's weights once per batch.

    The gradient is that of the mean over the whole batch, however many pieces it is cut into. In float16 the
    loss is scaled up before and the gradient down after the backward pass, before it is clipped; a step whose
    gradient overflowed is left out, and the scale is halved.
    """

    def __init__(
        self, module: nn.Module, step: Step, settings: TrainSettings, teacher: EmaTeacher | None, world: World
    ) -> None:
        self.module, self.step, self.settings = module, step, settings
        self.teacher, self.world = teacher, world
        self.device = next(module.parameters()).device
        automatic = "bfloat16" if self.device.type == "cuda" else "float32"
        self.dtype = _PRECISIONS[automatic if settings.precision == "auto" else settings.precision]
        self.optimizer = OPTIMIZERS[settings.optimizer](
            module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.scaler = GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.shared = Shared(module, step, world) if world.size > 1 else None

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_mode(self, training: bool) -> None:
        """Network and teacher to train or eval mode."""
        self.module.train(training)
        if self.teacher is not None:
            self.teacher.train(training)

    def __call__(self, batch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
        """Loss of the batch (items,), and its terms: this process's share of them, detached."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        pieces = self.world.mine(batch, self.settings.accumulate)
        losses = [self._backward(piece, share, last=k == len(pieces) - 1) for k, (piece, share) in enumerate(pieces)]
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.teacher is not None:
            self.teacher.update(self.module)
        return {name: sum((each[name] for each in losses[1:]), loss) for name, loss in losses[0].items()}

    def _backward(self, piece: torch.Tensor, share: float, last: bool) -> dict[str, torch.Tensor]:
        with self.shared.waiting(last) if self.shared else nullcontext():
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                losses = _by_name((self.shared or self.step)(piece))
            weight = share * self.world.size  # the exchange of gradients divides by the number of processes
            self.scaler.scale(losses["loss"] if weight == 1 else losses["loss"] * weight).backward()
        return {name: loss.detach() if share == 1 else loss.detach() * share for name, loss in losses.items()}

    def losses_of(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss ("loss") and terms of items (n,), never learnt from: (batches,) each, on the CPU."""
        found: dict[str, list[torch.Tensor]] = {}
        for batch in indices.split(self.settings.batch_size):
            for name, value in _by_name(self.step(batch)).items():
                found.setdefault(name, []).append(value)
        return {name: torch.stack(values).float().cpu() for name, values in found.items()}


def _by_name(returned: Any) -> dict[str, torch.Tensor]:
    """What a step returned: its "loss", and the terms that it is made of, if it told them."""
    loss, terms = (returned, {}) if isinstance(returned, torch.Tensor) else returned
    return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}
