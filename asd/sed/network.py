"""A network that detects events: logits of every frame, of the whole clip, and of any activity at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn

from asd.core.networks.clip_pooling import attention_pooling, linear_softmax_pooling
from asd.core.networks.frame_classifiers import CRNN, CNNTransformer, FrameClassifier
from asd.types import AsdError

Pooling = Literal["attention", "linear_softmax"]


class EventLogits(NamedTuple):
    """Logits.

    Attributes:
        frames: (batch, frames, classes).
        clips: (batch, classes).
        activity: (batch, frames), whether there is any event.
    """

    frames: torch.Tensor
    clips: torch.Tensor
    activity: torch.Tensor


class EventNetwork(nn.Module):
    """A CRNN or CNN-Transformer with heads for the clip and for activity.

    Args:
        trunk: the network that classifies frames.
        pooling: how frames become a clip.
    """

    def __init__(self, trunk: FrameClassifier, pooling: Pooling = "attention") -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise AsdError(f"pooling={pooling} is unknown; choose one of {', '.join(get_args(Pooling))}")
        self.trunk, self.pooling = trunk, pooling
        n_classes = trunk.out.out_features
        self.attention = nn.Linear(trunk.n_features, n_classes) if pooling == "attention" else None
        self.activity = nn.Linear(trunk.n_features, 1)

    def forward(self, log_mel: torch.Tensor, absent: torch.Tensor) -> EventLogits:
        """Logits.

        Args:
            log_mel: (batch, frames, mels).
            absent: (batch, frames) bool, True where a clip is over.
        """
        features = self.trunk.features(log_mel)
        frames = self.trunk.out(features)
        if self.attention is None:
            clips = linear_softmax_pooling(frames, absent)
        else:
            clips = attention_pooling(frames, self.attention(features), absent)
        return EventLogits(frames, clips, self.activity(features).squeeze(-1))


def build_network(
    kind: Literal["crnn", "transformer"],
    *,
    n_classes: int,
    n_mels: int,
    channels: Sequence[int],
    pools: Sequence[int],
    pooling: Pooling,
    n_recurrent: int,
    n_heads: int,
    n_layers: int,
    n_feedforward: int,
) -> EventNetwork:
    """The network that a configuration describes; what the other kind needs is not used.

    Raises:
        AsdError: an unknown kind or pooling.
    """
    common: dict[str, Any] = {
        "n_classes": n_classes,
        "n_mels": n_mels,
        "channels": channels,
        "pools": pools,
    }
    trunk: FrameClassifier
    if kind == "crnn":
        trunk = CRNN(**common, n_recurrent=n_recurrent)
    elif kind == "transformer":
        trunk = CNNTransformer(**common, n_heads=n_heads, n_layers=n_layers, n_feedforward=n_feedforward)
    else:
        raise AsdError(f"network.kind={kind} is unknown; choose crnn or transformer")
    return EventNetwork(trunk, pooling)
