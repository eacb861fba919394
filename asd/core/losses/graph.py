"""Graph Laplacian regularisation (GLR): a penalty where classes that occur together are not active equally long.

    classes = nodes, co-occurrence in training clips = weight of an edge A_ij
    v_i = active frames that are predicted for class i in a clip
    penalty = 1/2 sum_ij A_ij (v_i - v_j)^2 = Tr(v' L v), with the Laplacian L = diag(sum_j A_ij) - A

The sum over pairs is computed, not the trace, which subtracts large numbers that are nearly equal. The
diagonal of A has no say in either.

The penalty grows with the square of the number of frames and is meant to stand beside a BCE that is summed:
with `frames="sum"` and the reductions "sum_per_item" (BCE) and "mean" (penalty) the paper's strength is 1e-5.
With frames="mean" a strength N^2 times as large is the same for clips of N frames: 2.5 for N = 500.

Source: Imoto and Kyochi, "Sound event detection using graph Laplacian regularization based on event
co-occurrence", ICASSP 2019 (arXiv 1902.00816).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from asd.core.losses.cells import Cells, Reduction
from asd.types import AsdError, one_of


class GraphLaplacian(nn.Module):
    """Penalty on unequal activity of classes that co-occur; its strength is a weight of `MultiTask`.

    Args:
        adjacency: (classes, classes) A, symmetric, 0 or more; `AsdError` for one that is not.
        frames: whether v is the "sum" over the frames of a clip or their "mean".
    """

    adjacency: torch.Tensor

    def __init__(
        self, adjacency: torch.Tensor, frames: Literal["sum", "mean"] = "sum", reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        square = adjacency.ndim == 2 and len(adjacency) == adjacency.shape[1]
        weights_edges = bool(((adjacency >= 0) & adjacency.isfinite()).all())
        if not (square and weights_edges and torch.equal(adjacency, adjacency.T)):
            raise AsdError(
                f"an adjacency is a symmetric matrix of numbers from 0 on, one row per class; got one of "
                f"shape {tuple(adjacency.shape)}; `co_occurrence` makes it from labels"
            )
        self.register_buffer("adjacency", adjacency.float())
        self.frames = one_of(frames, ("sum", "mean"), "frames")
        one_of(reduction, get_args(Reduction), "reduction")
        self.reduction: Reduction = reduction

    def forward(
        self, logits: torch.Tensor, weight: torch.Tensor | None = None, ignore: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Reduced penalty of logits (batch, ..., classes).

        Every axis between the first and the last is one of frames; without one, v is the probability itself.
        To penalise a whole batch of attributes together, give it as the frames of one item: logits[None].
        A class that is ignored all through a clip takes part in none of its pairs. `AsdError` for shapes that do not
        fit, or a mask that is not bool.

        Args:
            weight: of each item (batch,), or broadcast to logits; None: all alike.
        """
        if logits.shape[-1] != len(self.adjacency):
            raise AsdError(f"the graph has {len(self.adjacency)} classes, the logits have {logits.shape[-1]}")
        with torch.autocast(logits.device.type, enabled=False):
            cells = Cells.of(logits, weight, ignore)
            activity = cells.weight * cells.clean(logits).sigmoid()
            v, mass = (x.unsqueeze(1).flatten(1, -2).sum(1) for x in (activity, cells.weight))  # over frames
            present = mass > 0
            if self.frames == "mean":
                v = v / torch.where(present, mass, 1.0)
            edges = self.adjacency * (present.unsqueeze(-1) & present.unsqueeze(-2))
            penalties = 0.5 * (edges * (v.unsqueeze(-1) - v.unsqueeze(-2)).square()).sum((-2, -1))
            return Cells.of(penalties, ignore=~present.any(-1)).reduce(penalties, self.reduction)


def co_occurrence(labels: torch.Tensor) -> torch.Tensor:
    """Adjacency (classes, classes): in how many clips two classes occur, of the most that any two do.

    Two classes co-occur in a clip in which both are active, with a label above 0.5, not necessarily at the same time. A
    class does not co-occur with itself: the diagonal is 0 and has no part in the maximum, which sets the scale.
    `AsdError` where no clip has two classes, so that there is no graph.
    """
    present = (labels > 0.5).unsqueeze(1).flatten(1, -2).any(1).float()
    counts = (present.T @ present).fill_diagonal_(0)
    if not bool(counts.any()):
        raise AsdError(
            f"no two classes are active in the same clip of {len(labels)}; a graph of co-occurrences needs "
            "labels in which some are, or its weight set to 0"
        )
    return counts / counts.max()
