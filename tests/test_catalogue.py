"""What every loss of decisions promises, whatever its formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asd.core.losses.binary import DECISION_LOSSES, decision_loss
from asd.types import AsdError

N_CLASSES = 4
NEEDS: dict[str, dict[str, object]] = {"ifl": {"n_active_frames": torch.tensor([0.0, 10.0, 500.0, 1e6])}}
NAMES = sorted(DECISION_LOSSES)


def made(name: str) -> nn.Module:
    return decision_loss(name, **NEEDS.get(name, {}))


def case(seed: int, frames: int = 6, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 6 * torch.randn(3, frames, N_CLASSES, generator=generator, dtype=dtype)
    soft = torch.rand(3, frames, N_CLASSES, generator=generator, dtype=dtype)
    return logits, torch.where(soft < 0.5, soft.round(), soft)  # hard and soft ones


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("bce", {"reduction": "mean"}),
        ("srl", {"alpha": 1.0, "beta": 0.3535, "reduction": "mean"}),
        ("ifl", {"constant": 500.0, "gamma": 1.0, "reduction": "mean"}),
        ("afl", {"gamma": 0.0625, "zeta": 1.0, "reduction": "mean"}),
        ("dice", {"smoothing": 1.0}),
        ("fbtl", {"alpha": 0.6, "beta": 0.4, "gamma": 0.001, "eta": 1.0}),
    ],
)
def test_what_is_not_given_is_as_usual(name: str, usual: dict[str, object]) -> None:
    logits, targets = case(1)
    given = decision_loss(name, **usual, **NEEDS.get(name, {}))
    torch.testing.assert_close(made(name)(logits, targets), given(logits, targets), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_saturated_logits_keep_loss_and_gradient_finite(name: str, dtype: torch.dtype, target: float) -> None:
    values = torch.tensor([-120.0, -17.0, -1e-6, 0.0, 17.0, 18.0, 88.0, 120.0])
    logits = values.to(dtype).reshape(2, 1, 4).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = made(name)(logits, torch.full((2, 1, 4), target, dtype=dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by", ["ignore", "weight"])
def test_nothing_leaks_out_of_masked_cells(name: str, by: str) -> None:
    logits, targets = case(0)
    masked = torch.zeros(3, 6, N_CLASSES, dtype=torch.bool)
    masked[1, 2:4], masked[2, :, 1] = True, True
    mask = {"ignore": masked} if by == "ignore" else {"weight": (~masked).double()}
    loss = made(name)
    clean = loss(logits, targets, **mask)
    for poison in (float("nan"), float("inf"), -float("inf")):
        bad_logits = torch.where(masked, poison, logits).requires_grad_()
        value = loss(bad_logits, torch.where(masked, poison, targets), **mask)
        value.backward()
        assert float(value.detach()) == float(clean)
        assert bad_logits.grad is not None
        assert (bad_logits.grad[masked] == 0).all()
        assert (bad_logits.grad[~masked] != 0).all()


@settings(max_examples=30)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10_000), padding=st.integers(1, 9))
def test_padding_under_a_mask_changes_nothing(name: str, seed: int, padding: int) -> None:
    logits, targets = case(seed)
    filler, labels = case(seed + 1, frames=padding)
    ignore = (torch.arange(6 + padding) >= 6).reshape(1, -1, 1)
    loss = made(name)
    padded = loss(torch.cat([logits, filler], 1), torch.cat([targets, labels], 1), ignore=ignore)
    torch.testing.assert_close(padded, loss(logits, targets), rtol=1e-12, atol=1e-12)


@settings(max_examples=30)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10_000))
def test_the_order_of_clips_and_frames_does_not_matter(name: str, seed: int) -> None:
    logits, targets = case(seed)
    loss, generator = made(name), torch.Generator().manual_seed(seed)
    clips, frames = torch.randperm(3, generator=generator), torch.randperm(6, generator=generator)
    shuffled = loss(logits[clips][:, frames], targets[clips][:, frames])
    torch.testing.assert_close(shuffled, loss(logits, targets), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_something(name: str) -> None:
    targets = torch.eye(N_CLASSES).unsqueeze(0)
    right = (2 * targets - 1) * 12
    # A focal factor inside a ratio never lets go: (1 - y)^0.001 is 0.988 at a logit of 12.
    assert float(made(name)(right, targets)) == pytest.approx(0, abs=0.005 if name == "fbtl" else 1e-4)
    assert float(made(name)(-right, targets)) > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_descending_finds_the_labels(name: str) -> None:
    _, targets = case(0, dtype=torch.float32)
    targets = targets.round()
    logits = nn.Parameter(torch.zeros_like(targets))
    loss, optimizer = made(name), torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss(logits, targets).backward()
        optimizer.step()
    assert torch.equal((logits > 0).float(), targets)


def test_words_that_do_not_fit_are_answered_with_those_that_do() -> None:
    with pytest.raises(AsdError, match="loss=focal is unknown; there are bce, srl, ifl, afl, dice, fbtl"):
        decision_loss("focal")
    with pytest.raises(AsdError, match=r"'afl' has the settings gamma, zeta, reduction; got gama"):
        decision_loss("afl", gama=0.1)
    with pytest.raises(AsdError, match=r"'ifl' has the settings n_active_frames.*got none"):
        decision_loss("ifl")
    with pytest.raises(AsdError, match=r"'dice' has the settings smoothing; got reduction"):
        decision_loss("dice", reduction="sum")
