from __future__ import annotations

import numpy as np
import pytest
import torch

from asd.features.pooling import gwrp_pool, mean_pool, rdp_gem_pool, rdp_pool

LEVELS = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0))


def test_gwrp_lies_between_the_mean_and_the_maximum() -> None:
    torch.testing.assert_close(gwrp_pool(LEVELS, 1.0), mean_pool(LEVELS))
    torch.testing.assert_close(gwrp_pool(LEVELS, 0.0), LEVELS.amax(2))
    middle = gwrp_pool(LEVELS, 0.9)
    assert (middle > mean_pool(LEVELS)).all()
    assert (middle < LEVELS.amax(2)).all()


def test_gwrp_equals_its_formula() -> None:
    row = np.sort(LEVELS[0, 0].numpy())[::-1]
    weights = 0.9 ** np.arange(40)
    assert gwrp_pool(LEVELS, 0.9)[0, 0] == pytest.approx((row * weights).sum() / weights.sum(), rel=1e-5)


def test_rdp_without_sharpness_is_the_mean_and_follows_deviant_frames() -> None:
    torch.testing.assert_close(rdp_pool(LEVELS, 0.0), mean_pool(LEVELS))
    burst = torch.zeros(1, 4, 20)
    burst[:, :, 7] = 10.0
    assert (rdp_pool(burst, 4.0) > 3 * mean_pool(burst)).all()
    torch.testing.assert_close(rdp_pool(torch.ones(1, 4, 20), 8.0), torch.ones(1, 4))


def test_rdp_with_a_generalised_mean_equals_its_formula() -> None:
    clip = LEVELS[0].double().numpy()
    distances = [np.linalg.norm(frame - clip.mean(1)) for frame in clip.T]
    weights = np.array([(1 + distance / max(distances)) ** 9 for distance in distances])
    positive = np.maximum(clip, 0) ** 3
    expected = [(band * weights).sum() / weights.sum() for band in positive]
    np.testing.assert_allclose(rdp_gem_pool(LEVELS)[0], np.cbrt(expected), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_rdp_with_a_generalised_mean_scales_and_of_a_constant_is_the_constant(scale: float) -> None:
    torch.testing.assert_close(rdp_gem_pool(LEVELS * scale), rdp_gem_pool(LEVELS) * scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(rdp_gem_pool(torch.full((1, 3, 9), scale)), torch.full((1, 3), scale))


@pytest.mark.parametrize("pool", [mean_pool, lambda x: gwrp_pool(x, 0.98), lambda x: rdp_pool(x, 8.0), rdp_gem_pool])
def test_order_of_frames_changes_nothing(pool: object) -> None:
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pool(LEVELS[:, :, order]), pool(LEVELS))  # type: ignore[operator]
