from __future__ import annotations

import numpy as np
import pytest
import torch

from asd.features.pooling import gwrp_pool, mean_pool, rdp_pool

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


@pytest.mark.parametrize("pool", [mean_pool, lambda x: gwrp_pool(x, 0.98), lambda x: rdp_pool(x, 8.0)])
def test_order_of_frames_changes_nothing(pool: object) -> None:
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pool(LEVELS[:, :, order]), pool(LEVELS))  # type: ignore[operator]
