from __future__ import annotations

import torch

from asd.detectors.encoders.raw_wave import RawWave, at_one_level


def encoder(level: bool = True) -> RawWave:
    torch.manual_seed(0)
    return RawWave(8192, n_dims=8, width=2, level=level).eval()


def noise(n_samples: int = 8192) -> torch.Tensor:
    return 0.1 * torch.randn(2, n_samples, generator=torch.Generator().manual_seed(0))


def test_embeddings_are_of_unit_length_and_hear_the_order_of_samples() -> None:
    with torch.no_grad():
        embeddings = encoder()(noise())
        shuffled = encoder()(noise()[:, torch.randperm(8192)])
    assert embeddings.shape == (2, 1, 8)
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(2, 1))
    assert not torch.allclose(embeddings, shuffled)


def test_a_segment_may_begin_anywhere_in_a_cycle() -> None:
    period = 1024  # the poolings' common step, so that maps repeat exactly
    wave = noise(period).repeat(1, 8)
    with torch.no_grad():
        moved = encoder().blocks(wave.roll(period, 1).unsqueeze(1)), encoder().blocks(wave.unsqueeze(1))
    inside = slice(2, -2)
    torch.testing.assert_close(moved[0][..., inside].amax(2), moved[1][..., inside].amax(2))


def test_level_is_heard_only_where_it_is_asked_for() -> None:
    for level in (True, False):
        with torch.no_grad():
            same = torch.allclose(encoder(level)(noise()), encoder(level)(0.1 * noise()), atol=1e-5)
        assert same is not level


def test_silence_stays_silent() -> None:
    assert not at_one_level(torch.zeros(1, 100)).any()
    torch.testing.assert_close(at_one_level(noise()).square().mean(1), torch.ones(2))


def test_every_weight_has_a_gradient() -> None:
    raw = encoder().train()
    (raw(noise()) * torch.randn(8)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in raw.parameters())
