from __future__ import annotations

import logging

import pytest
import torch

from asd.detectors.encoders.attribute_head import AttributeHead

LOSSES = ("bce", "asymmetric_focal", "inverse_frequency")


def told(n_common: int = 12, n_rare: int = 2) -> torch.Tensor:
    """Values (clips, 3): a common one, a rare one, and one that goes with the rare one."""
    rows = [[1.0, 0.0, 0.0]] * n_common + [[0.0, 1.0, 1.0]] * n_rare
    return torch.tensor(rows)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_the_values(loss: str) -> None:
    torch.manual_seed(0)
    values = told()
    embeddings = torch.nn.functional.normalize(values + 0.1 * torch.randn(14, 3), dim=1)
    head = AttributeHead(3, values, loss)
    descend = torch.optim.Adam(head.parameters(), 0.05)
    for _ in range(200):
        descend.zero_grad()
        head(embeddings, values).backward()
        descend.step()
    assert torch.equal(head.logits(embeddings) > 0, values > 0)


def test_what_is_not_known_has_no_part_in_the_loss() -> None:
    torch.manual_seed(0)
    values, embeddings = told(), torch.randn(14, 3, requires_grad=True)
    head = AttributeHead(3, values, "bce")
    some = values.clone()
    some[:13] = torch.nan
    loss = head(embeddings, some)
    torch.testing.assert_close(loss, head(embeddings[13:], values[13:]))
    loss.backward()
    assert embeddings.grad is not None
    assert not embeddings.grad[:13].any()
    assert embeddings.grad[13].isfinite().all()


def test_without_listening_it_answers_as_often_yes_as_there_are_clips() -> None:
    head = AttributeHead(3, told(), "bce")
    with torch.no_grad():
        head.directions.copy_(torch.eye(3))
        answers = head.logits(torch.tensor([[1.0, 0.0, 0.0]])).sigmoid()
    torch.testing.assert_close(answers[0, 1:], torch.tensor([2 / 14, 2 / 14]))


def test_inverse_frequency_takes_weight_off_the_common_value() -> None:
    factor = AttributeHead(3, told(), "inverse_frequency").loss.get_buffer("factor")
    mean = (12 + 2 + 2) / 3
    torch.testing.assert_close(
        factor, torch.tensor([mean / (12 + mean), mean / (2 + mean), mean / (2 + mean)])
    )


def test_the_graph_asks_for_equal_answers_to_values_that_go_together() -> None:
    torch.manual_seed(0)
    values, embeddings = told(), torch.randn(14, 3)
    plain = AttributeHead(3, values, "bce")
    torch.manual_seed(0)
    torch.randn(14, 3)
    with_graph = AttributeHead(3, values, "bce", co_occurrence=0.5)
    with_graph.load_state_dict(plain.state_dict(), strict=False)
    answers = plain.logits(embeddings).sigmoid()
    expected = 0.5 * (answers[:, 1] - answers[:, 2]).square().mean()
    torch.testing.assert_close(with_graph(embeddings, values) - plain(embeddings, values), expected)


def test_a_graph_of_values_that_never_meet_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "asd"):
        head = AttributeHead(2, torch.eye(2)[torch.arange(6) % 2], "bce", co_occurrence=0.1)
    assert head.graph is None
    assert "embedding.co_occurrence=0.1 does nothing: no training clip has two of the 2 values" in caplog.text
