"""One step of the optimiser: learning rate, precision, pieces of a batch, clipping, teacher; in one process or several.

A schedule is a function of the step alone, counted from 0, so a resumed run needs no state of it. After its last step
it keeps its last value.

Of several processes that torchrun started, each takes its pieces of every batch, the gradients are averaged over all
items of the batch, and the first process writes the files. So the result is that of one process with the same batches,
but for what depends on the other items of a piece: batch normalisation, losses over a whole batch, and a step's own
draws.

Args:
    module, step: the network, the same in every process, and what trains it.
    settings: of the training.
    step: of a schedule, counted from 0; `n_steps` and `n_warmup` are lengths in steps of the whole and of its warm-up.
    peak, floor: largest and last value.
    batch: (items,) indices, the same in every process.
"""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam, AdamW, Optimizer, RAdam

from asd.core.runtime import log
from asd.core.semi import EmaTeacher
from asd.options import TrainSettings
from asd.types import AsdError

T = TypeVar("T")

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
        self.shared = shared_step(module, step) if world.size > 1 else None

    def set_mode(self, training: bool) -> None:
        """Network and teacher to train or eval mode."""
        self.module.train(training)
        if self.teacher is not None:
            self.teacher.train(training)

    def __call__(self, batch: torch.Tensor, learning_rate: float) -> dict[str, torch.Tensor]:
        """Loss of the batch (items,), and its terms: this process's share of them, detached."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
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
        with nullcontext() if last or self.shared is None else self.shared.no_sync():  # exchanged with the last piece
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
    """The "loss" that a step returned, and its terms by name, if there are any."""
    loss, terms = (returned, {}) if isinstance(returned, torch.Tensor) else returned
    return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}


@dataclass(frozen=True, slots=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def mine(self, batch: torch.Tensor, n_pieces: int) -> list[tuple[torch.Tensor, float]]:
        """This process's pieces of a batch, each with its share of the items.

        A piece has two items at least, where the batch has. A process for which none is left takes the first
        one with the share 0: it has to take part in the exchange of gradients.
        """
        pieces = batch.tensor_split(min(n_pieces * self.size, max(len(batch) // 2, 1)))
        own = [(piece, len(piece) / len(batch)) for piece in pieces[self.rank :: self.size]]
        return own or [(pieces[0], 0.0)]

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in all of them; the others wait for it."""
        if self.size == 1:
            return make()
        box: list[Any] = [make() if self.is_first else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def sum_of(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Sums over the processes, name by name; all have to know the same names and shapes."""
        if self.size == 1:
            return tensors
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, {name: tensor.cpu() for name, tensor in tensors.items()})
        return {name: torch.stack([box[name] for box in boxes]).sum(0) for name in tensors}

    def align(self, modules: Iterable[nn.Module]) -> None:
        """Gives all processes the first one's buffers, which each has gathered from its own pieces."""
        if self.size > 1:
            for module in modules:
                for buffer in module.buffers():
                    dist.broadcast(buffer, src=0)


def join(device: torch.device) -> World:
    """The processes that torchrun started, connected by NCCL between GPUs and by Gloo between CPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not dist.is_torchelastic_launched():
        return World()
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size)


def shared_step(module: nn.Module, step: Step) -> DistributedDataParallel:
    """A step whose gradients are averaged over the processes as `backward` finds them.

    DistributedDataParallel synchronises the module that it holds, however that is called, so the step may hold the
    network in a closure. Parameters that a step leaves out are found at every call.
    """
    if any(isinstance(part, _BatchNorm) for part in module.modules()):
        log.warning(
            "batch normalisation takes its statistics from the pieces of a batch: with %d processes the "
            "result is not that of one",
            dist.get_world_size(),
        )
    return DistributedDataParallel(_Called(module, step), find_unused_parameters=True)


class _Called(nn.Module):
    """A step as the forward pass of the module that it trains."""

    def __init__(self, module: nn.Module, step: Step) -> None:
        super().__init__()
        self.module, self.step = module, step

    def forward(self, indices: torch.Tensor) -> Any:
        return self.step(indices)


def linear_ramp(step: float, n_steps: int) -> float:
    """Rises from 0 at step 0 to 1 at step `n_steps` in a straight line; 1 at once where there are no steps."""
    return min(max(step, 0) / n_steps, 1.0) if n_steps > 0 else 1.0


def exponential_ramp(step: float, n_steps: int) -> float:
    """Rises from exp(-5) at step 0 to 1 at step `n_steps` as exp(-5 (1 - t)^2), t the linear ramp.

    Source: Laine and Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017.
    """
    return math.exp(-5 * (1 - linear_ramp(step, n_steps)) ** 2)


def warmup_cosine(step: int, n_steps: int, n_warmup: int, peak: float, floor: float = 0.0) -> float:
    """Linear warm-up, then half a cosine that never comes up again.

    Step k of n, w of them warm-up:

        k < w     peak (k + 1) / w
        k >= w    floor + (peak - floor) (1 + cos(pi (k - w) / (n - w - 1))) / 2

    so the first step learns something, the step after the warm-up has the peak, and step n - 1, the last
    one, and all after it have the floor.

    Raises:
        AsdError: a warm-up that leaves no step.

    Example:
        >>> tuple(round(warmup_cosine(step, 5, 2, peak=1.0), 2) for step in range(5))
        (0.5, 1.0, 1.0, 0.5, 0.0)
    """
    if not 0 <= n_warmup < n_steps:
        raise AsdError(
            f"a warm-up of {n_warmup} steps does not fit a training of {n_steps}; it takes from 0 steps to "
            f"one less than all"
        )
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    done = min((step - n_warmup) / max(n_steps - n_warmup - 1, 1), 1.0)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))


def learning_rate_at(settings: TrainSettings, step: int, n_steps: int) -> float:
    """Learning rate of step 0 to `n_steps` - 1; see `warmup_cosine`."""
    n_warmup = min(round(settings.warmup * n_steps), n_steps - 1)
    if settings.schedule == "constant":
        return settings.learning_rate * linear_ramp(step + 1, n_warmup)
    return warmup_cosine(step, n_steps, n_warmup, settings.learning_rate, settings.floor)
