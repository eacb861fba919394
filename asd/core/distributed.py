"""Training by several processes that torchrun started; a single process is not affected.

Every process takes its pieces of each batch, the gradients are averaged over all items of the batch, and the
first process writes the files. So the result is that of one process with the same batches, but for what
depends on the other items of a piece: batch normalisation, losses over a whole batch, and a step's own draws.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from asd.core.runtime import log

T = TypeVar("T")


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

        Args:
            batch: (items,) indices, the same in every process.
            n_pieces: pieces per process.
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


class Shared(nn.Module):
    """A step whose gradients are averaged over the processes as `backward` finds them.

    DistributedDataParallel synchronises the module that it holds, however that is called, so the step may hold the
    network in a closure. Parameters that a step leaves out are found at every call.
    """

    def __init__(self, module: nn.Module, step: Callable[[torch.Tensor], Any], world: World) -> None:
        super().__init__()
        if any(isinstance(part, _BatchNorm) for part in module.modules()):
            log.warning(
                "batch normalisation takes its statistics from the pieces of a batch: with %d processes the "
                "result is not that of one",
                world.size,
            )
        self.parallel = DistributedDataParallel(_Called(module, step), find_unused_parameters=True)

    def forward(self, indices: torch.Tensor) -> Any:
        """What the step returns."""
        return self.parallel(indices)

    def waiting(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged with the last piece of a batch only."""
        return nullcontext() if last else self.parallel.no_sync()


class _Called(nn.Module):
    """A step as the forward pass of the module that it trains."""

    def __init__(self, module: nn.Module, step: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.module, self.step = module, step

    def forward(self, indices: torch.Tensor) -> Any:
        return self.step(indices)
