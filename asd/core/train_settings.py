"""How long and how to train, and the schedules of learning rates and of weights of losses.

A schedule is a function of the step alone, counted from 0, so a resumed run needs no state of it. After its last step
it keeps its last value.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from asd.options import Settings
from asd.types import AsdError


def linear_ramp(step: float, n_steps: int) -> float:
    """Rises from 0 at step 0 to 1 at step `n_steps` in a straight line; 1 at once where there are no steps.

    Args:
        step: counted from 0.
        n_steps: length of the ramp.
    """
    return min(max(step, 0) / n_steps, 1.0) if n_steps > 0 else 1.0


def exponential_ramp(step: float, n_steps: int) -> float:
    """Rises from exp(-5) at step 0 to 1 at step `n_steps` as exp(-5 (1 - t)^2), t the linear ramp.

    Args:
        step: counted from 0.
        n_steps: length of the ramp.

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

    Args:
        step: 0 for the first one.
        n_steps: steps of the whole training.
        n_warmup: steps of the warm-up, fewer than `n_steps`.
        peak: largest value.
        floor: last value.

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

    def learning_rate_at(self, step: int, n_steps: int) -> float:
        """Learning rate of step 0 to `n_steps` - 1; see `schedules.warmup_cosine`.

        Args:
            step: counted from 0.
            n_steps: of the whole training.
        """
        n_warmup = min(round(self.warmup * n_steps), n_steps - 1)
        if self.schedule == "constant":
            return self.learning_rate * linear_ramp(step + 1, n_warmup)
        return warmup_cosine(step, n_steps, n_warmup, self.learning_rate, self.floor)
