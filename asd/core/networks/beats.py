"""BEATs: a Transformer on patches of a log-mel filter bank, under the names of the published checkpoints.

    fbank (batch, 128, frames) ─ 16 x 16 patches ─ norm, projection ─ + convolution over positions ─ norm
        ─ [attention with gated relative positions ─ feed-forward] x layers ─► tokens, time by 8 bands

Layers are normalised after each residual sum, in which the shortcut is weighed by (2 layers)^(1/4)
(DeepNorm). For inference and for adapters: the dropout of pretraining is left out.

Source: Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers", ICML 2023; gated relative
positions: Chi et al., "XLM-E", ACL 2022; DeepNorm: Wang et al., arXiv 2203.00555.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv1d, gelu

from asd.core.networks.transformer_layers import PublishedSizes, attend, heads, post_norm_layer

_MELS = 128
_GATE_DIMS = 8  # of a query's projection that decides its gates: two groups of four, summed


@dataclass(frozen=True)
class BeatsConfig(PublishedSizes):
    """Sizes of a network; the names are those of the published `cfg`."""

    input_patch_size: int = 16  # side of a square patch, in frames and in mel bands
    embed_dim: int = 512  # length of a patch's vector
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    conv_pos: int = 128  # kernel of the convolution over positions
    conv_pos_groups: int = 16
    num_buckets: int = 320  # of relative positions
    max_distance: int = 800  # between them, in tokens
    deep_norm: bool = True  # whether shortcuts are weighed

    network = "a BEATs"
    common = {  # noqa: RUF012 (not a field)
        "conv_bias": False,
        "activation_fn": "gelu",
        "layer_norm_first": False,
        "relative_position_embedding": True,
        "gru_rel_pos": True,
    }


class Beats(nn.Module):
    """Normalised filter-bank frames to the tokens of any layers.

    Attributes:
        n_layers: number of Transformer layers.
        n_bands: patches along frequency.
        n_dims: length of a token.
    """

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        patch, dims = config.input_patch_size, config.encoder_embed_dim
        self.n_layers, self.n_bands, self.n_dims = config.encoder_layers, _MELS // patch, dims
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, patch, stride=patch, bias=False)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = nn.Linear(config.embed_dim, dims)
        self.encoder = _Transformer(config)

    def shorten(self, n_layers: int) -> None:
        """Leaves out the layers beyond the first `n_layers`."""
        del self.encoder.layers[n_layers:]

    def forward(self, fbank: torch.Tensor) -> list[torch.Tensor]:
        """Output (batch, times, bands, dims) of every layer, from the first to the last, of a filter bank.

        That is (batch, 128, frames) normalised; frames beyond a multiple of 16 are left out.
        """
        patches = self.patch_embedding(fbank.mT[:, None])  # (batch, dims, times, bands)
        tokens = self.post_extract_proj(self.layer_norm(patches.flatten(2).mT))
        return [layer.unflatten(1, patches.shape[2:]) for layer in self.encoder(tokens)]


class _Transformer(nn.Module):
    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.pos_conv = nn.ModuleList([_PositionConvolution(config)])
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(config.encoder_embed_dim)

    def forward(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """(batch, tokens, dims) -> the same of every layer."""
        x = self.layer_norm(tokens + self.pos_conv[0](tokens))
        # The published layers hold copies of one table, so that the first one's distances serve all.
        first: Any = self.layers[0]
        distances = first.self_attn.distances(x.shape[1])
        outputs = []
        for layer in self.layers:
            x = layer(x, distances)
            outputs.append(x)
        return outputs


class _PositionConvolution(nn.Module):
    """Grouped convolution along the tokens, its kernel as length times direction at each tap."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dims, self.groups, self.width = config.encoder_embed_dim, config.conv_pos_groups, config.conv_pos
        self.weight_v = nn.Parameter(torch.randn(dims, dims // self.groups, self.width) / math.sqrt(dims))
        self.weight_g = nn.Parameter(torch.ones(1, 1, self.width))
        self.bias = nn.Parameter(torch.zeros(dims))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dims) -> the same."""
        kernel = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        x = conv1d(tokens.mT, kernel, self.bias, padding=self.width // 2, groups=self.groups)
        return gelu(x[:, :, : tokens.shape[1]].mT)


class _Layer(nn.Module):
    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dims, wide = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.shortcut = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.self_attn = _Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(dims)
        self.fc1 = nn.Linear(dims, wide)
        self.fc2 = nn.Linear(wide, dims)
        self.final_layer_norm = nn.LayerNorm(dims)

    def forward(self, x: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dims) -> the same; `distances` (heads, tokens, tokens)."""
        norms = (self.self_attn_layer_norm, self.final_layer_norm)
        return post_norm_layer(x, self.self_attn(x, distances), norms, (self.fc1, self.fc2), self.shortcut)


class _Attention(nn.Module):
    """Self-attention whose bias by relative position is gated by the query."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dims, self.n_heads = config.encoder_embed_dim, config.encoder_attention_heads
        self.max_distance = config.max_distance
        self.q_proj = nn.Linear(dims, dims)
        self.k_proj = nn.Linear(dims, dims)
        self.v_proj = nn.Linear(dims, dims)
        self.out_proj = nn.Linear(dims, dims)
        self.grep_linear = nn.Linear(dims // self.n_heads, _GATE_DIMS)
        self.grep_a = nn.Parameter(torch.ones(1, self.n_heads, 1, 1))
        self.relative_attention_bias = nn.Embedding(config.num_buckets, self.n_heads)

    def distances(self, n_tokens: int) -> torch.Tensor:
        """Bias of each head by the distance between two tokens, (heads, tokens, tokens)."""
        table = self.relative_attention_bias.weight
        position = torch.arange(n_tokens, device=table.device)
        ahead = position[None] - position[:, None]
        return table[_buckets(ahead, len(table), self.max_distance)].permute(2, 0, 1)

    def forward(self, x: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dims) -> the same; `distances` (heads, tokens, tokens)."""
        q, k, v = (heads(project(x), self.n_heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        gates = self.grep_linear(q).unflatten(-1, (2, _GATE_DIMS // 2)).sum(-1).sigmoid()
        update, reset = gates.chunk(2, -1)  # (batch, heads, tokens, 1)
        bias = (update * (reset * self.grep_a - 1) + 2) * distances
        return self.out_proj(attend(q, k, v, bias.to(q.dtype)))


def _buckets(ahead: torch.Tensor, n_buckets: int, max_distance: int) -> torch.Tensor:
    """Number of the bucket of each signed distance in tokens.

    Half of the buckets look back and half ahead; of each half, one half are single distances and the other
    grows with the logarithm up to `max_distance`. Source: Raffel et al., "T5", JMLR 2020.
    """
    half = n_buckets // 2
    single = half // 2
    distance = ahead.abs()
    growth = (distance.clamp_min(1) / single).log() / math.log(max_distance / single)
    far = (single + (growth * (half - single)).long()).clamp_max(half - 1)
    return torch.where(distance < single, distance, far) + half * (ahead > 0)
