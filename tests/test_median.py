from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from asd.core.semi.median import median_filter
from asd.types import AsdError


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


@settings(derandomize=True, deadline=None, max_examples=60)
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
