"""The CNN-BiGRU that detects sound events: what is heard in every frame, told from both sides of time.

    log-mel (batch, 500, 64) ─ 3 x [conv 3x3, BN, leaky ReLU, max pool over frequency] ─► (batch, 500, 128)
                             ─ BiGRU 32 ─ dense 32, leaky ReLU ─ dense ─► logits (batch, 500, 25)

Pooling runs over frequency only (8, 4, 2), so every frame that goes in comes out with its own logits.

Source: founding document 001 (Imoto), after Imoto et al., arXiv 2102.01927. Not stated there, chosen here:
batch normalisation after each convolution (the usual form), and torch's slope 0.01 of the leaky ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from asd.types import AsdError


class FrequencyPooledCNN(nn.Module):
    """3x3 convolutions that shrink the frequency axis and keep every frame.

    Args:
        n_mels: mel bands of the input.
        channels: of each convolution.
        pools: bands pooled into one after each convolution.
        batch_norm: normalise after each convolution.

    Raises:
        AsdError: unequal numbers of channels and pools, or more pooling than bands.
    """

    def __init__(
        self,
        n_mels: int = 64,
        channels: Sequence[int] = (128, 128, 128),
        pools: Sequence[int] = (8, 4, 2),
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        if len(channels) != len(pools):
            raise AsdError(
                f"{len(channels)} convolutions (channels={tuple(channels)}) have {len(pools)} poolings "
                f"(pools={tuple(pools)}); give one pooling per convolution, 1 where nothing is to be pooled"
            )
        self.n_mels, n_in, n_bands = n_mels, 1, n_mels
        layers: list[nn.Module] = []
        for n_out, pool in zip(channels, pools, strict=True):
            layers.append(nn.Conv2d(n_in, n_out, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(n_out))
            layers += [nn.LeakyReLU(), nn.MaxPool2d((1, pool))]
            n_in, n_bands = n_out, n_bands // pool
        if not n_bands:
            raise AsdError(
                f"pools={tuple(pools)} leaves nothing of {n_mels} mel bands; pool less or use more bands"
            )
        self.layers = nn.Sequential(*layers)
        self.n_features = n_in * n_bands

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """(batch, frames, mels) -> (batch, frames, n_features).

        Raises:
            AsdError: another number of axes or of mel bands.
        """
        if log_mel.dim() != 3 or log_mel.shape[2] != self.n_mels:
            raise AsdError(
                f"a network for log-mel spectrograms (batch, frames, {self.n_mels}) received the shape "
                f"{tuple(log_mel.shape)}; put frames before mel bands, or build it with that n_mels"
            )
        maps: torch.Tensor = self.layers(log_mel.unsqueeze(1))
        return maps.transpose(1, 2).flatten(2)


class CRNN(nn.Module):
    """Convolutions, a bidirectional GRU and two dense layers: logits per frame and class.

    331,225 parameters at the defaults, 330,457 without batch normalisation.

    Args:
        n_classes: event classes.
        n_mels: mel bands of the input.
        channels: of each convolution.
        pools: bands pooled into one after each convolution.
        n_recurrent: units of the GRU in each direction.
        n_dense: units of the dense layer before the logits.
        batch_norm: normalise after each convolution.
    """

    def __init__(
        self,
        n_classes: int = 25,
        n_mels: int = 64,
        channels: Sequence[int] = (128, 128, 128),
        pools: Sequence[int] = (8, 4, 2),
        n_recurrent: int = 32,
        n_dense: int = 32,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.convolutions = FrequencyPooledCNN(n_mels, channels, pools, batch_norm)
        self.recurrent = nn.GRU(
            self.convolutions.n_features, n_recurrent, batch_first=True, bidirectional=True
        )
        self.dense = nn.Sequential(nn.Linear(2 * n_recurrent, n_dense), nn.LeakyReLU())
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
        sequence, _ = self.recurrent(self.convolutions(log_mel))
        features: torch.Tensor = self.dense(sequence)
        return features
