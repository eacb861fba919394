"""Windows and thresholds found on validation: what helps is chosen, per class, and events come out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asd.sed.postprocess import Decoding, tune
from asd.types import AsdError

CLASSES = ["a", "b"]
HOP_S = 0.05


def some_clips() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ten clips of 80 frames; class a is heard well but softly, class b flickers."""
    rng = np.random.default_rng(0)
    targets = torch.zeros(10, 80, 2)
    targets[:, 20:50] = 1
    targets[::2, 60:70, 0] = 1
    a = 0.35 * targets[..., 0] + torch.from_numpy(rng.uniform(0, 0.05, (10, 80))).float()
    flicker = torch.from_numpy(rng.random((10, 80)) < 0.15)
    b = torch.where(flicker, 1 - targets[..., 1], targets[..., 1]) * 0.9
    return torch.stack([a, b], 2), targets, torch.zeros(10, 80, dtype=torch.bool)


def test_each_class_gets_the_window_and_the_threshold_it_needs() -> None:
    probabilities, targets, absent = some_clips()
    decoding = tune(probabilities, targets, absent, CLASSES, HOP_S)
    assert decoding.windows_frames["a"] == 1
    assert decoding.windows_frames["b"] > 1
    assert 0.05 <= decoding.thresholds["a"] <= 0.35
    active = decoding.active(decoding.smooth(probabilities).numpy())
    agree = (active == (targets.numpy() > 0.5)).mean((0, 1))
    assert agree[0] == 1.0
    assert agree[1] > 0.95


def test_among_equals_the_shortest_window_and_the_middle_threshold_win() -> None:
    _, targets, absent = some_clips()
    decoding = tune(targets, targets, absent, CLASSES, HOP_S)
    assert decoding.facts() == {
        "windows_frames": {"a": 1, "b": 1},
        "thresholds": {"a": 0.5, "b": 0.5},
    }


def test_padding_decides_nothing() -> None:
    probabilities, targets, absent = some_clips()
    padded = [torch.cat([x, torch.ones_like(x[:, :20])], 1) for x in (probabilities, targets)]
    more = torch.cat([absent, torch.ones(10, 20, dtype=torch.bool)], 1)
    # Windows reach over the end of a clip, so compare where none is needed.
    one, other = tune(probabilities, targets, absent, CLASSES, HOP_S), tune(*padded, more, CLASSES, HOP_S)
    assert one.thresholds["a"] == other.thresholds["a"]


def test_a_class_that_validation_never_hears_is_refused() -> None:
    probabilities, targets, absent = some_clips()
    targets[..., 1] = 0
    with pytest.raises(AsdError, match="the validation part has no example of b; label one, or leave"):
        tune(probabilities, targets, absent, CLASSES, HOP_S)


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    decoding = Decoding({"a": 1, "b": 3}, {"a": 0.5, "b": 0.25})
    said = decoding.active(np.array([[0.5, 0.26], [0.51, 0.25]]))
    assert said.tolist() == [[False, True], [True, False]]
