from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.core.losses.binary import BatchDice, FocalBatchTversky
from asd.types import AsdError


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    return logits, torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10_000),
    alpha=st.floats(0, 2),
    beta=st.floats(0, 2),
    gamma=st.floats(0, 2),
    eta=st.floats(0.01, 10),
)
def test_logits_give_the_published_value(seed: int, alpha: float, beta: float, gamma: float, eta: float) -> None:
    logits, z = case(seed)
    y = logits.sigmoid()
    fy = (1 - y) ** gamma * y
    expected = 1 - ((fy * z).sum() + eta) / (alpha * fy.sum() + beta * z.sum() + eta)
    torch.testing.assert_close(FocalBatchTversky(alpha, beta, gamma, eta)(logits, z), expected)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), eta=st.floats(0.01, 10))
def test_tversky_without_prices_and_focus_is_dice(seed: int, eta: float) -> None:
    logits, z = case(seed)
    y = logits.sigmoid()
    dice = 1 - (2 * (y * z).sum() + 2 * eta) / (y.sum() + z.sum() + 2 * eta)
    torch.testing.assert_close(FocalBatchTversky(0.5, 0.5, 0.0, eta)(logits, z), dice)
    torch.testing.assert_close(BatchDice(2 * eta)(logits, z), dice)


def test_dice_of_decisions_is_one_minus_the_f_score() -> None:
    labels = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    predicted = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]])
    f_score = 2 * 2 / (2 * 2 + 1 + 1)
    loss = BatchDice(smoothing=1e-9)(200 * predicted - 100, labels)
    assert float(loss) == pytest.approx(1 - f_score)


def test_the_prices_choose_between_misses_and_false_alarms() -> None:
    labels, alarms, misses = torch.zeros(1, 10), torch.full((1, 10), -50.0), torch.full((1, 10), -50.0)
    labels[0, :4], alarms[0, :6], misses[0, :2] = 1, 50, 50  # two of them wrong in either
    for alpha, dearer, cheaper in ((0.7, alarms, misses), (0.3, misses, alarms)):
        loss = FocalBatchTversky(alpha, 1 - alpha, gamma=0)
        assert loss(dearer, labels) > loss(cheaper, labels) + 0.01


@pytest.mark.parametrize("gamma", [0.001, 0.5])
def test_an_active_cell_is_drawn_to_where_the_focal_probability_is_largest(gamma: float) -> None:
    best = -torch.tensor([gamma], dtype=torch.float64).log()  # logit of 1 / (1 + gamma)
    for offset in (-0.5, 0.0, 0.5):
        x = (best + offset).requires_grad_()
        FocalBatchTversky(gamma=gamma)(x, torch.ones(1)).backward()
        assert x.grad is not None
        assert float(x.grad.sign()) == pytest.approx(torch.tensor(offset).sign()) or abs(float(x.grad)) < 1e-12


def test_the_loss_of_a_whole_is_not_the_mean_of_its_parts() -> None:
    logits, z = case(7)
    loss = FocalBatchTversky(eta=0.1)
    parts = [loss(x, t) for x, t in zip(logits.split([1, 2]), z.split([1, 2]), strict=True)]
    assert abs(float(torch.stack(parts).mean() - loss(logits, z))) > 1e-3


def test_silence_found_silent_earns_nothing() -> None:
    logits, z = case(3)
    silent = torch.full((3, 100, 4), -60.0, dtype=torch.float64)
    longer = torch.cat([logits, silent], 1), torch.cat([z, torch.zeros_like(silent)], 1)
    torch.testing.assert_close(BatchDice()(*longer), BatchDice()(logits, z))


def test_a_weight_counts_like_copies_of_the_cell() -> None:
    logits, z = case(5)
    weight = torch.ones(3, 1, 1, dtype=torch.float64)
    weight[1] = 2
    twice = torch.cat([logits, logits[1:2]]), torch.cat([z, z[1:2]])
    torch.testing.assert_close(FocalBatchTversky()(logits, z, weight), FocalBatchTversky()(*twice))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(AsdError, match=r"smoothing is above 0; got 0\.6, 0\.4, 0\.001 and 0$"):
        FocalBatchTversky(eta=0)
    with pytest.raises(AsdError, match=r"got -0\.1"):
        FocalBatchTversky(alpha=-0.1)
    with pytest.raises(AsdError, match=r"targets of shape \(4,\) do not fit"):
        BatchDice()(torch.zeros(3, 4), torch.zeros(4))
