"""Networks that classify every frame of a spectrogram: a CNN-BiGRU and a CNN-Transformer.

    log-mel (batch, 500, 64) ─ 3 x [conv 3x3, BN, leaky ReLU, max pool over frequency] ─► (batch, 500, 128)
                             ─ BiGRU 32, or 2 Transformer encoder layers with 32 heads
                             ─ dense 32, leaky ReLU ─ dense ─► logits (batch, 500, 25)

Pooling runs over frequency only (8, 4, 2), so every frame that goes in comes out with its own logits.

Source: Imoto, slides on sound event detection and scene classification, Doshisha University, 2021, after Imoto et al.,
arXiv 2102.01927. Not stated there, chosen here: batch normalisation after each convolution (the usual form), torch's
slope 0.01 of the leaky ReLU; of the Transformer the width of the feed-forward layers (parameters at 25 classes:
1,488,217 for 2048, 698,713 for 512, 567,129 for 256, 501,337 for 128), dropout, ReLU inside the encoder layers, and
sinusoids as positions, without which attention would not know the order of frames.

Beside them `EventNetwork`, with heads for the whole clip and for any activity at all. The probability of a clip is a
weighted mean of those of its frames, p = sum_t w_t y_t with sum_t w_t = 1:

    attention         w is learnt: a softmax over the frames
    linear softmax    w_t = y_t / sum_u y_u, so a frame counts as much as it is active

Both give logits computed from logarithms: log p = logsumexp(log w + log y), log(1 - p) likewise from 1 - y.
So a clip that is surely silent has a logit far below zero and a gradient, where log(p / (1 - p)) of a rounded
p has neither. Source: Wang, Li and Metze, "A comparison of five multiple instance learning pooling functions for sound
event detection with weak labeling", ICASSP 2019 (arXiv 1810.09050).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from asd.core.networks.transformer_layers import sinusoids
from asd.types import AsdError, one_of

Pooling = Literal["attention", "linear_softmax"]


class FrequencyPooledCNN(nn.Module):
    """3x3 convolutions that shrink the frequency axis and keep every frame.

    After each convolution as many bands as `pools` says are pooled into one. `AsdError` for unequal numbers of channels
    and pools, or more pooling than bands.
    """

    def __init__(
        self, n_mels: int = 64, channels: Sequence[int] = (128, 128, 128), pools: Sequence[int] = (8, 4, 2)
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
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out)]
            layers += [nn.LeakyReLU(), nn.MaxPool2d((1, pool))]
            n_in, n_bands = n_out, n_bands // pool
        if not n_bands:
            raise AsdError(f"pools={tuple(pools)} leaves nothing of {n_mels} mel bands; pool less or use more bands")
        self.layers = nn.Sequential(*layers)
        self.n_features = n_in * n_bands

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """(batch, frames, mels) -> (batch, frames, n_features); other numbers of axes and bands are refused."""
        if log_mel.dim() != 3 or log_mel.shape[2] != self.n_mels:
            raise AsdError(
                f"a network for log-mel spectrograms (batch, frames, {self.n_mels}) received the shape "
                f"{tuple(log_mel.shape)}; put frames before mel bands, or build it with that n_mels"
            )
        maps: torch.Tensor = self.layers(log_mel.unsqueeze(1))
        return maps.transpose(1, 2).flatten(2)


class FrameClassifier(nn.Module):
    """Convolutions (None: those of the source), layers along time, and two dense layers: logits per frame and class."""

    n_features = 32  # of the dense layer before the logits

    def __init__(self, convolutions: FrequencyPooledCNN | None) -> None:
        super().__init__()
        self.convolutions = convolutions or FrequencyPooledCNN()

    def _add_head(self, width: int, n_classes: int) -> None:
        """Dense layers behind vectors (batch, frames, width); added last, so that seeds keep their weights."""
        self.dense = nn.Sequential(nn.Linear(width, self.n_features), nn.LeakyReLU())
        self.out = nn.Linear(self.n_features, n_classes)

    @abstractmethod
    def along_time(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors (batch, frames, n_features of the convolutions) -> (batch, frames, width)."""

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Logits (batch, frames, classes) of log-mel spectrograms (batch, frames, mels)."""
        return self.out(self.features(log_mel))

    def features(self, log_mel: torch.Tensor) -> torch.Tensor:
        """What the logits are computed from, for further heads: (batch, frames, n_features)."""
        return self.dense(self.along_time(self.convolutions(log_mel)))


class CRNN(FrameClassifier):
    """A GRU along time, with `n_recurrent` units in each direction; 331,225 parameters at the defaults."""

    def __init__(
        self, n_classes: int = 25, convolutions: FrequencyPooledCNN | None = None, n_recurrent: int = 32
    ) -> None:
        super().__init__(convolutions)
        n_in = self.convolutions.n_features
        self.recurrent = nn.GRU(n_in, n_recurrent, batch_first=True, bidirectional=True)
        self._add_head(2 * n_recurrent, n_classes)

    def along_time(self, x: torch.Tensor) -> torch.Tensor:
        """Both directions of the GRU, one after the other: (batch, frames, 2 n_recurrent)."""
        return self.recurrent(x)[0]


class CNNTransformer(FrameClassifier):
    """Transformer encoder layers along time, in which every frame attends to all others of the clip.

    The width of the Transformer is what the convolutions give, 128 at the defaults: 4 dimensions a head. `AsdError`
    where the heads do not divide it.
    """

    def __init__(
        self,
        n_classes: int = 25,
        convolutions: FrequencyPooledCNN | None = None,
        n_heads: int = 32,
        n_layers: int = 2,
        n_feedforward: int = 512,
    ) -> None:
        super().__init__(convolutions)
        width = self.convolutions.n_features
        if width % n_heads:
            raise AsdError(
                f"n_heads={n_heads} does not divide the {width} features of the convolutions; choose a divisor"
            )
        layer = nn.TransformerEncoderLayer(width, n_heads, n_feedforward, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self._add_head(width, n_classes)

    def along_time(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors of the encoder, with positions added before it."""
        return self.encoder(x + sinusoids(x.shape[1], x.shape[2], like=x))


