"""The multilayer-perceptron autoencoder of the official DCASE Task 2 baseline.

Layer names equal the official state dict ("encoder.0.weight", ...), so its weights load as they are.
Source: nttcslab/dcase2023_task2_baseline_ae, network of the years 2020-2026.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class MLPAutoencoder(nn.Module):
    """input - hidden x 4 - bottleneck - hidden x 4 - input, batch normalisation and ReLU on all but the last.

    The bottleneck is normalised and rectified too, and the batch-norm constants are Keras's
    (momentum 0.01, eps 1e-3): both as in the official baseline. 267,928 parameters at the defaults.

    Args:
        n_inputs: length of an input vector (5 frames x 128 mels = 640).
    """

    def __init__(self, n_inputs: int = 640, n_hidden: int = 128, n_bottleneck: int = 8) -> None:
        super().__init__()
        down = [n_inputs, *[n_hidden] * 4, n_bottleneck]
        up = [n_bottleneck, *[n_hidden] * 4]
        self.encoder = nn.Sequential(*(layer for widths in pairwise(down) for layer in _block(*widths)))
        self.decoder = nn.Sequential(
            *(layer for widths in pairwise(up) for layer in _block(*widths)), nn.Linear(n_hidden, n_inputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruction of x: (batch, inputs) -> (batch, inputs)."""
        reconstruction: torch.Tensor = self.decoder(self.encoder(x))
        return reconstruction


def _block(n_in: int, n_out: int) -> tuple[nn.Module, ...]:
    return nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out, momentum=0.01, eps=1e-3), nn.ReLU()
