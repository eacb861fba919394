from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from asd.core.losses.cells import SoftCrossEntropy
from asd.types import AsdError


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(4, 6, 3, generator=generator, dtype=torch.float64)
    return logits, torch.rand(4, 6, 3, generator=generator, dtype=torch.float64).softmax(-1)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_soft_labels_are_those_of_torch(seed: int) -> None:
    logits, targets = case(seed)
    expected = cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1))
    torch.testing.assert_close(SoftCrossEntropy()(logits, targets), expected)


def test_ignored_rows_are_those_of_torch() -> None:
    logits, _ = case(1)
    labels = torch.randint(3, (4, 6), generator=torch.Generator().manual_seed(0))
    ignore = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) < 0.4
    expected = cross_entropy(logits.flatten(0, 1), torch.where(ignore, -100, labels).flatten())
    value = SoftCrossEntropy()(logits, one_hot(labels, 3).double(), ignore=ignore)
    torch.testing.assert_close(value, expected)


def test_nothing_leaks_out_of_ignored_rows() -> None:
    logits, targets = case(2)
    ignore = torch.zeros(4, 1, dtype=torch.bool)  # the same for all six rows of an item
    ignore[2] = True
    poisoned = logits.clone()
    poisoned[2] = float("nan")
    poisoned.requires_grad_()
    nowhere = torch.where(ignore.unsqueeze(-1), float("nan"), targets)
    value = SoftCrossEntropy()(poisoned, nowhere, ignore=ignore)
    value.backward()
    kept = [0, 1, 3]
    torch.testing.assert_close(value, SoftCrossEntropy()(logits[kept], targets[kept]))
    assert poisoned.grad is not None
    assert (poisoned.grad[2] == 0).all()
    assert torch.isfinite(poisoned.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saturated_logits_keep_loss_and_gradient_finite(dtype: torch.dtype) -> None:
    logits = torch.tensor([[120.0, -120.0], [-120.0, 120.0]], dtype=dtype, requires_grad=True)
    value = SoftCrossEntropy("sum")(logits, torch.tensor([[0.0, 1.0], [0.5, 0.5]], dtype=dtype))
    value.backward()
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(240 + 120)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_rows_are_weighed() -> None:
    logits, targets = case(3)
    weight = torch.zeros(4, 6, dtype=torch.float64)
    weight[0, 0], weight[3, 5] = 1, 3
    rows = SoftCrossEntropy("none")(logits, targets)
    assert rows.shape == (4, 6)
    expected = (rows[0, 0] + 3 * rows[3, 5]) / 4
    torch.testing.assert_close(SoftCrossEntropy("weighted_mean")(logits, targets, weight), expected)


def test_masks_have_no_class_axis() -> None:
    logits, targets = case(4)
    with pytest.raises(AsdError, match=r"ignore of shape \(4, 6, 1\) does not fit cells of shape \(4, 6\)"):
        SoftCrossEntropy()(logits, targets, ignore=torch.zeros(4, 6, 1, dtype=torch.bool))
    with pytest.raises(AsdError, match="reduction=avg is unknown"):
        SoftCrossEntropy("avg")  # type: ignore[arg-type]
