"""Convolutions of maps that lie as (batch, channels, frames, bands), as fast as a CPU allows.

The results and the names of the weights are those of torch's own convolutions of (bands, frames).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d, pad, pixel_unshuffle


class Convolution(nn.Conv2d):
    """3x3 convolution of maps (batch, channels, frames, bands); the kernels are kept as bands by frames.

    A long last axis fills the lanes of a CPU, and of bands there are up to sixty times as many as of frames:
    with frames last the deepest layers would take twice the time.

    Args:
        n_in: channels in.
        n_out: channels out.
        stride: step along both axes.
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__(n_in, n_out, 3, stride, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, n_in, frames, bands) -> (batch, n_out, frames, bands), over the stride, rounded up."""
        kernel = self.weight.mT.contiguous(memory_format=torch.channels_last)
        return conv2d(x, kernel, stride=self.stride, padding=self.padding)


class HalvingConvolution(nn.Conv2d):
    """7x7 convolution of one channel with stride 2, computed as 4x4 of four channels with stride 1.

    The four channels are the corners of 2x2 cells, the kernel has a row and a column of zeros more. The result
    is the same; on a CPU it takes half the time, as kernels for one channel leave most lanes idle.

    Args:
        n_out: channels out.
        padding: zeros on each side of both axes.
    """

    def __init__(self, n_out: int, padding: int = 3) -> None:
        super().__init__(1, n_out, 7, stride=2, padding=padding, bias=False)
        self.front = padding + padding % 2  # cells begin at even places

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, frames, bands) -> (batch, n_out, frames, bands), each `(n + 2 * padding - 5) // 2`."""
        backs = [self._back(n) for n in x.shape[2:]]
        cells = pixel_unshuffle(pad(x, (self.front, backs[1], self.front, backs[0])), 2)
        before = int(self.padding[0]) % 2  # where the kernel's zeros go
        kernel = pixel_unshuffle(pad(self.weight.mT, (before, 1 - before, before, 1 - before)), 2)
        last = torch.channels_last
        return conv2d(cells.contiguous(memory_format=last), kernel.contiguous(memory_format=last))

    def _back(self, length: int) -> int:
        """Zeros behind an axis, so that cells fill it; negative where its end is never met."""
        n_out = (length + 2 * int(self.padding[0]) - 5) // 2
        return 2 * n_out + 6 - length - self.front
