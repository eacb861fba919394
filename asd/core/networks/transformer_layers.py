"""What the Transformers have in common: attention by heads, sums normalised afterwards, positions, published sizes.

Tokens are (batch, tokens, dims). The networks keep their parameters under the names of their checkpoints, so only what
has no parameters of its own is shared.

Args:
    x: tokens.
    n_heads: a divisor of dims.
    q, k, v: queries, keys and values, each (batch, heads, tokens, dims / heads).
    bias: (batch or 1, heads, tokens, tokens) added to how queries and keys agree.
    norms: behind the attention, and behind the feed-forward network.
    feed_forward: its two matrices, with a GELU between them.
    shortcut: factor of what goes past.
    n_steps, n_dims: length of a sequence and of its codes.
    like: a tensor of the wanted type and device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from asd.types import AsdError


def heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Tokens by heads, (batch, heads, tokens, dims / heads)."""
    return x.unflatten(2, (n_heads, -1)).transpose(1, 2)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Tokens: values weighted by how queries and keys agree."""
    return scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def post_norm_layer(
    x: torch.Tensor,
    attended: torch.Tensor,
    norms: tuple[nn.Module, nn.Module],
    feed_forward: tuple[nn.Module, nn.Module],
    shortcut: float = 1.0,
) -> torch.Tensor:
    """A layer behind its attention: both sums are normalised afterwards."""
    first, second = feed_forward
    x = norms[0](shortcut * x + attended)
    return norms[1](shortcut * x + second(gelu(first(x))))


def sinusoids(n_steps: int, n_dims: int, like: torch.Tensor) -> torch.Tensor:
    """Position codes (n_steps, n_dims), sines in the even columns and cosines in the odd ones.

    The wavelengths run from 2 pi to 10000 x 2 pi steps. Computed in float32.

    Source: Vaswani et al., "Attention is all you need", 2017, section 3.5.
    """
    step = torch.arange(n_steps, device=like.device, dtype=torch.float32)
    pair = torch.arange(0, n_dims, 2, device=like.device, dtype=torch.float32)
    angle = step[:, None] * torch.exp(pair * (-math.log(10000.0) / n_dims))
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)[:, :n_dims].to(like.dtype)


class PublishedSizes:
    """Sizes of a network under the names of a published configuration; a subclass is a dataclass of them."""

    network: ClassVar[str]  # what messages call it, such as "a BEATs"
    common: ClassVar[Mapping[str, Any]]  # what all published checkpoints have; a network with anything else is another

    @classmethod
    def of(cls, published: Mapping[str, Any]) -> Self:
        """The sizes in a published configuration; `AsdError` for that of a variant that was never published."""
        for name, usual in cls.common.items():
            if published.get(name, usual) != usual:
                raise AsdError(f"{cls.network} network with {name}={published[name]!r} is none of the published ones")
        return cls(**{name: published[name] for name in cls.__annotations__ if name in published})
