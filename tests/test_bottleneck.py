from __future__ import annotations

import torch

from asd.encoders.bottleneck import Bottleneck
from asd.features import LogMel


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_embedding_is_the_mean_code_of_all_windows() -> None:
    torch.manual_seed(0)
    encoder, waveforms = Bottleneck(8000, n_dims=6).eval(), noise(2, 8000)
    with torch.no_grad():
        frames = (LogMel()(waveforms).mT + 60) / 20  # (batch, frames, mels)
        windows = [frames[:, i : i + 5].flatten(1) for i in range(frames.shape[1] - 4)]
        expected = torch.stack([encoder.code(window) for window in windows]).mean(0)
        embeddings = encoder(waveforms)
    assert embeddings.shape == (2, encoder.n_parts, encoder.n_dims) == (2, 1, 6)
    torch.testing.assert_close(embeddings[:, 0], expected / expected.norm(dim=1, keepdim=True))


def test_it_is_the_official_network_up_to_the_bottleneck() -> None:
    shapes = [tuple(p.shape) for name, p in Bottleneck(n_dims=8).named_parameters() if p.dim() == 2]
    assert shapes == [(128, 640), (128, 128), (128, 128), (128, 128), (8, 128)]


def test_level_is_heard_only_where_it_is_asked_for() -> None:
    waveforms = noise(2, 8000)
    for level in (True, False):
        torch.manual_seed(0)
        encoder = Bottleneck(8000, level=level).eval()
        with torch.no_grad():
            same = torch.allclose(encoder(waveforms), encoder(0.1 * waveforms), atol=1e-4)
        assert same is not level
