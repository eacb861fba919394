from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.core.networks.raw_wave import DESIGNS, RawWaveCNN, RawWaveDesign
from asd.types import AsdError

SMALL = RawWaveDesign((4, 4, 8), 5, batch_norm=True)
PUBLISHED = {  # parameters, channels and steps of the last map
    "base": (1_855_056, 128, 8),
    "ch32": (94_768, 64, 7),
    "ch64": (363_600, 128, 7),
    "vgg": (470_736, 128, 7),
    "ch128": (2_071_184, 512, 2),
    "features32": (91_712, 16, 2),
    "features128": (1_438_544, 64, 2),
}


def network(design: str | RawWaveDesign = SMALL, n_samples: int = 16000) -> RawWaveCNN:
    torch.manual_seed(0)
    return RawWaveCNN(DESIGNS[design] if isinstance(design, str) else design, n_samples=n_samples)


def waveforms(n: int, samples: int = 16000) -> torch.Tensor:
    return 0.1 * torch.randn(n, samples, generator=torch.Generator().manual_seed(n))


def test_all_designs_of_the_document_are_there() -> None:
    assert PUBLISHED.keys() == DESIGNS.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_design_has_its_parameters_and_shapes(name: str) -> None:
    net, (n_parameters, n_channels, n_steps) = network(name).eval(), PUBLISHED[name]
    assert sum(p.numel() for p in net.parameters()) == n_parameters
    x = waveforms(1)
    with torch.no_grad():
        assert net(x).shape == (1, 16)
        assert net.features(x).shape == (1, net.n_features) == (1, n_channels * n_steps)
        maps = net.activation_maps(x)
    assert len(maps) == len(DESIGNS[name].channels)
    assert maps[-1].shape == (1, n_channels, n_steps)


def test_the_lengths_of_ch32_are_those_of_the_printed_table() -> None:
    steps = [x.shape[2] for x in network("ch32").eval().activation_maps(waveforms(1))]
    assert steps == [16000, 5333, 1777, 592, 197, 65, 21, 7]


def test_the_first_convolution_may_have_a_kernel_and_a_stride_of_its_own() -> None:
    net = network(replace(SMALL, first_kernel=65, stride=4), n_samples=4096)
    assert [block[0].kernel_size for block in net.blocks] == [(65,), (5,), (5,)]
    assert [block[0].stride for block in net.blocks] == [(4,), (1,), (1,)]
    assert [x.shape[2] for x in net.activation_maps(waveforms(2, 4096))] == [1024, 341, 113]


@pytest.mark.parametrize(("name", "n_features"), [("features32", 32), ("features128", 128)])
def test_the_extractors_compress_to_what_they_are_named_after(name: str, n_features: int) -> None:
    assert network(name).n_features == n_features


@settings(max_examples=40)
@given(
    n_samples=st.integers(30, 400),
    kernel=st.sampled_from([1, 3, 5]),
    pool=st.integers(1, 4),
    pool_first=st.booleans(),
    padded=st.booleans(),
    per_pool=st.integers(1, 2),
)
def test_a_design_of_ones_own_fits_the_waveform_or_says_so(
    n_samples: int, kernel: int, pool: int, pool_first: bool, padded: bool, per_pool: int
) -> None:
    design = RawWaveDesign((2, 2, 3, 3), kernel, pool, per_pool, pool_first, padded)
    try:
        net = RawWaveCNN(design, 4, n_samples).eval()
    except AsdError as error:
        assert f"n_samples={n_samples} is too short" in str(error)  # noqa: PT017
        return
    assert net.features(waveforms(2, n_samples)).shape == (2, net.n_features)


@pytest.mark.parametrize("name", PUBLISHED)
def test_waveforms_still_differ_after_all_layers_of_a_new_network(name: str) -> None:
    with torch.no_grad():
        spread = network(name).train().features(waveforms(3)).std(0).mean()
    assert 3e-3 < spread < 3


@pytest.mark.parametrize("design", [SMALL, replace(SMALL, feature_norm=True, hidden=(6, 5), dropout=0.0)])
def test_gradients_reach_every_parameter(design: RawWaveDesign) -> None:
    net = network(design, 600)
    net(waveforms(8, 600)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.any() for p in net.parameters() if p.grad is not None)


def test_a_waveform_does_not_depend_on_its_company_nor_on_the_call() -> None:
    net, x = network("features32", 8000).eval(), waveforms(4, 8000)
    together = net(x)
    assert torch.equal(net(x), together)
    for i in range(4):
        torch.testing.assert_close(net(x[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-6)


def test_the_logits_are_read_from_the_features() -> None:
    net, x = network("features32").eval(), waveforms(2)
    assert torch.equal(net.head(net.features(x)), net(x))


@pytest.mark.parametrize("shape", [(2, 8000), (16000,), (2, 1, 16000)])
def test_a_wrong_shape_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(AsdError, match=r"\(batch, 16000\) received the shape"):
        network()(torch.zeros(shape))


def test_a_short_waveform_is_told() -> None:
    with pytest.raises(AsdError, match="n_samples=2000 is too short"):
        RawWaveCNN(n_samples=2000)


def test_training_tells_two_tones_apart() -> None:
    net = network(replace(SMALL, dropout=0.0), 800)
    time_s = torch.arange(800) / 16000
    tones = torch.stack([torch.sin(2 * torch.pi * f * time_s) for f in (500.0, 2000.0)]).repeat(8, 1)
    x, labels = tones + waveforms(16, 800), torch.arange(2).repeat(8)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    assert torch.equal(net(x).argmax(1), labels)
