"""Clips pooled from frames: the published formulas evaluated directly, and where they would break."""

from __future__ import annotations

import pytest
import torch

from asd.core.networks.frame_classifiers import pooled


def test_attention_is_the_weighted_mean_of_probabilities() -> None:
    torch.manual_seed(0)
    logits, attention = torch.randn(2, 3, 7, 4, dtype=torch.float64)
    weights = attention.softmax(1)
    expected = (weights * logits.sigmoid()).sum(1)
    torch.testing.assert_close(pooled(logits, attention).sigmoid().double(), expected, atol=1e-6, rtol=1e-5)


def test_linear_softmax_weighs_a_frame_by_its_probability() -> None:
    torch.manual_seed(1)
    y = torch.rand(3, 7, 4)
    clips = pooled(torch.logit(y)).sigmoid()
    torch.testing.assert_close(clips, (y * y).sum(1) / y.sum(1))


@pytest.mark.parametrize("level", [-120.0, 120.0])
def test_saturated_frames_have_finite_logits_and_a_gradient(level: float) -> None:
    logits = torch.full((1, 5, 2), level, requires_grad=True)
    clips = pooled(logits)
    torch.testing.assert_close(clips, torch.full((1, 2), level))
    clips.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad > 0).all()


def test_padding_has_no_weight_and_no_gradient() -> None:
    torch.manual_seed(2)
    logits, attention = torch.randn(2, 2, 6, 3)
    absent = torch.zeros(2, 6, dtype=torch.bool)
    absent[1, 4:] = True
    logits.requires_grad_()
    for weights in (attention, None):
        both = pooled(logits, weights, absent)
        short = pooled(logits[1:, :4], None if weights is None else weights[1:, :4])
        torch.testing.assert_close(both[1:], short)
        (gradient,) = torch.autograd.grad(both.sum(), logits)
        assert (gradient[1, 4:] == 0).all()
        assert (gradient[1, :4] != 0).all()


def test_a_clip_of_equal_frames_is_like_each_of_them() -> None:
    frame = torch.tensor([[-3.0, 0.0, 2.5]])
    logits = frame.unsqueeze(1).expand(1, 9, 3)
    torch.testing.assert_close(pooled(logits), frame)
    torch.testing.assert_close(pooled(logits, torch.randn(1, 9, 3)), frame)
