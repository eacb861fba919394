from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel

from asd.core.semi import Buffers, Consistency, EmaTeacher
from asd.types import AsdError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))


def train(student: nn.Module, n_steps: int, each: Callable[[], None]) -> None:
    """Steps of a training, `each` after every one."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for _ in range(n_steps):
        x = 3 + torch.randn(16, 4)
        optimizer.zero_grad()
        student(x).square().mean().backward()
        optimizer.step()
        each()


def assert_equal_states(a: nn.Module, b: nn.Module, tolerance: float = 0.0) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_it_is_the_averaged_model_of_torch(decay: float) -> None:
    def share(average: torch.Tensor, value: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        alpha = min(1 - 1 / (float(n) + 1), decay)
        return alpha * average + (1 - alpha) * value

    student = network()
    teacher, reference = EmaTeacher(student, decay), AveragedModel(student, avg_fn=share)

    def both() -> None:
        teacher.update(student)
        reference.update_parameters(student)

    train(student, 30, both)
    assert_equal_states(teacher.module, reference.module, tolerance=1e-6)
    assert int(teacher.n_updates) == int(reference.n_averaged) == 30


def test_the_first_students_are_averaged_and_then_forgotten() -> None:
    student = nn.Linear(1, 1, bias=False)
    teacher = EmaTeacher(student, decay=0.75)
    seen = []
    for value in (8.0, 4.0, 0.0, 4.0, 0.0):
        with torch.no_grad():
            student.weight.fill_(value)
        teacher.update(student)
        seen.append(teacher.module.weight.item())
    assert seen == pytest.approx([8, 6, 4, 4, 3])  # means of all so far, until 1 / n is below 1 - decay


@pytest.mark.parametrize("policy", ["copy", "ema"])
def test_what_becomes_of_the_statistics_is_what_the_policy_says(policy: Buffers) -> None:
    student = network()
    teacher = EmaTeacher(student, decay=0.9, buffers=policy)
    statistics = [student[1].running_mean.clone()]

    def follow() -> None:
        teacher.update(student)
        statistics.append(student[1].running_mean.clone())

    train(student, 12, follow)
    mine = teacher.module[1].running_mean
    averaged = statistics[1]
    for n, latest in enumerate(statistics[1:]):
        averaged = averaged.lerp(latest, max(1 / (n + 1), 0.1))
    torch.testing.assert_close(mine, statistics[-1] if policy == "copy" else averaged)
    assert int(teacher.module[1].num_batches_tracked) == 12
    assert not torch.allclose(statistics[-1], averaged)


@pytest.mark.parametrize("policy", ["copy", "ema"])
def test_a_teacher_never_runs_in_train_mode(policy: Buffers) -> None:
    student = network()
    teacher = EmaTeacher(student, buffers=policy)
    nn.ModuleList([student, teacher]).train()  # as the training loop does before every epoch
    before = teacher.module[1].running_mean.clone()
    x = 3 + torch.randn(16, 4)
    assert torch.equal(teacher(x), teacher(x))  # no dropout
    assert not teacher.module.training
    assert torch.equal(before, teacher.module[1].running_mean)


def test_no_gradient_in_either_direction() -> None:
    student = network()
    teacher = EmaTeacher(student)
    before = copy.deepcopy(teacher.module)
    x = torch.randn(8, 4, requires_grad=True)
    assert not teacher(x).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    optimizer = torch.optim.AdamW(nn.ModuleList([student, teacher]).parameters(), lr=1.0, weight_decay=0.5)
    (student(x) - teacher(x)).square().mean().backward()
    optimizer.step()
    assert_equal_states(teacher.module, before)
    assert all(p.requires_grad for p in student.parameters())


@pytest.mark.parametrize("policy", ["copy", "ema"])
def test_a_teacher_that_is_loaded_goes_on_as_it_would_have(policy: Buffers) -> None:
    student = network()
    whole = EmaTeacher(student, 0.9, policy)
    train(student, 5, lambda: whole.update(student))
    resumed = EmaTeacher(network(), 0.9, policy)
    resumed.load_state_dict(whole.state_dict())

    def both() -> None:
        whole.update(student)
        resumed.update(student)

    train(student, 5, both)
    assert_equal_states(whole, resumed)
    assert all(isinstance(value, torch.Tensor) for value in whole.state_dict().values())  # safetensors


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(AsdError, match=r"got 1\.0 and 'copy'"):
        EmaTeacher(network(), decay=1.0)
    with pytest.raises(AsdError, match=r"buffers out of copy, ema; got 0\.999 and 'mean'"):
        EmaTeacher(network(), buffers="mean")  # type: ignore[arg-type]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_distances_are_those_of_torch_on_probabilities(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    teacher = torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(Consistency()(x, teacher), mse_loss(x.sigmoid(), teacher))


def test_the_teacher_learns_nothing_and_agreement_moves_nobody() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    teacher = x.detach().sigmoid().requires_grad_()
    Consistency("sum")(x, teacher).backward()
    assert teacher.grad is None
    torch.testing.assert_close(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saturated_students_and_masked_ones(dtype: torch.dtype) -> None:
    x = torch.tensor([[-120.0, 120.0, float("nan")]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[1.0, 0.3, 0.5]], dtype=dtype)
    value = Consistency()(x, teacher, ignore=torch.tensor([[False, False, True]]))
    value.backward()
    assert torch.isfinite(value)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[0, 2] == 0
