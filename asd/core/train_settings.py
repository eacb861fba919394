"""How long and how to train: what `trainer` and the optimiser's `update` are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asd.core.schedules import linear_ramp, warmup_cosine


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How long and how to train.

    Attributes:
        epochs: passes over the training items, at most.
        batch_size: items per step of the optimiser, over all pieces and processes.
        learning_rate: largest step size.
        seed: fixes every random draw.
        weight_decay: per step and unit of learning rate; decoupled in "adamw" only.
        warmup: share of all steps over which the learning rate rises linearly.
        schedule: what it does afterwards: stays "constant", or falls to `floor` along half a "cosine".
        precision: of matrix products and convolutions of `step`, under autocast; weights stay float32.
            "auto" is bfloat16 on a GPU and float32 on a CPU.
        clip_norm: longest gradient over all weights; None: any.
        accumulate: pieces that a batch is cut into, to save memory; the gradient is that of the whole batch
            where the loss is a mean over items. Batch normalisation and losses over a batch see a piece.
        floor: last learning rate of the cosine.
        patience: epochs without a higher score after which training stops, with the weights of the best
            epoch; None: all epochs, and the last weights.
        tensorboard: whether to write curves for it, too.
        optimizer: "adamw", "adam" or "radam".
    """

    epochs: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0
    weight_decay: float = 0.0
    warmup: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    clip_norm: float | None = None
    accumulate: int = 1
    floor: float = 0.0
    patience: int | None = None
    tensorboard: bool = False
    optimizer: Literal["adamw", "adam", "radam"] = "adamw"

    def learning_rate_at(self, step: int, n_steps: int) -> float:
        """Learning rate of step 0 to `n_steps` - 1; see `schedules.warmup_cosine`."""
        n_warmup = min(round(self.warmup * n_steps), n_steps - 1)
        if self.schedule == "constant":
            return self.learning_rate * linear_ramp(step + 1, n_warmup)
        return warmup_cosine(step, n_steps, n_warmup, self.learning_rate, self.floor)
