from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy, mse_loss

from asd.core.semi.consistency import Consistency, Distance
from asd.types import AsdError


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_distances_are_those_of_torch_on_probabilities(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    teacher = torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(Consistency("mse")(x, teacher), mse_loss(x.sigmoid(), teacher))
    torch.testing.assert_close(Consistency("bce")(x, teacher), binary_cross_entropy(x.sigmoid(), teacher))


@pytest.mark.parametrize("distance", get_args(Distance))
def test_the_teacher_learns_nothing_and_agreement_moves_nobody(distance: Distance) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    teacher = x.detach().sigmoid().requires_grad_()
    Consistency(distance, "sum")(x, teacher).backward()
    assert teacher.grad is None
    torch.testing.assert_close(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("distance", get_args(Distance))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saturated_students_and_masked_ones(distance: Distance, dtype: torch.dtype) -> None:
    x = torch.tensor([[-120.0, 120.0, float("nan")]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[1.0, 0.3, 0.5]], dtype=dtype)
    value = Consistency(distance)(x, teacher, ignore=torch.tensor([[False, False, True]]))
    value.backward()
    assert torch.isfinite(value)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[0, 2] == 0
    assert (float(x.grad[0, 0]) < -0.4) == (distance == "bce")  # a squared error no longer sees the mistake


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(AsdError, match="no consistency is called 'kl'; choose one of mse, bce"):
        Consistency("kl")  # type: ignore[arg-type]
