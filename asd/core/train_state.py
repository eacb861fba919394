"""The state of a training in one file: a training that loads it ends with the result of an uninterrupted one.

At the end of an epoch no random state is needed, as every draw of the next one is a function of (seed, epoch).
In the middle of one, torch's generators on the CPU and on the network's device are part of the state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from asd.core.checkpoint import load_into
from asd.core.files import load_tensors, save_tensors, write_text
from asd.core.update import Update
from asd.types import AsdError

_FACTS = ("epoch", "batch", "seconds", "best_epoch", "best_score")


@dataclass(slots=True)
class Position:
    """How far a training has come, and what it remembers on the way."""

    epoch: int = 0  # complete epochs
    batch: int = 0  # batches done of the epoch after them
    seconds: float = 0.0  # that these batches took
    # Loss and terms of these batches, by name, on the device: with a transfer at every step the GPU would wait.
    losses: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    train_losses: torch.Tensor = field(default_factory=lambda: torch.empty(0))  # (batches,) of the last complete epoch
    # (batches,) after the last complete epoch
    valid_losses: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    best_epoch: int = 0  # complete epochs when the score was highest; 0 before the first score
    best_score: float = -math.inf  # the highest score
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # the weights then, by their names in the file
    # states of torch's generators, where a file was left in the middle of an epoch
    random: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Notes one more batch of the epoch: scalars by name."""
        for name, loss in losses.items():
            self.losses.setdefault(name, []).append(loss)
        self.batch += 1

    def close(self, train_losses: torch.Tensor, valid_losses: torch.Tensor) -> None:
        """Ends the epoch."""
        self.epoch += 1
        self.train_losses, self.valid_losses = train_losses, valid_losses
        self.batch, self.seconds, self.losses, self.random = 0, 0.0, {}, {}


class StateFile:
    """`state.safetensors` of one training."""

    def __init__(self, path: Path, update: Update, fingerprint: str) -> None:
        self.path, self.update, self.fingerprint = path, update, fingerprint
        self.parts: dict[str, nn.Module] = {"module": update.module}
        if update.teacher is not None:
            self.parts["teacher"] = update.teacher

    def weights(self) -> dict[str, torch.Tensor]:
        """The present weights and buffers of network and teacher, not copied."""
        return {
            f"{part}.{name}": tensor
            for part, module in self.parts.items()
            for name, tensor in module.state_dict().items()
        }

    def set_weights(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Loads what `weights` gave; other names are ignored."""
        for part, module in self.parts.items():
            start = f"{part}."
            own = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
            load_into(module, own, self.path)

    def keep_best(self, position: Position, scores: Mapping[str, float]) -> None:
        """Copies the present weights if the epoch just closed has the highest score of all.

        The score is that of the metrics, or else the negative validation loss; `AsdError` where there is none, or it is
        not finite.
        """
        if "score" not in scores and not len(position.valid_losses):
            raise AsdError(
                f"patience needs a score to look at, and validation gave {', '.join(scores) or 'nothing'}; "
                f"hand over valid_indices, or a validate that returns a score"
            )
        score = scores["score"] if "score" in scores else -float(position.valid_losses.mean())
        if not math.isfinite(score):
            raise AsdError(
                f"the validation score became {score} in epoch {position.epoch}, and nothing can be chosen by "
                f"that; look at the validation data, or train without patience"
            )
        if score > position.best_score:
            position.best_epoch, position.best_score = position.epoch, score
            position.best = {name: tensor.clone() for name, tensor in self.weights().items()}

    def save(self, position: Position) -> None:
        """Writes everything, whole or not at all."""
        update = self.update
        tensors = self.weights() | flatten_optimizer(update.optimizer)
        tensors |= {"losses.train": position.train_losses, "losses.valid": position.valid_losses}
        tensors |= {f"best.{name}": tensor for name, tensor in position.best.items()}
        if position.batch:
            tensors |= {f"so_far.{name}": torch.stack(values) for name, values in position.losses.items()}
            tensors["random.cpu"] = torch.get_rng_state()
            if update.device.type == "cuda":
                tensors["random.cuda"] = torch.cuda.get_rng_state(update.device)
        facts = {name: getattr(position, name) for name in _FACTS}
        facts |= {"scaler": update.scaler.state_dict(), "fingerprint": self.fingerprint}
        save_tensors(self.path, tensors, facts)

    def load(self) -> Position:
        """Sets network, optimiser, scaler and teacher to the state, where there is one; how far it had come."""
        if not self.path.exists():
            return Position()
        try:
            tensors, facts = load_tensors(self.path)
        except AsdError as error:
            raise AsdError(f"{error}; remove it, and the same command trains from the beginning") from error
        if facts.get("fingerprint") != self.fingerprint:
            raise AsdError(
                f"{self.path} was left by a run with another configuration or other data; choose another "
                f"name=, or overwrite=true to start anew"
            )
        update = self.update
        self.set_weights(tensors)
        restore_optimizer(update.optimizer, {name: t.to(update.device) for name, t in tensors.items()})
        update.scaler.load_state_dict(facts["scaler"])
        position = Position(
            **{name: facts[name] for name in _FACTS},
            train_losses=tensors["losses.train"],
            valid_losses=tensors["losses.valid"],
            best=_below("best.", tensors, update.device),
            random=_below("random.", tensors, torch.device("cpu")),
        )
        so_far = _below("so_far.", tensors, update.device)
        position.losses = {name: list(values) for name, values in so_far.items()}
        if len(position.losses.get("loss", ())) != position.batch:
            raise AsdError(
                f"{self.path} was left by another version in the middle of an epoch; remove it, and the same command "
                "trains from the beginning"
            )
        return position


def keep_lines(path: Path, n: int) -> None:
    """Drops all but the first lines of metrics.jsonl: epochs that are trained again."""
    if path.exists():
        write_text(path, "".join(path.read_text("utf-8").splitlines(keepends=True)[:n]))


def set_random_states(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Sets torch's generators to the states of a `Position`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State of an optimiser as flat named tensors ("optimizer.<parameter>.<name>")."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{key}": value for i, slots in state.items() for key, value in slots.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Inverse of `flatten_optimizer`; learning rates and other options stay those of `optimizer`."""
    full = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            like = parameters[int(index)]
            if tensor.shape == like.shape:
                # Fused kernels walk memory, not indices: a moment has to lie in the order of its weight.
                tensor = torch.empty_like(like).copy_(tensor)
            slots.setdefault(int(index), {})[key] = tensor
    full["state"] = slots
    optimizer.load_state_dict(full)


def _below(start: str, tensors: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): t.to(device) for name, t in tensors.items() if name.startswith(start)}
