from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from asd.core.networks.transformer_layers import attend, heads, post_norm_layer, sinusoids


def test_attention_is_that_of_torchs_own_layer() -> None:
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(12, 3, batch_first=True), torch.randn(2, 5, 12)
    bias = torch.randn(1, 3, 5, 5)
    projected = x @ layer.in_proj_weight.T + layer.in_proj_bias
    q, k, v = (heads(part, 3) for part in projected.chunk(3, 2))
    expected, _ = layer(x, x, x, attn_mask=bias.repeat(2, 1, 1, 1).flatten(0, 1))
    torch.testing.assert_close(layer.out_proj(attend(q, k, v, bias)), expected)


def test_a_layer_is_that_of_torchs_own_encoder() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, activation="gelu", batch_first=True)
    x = torch.randn(2, 5, 12)
    attended = layer.self_attn(x, x, x)[0]
    found = post_norm_layer(x, attended, (layer.norm1, layer.norm2), (layer.linear1, layer.linear2))
    torch.testing.assert_close(found, layer(x))
    doubled = post_norm_layer(x, 2 * attended, (layer.norm1, nn.Identity()), (nn.Identity(), nn.Identity()), 2.0)
    once = layer.norm1(x + attended)  # a normalised sum has no scale
    torch.testing.assert_close(doubled, 2 * once + nn.functional.gelu(once), rtol=1e-4, atol=1e-4)


def test_columns_are_the_sines_and_cosines_of_the_paper() -> None:
    codes = sinusoids(7, 6, like=torch.zeros(1))
    for step in range(7):
        for pair in range(3):
            angle = step / 10000 ** (2 * pair / 6)
            assert codes[step, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-6)
            assert codes[step, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_an_odd_width_ends_with_a_sine() -> None:
    assert sinusoids(4, 5, like=torch.zeros(1)).shape == (4, 5)


def test_steps_stay_apart_in_the_type_asked_for() -> None:
    codes = sinusoids(500, 128, like=torch.zeros(1, dtype=torch.float64))
    assert codes.dtype == torch.float64
    assert torch.pdist(codes).min() > 0.5
