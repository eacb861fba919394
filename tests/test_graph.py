from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.core.losses.graph import GraphLaplacian, co_occurrence
from asd.types import AsdError

N_CLASSES = 5


def graph(seed: int) -> torch.Tensor:
    a = torch.rand(N_CLASSES, N_CLASSES, generator=torch.Generator().manual_seed(seed))
    return (a + a.T) / 2


def logits(seed: int, frames: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(3, frames, N_CLASSES, generator=generator, dtype=torch.float64)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000))
def test_the_sum_over_pairs_is_the_trace(seed: int) -> None:
    a, x = graph(seed), logits(seed)
    laplacian = (torch.diag(a.sum(1)) - a).double()
    v = x.sigmoid().sum(1)
    traces = torch.stack([clip @ laplacian @ clip for clip in v])
    torch.testing.assert_close(GraphLaplacian(a, reduction="none")(x), traces, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(GraphLaplacian(a)(x), traces.mean(), rtol=1e-5, atol=1e-5)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), diagonal=st.floats(0, 100))
def test_the_diagonal_has_no_say(seed: int, diagonal: float) -> None:
    a, x = graph(seed), logits(seed)
    changed = a.clone().fill_diagonal_(diagonal)
    assert torch.equal(GraphLaplacian(a)(x), GraphLaplacian(changed)(x))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 30))
def test_a_mean_over_frames_needs_a_strength_larger_by_their_square(seed: int, frames: int) -> None:
    a, x = graph(seed), logits(seed, frames)
    summed, mean = GraphLaplacian(a)(x), GraphLaplacian(a, frames="mean")(x)
    torch.testing.assert_close(mean * frames**2, summed)


def test_equal_activity_costs_nothing_and_unconnected_classes_neither() -> None:
    same = torch.full((2, 4, N_CLASSES), 0.7)
    assert float(GraphLaplacian(graph(0))(same)) == 0
    apart = torch.zeros(N_CLASSES, N_CLASSES)
    apart[0, 1] = apart[1, 0] = 1
    x = logits(0)
    x[..., 1] = x[..., 0]
    assert float(GraphLaplacian(apart)(x)) == 0
    assert float(GraphLaplacian(graph(0))(x)) > 0


def test_descending_draws_connected_classes_together() -> None:
    a = torch.zeros(3, 3)
    a[0, 1] = a[1, 0] = 1
    x = torch.tensor([[[2.0, -2.0, 1.0]]]).requires_grad_()
    GraphLaplacian(a)(x).backward()
    assert x.grad is not None
    assert x.grad[0, 0, 0] > 0 > x.grad[0, 0, 1]
    assert x.grad[0, 0, 2] == 0


@pytest.mark.parametrize("frames", ["sum", "mean"])
def test_padding_and_unlabelled_classes_change_nothing(frames: str) -> None:
    a, x = graph(1), logits(1)
    loss = GraphLaplacian(a, frames=frames)  # type: ignore[arg-type]
    padded = torch.cat([x, torch.full((3, 4, N_CLASSES), float("nan"), dtype=x.dtype)], 1).requires_grad_()
    value = loss(padded, ignore=(torch.arange(11) >= 7).reshape(1, -1, 1))
    value.backward()
    torch.testing.assert_close(value, loss(x))
    assert padded.grad is not None
    assert (padded.grad[:, 7:] == 0).all()
    assert torch.isfinite(padded.grad).all()
    without_last = GraphLaplacian(a[:-1, :-1], frames=frames)  # type: ignore[arg-type]
    unlabelled = (torch.arange(N_CLASSES) == N_CLASSES - 1).reshape(1, 1, -1)
    torch.testing.assert_close(loss(x, ignore=unlabelled), without_last(x[..., :-1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saturated_logits_keep_penalty_and_gradient_finite(dtype: torch.dtype) -> None:
    x = torch.tensor([[[120.0, -120.0], [0.0, 17.0]]], dtype=dtype, requires_grad=True)
    value = GraphLaplacian(torch.ones(2, 2))(x)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_clips_in_which_both_occur_are_counted() -> None:
    labels = torch.zeros(4, 10, 3)
    labels[0, 1, 0] = labels[0, 8, 1] = 1  # not at the same time
    labels[1, :, 0] = labels[1, :, 1] = 1  # many frames, one clip
    labels[2, 3, 0] = labels[2, 4, 2] = 0.6
    labels[3, :, 2] = labels[3, 5, 1] = 1
    labels[3, 5, 1] = 0.4  # not active
    expected = torch.tensor([[0, 1, 0.5], [1, 0, 0], [0.5, 0, 0]])
    assert torch.equal(co_occurrence(labels), expected)
    assert torch.equal(co_occurrence(labels.amax(1)), expected)  # labels of clips do as well
    x = logits(2)[..., :3]
    assert torch.equal(GraphLaplacian(co_occurrence(labels))(x), GraphLaplacian(expected)(x))


def test_probabilities_of_a_batch_without_frames() -> None:
    a, x = graph(3), logits(3)[:, 0]
    torch.testing.assert_close(GraphLaplacian(a)(x), GraphLaplacian(a)(x.unsqueeze(1)))


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(AsdError, match=r"no two classes are active in the same clip of 3"):
        co_occurrence(torch.eye(3))
    for wrong in (torch.ones(2, 3), -torch.ones(2, 2), torch.tensor([[0.0, 1], [2, 0]]), torch.full((2, 2), torch.inf)):
        with pytest.raises(AsdError, match="an adjacency is a symmetric matrix"):
            GraphLaplacian(wrong)
    with pytest.raises(AsdError, match="the graph has 5 classes, the logits have 4"):
        GraphLaplacian(graph(0))(torch.zeros(2, 4))
