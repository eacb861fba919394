from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from asd.core.trainer import TrainSettings, train
from asd.types import AsdError

DATA = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 6))


def run(directory: Path, epochs: int, net: nn.Module, **changes: object) -> None:
    train(
        net,
        lambda i: (net(DATA[i]) - DATA[i]).square().mean(),
        torch.arange(40),
        TrainSettings(epochs=epochs, batch_size=13, learning_rate=1e-2, seed=3),
        directory,
        valid_indices=torch.arange(40, 50),
        **changes,  # type: ignore[arg-type]
    )


def test_training_learns_and_logs_each_epoch(tmp_path: Path) -> None:
    run(tmp_path, 30, network())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 31))
    assert lines[-1]["valid_loss"] < lines[0]["valid_loss"]


def test_a_resumed_run_ends_exactly_like_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = network(), network()
    run(tmp_path / "whole", 6, whole)
    run(tmp_path / "parts", 2, parts)
    again = network()
    run(tmp_path / "parts", 6, again)
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    epochs = [
        json.loads(line)["epoch"] for line in (tmp_path / "parts/metrics.jsonl").read_text().splitlines()
    ]
    assert epochs == [1, 2, 3, 4, 5, 6]


def test_an_epoch_cut_short_is_repeated(tmp_path: Path) -> None:
    whole, cut = network(), network()
    run(tmp_path / "whole", 3, whole)
    calls = 0

    def step(i: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 7:  # in the second epoch
            raise KeyboardInterrupt
        return (cut(DATA[i]) - DATA[i]).square().mean()

    settings = TrainSettings(epochs=3, batch_size=13, learning_rate=1e-2, seed=3)
    with pytest.raises(KeyboardInterrupt):
        train(cut, step, torch.arange(40), settings, tmp_path / "cut", valid_indices=torch.arange(40, 50))
    again = network()
    run(tmp_path / "cut", 3, again)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_loss_that_is_not_finite_stops_with_the_batch_named(tmp_path: Path) -> None:
    net = network()
    run(tmp_path, 1, net)
    kept = (tmp_path / "state.safetensors").read_bytes()

    def step(i: torch.Tensor) -> torch.Tensor:
        loss = (net(DATA[i]) - DATA[i]).square().mean()
        return loss * (float("nan") if 7 in i.tolist() else 1.0)

    with pytest.raises(
        AsdError, match=r"became nan in epoch 2, batch \d of 3; lower the detector's learning_rate"
    ):
        train(net, step, torch.arange(40), TrainSettings(2, 13, 1e-2, 3), tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == kept


def test_a_state_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 1, network(), fingerprint="a")
    with pytest.raises(AsdError, match="another configuration or other data"):
        run(tmp_path, 2, network(), fingerprint="b")


def test_one_item_is_too_few(tmp_path: Path) -> None:
    net = network()
    with pytest.raises(AsdError, match="two are the least"):
        train(net, lambda i: net(DATA[i]).mean(), torch.arange(1), TrainSettings(1), tmp_path)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    settings = TrainSettings(learning_rate=2.0, warmup=0.2, schedule="cosine")
    rates = [settings.learning_rate_at(done) for done in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 1.0, 0.0])
    assert TrainSettings(learning_rate=2.0).learning_rate_at(0.9) == 2.0


def test_a_resumed_run_with_schedule_weights_and_decay_ends_the_same(tmp_path: Path) -> None:
    settings = TrainSettings(5, 13, 1e-2, 3, weight_decay=0.1, warmup=0.1, schedule="cosine")
    weights = torch.linspace(0.1, 1, 50)

    def finish(net: nn.Module, directory: Path, steps: float = torch.inf) -> None:
        taken = 0

        def step(i: torch.Tensor) -> torch.Tensor:
            nonlocal taken
            taken += 1
            if taken > steps:
                raise KeyboardInterrupt
            return (net(DATA[i]) - DATA[i]).square().mean()

        train(net, step, torch.arange(50), settings, directory, weights=weights)

    whole, again = network(), network()
    finish(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        finish(network(), tmp_path / "parts", steps=10)
    finish(again, tmp_path / "parts")
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_items_are_drawn_in_proportion_to_their_weights(tmp_path: Path) -> None:
    net, seen = network(), torch.zeros(50)

    def step(i: torch.Tensor) -> torch.Tensor:
        seen.index_add_(0, i, torch.ones(len(i)))
        return (net(DATA[i]) - DATA[i]).square().mean()

    weights = torch.ones(50).index_fill(0, torch.arange(10), 4.0)
    train(net, step, torch.arange(50), TrainSettings(60, 25, 1e-3), tmp_path, weights=weights)
    assert seen.sum() == 60 * 50
    assert seen[:10].sum() / seen.sum() == pytest.approx(0.5, abs=0.03)


def test_bfloat16_reaches_the_network_and_leaves_float32_weights(tmp_path: Path) -> None:
    net, seen = network(), set()

    def step(i: torch.Tensor) -> torch.Tensor:
        out = net(DATA[i])
        seen.add(out.dtype)
        return (out.float() - DATA[i]).square().mean()

    train(net, step, torch.arange(50), TrainSettings(2, 13, precision="bfloat16"), tmp_path)
    assert seen == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in net.parameters())
