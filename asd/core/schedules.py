"""Numbers that change while a training runs: ramps of a loss's weight, and the learning rate.

All are functions of the step alone, counted from 0, and remember nothing: a resumed run goes on where it
was, and a schedule that is over stays where it ended.
"""

from __future__ import annotations

import math

from asd.types import AsdError


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

    Args:
        step: 0 for the first one.
        n_steps: steps of the whole training.
        n_warmup: steps of the warm-up, fewer than `n_steps`.
        peak: largest value.
        floor: last value.

    Raises:
        AsdError: a warm-up that leaves no step.
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
