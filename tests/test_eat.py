from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.core.files import load_tensors
from asd.core.networks.eat import Eat, EatConfig
from asd.types import AsdError
from tests.tiny_encoders import EAT


def test_every_layer_equals_the_public_implementation(golden: Path) -> None:
    place = golden / "encoders/eat_tiny"
    network = Eat(EatConfig.of(json.loads((place / "config.json").read_text()))).eval()
    network.load_state_dict(load_tensors(place / "weights.safetensors")[0])
    expected = np.load(place / "io.npz")
    fbank = torch.from_numpy(expected["fbank"][:, 0]).mT
    with torch.no_grad():
        layers = network.tokens(network.local_encoder["proj"](fbank.mT[:, None]))
        grids = network(fbank)
    assert len(layers) == len(expected["layers"])
    for ours, theirs in zip(layers, expected["layers"], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)
    np.testing.assert_allclose(layers[-1].numpy(), expected["output"], atol=1e-5)
    np.testing.assert_allclose(grids[-1].flatten(1, 2).numpy(), expected["output"][:, 1:], atol=1e-5)


def test_each_place_of_the_grid_has_its_own_position() -> None:
    torch.manual_seed(0)
    network = Eat(EatConfig.of(EAT)).eval()
    positions = network.fixed_positional_encoder["positions"]
    fbank = torch.randn(1, 128, 64)
    with torch.no_grad():
        before = network.tokens(network.local_encoder["proj"](fbank.mT[:, None]))[0]
        positions[:, 4 * 8 :] += 1.0  # of times that this input does not have
        after = network.tokens(network.local_encoder["proj"](fbank.mT[:, None]))[0]
        assert torch.equal(before, after)
        positions[:, 3] += torch.randn(64)
        assert not torch.allclose(before, network.tokens(network.local_encoder["proj"](fbank.mT[:, None]))[0])
    assert network(fbank)[0].shape == (1, 4, 8, 64)


def test_shortening_leaves_the_first_blocks_as_they_were() -> None:
    torch.manual_seed(0)
    network = Eat(EatConfig.of(EAT)).eval()
    fbank = torch.randn(1, 128, 32)
    with torch.no_grad():
        first = network(fbank)[0]
        network.shorten(1)
        assert [torch.equal(layer, first) for layer in network(fbank)] == [True]


def test_inputs_beyond_the_positions_and_unknown_variants_are_refused() -> None:
    network = Eat(EatConfig.of(EAT))
    with pytest.raises(AsdError, match=r"144 frames is longer than the 128 .* lower embedding\.window_s"):
        network(torch.zeros(1, 128, 144))
    with pytest.raises(AsdError, match="fixed_positions=False is none of the published ones"):
        EatConfig.of({"fixed_positions": False})
