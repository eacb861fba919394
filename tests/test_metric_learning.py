from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize, one_hot

from asd.core.losses.metric_learning import (
    LOSSES,
    AdaProj,
    ArcFace,
    ClassificationLoss,
    CrossEntropy,
    SubClusterAdaCos,
    loss_named,
)
from asd.types import AsdError

N_DIMS, N_CLASSES = 16, 7


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, torch.Tensor]:
    stored = np.load(golden / "metric_learning/losses.npz")
    return {name: torch.from_numpy(stored[name]) for name in stored}


def from_reference(name: str, reference: dict[str, torch.Tensor]) -> ClassificationLoss:
    """A loss in float64 with the reference's centres."""
    weights = reference[f"{name}_W"]
    loss: ClassificationLoss
    if name == "scadacos":
        loss, values = SubClusterAdaCos(N_DIMS, N_CLASSES, n_centres=4), weights.T.reshape(7, 4, 16)
    elif name == "adaproj":
        loss, values = AdaProj(N_DIMS, N_CLASSES, n_centres=3), weights
    else:
        loss, values = ArcFace(N_DIMS, N_CLASSES, margin_on="all"), weights.T
    with torch.no_grad():
        next(loss.parameters()).data = values.clone()
    return loss


@pytest.mark.parametrize("name", ["scadacos", "adaproj", "arcface"])
def test_equal_to_the_public_toolkit(name: str, reference: dict[str, torch.Tensor]) -> None:
    loss = from_reference(name, reference)
    x = reference["x"].clone().requires_grad_()
    value = loss(x, reference["y_mix"])
    value.backward()
    assert loss.scale == pytest.approx(float(reference[f"{name}_scale"]), abs=1e-12)
    assert float(value.detach()) == pytest.approx(float(reference[f"{name}_loss"]), abs=1e-12)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, reference[f"{name}_grad_x"], rtol=0, atol=1e-12)
    logits = loss.training_logits(reference["x"], reference["y_mix"])
    if name != "arcface":  # the toolkit calls log-probabilities logits in the other two
        logits = logits.log_softmax(1)
    torch.testing.assert_close(logits, reference[f"{name}_logits"], rtol=0, atol=1e-12)


def test_arcface_puts_the_margin_on_the_true_class_only() -> None:
    loss = ArcFace(N_DIMS, 3, margin=0.3).double()
    x = torch.randn(5, N_DIMS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = one_hot(torch.tensor([0, 1, 2, 0, 1]), 3).double()
    plain, trained = loss.logits(x), loss.training_logits(x, labels)
    torch.testing.assert_close(trained[labels == 0], plain[labels == 0])
    angles = torch.acos(trained[labels == 1] / 30) - torch.acos(plain[labels == 1] / 30)
    torch.testing.assert_close(angles, torch.full_like(angles, 0.3), rtol=0, atol=1e-9)


def test_the_margin_never_makes_a_worse_angle_pay() -> None:
    loss = ArcFace(2, 1, margin=0.5).double()
    with torch.no_grad():
        loss.centres.copy_(torch.tensor([[1.0, 0.0]]))
    angles = torch.linspace(0, torch.pi, 500, dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin()], 1)
    logits = loss.training_logits(x, torch.ones(500, 1, dtype=torch.float64))
    assert (logits.diff(dim=0) < 1e-6).all()


def test_adaproj_projects() -> None:
    loss = AdaProj(N_DIMS, 4, n_centres=3).double()
    x = torch.randn(6, N_DIMS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    basis = normalize(loss.basis, dim=-1)
    projected = torch.einsum("bck,ckd->bcd", torch.einsum("bd,ckd->bck", normalize(x, dim=1), basis), basis)
    expected = torch.einsum("bd,bcd->bc", normalize(x, dim=1), normalize(projected, dim=-1))
    torch.testing.assert_close(loss.logits(x), loss.scale * expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_embeddings_keep_loss_and_gradient_finite(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    loss = LOSSES[name](N_DIMS, N_CLASSES)
    centre = next(loss.parameters()).detach().reshape(-1, N_DIMS)[0]
    rows = torch.stack([centre, -centre, 1e-20 * centre, 1e4 * centre, torch.zeros(N_DIMS)]).to(dtype)
    rows.requires_grad_()
    labels = torch.full((5, N_CLASSES), 1 / N_CLASSES)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        value = loss(rows, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in loss.parameters())


@settings(max_examples=20)
@given(name=st.sampled_from(sorted(LOSSES)), seed=st.integers(0, 1000), batch=st.integers(1, 6))
def test_reductions_and_rows_agree(name: str, seed: int, batch: int) -> None:
    torch.manual_seed(seed)
    loss = LOSSES[name](N_DIMS, N_CLASSES).double()
    x = torch.randn(batch, N_DIMS, dtype=torch.float64)
    labels = torch.rand(batch, N_CLASSES, dtype=torch.float64).softmax(1)
    each = {}
    for loss.cross_entropy.reduction in ("none", "sum", "mean"):
        each[loss.cross_entropy.reduction] = loss(x, labels)
    torch.testing.assert_close(each["sum"], each["none"].sum())
    torch.testing.assert_close(each["mean"], each["none"].mean())
    loss.cross_entropy.reduction = "none"
    torch.testing.assert_close(loss(x[:1], labels[:1]), each["none"][:1])


@pytest.mark.parametrize("name", LOSSES)
def test_descending_the_loss_classifies(name: str) -> None:
    torch.manual_seed(0)
    loss = LOSSES[name](8, 3)
    x = torch.nn.Parameter(torch.randn(12, 8))
    labels = one_hot(torch.arange(12) % 3, 3).float()
    optimizer = torch.optim.Adam([x, *loss.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(x, labels).backward()
        optimizer.step()
    assert torch.equal(loss.logits(x).argmax(1), labels.argmax(1))


def test_cross_entropy_is_torchs() -> None:
    torch.manual_seed(0)
    loss = CrossEntropy(N_DIMS, N_CLASSES)
    x, labels = torch.randn(9, N_DIMS), torch.rand(9, N_CLASSES).softmax(1)
    expected = torch.nn.functional.cross_entropy(loss.classifier(x), labels)
    torch.testing.assert_close(loss(x, labels), expected)


def test_a_loss_takes_the_options_that_it_has() -> None:
    assert loss_named("arcface", 4, 3, scale=12.0, margin=0.2).margin == 0.2
    assert loss_named("subcluster_adacos", 4, 3, scale=12.0, n_centres=2).centres.shape == (3, 2, 4)
    assert loss_named("adaproj", 4, 3, n_centres=2).basis.shape == (3, 2, 4)
    for name, option in (("adaproj", "margin"), ("cross_entropy", "scale"), ("arcface", "n_centres")):
        with pytest.raises(AsdError, match=rf"loss={name} has no {option}"):
            loss_named(name, 4, 3, **{option: 1})
