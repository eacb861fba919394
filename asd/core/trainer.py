"""The one training loop: shuffled index batches in, a trained module out, resumable at any batch.

The loop never sees data: it hands batches of indices to `step`, which looks them up on the device
where they already lie and returns one loss. So there is no loader in the way, and the order of an
epoch is a function of (seed, epoch): a resumed run ends with exactly the result of an uninterrupted one.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from asd.core.files import append_text
from asd.core.runtime import epoch_seed, interrupt_noted, keep_freed_memory, log, progress
from asd.core.semi import EmaTeacher
from asd.core.tracking import TRACKER
from asd.core.train_state import Position, StateFile, keep_lines, set_random_states
from asd.core.update import Step, Update, join, learning_rate_at
from asd.options import TrainSettings
from asd.types import AsdError

_STATE = "state.safetensors"
Validate = Callable[[int], Mapping[str, float]]  # complete epochs -> metrics by name


@dataclass(frozen=True, slots=True)
class Trained:
    """What the loop leaves behind besides the trained module."""

    train_losses: torch.Tensor  # (batches,) of the last epoch
    valid_losses: torch.Tensor  # (batches,) after the last epoch
    best_epoch: int | None = None  # whose weights the module has, counted from 1, where `patience` chose; else None


def train(
    module: torch.nn.Module,
    step: Step,
    train_indices: torch.Tensor,
    settings: TrainSettings,
    directory: Path,
    *,
    seed: int = 0,
    patience: int | None = None,
    valid_indices: torch.Tensor | None = None,
    validate: Validate | None = None,
    teacher: EmaTeacher | None = None,
    weights: torch.Tensor | None = None,
    fingerprint: str = "",
    label: str = "training",
) -> Trained:
    """Trains `module` in place on `step(indices)`; resumes from `directory` where it was stopped.

    Ctrl-C stops the training after the present batch, and the same call goes on with the next one. Under torchrun,
    all processes make this call with the same arguments and share each batch; the first one validates and
    writes, and Ctrl-C loses the present epoch. A step that needs to know its number reads `teacher.n_updates`.

    Args:
        module: the network, already on its device.
        step: loss of one batch of indices, differentiable in train mode; or the loss and, by name, the terms
            it is made of, the same at every call, logged as train_<name> and valid_<name>.
        train_indices: (n,) int64 items to learn from, on the module's device.
        directory: receives metrics.jsonl and state.safetensors.
        patience: epochs without a higher score after which training stops, with the weights of the best
            epoch; None: all epochs, and the last weights.
        valid_indices: (m,) items whose loss is logged each epoch, never learnt from.
        validate: metrics after an epoch (counted from 1), by name, with everything in eval mode; "score", the
            higher the better, is what `patience` looks at. Without it, that is the negative validation loss.
        teacher: moves with the module at every step, and is in train and eval mode with it.
        weights: (n,) an epoch draws n items with replacement in these proportions; None: each item once.
        fingerprint: hash of configuration and data; a state with another one is refused.

    Raises:
        AsdError: a loss that is not finite (the batch is named), or a state of another configuration.
        KeyboardInterrupt: after Ctrl-C, with the state saved.
    """
    keep_freed_memory()
    directory.mkdir(parents=True, exist_ok=True)
    world = join(train_indices.device)
    update = Update(module, step, settings, teacher, world)
    file = StateFile(directory / _STATE, update, fingerprint)
    position = file.load()
    if position.epoch or position.batch:
        inside = f", batch {position.batch} of the next one," if position.batch else ""
        log.info("resuming after epoch %d%s from %s", position.epoch, inside, file.path)
    if world.is_first:
        keep_lines(directory / "metrics.jsonl", position.epoch)
    listener = TRACKER.get() if world.is_first else None
    remaining = range(position.epoch, settings.epochs)
    with interrupt_noted(defer=world.size == 1) as stop:
        for epoch in progress(remaining, label, total=len(remaining)) if world.is_first else remaining:
            if patience is not None and epoch - position.best_epoch >= patience:
                break
            started = time.perf_counter() - position.seconds
            losses = _epoch(update, file, position, stop, train_indices, weights, seed, epoch)
            world.align(file.parts.values())
            update.set_mode(training=False)
            valid, scores = world.from_first(partial(_validated, update, valid_indices, validate, epoch))
            position.close(losses["loss"], valid.get("loss", torch.empty(0)))
            if patience is not None:
                file.keep_best(position, scores)
            curves = _means("train_", losses) | _means("valid_", valid) | scores
            curves["seconds"] = round(time.perf_counter() - started, 3)
            if world.is_first:
                # The line before the state: killed in between, the epoch is run again and its line replaced.
                append_text(directory / "metrics.jsonl", json.dumps({"epoch": epoch + 1} | curves) + "\n")
                file.save(position)
            if listener is not None:
                listener.numbers({**curves, "learning_rate": update.optimizer.param_groups[0]["lr"]}, epoch + 1)
            if stop.is_set():
                log.info("stopped after epoch %d of %d; %s has it all", epoch + 1, settings.epochs, file.path)
                raise KeyboardInterrupt
    if patience is None:
        return Trained(position.train_losses, position.valid_losses)
    file.set_weights(position.best)
    return Trained(position.train_losses, position.valid_losses, position.best_epoch)


def _epoch(
    update: Update,
    file: StateFile,
    position: Position,
    stop: threading.Event,
    train_indices: torch.Tensor,
    weights: torch.Tensor | None,
    seed: int,
    epoch: int,
) -> dict[str, torch.Tensor]:
    """Runs what is left of an epoch: its losses and their terms by name, each (batches,)."""
    started, settings = time.perf_counter() - position.seconds, update.settings
    torch.manual_seed(epoch_seed(seed, epoch))
    if weights is None:
        order = torch.randperm(len(train_indices))
    else:
        order = torch.multinomial(weights.cpu(), len(train_indices), replacement=True)
    batches = torch.split(train_indices[order.to(train_indices.device)], settings.batch_size)
    if len(batches[-1]) == 1:  # batch normalisation has no variance to offer
        batches = batches[:-1]
    if not batches:
        raise AsdError(f"{len(train_indices)} training item is too few to train on; two are the least")
    if position.batch:
        set_random_states(position.random, update.device)
    elif update.world.rank:
        torch.manual_seed(epoch_seed(seed, epoch) + update.world.rank)  # draws of its own
    update.set_mode(training=True)
    for batch in batches[position.batch :]:
        done = epoch * len(batches) + position.batch
        rate = learning_rate_at(settings, done, settings.epochs * len(batches))
        position.add(update(batch, rate))
        if stop.is_set():
            _finite(update, position)
            position.seconds = time.perf_counter() - started
            file.save(position)
            place = (epoch + 1, position.batch, len(batches), file.path)
            log.info("stopped in epoch %d after batch %d of %d; %s has it all", *place)
            raise KeyboardInterrupt
    return _finite(update, position)


def _finite(update: Update, position: Position) -> dict[str, torch.Tensor]:
    """Losses and terms of the epoch so far, (batches,), once they and the weights are known to be finite."""
    losses = {name: torch.stack(values).float() for name, values in position.losses.items()}
    norm = torch.nn.utils.get_total_norm(update.module.parameters())
    # One transfer: looking at each loss would make the GPU wait for the CPU at every step.
    found = torch.cat([losses["loss"], norm.detach().float()[None]]).cpu()
    losses = update.world.sum_of({**losses, "loss": found[:-1]})
    if len(bad := (~torch.isfinite(losses["loss"])).nonzero()):
        what, batch = f"the training loss became {float(losses['loss'][bad[0, 0]])}", int(bad[0, 0]) + 1
    elif not torch.isfinite(found[-1]):
        what, batch = "the weights became infinite or nan", position.batch
    else:
        return losses
    raise AsdError(
        f"{what} in epoch {position.epoch + 1}, batch {batch} of {position.batch}; lower learning_rate (now "
        f"{update.settings.learning_rate}): the state before the epoch is kept"
    )


@torch.no_grad()
def _validated(
    update: Update, valid_indices: torch.Tensor | None, validate: Validate | None, epoch: int
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Validation losses and their terms by name, each (batches,), and metrics."""
    losses = update.losses_of(valid_indices) if valid_indices is not None else {}
    return losses, {k: float(value) for k, value in validate(epoch + 1).items()} if validate else {}


def _means(start: str, values: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {start + name: float(of_batches.mean()) for name, of_batches in values.items()}
