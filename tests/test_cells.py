from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.nn.functional import mse_loss

from asd.core.losses.cells import Cells, Reduction, SquaredError
from asd.types import AsdError

NAN = float("nan")


def test_every_reduction_divides_by_what_it_says() -> None:
    losses = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]])
    weight = torch.tensor([[2.0, 0.0, 1.0], [0.5, 1.0, 3.0], [1.0, 1.0, 1.0]])
    ignore = torch.tensor([[False, False, False], [False, True, False], [True, True, True]])
    cells = Cells.of(losses, weight, ignore)
    total = 2 * 1 + 0 * 2 + 1 * 4 + 0.5 * 8 + 3 * 32
    expected = {
        "sum": total,
        "mean": total / 5,
        "mean_active": total / 4,
        "weighted_mean": total / 6.5,
        "sum_per_item": total / 2,  # the third item has no cell
    }
    for reduction in get_args(Reduction):
        if reduction != "none":
            assert float(cells.reduce(losses, reduction)) == pytest.approx(expected[reduction]), reduction
    assert cells.reduce(losses, "none").tolist() == [[2, 0, 4], [4, 0, 96], [0, 0, 0]]


@pytest.mark.parametrize("reduction", get_args(Reduction))
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (4,)])
def test_where_nothing_counts_the_loss_is_zero_and_can_be_descended(
    reduction: Reduction, shape: tuple[int, ...]
) -> None:
    x = torch.full(shape, NAN, requires_grad=True)
    value = SquaredError(reduction)(x, x.detach(), ignore=torch.ones(shape, dtype=torch.bool)).sum()
    value.backward()
    assert float(value.detach()) == 0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(shape))


def test_masks_and_weights_are_broadcast_along_axes_of_one() -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    padding = torch.tensor([[False, False, True], [False, True, True]]).unsqueeze(-1)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4)
    value = SquaredError("sum")(x, torch.zeros_like(x), weight, padding)
    kept = torch.cat([x[0, :2], x[1, :1]])
    assert float(value) == pytest.approx(float((kept.square() * weight[0]).sum()))


def test_a_weight_gets_no_gradient() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    x = torch.randn(2, 3, requires_grad=True)
    SquaredError()(x, torch.zeros(2, 3), weight).backward()
    assert weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_arithmetic_is_float32_or_better(dtype: torch.dtype) -> None:
    x = torch.tensor([[1.0, 300.0]], dtype=dtype)  # 300^2 is beyond float16
    with torch.autocast("cpu", torch.bfloat16):
        value = SquaredError("sum")(x, torch.zeros_like(x))
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert float(value) == 90001


def test_what_does_not_fit_is_refused() -> None:
    loss, x = SquaredError(), torch.zeros(3, 3, 2)
    with pytest.raises(AsdError, match=r"ignore of shape \(3, 3\) does not fit cells of shape \(3, 3, 2\)"):
        loss(x, x, ignore=torch.zeros(3, 3, dtype=torch.bool))  # would be broadcast to the wrong axes
    with pytest.raises(AsdError, match=r"weight of shape \(1, 1, 3\)"):
        loss(x, x, weight=torch.ones(1, 1, 3))
    with pytest.raises(AsdError, match=r"ignore mask is bool.*float32"):
        loss(x, x, ignore=torch.zeros(3, 3, 2))
    with pytest.raises(AsdError, match=r"targets of shape \(3, 2\) do not fit logits of shape \(3, 3, 2\)"):
        loss(x, x[0])
    with pytest.raises(AsdError, match="reduction=average is unknown; there are none, sum, mean"):
        SquaredError("average")  # type: ignore[arg-type]


def test_it_is_the_squared_error_of_torch_where_nothing_is_ignored() -> None:
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(5, 3, generator=generator) for _ in range(2))
    torch.testing.assert_close(SquaredError()(x, z), mse_loss(x, z))
    ignore = torch.tensor([False, True, False, False, True]).unsqueeze(-1)
    kept = [0, 2, 3]
    torch.testing.assert_close(SquaredError()(x, z, ignore=ignore), mse_loss(x[kept], z[kept]))
