from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from asd.core.update import exponential_ramp, linear_ramp, warmup_cosine
from asd.types import AsdError


def test_ramps_at_their_ends_and_in_the_middle() -> None:
    assert [linear_ramp(k, 4) for k in (-1, 0, 1, 2, 4, 9)] == [0, 0, 0.25, 0.5, 1, 1]
    expected = [math.exp(-5), math.exp(-5), math.exp(-5 * 9 / 16), math.exp(-1.25), 1, 1]
    assert [exponential_ramp(k, 4) for k in (-1, 0, 1, 2, 4, 9)] == pytest.approx(expected)
    assert linear_ramp(0, 0) == exponential_ramp(0, 0) == 1  # no ramp


@given(n_steps=st.integers(0, 300))
def test_ramps_only_rise(n_steps: int) -> None:
    for ramp in (linear_ramp, exponential_ramp):
        values = [ramp(k, n_steps) for k in range(n_steps + 5)]
        assert values == sorted(values)
        assert values[n_steps:] == [1.0] * 5


PLANS = st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1)))


@given(plan=PLANS, floor=st.floats(0, 0.5))
def test_cosine_is_its_closed_form_and_never_comes_up_again(plan: tuple[int, int], floor: float) -> None:
    n, w = plan
    values = [warmup_cosine(k, n, w, peak=1.0, floor=floor) for k in range(n + 20)]
    for k in range(n):
        cosine = math.cos(math.pi * (k - w) / max(n - w - 1, 1))
        expected = (k + 1) / w if k < w else floor + (1 - floor) * (1 + cosine) / 2
        assert values[k] == pytest.approx(expected, abs=1e-12)
    assert all(a < b for a, b in pairwise(values[:w]))
    assert values[w] == 1
    assert all(a >= b for a, b in pairwise(values[w:]))
    if n - w > 1:
        assert values[n - 1 :] == pytest.approx([floor] * 21, abs=1e-12)


@pytest.mark.parametrize("n_warmup", [2, 10])
def test_it_is_what_torch_schedules(n_warmup: int) -> None:
    n_steps, peak, floor = 40, 1e-4, 1e-6
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    up = LinearLR(optimizer, start_factor=1 / n_warmup, total_iters=n_warmup - 1)
    down = CosineAnnealingLR(optimizer, T_max=n_steps - n_warmup - 1, eta_min=floor)
    schedule = SequentialLR(optimizer, [up, down], milestones=[n_warmup])
    for step in range(n_steps):
        expected = warmup_cosine(step, n_steps, n_warmup, peak, floor)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("n_steps", "n_warmup"), [(10, 10), (10, -1), (0, 0)])
def test_a_warmup_that_leaves_no_step_is_refused(n_steps: int, n_warmup: int) -> None:
    with pytest.raises(AsdError, match=f"warm-up of {n_warmup} steps does not fit a training of {n_steps}"):
        warmup_cosine(0, n_steps, n_warmup, 1.0)
