from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from asd.core.semi import EmaTeacher
from asd.core.trainer import train
from asd.core.update import Update, World
from asd.options import TrainSettings

DATA = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
RATE = 1e-2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6))


def update_of(net: nn.Module, teacher: EmaTeacher | None = None, **settings: Any) -> Update:
    def step(i: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        error = (net(DATA[i]).float() - DATA[i]).square().mean(0)
        return error.mean(), {"first": error[0]}

    return Update(net, step, TrainSettings(learning_rate=RATE, **settings), teacher, World())


@pytest.mark.parametrize("n_pieces", [2, 3, 7, 99])
def test_pieces_of_a_batch_move_the_weights_as_the_whole_batch_does(n_pieces: int) -> None:
    whole, cut = network(), network()
    one, many = update_of(whole), update_of(cut, accumulate=n_pieces)
    for batch in DATA.new_tensor(range(50), dtype=torch.int64).split(17):  # pieces of different sizes
        whole_batch = one(batch, RATE)
        assert whole_batch.keys() == {"loss", "first"}
        torch.testing.assert_close(many(batch, RATE), whole_batch)
    for a, b in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_long_gradient_is_clipped_to_its_length() -> None:
    lengths = {}
    for clip_norm in (None, 1e-3, 1e3):
        net = network()
        update = update_of(net, clip_norm=clip_norm)
        update(torch.arange(50), RATE)
        lengths[clip_norm] = float(torch.nn.utils.get_total_norm([p.grad for p in net.parameters()]))
    assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-4)
    assert lengths[None] == lengths[1e3] > 0.1


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_reaches_the_network_and_leaves_float32_weights(tmp_path: Path, precision: str) -> None:
    net, seen = network(), set()

    def step(i: torch.Tensor) -> torch.Tensor:
        out = net(DATA[i])
        seen.add(out.dtype)
        return (out.float() - DATA[i]).square().mean()

    settings = TrainSettings(epochs=2, batch_size=13, precision=precision)  # type: ignore[arg-type]
    train(net, step, torch.arange(50), settings, tmp_path)
    assert seen == {getattr(torch, precision)}
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_float16_learns_what_float32_learns_where_its_own_gradients_would_vanish() -> None:
    """Gradients of 1e-8 are zero in float16, unless the loss was scaled up before the backward pass."""

    def learned(scaled: bool = True, **settings: Any) -> torch.Tensor:
        net = network()
        start = copy.deepcopy(net)
        healthy = update_of(net).step
        update = update_of(net, **settings)
        update.step = lambda i: 1e-6 * healthy(i)[0]
        if not scaled:
            update.scaler = GradScaler("cpu", enabled=False)
        for _ in range(20):
            update(torch.arange(50), RATE)
        moved = [(a - b).flatten() for a, b in zip(net.parameters(), start.parameters(), strict=True)]
        return torch.cat(moved).detach()

    for settings in ({}, {"clip_norm": 1e-9}, {"accumulate": 2}):
        full, half = learned(**settings), learned(precision="float16", **settings)
        assert full.abs().max() > 1e-3
        assert torch.nn.functional.cosine_similarity(full, half, dim=0) > 0.99
    assert not learned(precision="float16", scaled=False).any()


def test_a_step_whose_gradient_overflows_is_left_out_and_the_scale_halved() -> None:
    net = network()
    update = update_of(net, precision="float16", clip_norm=1.0)
    scale = update.scaler.get_scale()
    before = copy.deepcopy(net.state_dict())
    healthy, update.step = update.step, lambda i: healthy(i)[0] * 1e37
    update(torch.arange(50), RATE)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before.values(), strict=True))
    assert update.scaler.get_scale() == scale / 2
    update.step = healthy
    update(torch.arange(50), RATE)
    assert not torch.equal(net[0].weight, before["0.weight"])


@pytest.mark.parametrize(
    ("name", "reference"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("radam", torch.optim.RAdam)]
)
def test_optimizers_are_those_of_torch(name: str, reference: type[torch.optim.Optimizer]) -> None:
    mine, theirs = network(), network()
    update = update_of(mine, optimizer=name, weight_decay=0.1)
    optimizer = reference(theirs.parameters(), lr=RATE, weight_decay=0.1)  # type: ignore[call-arg]
    for _ in range(10):
        update(torch.arange(50), RATE)
        optimizer.zero_grad()
        (theirs(DATA) - DATA).square().mean().backward()
        optimizer.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_teacher_follows_once_per_batch_whatever_its_pieces() -> None:
    net = network()
    teacher = EmaTeacher(net)
    update = update_of(net, teacher, accumulate=3)
    for _ in range(4):
        update(torch.arange(50), RATE)
    assert int(teacher.n_updates) == 4
