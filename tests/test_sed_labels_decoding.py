"""Windows and thresholds found on validation: what helps is chosen, per class, and events come out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import f1_score

from asd.sed.labels import Decoding, tune
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
    assert asdict(decoding) == {"windows_frames": {"a": 1, "b": 1}, "thresholds": {"a": 0.5, "b": 0.5}}


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
    with pytest.raises(AsdError, match="the validation part has no example of b; label one, or take"):
        tune(probabilities, targets, absent, CLASSES, HOP_S)


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    decoding = Decoding({"a": 1, "b": 3}, {"a": 0.5, "b": 0.25})
    said = decoding.active(np.array([[0.5, 0.26], [0.51, 0.25]]))
    assert said.tolist() == [[False, True], [True, False]]


def f1(hits: int, said: int, true: int) -> float:
    return 2 * hits / (said + true)


def criteria(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """F1 of frames (clips, frames), and of onsets within 0.2 s, which are four frames."""
    onsets = [[np.flatnonzero(np.diff(clip.astype(int), prepend=0) == 1) for clip in clips] for clips in (said, true)]

    def near(a: list[Any], b: list[Any]) -> int:
        return sum(bool((np.abs(y - moment) <= 4).any()) for x, y in zip(a, b, strict=True) for moment in x)

    hits = min(near(onsets[0], onsets[1]), near(onsets[1], onsets[0]))
    return f1_score(true.ravel(), said.ravel()), f1(hits, *(sum(map(len, side)) for side in onsets))


def test_the_mean_of_both_f1_decides_where_each_alone_would_choose_otherwise() -> None:
    """One class whose frames want a long window, whose onsets a high threshold, on the whole grid."""
    rng = np.random.default_rng(5)
    targets = torch.zeros(12, 100, 1)
    for clip in targets:
        for start in rng.choice(90, 3, replace=False):
            clip[start : start + rng.integers(3, 20)] = 1
    levels = 0.5 * targets.numpy() + rng.uniform(0, 0.5, targets.shape) * rng.uniform(0.3, 1.7, (12, 1, 1))
    probabilities = torch.from_numpy(levels.clip(0, 1)).float()
    none = torch.zeros(12, 100, dtype=torch.bool)
    decoding = tune(probabilities, targets, none, ["a"], HOP_S)
    found: dict[tuple[int, float], tuple[float, float]] = {}
    for window in (1, 3, 5, 9, 17, 33):
        for threshold in np.arange(1, 20) / 20:
            choice = Decoding({"a": window}, {"a": float(threshold)})
            said = choice.active(choice.smooth(probabilities).numpy())[..., 0]
            found[window, round(float(threshold), 2)] = criteria(said, targets[..., 0].numpy() > 0.5)
    chosen = found[decoding.windows_frames["a"], decoding.thresholds["a"]]
    assert sum(chosen) == pytest.approx(max(map(sum, found.values())))
    assert chosen[0] < max(frames for frames, _ in found.values()) - 1e-6
    assert chosen[1] < max(onsets for _, onsets in found.values()) - 1e-6
