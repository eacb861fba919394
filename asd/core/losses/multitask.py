"""Several losses at once: their weighted sum, and each by its name for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from asd.core.losses.binary import Bce
from asd.core.losses.cells import Cells
from asd.types import AsdError


class TaskLosses(NamedTuple):
    """What to descend, and what to log."""

    total: torch.Tensor  # scalar with gradient, sum of weight x term
    terms: dict[str, torch.Tensor]  # scalars without gradient and without weight, by name


class MultiTask(nn.Module):
    """Weighted sum of named losses.

    A term with the weight 0 is computed and logged, but has no part in the total, whatever its value.

    Args:
        weights: factor per name, 1 where there is none. They may be changed between steps, as a ramp does:
            `losses.weights["consistency"] = 2 * exponential_ramp(step, n_steps)`.
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        given = dict(weights or {})
        if not losses or given.keys() - losses.keys():
            raise AsdError(
                f"the weights {_names(given)} do not fit the losses {_names(losses)}; "
                "give at least one loss, and weights of those only"
            )
        self.losses = nn.ModuleDict(dict(losses))
        self.weights = {name: given.get(name, 1.0) for name in losses}

    def forward(self, inputs: Mapping[str, Mapping[str, torch.Tensor | None]]) -> TaskLosses:
        """Total and terms, of the arguments of each loss by name.

        Where a batch has nothing to learn for a loss, its cells are ignored, not its name left out. `AsdError` for
        other names than those of the losses, or a loss that is not reduced to a scalar.
        """
        if inputs.keys() != self.weights.keys():
            raise AsdError(f"got inputs for {_names(inputs)}; the losses are {_names(self.weights)}")
        values = {name: loss(**inputs[name]) for name, loss in self.losses.items()}
        if unreduced := [name for name, value in values.items() if value.ndim]:
            raise AsdError(f"the loss {unreduced[0]!r} is no scalar; choose another reduction than 'none'")
        total = sum((w * values[name] for name, w in self.weights.items() if w), torch.zeros(()))
        return TaskLosses(total, {name: value.detach() for name, value in values.items()})


class EventsAndActivity(nn.Module):
    """Which events are there (SED), and beside it whether there is any at all (SAD).

    E_events + activity_weight x BCE(activity, max over classes of the targets); terms "events", "activity".

    Source: Pankajakshan, Bear and Benetos, "Polyphonic sound event and sound activity detection: a
    multi-task approach", WASPAA 2019 (arXiv 1907.05122).

    Args:
        events: loss of the events, `forward(logits, targets, weight, ignore)`.
        activity_weight: lambda, of which no published value is known.
    """

    def __init__(self, events: nn.Module, activity_weight: float = 1.0) -> None:
        super().__init__()
        self.tasks = MultiTask({"events": events, "activity": Bce()}, {"activity": activity_weight})

    def forward(
        self,
        logits: torch.Tensor,
        activity_logits: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor | None = None,
        ignore: torch.Tensor | None = None,
    ) -> TaskLosses:
        """Total and terms.

        Args:
            logits, targets, weight, ignore: of the events' cells, as in `cells`; the activity is ignored where it hangs
                on one of those that are.
            activity_logits: (batch, ...) of any event at all.
        """
        activity, unknown = activity_targets(targets, ignore)
        events = {"logits": logits, "targets": targets, "weight": weight, "ignore": ignore}
        return self.tasks(
            {"events": events, "activity": {"logits": activity_logits, "targets": activity, "ignore": unknown}}
        )


def activity_targets(targets: torch.Tensor, ignore: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether any class is active: the largest target (batch, ...), and an ignore mask of that shape.

    It is not known where a class is ignored, unless another one is active for certain.

    Args:
        targets: (batch, ..., classes) soft or hard; anything where ignored.
    """
    cells = Cells.of(targets, ignore=ignore)
    activity = cells.clean(targets).amax(-1)
    return activity, ~cells.counted.all(-1) & (activity < 1)


def _names(mapping: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in sorted(mapping)) or "none"
