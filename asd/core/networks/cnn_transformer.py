"""The CNN-Transformer that detects sound events: every frame looks at all others of the clip.

    log-mel (batch, 500, 64) ─ the convolutions of the CRNN ─► (batch, 500, 128)
                             ─ 2 Transformer encoder layers, 32 heads
                             ─ dense 32, leaky ReLU ─ dense ─► logits (batch, 500, 25)

Source: founding document 001 (Imoto): "3 CNN + 2 Transformer encoder layers + 2 dense layers", 32 heads,
leaky ReLU. Not stated there, chosen here: the width of the feed-forward layers (parameters at 25 classes:
1,488,217 for 2048, 698,713 for 512, 567,129 for 256, 501,337 for 128), dropout, ReLU inside the encoder
layers, and sinusoids as positions, without which attention would not know the order of frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from asd.core.networks.crnn import FrequencyPooledCNN
from asd.core.networks.positions import sinusoids
from asd.types import AsdError


class CNNTransformer(nn.Module):
    """Convolutions, Transformer encoder layers and two dense layers: logits per frame and class.

    The width of the Transformer is what the convolutions give, 128 at the defaults: 4 dimensions a head.

    Args:
        n_classes: event classes.
        n_mels: mel bands of the input.
        channels: of each convolution.
        pools: bands pooled into one after each convolution.
        n_heads: attention heads.
        n_layers: encoder layers.
        n_feedforward: hidden width of the encoder layers.
        n_dense: units of the dense layer before the logits.
        dropout: part of the units dropped in the encoder layers while training.
        batch_norm: normalise after each convolution.

    Raises:
        AsdError: the convolutions give a width that the heads do not divide.
    """

    def __init__(
        self,
        n_classes: int = 25,
        n_mels: int = 64,
        channels: Sequence[int] = (128, 128, 128),
        pools: Sequence[int] = (8, 4, 2),
        n_heads: int = 32,
        n_layers: int = 2,
        n_feedforward: int = 512,
        n_dense: int = 32,
        dropout: float = 0.1,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.convolutions = FrequencyPooledCNN(n_mels, channels, pools, batch_norm)
        width = self.convolutions.n_features
        if width % n_heads:
            raise AsdError(
                f"n_heads={n_heads} does not divide the {width} features of the convolutions; choose a divisor"
            )
        layer = nn.TransformerEncoderLayer(width, n_heads, n_feedforward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.dense = nn.Sequential(nn.Linear(width, n_dense), nn.LeakyReLU())
        self.out = nn.Linear(n_dense, n_classes)
        self.n_features = n_dense

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Logits (batch, frames, classes) of log-mel spectrograms (batch, frames, mels).

        Raises:
            AsdError: another number of axes or of mel bands.
        """
        logits: torch.Tensor = self.out(self.features(log_mel))
        return logits

    def features(self, log_mel: torch.Tensor) -> torch.Tensor:
        """What the logits are read from, for further heads: (batch, frames, n_features)."""
        x = self.convolutions(log_mel)
        x = x + sinusoids(x.shape[1], x.shape[2], like=x)
        features: torch.Tensor = self.dense(self.encoder(x))
        return features
