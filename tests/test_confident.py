from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from asd.core.losses.binary import Bce
from asd.core.semi import Confident, ConfidentTargets, cmt_neg, cmt_normal, median_filter
from asd.types import AsdError

WINDOWS = [1, 3, 5]


def teacher(seed: int, n_clips: int = 4, frames: int = 20, skew: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of clips and frames; most are low, as most classes are silent most of the time."""
    generator = torch.Generator().manual_seed(seed)
    clips = (2 * torch.randn(n_clips, 3, generator=generator) - skew / 2).sigmoid()
    frames_ = (2 * torch.randn(n_clips, frames, 3, generator=generator) - skew).sigmoid()
    return clips, frames_


def smoothed(mask: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.median_filter(mask[..., k].astype(int), (1, w)) for k, w in enumerate(WINDOWS)], -1)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).float()


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), clip_at=st.floats(0.1, 0.9), frame_at=st.floats(0.1, 0.9))
def test_cmt_normal_is_the_published_formula(seed: int, clip_at: float, frame_at: float) -> None:
    clips, frames = teacher(seed)
    ours = cmt_normal(clips, frames, clip_threshold=clip_at, frame_threshold=frame_at, windows_frames=WINDOWS)
    y_w, y_s = clips.numpy(), frames.numpy()
    sure_w = (y_w > clip_at).astype(float)
    sure_s = smoothed((y_w > clip_at)[:, None] & (y_s > frame_at))
    torch.testing.assert_close(ours.clips.targets, tensor(sure_w))
    torch.testing.assert_close(ours.frames.targets, tensor(sure_s))
    torch.testing.assert_close(ours.clips.weight, tensor(y_w * sure_w))
    torch.testing.assert_close(ours.frames.weight, tensor(y_s * y_w[:, None] * sure_s))
    for level in ours:
        assert not level.negative.any()
        assert float(level.negative_mass) == 0


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), positive_at=st.floats(0.55, 0.95), negative_at=st.floats(0.05, 0.5))
def test_cmt_neg_is_its_formula_on_masks(seed: int, positive_at: float, negative_at: float) -> None:
    clips, frames = teacher(seed)
    ours = cmt_neg(
        clips, frames, positive_threshold=positive_at, negative_threshold=negative_at, windows_frames=WINDOWS
    )
    y_w, y_s = clips.numpy(), frames.numpy()
    expected = (
        (ours.clips, y_w, y_w >= positive_at, y_w <= negative_at),
        (ours.frames, y_s, smoothed(y_s >= positive_at), smoothed(y_s <= negative_at)),
    )
    for level, y, positive, negative in expected:
        torch.testing.assert_close(level.targets, tensor(positive.astype(float)))
        torch.testing.assert_close(level.weight, tensor(positive * y + negative * (1 - y)))
        assert float(level.positive_mass) == pytest.approx(float((positive * y).sum()), rel=1e-5)
        assert float(level.negative_mass) == pytest.approx(float((negative * (1 - y)).sum()), rel=1e-5)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), balance=st.booleans(), skew=st.floats(-3, 3))
def test_no_cell_is_both_and_only_the_undecided_have_no_weight(seed: int, balance: bool, skew: float) -> None:
    for level in cmt_neg(*teacher(seed, skew=skew), windows_frames=WINDOWS, balance=balance):
        assert not (level.positive & level.negative).any()
        assert (level.weight[~(level.positive | level.negative)] == 0).all()
        assert (level.weight >= 0).all()


def share(level: Confident) -> float:
    return float((level.weight > 0).float().mean())


def test_skewed_probabilities_are_mostly_negatives_unless_balanced() -> None:
    """The direction of the measured toy: under cmt_neg some 9/10 of the frames' weight says 'silent'."""
    probabilities = teacher(0, n_clips=64, frames=156, skew=4.0)
    windows = [7, 7, 7]
    normal = cmt_normal(*probabilities, windows_frames=windows)
    neg = cmt_neg(*probabilities, windows_frames=windows)
    assert share(normal.frames) < 0.05
    assert share(normal.clips) < 0.35
    assert share(neg.frames) > 0.8
    assert share(neg.clips) > 0.5
    assert float(neg.frames.negative_mass) > 0.9 * float(neg.frames.weight.sum())
    for level in cmt_neg(*probabilities, balance=True):
        up, down = level.weight[level.positive].sum(), level.weight[level.negative].sum()
        torch.testing.assert_close(up, down)
        torch.testing.assert_close(up, torch.minimum(level.positive_mass, level.negative_mass))
        assert level.negative_mass > level.positive_mass > 0  # logged as they were


def test_balance_scales_whichever_side_is_heavier() -> None:
    clips, frames = teacher(6, n_clips=16)
    quiet = cmt_neg(clips, frames, balance=True).frames
    loud = cmt_neg(1 - clips, 1 - frames, balance=True).frames
    torch.testing.assert_close(quiet.weight, loud.weight)
    torch.testing.assert_close(quiet.positive_mass, loud.negative_mass)
    assert torch.equal(quiet.positive, loud.negative)


def gradients(targets: ConfidentTargets, seed: int = 1) -> torch.Tensor:
    x = torch.randn(targets.frames.weight.shape, generator=torch.Generator().manual_seed(seed))
    x.requires_grad_()
    Bce("mean_active")(x, targets.frames.targets, weight=targets.frames.weight).backward()
    assert x.grad is not None
    return x.grad


def test_normal_only_pushes_up_and_neg_pushes_both_ways() -> None:
    probabilities = teacher(2, n_clips=32)
    assert (gradients(cmt_normal(*probabilities)) <= 0).all()
    both = gradients(cmt_neg(*probabilities))
    targets = cmt_neg(*probabilities).frames
    assert (both[targets.positive] < 0).all()
    assert (both[targets.negative] > 0).all()
    assert (both[~targets.positive & ~targets.negative] == 0).all()


def test_a_frame_counts_only_in_a_sure_clip_under_normal() -> None:
    clips, frames = torch.tensor([[0.9, 0.4]]), torch.full((1, 6, 2), 0.8)
    normal, neg = cmt_normal(clips, frames), cmt_neg(clips, frames)
    assert normal.frames.positive[0].all(0).tolist() == [True, False]
    assert normal.frames.weight[0, 0].tolist() == pytest.approx([0.72, 0])
    assert neg.frames.positive.all()
    assert neg.frames.weight[0, 0].tolist() == pytest.approx([0.8, 0.8])
    assert (neg.clips.positive | neg.clips.negative).tolist() == [[True, False]]


@pytest.mark.parametrize("rule", [cmt_normal, cmt_neg])
def test_ignored_cells_have_no_target_and_no_mass(rule: Callable[..., ConfidentTargets]) -> None:
    clips, frames = teacher(3)
    ignore = torch.zeros(4, 20, 3, dtype=torch.bool)
    ignore[:, :, 2], ignore[0, 15:] = True, True  # a class without labels, padding
    poisoned = frames.masked_fill(ignore, float("nan"))
    without = clips.clone()
    without[:, 2] = float("nan")
    targets = rule(without, poisoned, ignore=ignore)
    reference = rule(clips, frames)
    for mine, whole, ignored in (
        (targets.frames, reference.frames, ignore),
        (targets.clips, reference.clips, ignore.all(1)),
    ):
        assert (mine.weight[ignored] == 0).all()
        assert not (mine.positive | mine.negative)[ignored].any()
        assert torch.equal(mine.weight[~ignored], whole.weight[~ignored])
        assert float(mine.positive_mass) == pytest.approx(float(mine.weight[mine.positive].sum()))
        assert torch.isfinite(mine.negative_mass)


@pytest.mark.parametrize("rule", [cmt_normal, cmt_neg])
def test_a_teacher_that_broke_is_not_taken_for_an_unsure_one(rule: Callable[..., ConfidentTargets]) -> None:
    clips, frames = teacher(5)
    frames[0, 0, 0] = float("nan")
    targets = rule(clips, frames).frames
    assert targets.positive_mass.isnan()
    assert Bce()(torch.zeros_like(frames), targets.targets, targets.weight).isnan()


def test_targets_carry_no_gradient() -> None:
    clips, frames = (x.requires_grad_() for x in teacher(4))
    for level in (*cmt_normal(clips, frames), *cmt_neg(clips, frames, balance=True)):
        assert not level.weight.requires_grad
        assert not level.positive_mass.requires_grad


def test_without_a_side_balance_leaves_nothing_and_says_so_in_the_masses() -> None:
    silent = torch.full((2, 3), 0.01), torch.full((2, 8, 3), 0.01)
    for level in cmt_neg(*silent, balance=True):
        assert float(level.positive_mass) == 0 < float(level.negative_mass)
        assert (level.weight == 0).all()


def test_what_does_not_fit_is_refused() -> None:
    clips, frames = teacher(0)
    with pytest.raises(AsdError, match=r"do not fit: got \(4, 3\) and \(4, 3, 20\)"):
        cmt_neg(clips, frames.mT)
    with pytest.raises(AsdError, match=r"negatives, 0\.7, must lie below that of positives, 0\.3"):
        cmt_neg(clips, frames, positive_threshold=0.3, negative_threshold=0.7)
    with pytest.raises(AsdError, match=r"thresholds of probabilities lie from 0 to 1; got \(50, 0\.5\)"):
        cmt_normal(clips, frames, clip_threshold=50)
    with pytest.raises(AsdError, match="odd windows"):
        cmt_normal(clips, frames, windows_frames=[4, 4, 4])


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_ends_of_the_range_are_thresholds(threshold: float) -> None:
    clips, frames = teacher(0)
    targets = cmt_normal(clips, frames, clip_threshold=threshold, frame_threshold=threshold)
    assert targets.clips.positive.all() == targets.clips.positive.any() == (threshold == 0)


def by_scipy(values: torch.Tensor, windows: list[int]) -> torch.Tensor:
    filtered = np.empty_like(values.numpy())
    for k, window in enumerate(windows):
        filtered[..., k] = ndimage.median_filter(values[..., k].numpy(), size=(1, window))
    return torch.from_numpy(filtered)


def by_definition(values: torch.Tensor, windows: list[int]) -> torch.Tensor:
    filtered = np.empty_like(values.numpy())
    for k, window in enumerate(windows):
        padded = np.pad(values[..., k].numpy(), ((0, 0), (window // 2,) * 2), mode="symmetric")
        filtered[..., k] = np.median(np.lib.stride_tricks.sliding_window_view(padded, window, 1), -1)
    return torch.from_numpy(filtered)


ODD = st.integers(0, 20).map(lambda half: 2 * half + 1)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 40), windows=st.lists(ODD, min_size=1, max_size=5))
def test_values_and_masks_get_the_median_of_their_window(seed: int, frames: int, windows: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, frames, len(windows), generator=generator)
    assert torch.equal(median_filter(values, windows), by_definition(values, windows))
    mask = values > 0.4
    filtered = median_filter(mask, windows)
    assert filtered.dtype == torch.bool
    assert torch.equal(filtered, by_definition(mask, windows))
    if max(windows) // 2 <= frames:
        assert torch.equal(median_filter(values, windows), by_scipy(values, windows))
        assert torch.equal(filtered, by_scipy(mask, windows))


def test_each_class_has_its_own_window() -> None:
    clip = torch.tensor([0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0]).bool()
    filtered = median_filter(clip.reshape(1, -1, 1).expand(1, -1, 3), [1, 3, 5])[0].int()
    assert filtered[:, 0].tolist() == clip.int().tolist()
    assert filtered[:, 1].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert filtered[:, 2].tolist() == [0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_a_window_is_odd_and_there_is_one_per_class() -> None:
    with pytest.raises(AsdError, match=r"over 2 classes needs as many odd windows from 1 on; got \[3, 4\]"):
        median_filter(torch.zeros(1, 5, 2), [3, 4])
    with pytest.raises(AsdError, match=r"got \[3\]"):
        median_filter(torch.zeros(1, 5, 2), [3])
