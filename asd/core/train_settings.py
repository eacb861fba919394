"""How long and how to train: what `trainer` and the optimiser's `update` are told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asd.core.schedules import linear_ramp, warmup_cosine
from asd.options import NO_RESULT, Settings


class TrainSettings(Settings):
    """How long and how to train by gradient.

    Accumulating leaves the gradient that of the whole batch where the loss is a mean over items; batch
    normalisation and losses over a batch see a piece. Weights stay float32 at any precision.
    """

    epochs: int = Field(100, ge=1, description="passes over the training data")
    batch_size: int = Field(256, ge=2, description="items per step of the optimiser")
    learning_rate: float = Field(1e-3, gt=0, description="largest step size")
    weight_decay: float = Field(0.0, ge=0, description="per step and unit of learning rate")
    warmup: float = Field(0.0, ge=0, le=1, description="share of steps in which the learning rate rises")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="of the learning rate after that: constant or cosine"
    )
    optimizer: Literal["adamw", "adam", "radam"] = Field("adamw", description="adamw, adam or radam")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32", description="float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 on a CPU"
    )
    clip_norm: float | None = Field(None, gt=0, description="longest gradient; a longer one is shortened")
    accumulate: int = Field(1, ge=1, description="pieces that a batch is cut into, to save memory")
    floor: float = Field(0.0, ge=0, description="last learning rate of the cosine")
    tensorboard: bool = Field(
        False, description="also write curves for TensorBoard", json_schema_extra=NO_RESULT
    )

    def learning_rate_at(self, step: int, n_steps: int) -> float:
        """Learning rate of step 0 to `n_steps` - 1; see `schedules.warmup_cosine`."""
        n_warmup = min(round(self.warmup * n_steps), n_steps - 1)
        if self.schedule == "constant":
            return self.learning_rate * linear_ramp(step + 1, n_warmup)
        return warmup_cosine(step, n_steps, n_warmup, self.learning_rate, self.floor)