def pooled(
    logits: torch.Tensor, attention: torch.Tensor | None = None, padding: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits of clips (batch, classes).

    Args:
        logits: of their frames, (batch, frames, classes).
        attention: of the same shape; a softmax over the frames makes weights of it. None: linear softmax.
        padding: (batch, frames), True where a frame has no weight; every clip has one without.
    """
    logits = logits.float()
    weights = logsigmoid(logits) if attention is None else attention.float()
    if padding is not None:
        weights = weights.masked_fill(padding.unsqueeze(-1), -torch.inf)
    log_weights = weights.log_softmax(1)
    log_yes = (log_weights + logsigmoid(logits)).logsumexp(1)
    log_no = (log_weights + logsigmoid(-logits)).logsumexp(1)
    return log_yes - log_no


class EventLogits(NamedTuple):
    """Logits."""

    frames: torch.Tensor  # (batch, frames, classes)
    clips: torch.Tensor  # (batch, classes)
    activity: torch.Tensor  # (batch, frames), whether there is any event


class EventNetwork(nn.Module):
    """A CRNN or CNN-Transformer with heads for the clip and for activity."""

    def __init__(self, trunk: FrameClassifier, pooling: Pooling = "attention") -> None:
        super().__init__()
        one_of(pooling, get_args(Pooling), "pooling")
        self.trunk, n_classes = trunk, trunk.out.out_features
        self.attention = nn.Linear(trunk.n_features, n_classes) if pooling == "attention" else None
        self.activity = nn.Linear(trunk.n_features, 1)

    def forward(self, log_mel: torch.Tensor, padding: torch.Tensor) -> EventLogits:
        """Logits of clips.

        Args:
            log_mel: levels (batch, frames, mels).
            padding: (batch, frames), True where a clip is over.
        """
        features = self.trunk.features(log_mel)
        frames = self.trunk.out(features)
        attention = None if self.attention is None else self.attention(features)
        return EventLogits(frames, pooled(frames, attention, padding), self.activity(features).squeeze(-1))
