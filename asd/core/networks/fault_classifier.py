"""Small perceptrons that tell normal vectors from altered ones, and of which kind the alteration is.

Several are trained side by side on the same vectors, each on the first so many of their dimensions and with draws of
its own: what one of them learns by chance, the others do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, relu


class FaultClassifier(nn.Module):
    """inputs - 128 - 64 - classes, with batch normalisation and dropout before each of the first two layers.

    Args:
        n_inputs: length of a vector.
        n_classes: normal, and the kinds of alteration.
        widths: of the two hidden layers.
        dropout: share of the inputs of a layer that is left out in training.
    """

    def __init__(
        self, n_inputs: int, n_classes: int, widths: tuple[int, int] = (128, 64), dropout: float = 0.3
    ) -> None:
        super().__init__()
        first, second = widths
        self.first = nn.Sequential(nn.Linear(n_inputs, first), nn.BatchNorm1d(first))
        self.second = nn.Sequential(nn.Linear(first, second), nn.BatchNorm1d(second))
        self.out = nn.Linear(second, n_classes)
        self.dropout = dropout

    def hidden(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both hidden layers of vectors (batch, n_inputs): the first rectified, the second before that."""
        first = relu(self.first(dropout(x, self.dropout, self.training)))
        return first, self.second(dropout(first, self.dropout, self.training))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, n_classes) of vectors (batch, n_inputs)."""
        logits: torch.Tensor = self.out(relu(self.hidden(x)[1]))
        return logits


class FaultClassifiers(nn.Module):
    """Classifiers side by side, on vectors that are centred and divided by the spread of normal ones.

    Args:
        n_inputs: of each classifier: the first so many dimensions of a vector; the greatest is its length.
        n_classes: see `FaultClassifier`.
        noise: standard deviation of the noise that is added to inputs in training.

    Attributes:
        centre, spread: (dims,) of normal vectors.
        scales: (classifiers,) standard deviation over all of a classifier's inputs, to which these are brought.
    """

    _FARTHEST = 10.0  # inputs are cut there: one dimension that runs away must not decide alone

    def __init__(self, n_inputs: Sequence[int], n_classes: int, noise: float = 0.1) -> None:
        super().__init__()
        self.n_inputs, self.noise = tuple(n_inputs), noise
        self.networks = nn.ModuleList(FaultClassifier(n, n_classes) for n in n_inputs)
        self.centre = nn.Buffer(torch.zeros(max(n_inputs)))
        self.spread = nn.Buffer(torch.ones(max(n_inputs)))
        self.scales = nn.Buffer(torch.ones(len(n_inputs)))

    def set_normal(self, vectors: torch.Tensor, spread: torch.Tensor) -> None:
        """Takes centre and scales from normal vectors (clips, dims), and their spread (dims,) as it is given."""
        self.centre.copy_(vectors.mean(0))
        self.spread.copy_(spread)
        standard = (vectors - self.centre) / self.spread
        self.scales.copy_(torch.stack([standard[:, :n].std(correction=0) for n in self.n_inputs]))

    def forward(self, vectors: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Sum of the classifiers' cross entropies of vectors (batch, dims) and classes (batch,), a scalar.

        A sum, so that each classifier has the gradient that it would have alone.
        """
        losses = []
        for network, x in zip(self.networks, self._inputs(vectors), strict=True):
            x = x + self.noise * torch.randn_like(x) if self.training else x
            losses.append(cross_entropy(network(x).float(), classes))
        return torch.stack(losses).sum()

    def embeddings(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Two hidden layers of each classifier, (batch, width) each."""
        return [
            layer
            for network, x in zip(self.networks, self._inputs(vectors), strict=True)
            for layer in _classifier(network).hidden(x)
        ]

    def _inputs(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        standard = (vectors - self.centre) / self.spread
        return [
            (standard[:, :n] / scale).clamp(-self._FARTHEST, self._FARTHEST)
            for n, scale in zip(self.n_inputs, self.scales, strict=True)
        ]


def _classifier(module: nn.Module) -> FaultClassifier:
    assert isinstance(module, FaultClassifier)
    return module
