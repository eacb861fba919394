from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asd.core.networks.resnet_se import ResNetSE
from asd.detectors.encoders.build import build
from asd.detectors.encoders.recipe import Recipe
from asd.types import AsdError

# What the network of dcase-asd-toolkit (commit ed27d82, `dis_multispec_scac_trainable`) makes of the same waveforms
# with the same weights: "training" and "evaluation" embeddings (4, 512), with the spectrum's part last, and
# "gradients", the norm for every tensor of weights, of the sum of the first under weights drawn with seed 2.
GOLDEN = Path(__file__).parent / "golden" / "resnet_se.npz"


def with_drawn_weights() -> ResNetSE:
    network, random = ResNetSE(72000), np.random.RandomState(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.from_numpy(random.standard_normal(tuple(p.shape)) / np.sqrt(p[0].numel())))
    return network


def tones_in_noise(samples: int = 72000) -> torch.Tensor:
    random, time_s = np.random.RandomState(1), np.arange(samples) / 16000
    tones = [0.3 * np.sin(2 * np.pi * (200 + 300 * k) * time_s) for k in range(4)]
    return torch.from_numpy(np.stack([0.1 * random.standard_normal(samples) + x for x in tones])).float()


def test_the_public_network_to_the_last_layer() -> None:
    golden, network, waveforms = np.load(GOLDEN), with_drawn_weights().train(), tones_in_noise()
    assert sum(p.numel() for p in network.parameters()) == 4_918_512
    embeddings = network(waveforms).flatten(1)
    np.testing.assert_allclose(embeddings.detach(), golden["training"], atol=2e-5)
    direction = torch.from_numpy(np.random.RandomState(2).standard_normal((4, 512))).float()
    (embeddings * direction).sum().backward()
    gradients = [float(p.grad.norm()) for p in network.parameters() if p.grad is not None]
    np.testing.assert_allclose(gradients, golden["gradients"], rtol=2e-2)
    with torch.no_grad():
        np.testing.assert_allclose(network.eval()(waveforms).flatten(1), golden["evaluation"], atol=2e-5)


@pytest.mark.parametrize("samples", [4096, 16000, 32000, 70013, 70014, 72000, 160000])
def test_short_segments_are_heard_and_long_ones(samples: int) -> None:
    """The public network refuses what is shorter than 4.4 s."""
    network = ResNetSE(samples).train()
    embeddings = network(tones_in_noise(samples))
    assert embeddings.shape == (4, 4, 128)
    assert torch.isfinite(embeddings).all()
    torch.testing.assert_close(embeddings.flatten(1).norm(dim=1), torch.ones(4))
    embeddings.square()[:, 0].sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_nothing_is_heard_below_the_lowest_frequency() -> None:
    network, time_s = ResNetSE(16000, whole=False), torch.arange(16000) / 16000
    hum, tone = (torch.sin(2 * torch.pi * f * time_s)[None] for f in (50.0, 1000.0))
    for below, heard in zip(network.spectra(hum)[1:], network.spectra(tone)[1:], strict=True):
        assert below[..., 2:-2].max() < 1e-2 * heard.max()
    assert [x.shape[1] for x in network.spectra(hum)] == [125, 500, 1997]


def test_rows_do_not_depend_on_their_company_once_trained() -> None:
    network, waveforms = with_drawn_weights(), tones_in_noise()
    network.train()(waveforms)
    together = network.eval()(waveforms)
    torch.testing.assert_close(network(waveforms[2:3])[0], together[2], rtol=1e-4, atol=1e-5)


def test_a_window_of_too_few_bins_is_refused() -> None:
    with pytest.raises(AsdError, match=r"windows_samples has 16, and embedding\.encoder=resnet_se needs .* 32 "):
        build(Recipe(encoder="resnet_se", windows_samples=(16, 1024)))
    assert build(Recipe(encoder="resnet_se", windows_samples=(32,), segment_samples=16000)).n_parts == 2


@pytest.mark.parametrize(("rate_hz", "windows", "needs"), [(1000, (32,), "64 samples"), (400, (4096,), "a higher")])
def test_so_is_one_at_a_rate_too_low_for_it(rate_hz: int, windows: tuple[int], needs: str) -> None:
    with pytest.raises(AsdError, match=rf"windows_samples has {windows[0]}, .* {needs} .* at {rate_hz} Hz"):
        build(Recipe(encoder="resnet_se", windows_samples=windows), rate_hz)
    assert build(Recipe(encoder="resnet_se", windows_samples=(64,)), 1000).n_parts == 2
