from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from asd.core.losses.binary import AsymmetricFocal, Bce, BinaryLoss, InverseFrequency, SimpleReweighting
from asd.types import AsdError

N_ACTIVE = torch.tensor([0.0, 7.0, 500.0, 30_000.0])


def case(seed: int, spread: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and soft targets (clips, frames, classes) in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    return logits, torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)


def published(
    logits: torch.Tensor, z: torch.Tensor, active: torch.Tensor | float, inactive: torch.Tensor | float
) -> torch.Tensor:
    """The formula as it is printed, on probabilities."""
    y = logits.sigmoid()
    return -(active * z * y.log() + inactive * (1 - z) * (1 - y).log())


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), a=st.floats(0, 3), b=st.floats(0, 3))
def test_logits_give_the_published_values(seed: int, a: float, b: float) -> None:
    logits, z = case(seed)
    y = logits.sigmoid()
    share = (500 / (N_ACTIVE + 500)).double() ** a
    expected = {
        SimpleReweighting(a, b, "none"): published(logits, z, a, b),
        InverseFrequency(N_ACTIVE, 500, a, "none"): published(logits, z, share, 1),
        AsymmetricFocal(a, b, "none"): published(logits, z, (1 - y) ** a, y**b),
    }
    for loss, values in expected.items():
        torch.testing.assert_close(loss(logits, z), values, rtol=1e-6, atol=1e-9)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([1.0, 10.0, 100.0]))
def test_every_loss_has_bce_as_its_special_case(seed: int, spread: float) -> None:
    logits, z = case(seed, spread)
    expected = binary_cross_entropy_with_logits(logits, z, reduction="none")
    special: list[BinaryLoss] = [
        Bce("none"),
        SimpleReweighting(alpha=1, beta=1, reduction="none"),
        InverseFrequency(N_ACTIVE, gamma=0, reduction="none"),
        InverseFrequency(torch.zeros(4), gamma=2, reduction="none"),  # no class is frequent
        AsymmetricFocal(gamma=0, zeta=0, reduction="none"),
    ]
    for loss in special:
        torch.testing.assert_close(loss(logits, z), expected, rtol=1e-12, atol=1e-12)


def test_weights_and_mean_are_those_of_torch() -> None:
    logits, z = case(0)
    weight = torch.rand(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = binary_cross_entropy_with_logits(logits, z, weight)
    torch.testing.assert_close(Bce()(logits, z, weight), expected)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_gradients_are_those_of_the_published_form_where_that_has_any(seed: int) -> None:
    logits, z = case(seed)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    AsymmetricFocal(0.0625, 1.0, "sum")(ours, z).backward()
    y = theirs.sigmoid()
    published(theirs, z, (1 - y) ** 0.0625, y).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_published_form_breaks_where_ours_does_not() -> None:
    """Why logits: if this fails, torch has changed and the reason given in `binary` is out of date."""
    x = torch.tensor([120.0], requires_grad=True)
    y = x.sigmoid()
    (-((1 - y) ** 0.0625) * y.log().clamp_min(-100)).sum().backward()
    assert x.grad is not None
    assert not torch.isfinite(x.grad).all()
    AsymmetricFocal(0.0625, 1.0)(ours := torch.tensor([120.0], requires_grad=True), torch.ones(1)).backward()
    assert ours.grad is not None
    assert torch.isfinite(ours.grad).all()


def test_the_reweightings_favour_what_they_are_made_for() -> None:
    zeros, ones, sure = torch.zeros(1, 4), torch.ones(1, 4), torch.full((1, 4), 3.0)
    bce = Bce("none")
    assert (SimpleReweighting(reduction="none")(zeros, zeros) < 0.36 * bce(zeros, zeros)).all()
    assert torch.equal(SimpleReweighting(reduction="none")(zeros, ones), bce(zeros, ones))
    rare_first = InverseFrequency(N_ACTIVE, reduction="none")(zeros, ones)[0] / math.log(2)
    assert rare_first.tolist() == pytest.approx([1, 500 / 507, 1 / 2, 500 / 30_500])
    focal = AsymmetricFocal(gamma=0, zeta=1, reduction="none")
    easy, hard = (float((focal(x, zeros) / bce(x, zeros))[0, 0]) for x in (-sure, sure))
    assert easy == pytest.approx(0.047, abs=1e-3)
    assert hard == pytest.approx(0.953, abs=1e-3)


def test_active_frames_are_counted_without_the_ignored_ones() -> None:
    labels = torch.tensor([[[1.0, 0.5], [1.0, 0.0]], [[0.0, float("nan")], [1.0, 1.0]]])
    loss = InverseFrequency.from_labels(labels, labels.isnan(), constant=1, reduction="none")
    assert loss.factor.tolist() == pytest.approx([1 / 4, 1 / 2.5])
    assert torch.equal(loss.factor, InverseFrequency(torch.tensor([3, 1.5]), constant=1).factor)
    assert list(loss.state_dict()) == ["factor"]  # moves with the module, and is saved with it


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(AsdError, match=r"beta of a loss is a number from 0 on; got -1"):
        SimpleReweighting(beta=-1)
    with pytest.raises(AsdError, match=r"gamma of a loss is a number from 0 on; got nan"):
        AsymmetricFocal(gamma=math.nan)
    with pytest.raises(AsdError, match=r"got counts of shape \(2,\) and the constant 500"):
        InverseFrequency(torch.tensor([1.0, math.nan]))
    with pytest.raises(AsdError, match=r"knows 4 classes, the logits have 3"):
        InverseFrequency(N_ACTIVE)(torch.zeros(2, 3), torch.zeros(2, 3))
