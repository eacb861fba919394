from __future__ import annotations

import pytest
import torch

from asd.core.losses.binary import AsymmetricFocal, Bce
from asd.core.losses.cells import SoftCrossEntropy, SquaredError
from asd.core.losses.graph import GraphLaplacian
from asd.core.losses.multitask import EventsAndActivity, MultiTask, activity_targets
from asd.types import AsdError

NAN = float("nan")


def batch() -> dict[str, dict[str, torch.Tensor | None]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, generator=generator, requires_grad=True)
    z = torch.rand(2, 3, 4, generator=generator)
    return {name: {"logits": x, "targets": z} for name in ("yes_no", "choice", "number")}


def three(**weights: float) -> MultiTask:
    return MultiTask({"yes_no": Bce(), "choice": SoftCrossEntropy(), "number": SquaredError()}, weights)


def test_the_total_is_the_weighted_sum_of_the_named_terms() -> None:
    inputs = batch()
    total, terms = three(choice=0.5, number=2.0)(inputs)
    assert list(terms) == ["yes_no", "choice", "number"]
    alone = {
        "yes_no": Bce()(**inputs["yes_no"]),
        "choice": SoftCrossEntropy()(**inputs["choice"]),
        "number": SquaredError()(**inputs["number"]),
    }
    for name, value in terms.items():
        assert not value.requires_grad
        torch.testing.assert_close(value, alone[name].detach())
    expected = alone["yes_no"] + 0.5 * alone["choice"] + 2 * alone["number"]
    torch.testing.assert_close(total, expected)
    assert total.requires_grad


def test_a_weight_can_be_ramped_and_at_zero_nothing_of_the_term_is_left() -> None:
    losses, inputs = three(choice=0.0, number=0.0), batch()
    inputs["choice"]["targets"] = torch.full((2, 3, 4), NAN)
    total, terms = losses(inputs)
    torch.testing.assert_close(total.detach(), terms["yes_no"])
    assert terms["choice"].isnan()  # still to be seen in the log
    losses.weights["number"] = 3.0
    torch.testing.assert_close(losses(inputs).total.detach(), terms["yes_no"] + 3 * terms["number"])


def test_terms_ignore_cells_of_their_own() -> None:
    inputs = batch()
    ignore = torch.zeros(2, 3, 1, dtype=torch.bool)
    ignore[1] = True
    inputs["yes_no"]["ignore"] = ignore
    x, z = (inputs["yes_no"][name] for name in ("logits", "targets"))
    assert x is not None
    assert z is not None
    terms = three()(inputs).terms
    torch.testing.assert_close(terms["yes_no"], Bce()(x[:1], z[:1]).detach())
    torch.testing.assert_close(terms["number"], SquaredError()(x, z).detach())


def test_a_regulariser_is_a_term_like_any_other() -> None:
    penalty = GraphLaplacian(torch.ones(4, 4))
    losses = MultiTask({"events": Bce("sum_per_item"), "graph": penalty}, {"graph": 1e-5})
    x = batch()["yes_no"]["logits"]
    total, terms = losses({"events": batch()["yes_no"], "graph": {"logits": x}})
    torch.testing.assert_close(total.detach(), terms["events"] + 1e-5 * terms["graph"])


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AsdError, match=r"the weights 'chioce' do not fit the losses 'choice', 'number', 'yes_no'"):
        three(chioce=1.0)
    with pytest.raises(AsdError, match="the weights none do not fit the losses none"):
        MultiTask({})
    inputs = batch()
    del inputs["number"]
    with pytest.raises(AsdError, match=r"got inputs for 'choice', 'yes_no'; the losses are 'choice', 'number'"):
        three()(inputs)
    with pytest.raises(AsdError, match="the loss 'yes_no' is no scalar"):
        MultiTask({"yes_no": Bce("none")})({"yes_no": batch()["yes_no"]})


def test_activity_is_known_where_no_ignored_class_could_change_it() -> None:
    targets = torch.tensor([[0.0, 0.0], [0.0, 0.7], [NAN, 1.0], [NAN, 0.7], [0.0, NAN], [NAN, NAN]])
    activity, unknown = activity_targets(targets, targets.isnan())
    assert unknown.tolist() == [False, False, False, True, True, True]
    assert activity[~unknown].tolist() == pytest.approx([0, 0.7, 1])
    assert not activity_targets(targets[:2])[1].any()


def test_events_and_activity_are_learnt_together() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 5, 3, generator=generator, requires_grad=True)
    any_event = torch.randn(2, 5, generator=generator, requires_grad=True)
    z = (torch.rand(2, 5, 3, generator=generator) < 0.3).float()
    total, terms = EventsAndActivity(AsymmetricFocal(), activity_weight=0.3)(x, any_event, z)
    torch.testing.assert_close(terms["events"], AsymmetricFocal()(x, z).detach())
    torch.testing.assert_close(terms["activity"], Bce()(any_event, z.amax(-1)).detach())
    torch.testing.assert_close(total.detach(), terms["events"] + 0.3 * terms["activity"])
    total.backward()
    assert x.grad is not None
    assert any_event.grad is not None


def test_padding_reaches_neither_events_nor_activity() -> None:
    generator = torch.Generator().manual_seed(2)
    x, any_event = torch.randn(2, 5, 3, generator=generator), torch.randn(2, 5, generator=generator)
    z = (torch.rand(2, 5, 3, generator=generator) < 0.3).float()
    expected = EventsAndActivity(Bce())(x, any_event, z)
    padded = [torch.cat([y, torch.full_like(y[:, :2], NAN)], 1) for y in (x, any_event, z)]
    ignore = (torch.arange(7) >= 5).reshape(1, -1, 1)
    value = EventsAndActivity(Bce())(*padded, ignore=ignore)
    torch.testing.assert_close(value.total, expected.total)
    torch.testing.assert_close(value.terms, expected.terms)
