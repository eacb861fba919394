from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.core.networks.multiresolution import MultiResolution, _pool_bands

SMALL = {"segment_samples": 4800, "windows_samples": (256, 1024), "n_dims": 12, "width": 4}


def network(**changes: object) -> MultiResolution:
    torch.manual_seed(0)
    return MultiResolution(**(SMALL | changes)).eval()  # type: ignore[arg-type]


def waveforms(n: int, samples: int = 4800, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(n, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("changes", "n_parts"),
    [({}, 3), ({"whole": False}, 2), ({"windows_samples": (1024,), "whole": False}, 1), ({"windows_samples": ()}, 1)],
)
def test_each_spectrum_gives_a_part_of_unit_length(changes: dict[str, object], n_parts: int) -> None:
    net = network(**changes)
    parts = net(waveforms(3))
    assert parts.shape == (3, net.n_parts, net.n_dims) == (3, n_parts, 12)
    torch.testing.assert_close(parts.norm(dim=-1), torch.ones(3, n_parts))


@pytest.mark.parametrize("samples", [16000, 32000, 48000])
def test_the_published_size_takes_any_segment(samples: int) -> None:
    net = MultiResolution(samples).eval()
    assert net(waveforms(1, samples)).shape == (1, 4, 128)


def test_rows_do_not_depend_on_their_company() -> None:
    net, x = network(), waveforms(6)
    together = net(x)
    for i in range(6):
        torch.testing.assert_close(net(x[i : i + 1])[0], together[i], rtol=1e-5, atol=1e-6)


@settings(max_examples=10)
@given(gain=st.floats(1e-3, 1e3))
def test_the_level_is_heard_only_where_asked(gain: float) -> None:
    x = waveforms(2)
    deaf = network(level=False)
    torch.testing.assert_close(deaf(gain * x), deaf(x), rtol=1e-3, atol=1e-4)
    heard = network(level=True)
    loud, plain = heard.spectra(gain * x)[0], heard.spectra(x)[0]
    torch.testing.assert_close(loud / gain, plain, rtol=1e-4, atol=1e-5)


def test_silence_gives_finite_embeddings_and_gradients() -> None:
    net = network().train()
    parts = net(torch.zeros(4, 4800))
    parts.square().sum().backward()
    assert torch.isfinite(parts).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_click_and_a_hum_show_where_they_should() -> None:
    time_s = torch.arange(4800) / 16000
    hum = torch.sin(2 * torch.pi * 1000 * time_s)[None]
    click = torch.zeros(1, 4800).index_fill(1, torch.tensor([2400]), 1.0)
    short, long, whole = network(level=True).spectra(hum)
    assert [int(x[0].argmax()) if x.dim() == 2 else int(x[0].sum(1).argmax()) for x in (short, long, whole)] == [
        16,
        64,
        300,
    ]
    short = network(level=True).spectra(click)[0]
    assert (short[0].sum(0) > 0.1).sum() == 2  # half overlapping windows


@settings(max_examples=30)
@given(n=st.integers(1, 70))
def test_bands_are_pooled_as_torch_does(n: int) -> None:
    x = torch.randn(2, 3, n, generator=torch.Generator().manual_seed(n))
    torch.testing.assert_close(_pool_bands(x), torch.nn.functional.adaptive_avg_pool1d(x, 8))


def test_training_separates_two_tones() -> None:
    torch.manual_seed(0)
    net = MultiResolution(**SMALL).train()  # type: ignore[arg-type]
    time_s = torch.arange(4800) / 16000
    tones = torch.stack([torch.sin(2 * torch.pi * f * time_s) for f in (500.0, 520.0)]).repeat(8, 1)
    x, labels = tones + 0.3 * waveforms(16) / 0.1, torch.arange(2).repeat(8)
    head = torch.nn.Linear(36, 2)
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(net(x).flatten(1)), labels).backward()
        optimizer.step()
    assert torch.equal(head(net(x).flatten(1)).argmax(1), labels)
