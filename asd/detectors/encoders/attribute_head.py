"""A head that says which domain and attribute values a clip has, rare ones among them.

Classes of clips are one of many; values are yes or no, each by itself, so the losses of event detection apply:

    bce                 every value alike
    asymmetric_focal    (AFL) where the head is right already, "no" counts less
    inverse_frequency   (IFL) "yes" to a value counts less, the more clips have it

and so does the graph Laplacian (GLR), a penalty on unequal answers to values that occur together.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear, normalize

from asd.core.losses.binary import AsymmetricFocal, Bce, BinaryLoss, InverseFrequency
from asd.core.losses.graph import GraphLaplacian
from asd.core.runtime import log

_SCALE = 10.0  # of a cosine: from the values' directions at random to a sure answer in some dozens of steps


class AttributeHead(nn.Module):
    """Embeddings to a loss of their answers, one per value: scaled cosines to directions, and a bias.

    Args:
        n_inputs: length of an embedding.
        told: (clips, values) of all training clips, see `labels.Values`; at least one value.
        loss: "bce", "asymmetric_focal" or "inverse_frequency".
        co_occurrence: strength of the graph Laplacian; 0: none. Where no two values occur in one clip
            there is no graph, which is a warning.
    """

    def __init__(self, n_inputs: int, told: torch.Tensor, loss: str, co_occurrence: float = 0.0) -> None:
        super().__init__()
        known = told.nan_to_num()
        self.directions = nn.Parameter(torch.randn(told.shape[1], n_inputs))
        rates = known.sum(0) / (~told.isnan()).sum(0)
        self.bias = nn.Parameter(rates.clamp(0.01, 0.99).logit())  # what is answered without listening
        self.loss = _loss(loss, known)
        self.strength = co_occurrence
        self.graph: GraphLaplacian | None = None
        if co_occurrence and bool((known.sum(1) > 1).any()):
            self.graph = GraphLaplacian.from_labels(known)
        elif co_occurrence:
            log.warning(
                "embedding.co_occurrence=%g does nothing: no training clip has two of the %d values",
                *(co_occurrence, told.shape[1]),
            )

    def forward(self, embeddings: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Loss of embeddings (batch, n_inputs) against values (batch, values), NaN where not known: scalar."""
        logits = self.logits(embeddings)
        unknown = told.isnan()
        loss: torch.Tensor = self.loss(logits, told, ignore=unknown)
        if self.graph is not None:
            loss = loss + self.strength * self.graph(logits, ignore=unknown)
        return loss

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Answers (batch, values): above zero is yes."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = linear(normalize(embeddings.float(), dim=1), normalize(self.directions, dim=1))
            return _SCALE * cosines + self.bias


def _loss(name: str, known: torch.Tensor) -> BinaryLoss:
    """The loss for values (clips, values), 0 where not known."""
    if name == "inverse_frequency":
        counts = known.sum(0)
        # A value of usual frequency has half the weight of the rarest.
        return InverseFrequency(counts, constant=float(counts.mean()))
    return AsymmetricFocal() if name == "asymmetric_focal" else Bce()
