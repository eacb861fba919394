"""EAT: a Transformer on patches of a log-mel filter bank, under the names of the published checkpoints.

    fbank (batch, 128, frames) ─ 16 x 16 patches ─ + fixed positions ─ clip token in front ─ norm
        ─ [attention ─ norm ─ feed-forward ─ norm] x layers ─► clip token, and tokens of time by 8 bands

For inference and for adapters: the decoder and the dropout of pretraining are left out.

Source: Chen et al., "EAT: Self-Supervised Pre-Training with Efficient Audio Transformer", IJCAI 2024; blocks:
Baevski et al., "data2vec 2.0", ICML 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from asd.core.networks.transformer_layers import PublishedSizes, attend, heads, post_norm_layer
from asd.types import AsdError


@dataclass(frozen=True)
class EatConfig(PublishedSizes):
    """Sizes of a network; the names are those of the published `config.json`."""

    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    patch_size: int = 16  # side of a square patch, in frames and in mel bands
    mel_bins: int = 128  # bands of the filter bank
    max_length: int = 768  # most patches along time that there are positions for
    norm_eps: float = 1e-6  # of the normalisations

    network = "an EAT"
    common = {  # noqa: RUF012 (not a field)
        "stride": 16,
        "in_chans": 1,
        "qkv_bias": True,
        "layer_norm_first": False,
        "norm_affine": True,
        "fixed_positions": True,
    }


class Eat(nn.Module):
    """Normalised filter-bank frames to the tokens of any layers.

    Attributes:
        n_layers: number of Transformer layers.
        n_bands: patches along frequency.
        n_dims: length of a token.
    """

    def __init__(self, config: EatConfig) -> None:
        super().__init__()
        dims, patch = config.embed_dim, config.patch_size
        self.n_layers, self.n_bands, self.n_dims = config.depth, config.mel_bins // patch, dims
        self.patch, self.most_times = patch, config.max_length
        self.local_encoder = nn.ModuleDict({"proj": nn.Conv2d(1, dims, patch, stride=patch)})
        positions = nn.Parameter(torch.zeros(1, config.max_length * self.n_bands, dims), requires_grad=False)
        self.fixed_positional_encoder = nn.ParameterDict({"positions": positions})
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, dims))
        self.pre_norm = nn.LayerNorm(dims, eps=config.norm_eps)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))

    def shorten(self, n_layers: int) -> None:
        """Leaves out the blocks beyond the first `n_layers`."""
        del self.blocks[n_layers:]

    def forward(self, fbank: torch.Tensor) -> list[torch.Tensor]:
        """Output (batch, times, bands, dims) of every layer, from the first to the last, without the clip token.

        Args:
            fbank: (batch, 128, frames) normalised, a multiple of 16 frames, not more than it has positions for.
        """
        patches = self.local_encoder["proj"](fbank.mT[:, None])  # (batch, dims, times, bands)
        return [x[:, 1:].unflatten(1, patches.shape[2:]) for x in self.tokens(patches)]

    def tokens(self, patches: torch.Tensor) -> list[torch.Tensor]:
        """Tokens (batch, 1 + times * bands, dims) of every layer, of patches (batch, dims, times, bands)."""
        if patches.shape[2] > self.most_times:
            raise AsdError(
                f"an input of {patches.shape[2] * self.patch} frames is longer than the "
                f"{self.most_times * self.patch} that this EAT has positions for; lower embedding.window_s"
            )
        x = patches.flatten(2).mT
        x = x + self.fixed_positional_encoder["positions"][:, : x.shape[1]]
        x = self.pre_norm(torch.cat([self.extra_tokens.expand(len(x), -1, -1), x], 1))
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs


class _Block(nn.Module):
    """Attention and feed-forward, both normalised after the residual sum."""

    def __init__(self, config: EatConfig) -> None:
        super().__init__()
        dims, wide, self.n_heads = (config.embed_dim, round(config.embed_dim * config.mlp_ratio), config.num_heads)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dims, 3 * dims), "proj": nn.Linear(dims, dims)})
        self.norm1 = nn.LayerNorm(dims, eps=config.norm_eps)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dims, wide), "fc2": nn.Linear(wide, dims)})
        self.norm2 = nn.LayerNorm(dims, eps=config.norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dims) -> the same."""
        q, k, v = (heads(part, self.n_heads) for part in self.attn["qkv"](x).chunk(3, 2))
        attended = self.attn["proj"](attend(q, k, v))
        return post_norm_layer(x, attended, (self.norm1, self.norm2), (self.mlp["fc1"], self.mlp["fc2"]))
