from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from asd.core.semi import EmaTeacher
from asd.core.trainer import train
from asd.options import TrainSettings
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
        TrainSettings(epochs=epochs, batch_size=13, learning_rate=1e-2),
        directory,
        seed=3,
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
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "parts/metrics.jsonl").read_text().splitlines()]
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

    settings = TrainSettings(epochs=3, batch_size=13, learning_rate=1e-2)
    with pytest.raises(KeyboardInterrupt):
        train(cut, step, torch.arange(40), settings, tmp_path / "cut", seed=3, valid_indices=torch.arange(40, 50))
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

    with pytest.raises(AsdError, match=r"became nan in epoch 2, batch \d of 3; lower learning_rate"):
        train(net, step, torch.arange(40), TrainSettings(epochs=2, batch_size=13, learning_rate=1e-2), tmp_path, seed=3)
    assert (tmp_path / "state.safetensors").read_bytes() == kept


def test_a_state_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 1, network(), fingerprint="a")
    with pytest.raises(AsdError, match="another configuration or other data"):
        run(tmp_path, 2, network(), fingerprint="b")


def test_one_item_is_too_few(tmp_path: Path) -> None:
    net = network()
    with pytest.raises(AsdError, match="two are the least"):
        train(net, lambda i: net(DATA[i]).mean(), torch.arange(1), TrainSettings(epochs=1), tmp_path)


def test_a_resumed_run_with_schedule_weights_and_decay_ends_the_same(tmp_path: Path) -> None:
    settings = TrainSettings(
        epochs=5, batch_size=13, learning_rate=1e-2, weight_decay=0.1, warmup=0.1, schedule="cosine"
    )
    weights = torch.linspace(0.1, 1, 50)

    def finish(net: nn.Module, directory: Path, steps: float = torch.inf) -> None:
        taken = 0

        def step(i: torch.Tensor) -> torch.Tensor:
            nonlocal taken
            taken += 1
            if taken > steps:
                raise KeyboardInterrupt
            return (net(DATA[i]) - DATA[i]).square().mean()

        train(net, step, torch.arange(50), settings, directory, seed=3, weights=weights)

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
    train(
        net,
        step,
        torch.arange(50),
        TrainSettings(epochs=60, batch_size=25, learning_rate=1e-3),
        tmp_path,
        weights=weights,
    )
    assert seen.sum() == 60 * 50
    assert seen[:10].sum() / seen.sum() == pytest.approx(0.5, abs=0.03)


