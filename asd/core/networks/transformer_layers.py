"""What the published Transformers have in common: attention by heads, and sums that are normalised afterwards.

Tokens are (batch, tokens, dims). The networks keep their parameters under the names of their checkpoints, so only what
has no parameters of its own is shared.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention


def heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Tokens by heads: (batch, tokens, dims) -> (batch, heads, tokens, dims / heads).

    Args:
        x: (batch, tokens, dims).
        n_heads: a divisor of dims.
    """
    return x.unflatten(2, (n_heads, -1)).transpose(1, 2)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Values weighted by how queries and keys agree: three times (batch, heads, tokens, dims / heads) -> tokens.

    Args:
        q, k, v: from `heads`.
        bias: (batch or 1, heads, tokens, tokens) added to the agreement.
    """
    return scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def post_norm_layer(
    x: torch.Tensor,
    attended: torch.Tensor,
    norms: tuple[nn.Module, nn.Module],
    feed_forward: tuple[nn.Module, nn.Module],
    shortcut: float = 1.0,
) -> torch.Tensor:
    """A layer behind its attention: both sums are normalised afterwards.

    Args:
        x: tokens before the layer.
        attended: what its attention gave.
        norms: behind the attention, and behind the feed-forward network.
        feed_forward: its two matrices, with a GELU between them.
        shortcut: factor of what goes past.
    """
    first, second = feed_forward
    x = norms[0](shortcut * x + attended)
    result: torch.Tensor = norms[1](shortcut * x + second(gelu(first(x))))
    return result
