from __future__ import annotations

from typing import Any

import torch

from asd.data.frontends import activity_target
from asd.detectors.encoders.bottleneck import Bottleneck
from asd.detectors.encoders.recipe import Recipe
from asd.features.logmel import LogMel


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def bottleneck(**options: Any) -> Bottleneck:
    return Bottleneck(Recipe(segment_samples=8000, **options))


def test_the_embedding_is_the_mean_code_of_all_windows() -> None:
    torch.manual_seed(0)
    encoder, waveforms = bottleneck(n_dims=6).eval(), noise(2, 8000)
    with torch.no_grad():
        frames = (LogMel()(waveforms).mT + 60) / 20  # (batch, frames, mels)
        windows = [frames[:, i : i + 5].flatten(1) for i in range(frames.shape[1] - 4)]
        expected = torch.stack([encoder.code(window) for window in windows]).mean(0)
        embeddings = encoder(waveforms)
    assert embeddings.shape == (2, encoder.n_parts, encoder.n_dims) == (2, 1, 6)
    torch.testing.assert_close(embeddings[:, 0], expected / expected.norm(dim=1, keepdim=True))


def test_it_is_the_official_network_up_to_the_bottleneck() -> None:
    shapes = [tuple(p.shape) for name, p in bottleneck(n_dims=8).named_parameters() if p.dim() == 2]
    assert shapes == [(128, 640), (128, 128), (128, 128), (128, 128), (8, 128)]


def test_level_is_heard_only_where_it_is_asked_for() -> None:
    waveforms = noise(2, 8000)
    for level in (True, False):
        torch.manual_seed(0)
        encoder = bottleneck(level=level).eval()
        with torch.no_grad():
            same = torch.allclose(encoder(waveforms), encoder(0.1 * waveforms), atol=1e-4)
        assert same is not level


def test_windows_weigh_as_the_activity_head_says() -> None:
    torch.manual_seed(0)
    encoder, waveforms = bottleneck(n_dims=6, activity=True).eval(), noise(2, 8000)
    assert encoder.activity is not None
    with torch.no_grad():
        windows = encoder.spectra(waveforms)[0].mT.unfold(1, 5, 1).mT.flatten(2)
        codes = torch.stack([encoder.code(window) for window in windows])
        weights = encoder.activity(windows).sigmoid().clamp_min(0.1)
        expected = torch.nn.functional.normalize((weights * codes).sum(1), dim=1)
        torch.testing.assert_close(encoder(waveforms)[:, 0], expected)


def test_the_activity_head_learns_when_a_machine_is_at_work() -> None:
    torch.manual_seed(0)
    encoder = bottleneck(n_dims=6, activity=True)
    assert encoder.activity is not None
    at_work = (torch.arange(8000) % 4000 < 1500).float()
    waveforms = noise(8, 8000) * (0.01 + at_work)
    spectra, targets = encoder.spectra(waveforms), activity_target(waveforms)
    descend = torch.optim.Adam(encoder.activity.parameters(), 1e-2)
    first = encoder.activity_loss(spectra, targets).item()
    for _ in range(200):
        descend.zero_grad()
        encoder.activity_loss(spectra, targets).backward()
        descend.step()
    assert 0 <= encoder.activity_loss(spectra, targets).item() < 0.3 * first
    assert all(p.grad is None for p in encoder.code.parameters())


def test_telling_classes_apart_does_not_move_the_activity_head() -> None:
    encoder = bottleneck(n_dims=6, activity=True)
    assert encoder.activity is not None
    encoder(noise(4, 8000)).sum().backward()
    assert all(p.grad is None for p in encoder.activity.parameters())


def test_silence_has_a_finite_activity_loss() -> None:
    encoder, silence = bottleneck(n_dims=6, activity=True), torch.zeros(2, 8000)
    assert encoder.activity_loss(encoder.spectra(silence), activity_target(silence)).isfinite()