def lines_of(directory: Path) -> list[dict[str, float]]:
    """metrics.jsonl without the time it took."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_named_terms_and_metrics_are_logged_each_epoch(tmp_path: Path) -> None:
    net = network()

    def step(i: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        error = (net(DATA[i]) - DATA[i]).square().mean(0)
        return error.mean(), {"left": error[:3].mean(), "right": error[3:].mean()}

    def validate(epoch: int) -> dict[str, float]:
        assert not net.training
        assert not torch.is_grad_enabled()
        return {"score": 10.0 * epoch}

    held_out = torch.arange(40, 50)
    settings = TrainSettings(epochs=3, batch_size=13, learning_rate=1e-2)
    train(net, step, torch.arange(40), settings, tmp_path, valid_indices=held_out, validate=validate)
    for epoch, line in enumerate(lines_of(tmp_path), 1):
        assert (line["epoch"], line["score"]) == (epoch, 10.0 * epoch)
        assert line["train_loss"] == pytest.approx((line["train_left"] + line["train_right"]) / 2)
        assert line["valid_loss"] == pytest.approx((line["valid_left"] + line["valid_right"]) / 2)


def test_weights_that_are_no_longer_finite_are_not_kept(tmp_path: Path) -> None:
    """A finite loss with an infinite gradient shows only at the next batch, which the last one has not."""
    net = network()
    run(tmp_path, 1, net)
    kept = (tmp_path / "state.safetensors").read_bytes()
    taken = 0

    def step(i: torch.Tensor) -> torch.Tensor:
        nonlocal taken
        taken += 1
        loss = (net(DATA[i]) - DATA[i]).square().mean()
        return loss if taken < 3 else (loss - loss.detach()).abs().sqrt() + loss.detach()

    with pytest.raises(AsdError, match="weights became infinite or nan in epoch 2, batch 3 of 3"):
        train(net, step, torch.arange(40), TrainSettings(epochs=2, batch_size=13, learning_rate=1e-2), tmp_path, seed=3)
    assert (tmp_path / "state.safetensors").read_bytes() == kept


# --- early stopping -----------------------------------------------------------------------------------

SCORES = [1.0, 3.0, 2.0, 3.0, 2.0, 9.0]


def patient(net: nn.Module, directory: Path, until: float = torch.inf) -> tuple[int | None, dict[int, nn.Module]]:
    """Trains with patience on given scores: best epoch, and the network after each epoch."""
    then: dict[int, nn.Module] = {}

    def validate(epoch: int) -> dict[str, float]:
        if epoch > until:
            raise KeyboardInterrupt
        then[epoch] = copy.deepcopy(net)
        return {"score": SCORES[epoch - 1]}

    trained = train(
        net,
        lambda i: (net(DATA[i]) - DATA[i]).square().mean(),
        torch.arange(40),
        TrainSettings(epochs=6, batch_size=13, learning_rate=1e-2),
        directory,
        seed=3,
        patience=3,
        validate=validate,
    )
    return trained.best_epoch, then


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_patience_stops_and_leaves_the_weights_of_the_first_best_epoch(tmp_path: Path) -> None:
    net = network()
    best, then = patient(net, tmp_path)
    assert (best, sorted(then)) == (2, [1, 2, 3, 4, 5])
    assert_equal(net, then[2])
    assert not torch.equal(next(net.parameters()), next(then[5].parameters()))
    done_already = network()
    assert patient(done_already, tmp_path) == (2, {})
    assert_equal(done_already, net)


@pytest.mark.parametrize("until", [1, 2, 4])
def test_a_resumed_run_remembers_its_best_epoch(tmp_path: Path, until: int) -> None:
    whole, again = network(), network()
    patient(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        patient(network(), tmp_path / "parts", until)
    best, then = patient(again, tmp_path / "parts")
    assert best == 2
    assert max(then, default=5) == 5
    assert_equal(again, whole)
    assert lines_of(tmp_path / "parts") == lines_of(tmp_path / "whole")


def test_without_a_score_patience_looks_at_the_validation_loss(tmp_path: Path) -> None:
    net = network()
    settings = TrainSettings(epochs=40, batch_size=13, learning_rate=0.3)
    held_out = torch.arange(40, 50)

    def step(i: torch.Tensor) -> torch.Tensor:
        return (net(DATA[i]) - DATA[i]).square().mean()

    trained = train(net, step, torch.arange(40), settings, tmp_path, seed=3, patience=2, valid_indices=held_out)
    losses = [line["valid_loss"] for line in lines_of(tmp_path)]
    assert trained.best_epoch == losses.index(min(losses)) + 1 == len(losses) - 2
    net.eval()
    assert step(held_out).item() == pytest.approx(min(losses))


@pytest.mark.parametrize(
    ("scores", "saying"),
    [({"f1": 0.5}, "gave f1; hand over"), ({}, "gave nothing; hand over"), ({"score": float("nan")}, "nan in epoch 1")],
)
def test_patience_without_a_usable_score_is_refused(tmp_path: Path, scores: dict[str, float], saying: str) -> None:
    net = network()
    settings = TrainSettings(epochs=2, batch_size=13)
    with pytest.raises(AsdError, match=saying):
        train(
            net,
            lambda i: net(DATA[i]).mean(),
            torch.arange(9),
            settings,
            tmp_path,
            patience=1,
            validate=lambda _: scores,
        )


def test_a_teacher_moves_at_every_step_and_in_the_best_epoch_is_kept_too(tmp_path: Path) -> None:
    net = network()
    teacher, modes = EmaTeacher(net, 0.9), set()

    def step(i: torch.Tensor) -> torch.Tensor:
        modes.add((net.training, teacher.training))
        return (net(DATA[i]) - DATA[i]).square().mean()

    settings = TrainSettings(epochs=5, batch_size=13, learning_rate=1e-2)
    train(
        net,
        step,
        torch.arange(39),
        settings,
        tmp_path,
        seed=3,
        patience=1,
        valid_indices=torch.arange(40, 50),
        validate=lambda epoch: {"score": SCORES[epoch - 1]},
        teacher=teacher,
    )
    assert modes == {(True, True), (False, False)}
    assert int(teacher.n_updates) == 2 * 3  # three epochs, of which the second was the best
