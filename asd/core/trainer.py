"""The one training loop: shuffled index batches in, a trained module out, resumable after any epoch.

The loop never sees data: it hands batches of indices to `step`, which looks them up on the device
where they already lie and returns one loss. So there is no loader in the way, and the order of an
epoch is a function of (seed, epoch): a resumed run ends with exactly the result of an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from asd.core.checkpoint import flatten_optimizer, load_into, load_tensors, restore_optimizer, save_tensors
from asd.core.runtime import MetricsLog, epoch_seed, keep_freed_memory, log, progress
from asd.types import AsdError

_STATE = "state.safetensors"

Step = Callable[[torch.Tensor], torch.Tensor]  # indices (batch,) -> loss, a scalar with gradient


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How long and how to train.

    Attributes:
        epochs: passes over the training items.
        batch_size: items per step.
        learning_rate: step size of AdamW, which is Adam where there is no weight decay.
        seed: fixes every random draw.
        weight_decay: decoupled, per step and unit of learning rate.
        warmup: share of all steps over which the learning rate rises linearly from zero.
        schedule: what it does afterwards: stays "constant", or falls to zero along half a "cosine".
        precision: "bfloat16" runs matrix products and convolutions of `step` under autocast.
    """

    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0
    weight_decay: float = 0.0
    warmup: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["float32", "bfloat16"] = "float32"

    def learning_rate_at(self, done: float) -> float:
        """Learning rate when the share `done` (0 to 1) of all steps is done."""
        if done < self.warmup:
            return self.learning_rate * done / self.warmup
        if self.schedule == "constant":
            return self.learning_rate
        remaining = (done - self.warmup) / (1 - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * remaining))


@dataclass(frozen=True, slots=True)
class Trained:
    """What the loop leaves behind besides the trained module: losses of the last epoch, (batches,)."""

    train_losses: torch.Tensor
    valid_losses: torch.Tensor


def train(
    module: torch.nn.Module,
    step: Step,
    train_indices: torch.Tensor,
    settings: TrainSettings,
    directory: Path,
    *,
    valid_indices: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    fingerprint: str = "",
    label: str = "training",
) -> Trained:
    """Trains `module` in place with AdamW on `step(indices)`; resumes from `directory` where it was stopped.

    Args:
        module: the network, already on its device.
        step: loss of one batch of indices; differentiable in train mode.
        train_indices: (n,) int64 items to learn from, on the module's device.
        settings: epochs, batch size, learning rate, seed, precision.
        directory: receives metrics.jsonl and state.safetensors (weights, optimiser, epoch).
        valid_indices: (m,) items whose loss is logged each epoch, never learnt from.
        weights: (n,) an epoch draws n items with replacement in these proportions; None: each item once.
        fingerprint: hash of configuration and data; a state with another one is refused.
        label: what the progress bar says.

    Returns:
        Losses of the last epoch per batch.

    Raises:
        AsdError: a loss that is not finite (the batch is named), or a state of another configuration.
    """
    keep_freed_memory()
    directory.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    state_path = directory / _STATE
    first, result = _resume(module, optimizer, state_path, fingerprint)
    metrics = MetricsLog(directory / "metrics.jsonl", keep=first)
    for epoch in progress(range(first, settings.epochs), label, total=settings.epochs - first):
        started = time.perf_counter()
        result = _epoch(module, optimizer, step, train_indices, valid_indices, weights, settings, epoch)
        # The line before the state: killed in between, the epoch is run again and its line replaced.
        metrics.append(
            {
                "epoch": epoch + 1,
                "train_loss": float(result.train_losses.mean()),
                **({"valid_loss": float(result.valid_losses.mean())} if len(result.valid_losses) else {}),
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
        save_tensors(
            state_path,
            {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
            | flatten_optimizer(optimizer)
            | {"losses.train": result.train_losses, "losses.valid": result.valid_losses},
            {"epoch": epoch + 1, "fingerprint": fingerprint},
        )
    return result


def interrupted(directory: Path) -> str | None:
    """Fingerprint of the training that was stopped in `directory`; None where there is none to resume.

    Raises:
        AsdError: the state there is damaged.
    """
    path = directory / _STATE
    return _read_state(path)[1].get("fingerprint", "") if path.exists() else None


def _read_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        return load_tensors(path)
    except AsdError as error:
        raise AsdError(f"{error}; remove it, and the same command trains from the beginning") from error


def _epoch(
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    step: Step,
    train_indices: torch.Tensor,
    valid_indices: torch.Tensor | None,
    weights: torch.Tensor | None,
    settings: TrainSettings,
    epoch: int,
) -> Trained:
    torch.manual_seed(epoch_seed(settings.seed, epoch))
    if weights is None:
        order = torch.randperm(len(train_indices))
    else:
        order = torch.multinomial(weights.cpu(), len(train_indices), replacement=True)
    batches = torch.split(train_indices[order.to(train_indices.device)], settings.batch_size)
    module.train()
    losses = []
    for i, batch in enumerate(batches):
        if len(batch) == 1:  # batch normalisation has no variance to offer
            continue
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate_at((epoch + (i + 0.5) / len(batches)) / settings.epochs)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            loss = step(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    if not losses:
        raise AsdError(f"{len(train_indices)} training item is too few to train on; two are the least")
    module.eval()
    with torch.no_grad():
        valid = (
            [step(b) for b in valid_indices.split(settings.batch_size)] if valid_indices is not None else []
        )
    # One transfer per epoch: looking at each loss would make the GPU wait for the CPU at every step.
    train_losses = torch.stack(losses).float().cpu()
    bad = (~torch.isfinite(train_losses)).nonzero()
    if len(bad):
        raise AsdError(
            f"the training loss became {float(train_losses[bad[0, 0]])} in epoch {epoch + 1}, "
            f"batch {int(bad[0, 0]) + 1} of {len(train_losses)}; lower the detector's learning_rate "
            f"(now {settings.learning_rate}): the state before the epoch is kept"
        )
    return Trained(train_losses, torch.stack(valid).float().cpu() if valid else torch.empty(0))


def _resume(
    module: torch.nn.Module, optimizer: torch.optim.Optimizer, path: Path, fingerprint: str
) -> tuple[int, Trained]:
    """Loads the state at `path` if there is one: (epochs done, losses of the last one)."""
    empty = Trained(torch.empty(0), torch.empty(0))
    if not path.exists():
        return 0, empty
    tensors, facts = _read_state(path)
    if facts.get("fingerprint") != fingerprint:
        raise AsdError(
            f"{path} was left by a run with another configuration or other data; choose another name=, "
            f"or overwrite=true to start anew"
        )
    device = next(module.parameters()).device
    weights = {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("module.")}
    load_into(module, weights, path)
    restore_optimizer(optimizer, {name: tensor.to(device) for name, tensor in tensors.items()})
    log.info("resuming after epoch %d from %s", facts["epoch"], path)
    return int(facts["epoch"]), Trained(tensors["losses.train"], tensors["losses.valid"])
