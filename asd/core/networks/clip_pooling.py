"""Probabilities of classes in a whole clip, from those in its frames.

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

import torch
from torch.nn.functional import logsigmoid


def attention_pooling(
    logits: torch.Tensor, attention: torch.Tensor, absent: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits of clips (batch, classes).

    Args:
        logits: (batch, frames, classes) of the frames.
        attention: same shape; a softmax over the frames makes weights of it.
        absent: (batch, frames) bool, padding that has no weight; every clip has one frame without it.
    """
    return _pooled(logits.float(), attention.float(), absent)


def linear_softmax_pooling(logits: torch.Tensor, absent: torch.Tensor | None = None) -> torch.Tensor:
    """Logits of clips (batch, classes); arguments as in `attention_pooling`.

    Args:
        logits: of the frames, (batch, frames, classes).
        absent: (batch, frames), True where a frame is padding.
    """
    return _pooled(logits.float(), logsigmoid(logits.float()), absent)


def _pooled(logits: torch.Tensor, weights: torch.Tensor, absent: torch.Tensor | None) -> torch.Tensor:
    """Pooled with the softmax of `weights` over the frames."""
    if absent is not None:
        weights = weights.masked_fill(absent.unsqueeze(-1), -torch.inf)
    log_weights = weights.log_softmax(1)
    log_yes = (log_weights + logsigmoid(logits)).logsumexp(1)
    log_no = (log_weights + logsigmoid(-logits)).logsumexp(1)
    return log_yes - log_no
