from __future__ import annotations

import torch
from torch.nn.functional import mse_loss

from asd.core.losses.regression import SquaredError


def test_it_is_the_squared_error_of_torch_where_nothing_is_ignored() -> None:
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(5, 3, generator=generator) for _ in range(2))
    torch.testing.assert_close(SquaredError()(x, z), mse_loss(x, z))
    ignore = torch.tensor([False, True, False, False, True]).unsqueeze(-1)
    kept = [0, 2, 3]
    torch.testing.assert_close(SquaredError()(x, z, ignore=ignore), mse_loss(x[kept], z[kept]))
