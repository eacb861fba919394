from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from asd.core.checkpoint import load_into
from asd.detectors.encoders.build import build
from asd.detectors.encoders.recipe import Recipe
from asd.detectors.encoders.training import Discriminator
from asd.types import AsdError
from tests.tiny_encoders import beats_pt, eat_folder


@pytest.fixture(scope="module")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return beats_pt(tmp_path_factory.mktemp("beats"))


def encoder(checkpoint: Path, **changes: Any) -> Any:
    return build(Recipe(encoder="beats", checkpoint=checkpoint, **changes)).eval()


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_parts_are_the_chosen_layers_pooled_band_by_band(beats: Path) -> None:
    waveforms = noise(2, 16000)
    both = encoder(beats, layers=[1, 3])
    with torch.no_grad():
        embeddings = both(waveforms)
        layers = both.network(both.inputs(waveforms))
        flat = encoder(beats, layers=[3], bands=False)(waveforms)
    assert embeddings.shape == (2, both.n_parts, both.n_dims) == (2, 2, 8 * 32)
    for part, layer in zip(embeddings.unbind(1), (layers[0], layers[2]), strict=True):
        expected = torch.stack([layer[:, :, band].mean(1) for band in range(8)], 1).flatten(1)
        torch.testing.assert_close(part, expected / expected.norm(dim=1, keepdim=True))
    expected = layers[2].mean((1, 2))
    torch.testing.assert_close(flat[:, 0], expected / expected.norm(dim=1, keepdim=True))
    assert torch.equal(encoder(beats)(waveforms), encoder(beats, layers=[3])(waveforms))


def test_relative_deviation_pooling_weighs_the_frames_of_each_band(beats: Path) -> None:
    waveforms = noise(1, 8000)
    with torch.no_grad():
        network = encoder(beats, pooling="rdp4")
        tokens = network.network(network.inputs(waveforms))[-1][0]  # (times, bands, dims)
        bands = []
        for x in tokens.unbind(1):
            distance = (x - x.mean(0)).norm(dim=1)
            weights = (1 + distance / distance.max()) ** 4
            bands.append((weights[:, None] * x).sum(0) / weights.sum())
        expected = torch.cat(bands)
        torch.testing.assert_close(network(waveforms)[0, 0], expected / expected.norm())


def test_clips_are_heard_at_their_length_up_to_the_window(beats: Path) -> None:
    frozen = encoder(beats, window_s=2.0)
    assert [frozen.input_samples(n) for n in (100, 16000, 64000)] == [2800, 16000, 32000]
    assert torch.isfinite(frozen(noise(1, 2800))).all()


def test_a_layer_that_is_not_there_is_an_error(beats: Path) -> None:
    with pytest.raises(AsdError, match=r"embedding\.layers=4 is beyond the 3 layers"):
        encoder(beats, layers=[2, 4])


def test_a_frozen_network_has_learnt_nothing(beats: Path) -> None:
    frozen = encoder(beats)
    assert not frozen.state_dict()
    assert not any(p.requires_grad for p in frozen.parameters())
    assert frozen.origin
    assert frozen.origin == encoder(beats).origin
    assert len({encoder(beats, **c).origin for c in ({}, {"layers": [1]}, {"window_s": 2.0})}) == 3


def test_a_missing_library_names_the_command_that_installs_it(beats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(AsdError, match=r"lora_rank=4 needs the package peft, .*pip install -e '\.\[pretrained\]'"):
        encoder(beats, lora_rank=4)


@pytest.mark.parametrize("kind", ["beats", "eat"])
def test_adapters_alone_are_trained_and_kept(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra `pretrained` is not installed")
    path = beats_pt(tmp_path) if kind == "beats" else eat_folder(tmp_path)
    words: dict[str, Any] = {"encoder": kind, "checkpoint": path, "lora_rank": 2, "n_dims": 8, "window_s": 0.5}
    recipe = Recipe(**words, layers=[1, 2], masking=0.3, statex=0.5)
    torch.manual_seed(0)
    tuned = build(recipe)
    with torch.no_grad():
        first = tuned(noise(4, 8000))
    module = Discriminator(tuned, 3, recipe)
    before = {name: tensor.clone() for name, tensor in module.named_parameters()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(3):  # the second matrix of an adapter starts at zero, so the first one learns later
        optimizer.zero_grad()
        module(noise(4, 8000), torch.eye(3)[[0, 1, 2, 0]]).backward()
        optimizer.step()
    changed = {name for name, tensor in module.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == {name for name, p in module.named_parameters() if p.requires_grad}
    assert {name.split(".")[-1] for name in tuned.state_dict() if "lora" not in name} == {"weight", "bias"}
    assert all("lora" in name or name.startswith("projections.") for name in tuned.state_dict())
    assert tuned(noise(2, 8000)).shape == (2, 2, 8)
    torch.manual_seed(1)
    again = build(recipe)
    load_into(again, tuned.state_dict(), path)
    with torch.no_grad():
        torch.testing.assert_close(again(noise(4, 8000)), tuned(noise(4, 8000)))
        assert not torch.allclose(first, again(noise(4, 8000)))


def test_a_state_inside_another_module_keeps_to_what_was_learnt(beats: Path) -> None:
    pytest.importorskip("peft", reason="the extra `pretrained` is not installed")
    recipe = Recipe(encoder="beats", checkpoint=beats, lora_rank=2, n_dims=8)
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module = Discriminator(build(recipe), 2, recipe)
        states.append(module.state_dict())
    assert {name.split(".")[0] for name in states[0]} == {"encoder", "whole"}
    assert not any(name.endswith("relative_attention_bias.weight") for name in states[0])
    load_into(module, states[0], beats)
    for a, b in pairwise([states[0], module.state_dict()]):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_words_that_do_not_go_together_are_refused(beats: Path) -> None:
    for encoder in ("fault_mlp", "multires_cnn"):
        with pytest.raises(AsdError, match=f"encoder={encoder} is trained from nothing"):
            build(Recipe(encoder=encoder, checkpoint=beats))
    with pytest.raises(AsdError, match="pretrained at 16000 Hz and cannot take 8000 Hz"):
        build(Recipe(encoder="beats", checkpoint=beats), 8000)
    with pytest.raises(AsdError, match=r"needs embedding\.checkpoint=PATH: BEATs_iter3"):
        build(Recipe(encoder="beats"))
