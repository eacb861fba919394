"""A network that detects events: logits of every frame, of the whole clip, and of any activity at all.

The probability of a clip is a weighted mean of those of its frames, p = sum_t w_t y_t with sum_t w_t = 1:

    attention         w is learnt: a softmax over the frames
    linear softmax    w_t = y_t / sum_u y_u, so a frame counts as much as it is active

Both give logits computed from logarithms: log p = logsumexp(log w + log y), log(1 - p) likewise from 1 - y.
So a clip that is surely silent has a logit far below zero and a gradient, where log(p / (1 - p)) of a rounded
p has neither.

Source: Wang, Li and Metze, "A comparison of five multiple instance learning pooling functions for sound
event detection with weak labeling", ICASSP 2019 (arXiv 1810.09050).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from asd.core.networks.frame_classifiers import CRNN, CNNTransformer, FrameClassifier, FrequencyPooledCNN
from asd.sed.config import Network
from asd.types import AsdError, one_of

Pooling = Literal["attention", "linear_softmax"]


def pooled(
    logits: torch.Tensor, attention: torch.Tensor | None = None, padding: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits of clips (batch, classes), from those of their frames (batch, frames, classes).

    A softmax over the frames makes weights of the attention, of the same shape; None: linear softmax. Frames where the
    padding (batch, frames) is True have no weight; every clip has one without.
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
        """Logits of log-mel levels (batch, frames, mels); `padding` (batch, frames) is True where a clip is over."""
        features = self.trunk.features(log_mel)
        frames = self.trunk.out(features)
        attention = None if self.attention is None else self.attention(features)
        return EventLogits(frames, pooled(frames, attention, padding), self.activity(features).squeeze(-1))


def build_network(settings: Network, n_classes: int, n_mels: int) -> EventNetwork:
    """The network that the options describe; those that the other kind needs are not used."""
    convolutions = FrequencyPooledCNN(n_mels, settings.channels, settings.pools)
    trunk: FrameClassifier
    if settings.kind == "crnn":
        trunk = CRNN(n_classes, convolutions, settings.n_recurrent)
    elif settings.kind == "transformer":
        sizes = settings.n_heads, settings.n_layers, settings.n_feedforward
        trunk = CNNTransformer(n_classes, convolutions, *sizes)
    else:
        raise AsdError(f"network.kind={settings.kind} is unknown; choose crnn or transformer")
    return EventNetwork(trunk, settings.pooling)
