from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.core.files import load_tensors
from asd.core.networks.beats import Beats, BeatsConfig, _buckets
from asd.types import AsdError


def test_every_layer_equals_the_public_implementation(golden: Path) -> None:
    place = golden / "encoders/beats_tiny"
    network = Beats(BeatsConfig.of(json.loads((place / "config.json").read_text()))).eval()
    network.load_state_dict(load_tensors(place / "weights.safetensors")[0])
    expected = np.load(place / "io.npz")
    fbank = torch.from_numpy(expected["fbank"]).mT
    with torch.no_grad():
        patches = network.patch_embedding(fbank.mT[:, None]).flatten(2).mT
        layers = [layer.flatten(1, 2).numpy() for layer in network(fbank)]
    np.testing.assert_allclose(patches.numpy(), expected["patches"], atol=1e-5)
    assert len(layers) == len(expected["layers"])
    for ours, theirs in zip(layers, expected["layers"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(layers[-1], expected["output"], atol=1e-5)


def test_tokens_are_ordered_by_time_then_by_band() -> None:
    torch.manual_seed(0)
    network = Beats(
        BeatsConfig(embed_dim=8, encoder_layers=1, encoder_embed_dim=16, encoder_ffn_embed_dim=16,
                    encoder_attention_heads=2, conv_pos_groups=2)
    ).eval()  # fmt: skip
    quiet, band = torch.zeros(1, 128, 50), torch.zeros(1, 128, 50)
    band[:, 32:48, 16:32] = 1.0  # the third band of the second time
    with torch.no_grad():
        change = [network.patch_embedding(x.mT[:, None]) for x in (quiet, band)]
        tokens = network(band)[0]
    assert tokens.shape == (1, 3, 8, 16)  # two frames beyond three patches are not heard
    where = (change[0] - change[1]).abs().sum(1).nonzero()
    assert where.tolist() == [[0, 1, 2]]


def test_relative_positions_fall_into_the_buckets_of_t5() -> None:
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5", reason="the extra `pretrained` is not installed")
    ahead = torch.arange(-1200, 1201)
    theirs = t5.T5Attention._relative_position_bucket(ahead, num_buckets=320, max_distance=800)
    assert torch.equal(_buckets(ahead, 320, 800), theirs)


def test_shortening_leaves_the_first_layers_as_they_were() -> None:
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "conv_pos_groups": 2}
    network = Beats(BeatsConfig(encoder_layers=3, encoder_attention_heads=2, **sizes)).eval()
    fbank = torch.randn(2, 128, 32)
    with torch.no_grad():
        before = network(fbank)
        network.shorten(2)
        after = network(fbank)
    assert len(after) == 2
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=False))


def test_a_variant_that_nobody_published_is_refused() -> None:
    with pytest.raises(AsdError, match="layer_norm_first=True is none of the published ones"):
        BeatsConfig.of({"layer_norm_first": True})
