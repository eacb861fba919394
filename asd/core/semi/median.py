"""Median filter along time with a window per class, on the device and without a loop over clips or frames.

The clip is continued as its mirror image (d c b a | a b c d | d c b a), as `scipy.ndimage.median_filter`
does by default. The numbers are the same, but where half a window is longer than the clip: there the mirror
images repeat, and scipy's fast path along one axis reads other frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from asd.types import AsdError


def median_filter(values: torch.Tensor, windows_frames: Sequence[int]) -> torch.Tensor:
    """Each class smoothed by the median over its own window.

    Args:
        values: (batch, frames, classes) bool or floating point.
        windows_frames: odd length of each class's window.

    Returns:
        Same shape and type. A mask is True where most frames of the window are.

    Raises:
        AsdError: a number of windows other than of classes, or an even one.
    """
    windows = [int(window) for window in windows_frames]
    if len(windows) != values.shape[-1] or any(window < 1 or window % 2 == 0 for window in windows):
        raise AsdError(
            f"a median filter over {values.shape[-1]} classes needs as many odd windows from 1 on; got {windows}"
        )
    if values.dtype == torch.bool:
        return _majority(values, windows)
    filtered = torch.empty_like(values)
    for window in sorted(set(windows)):  # few: classes of the same window go together
        classes = [k for k, other in enumerate(windows) if other == window]
        mirrored = _mirrored(values[..., classes], window // 2)
        filtered[..., classes] = mirrored.unfold(1, window, 1).median(-1).values
    return filtered


def _majority(mask: torch.Tensor, windows: Sequence[int]) -> torch.Tensor:
    """Median of a mask from running counts: no memory is spent on windows, however long."""
    margin = max(windows) // 2
    counts = _mirrored(mask, margin).cumsum(1)
    counts = torch.cat([torch.zeros_like(counts[:, :1]), counts], 1)  # counts[t]: True before frame t
    half = torch.tensor(windows, device=mask.device) // 2
    middle = torch.arange(mask.shape[1], device=mask.device)[:, None] + margin
    first, last = ((middle + offset).expand_as(mask) for offset in (-half, half + 1))
    return counts.gather(1, last) - counts.gather(1, first) > half


def _mirrored(values: torch.Tensor, margin: int) -> torch.Tensor:
    """Frames continued by `margin` on both sides; the mirror images repeat where the clip is shorter."""
    n_frames = values.shape[1]
    position = torch.arange(-margin, n_frames + margin, device=values.device) % (2 * n_frames)
    return values[:, torch.minimum(position, 2 * n_frames - 1 - position)]
