"""Several resolutions at once, each with a small ResNet that keeps coarse frequency to the end.

Source: Wilkinghoff, "Self-supervised learning for anomalous sound detection", ICASSP 2024 (STFT and FFT
branch); Fujimura et al., arXiv 2409.09332 (several resolutions). Fewer blocks here; the frequency axis is kept
to the end instead of averaged away; each bin is normalised over the training clips. Their own network is
`resnet_se`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import relu

from asd.core.networks.encoder import Branches, Convolution, HalvingConvolution

_BANDS = 8  # bands that the frequency axis is pooled to before the last layer of an STFT branch


class SpectrogramBranch(nn.Module):
    """Small ResNet on a magnitude spectrogram; averages over time, keeps coarse frequency."""

    def __init__(self, n_bins: int, n_dims: int, width: int) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(n_bins)
        self.stem = nn.Sequential(
            HalvingConvolution(width),
            nn.BatchNorm2d(width),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.ReLU(inplace=True),  # after the pooling, which it commutes with, it has a quarter of the work
        )
        widths = [n * width for n in (1, 1, 2, 4, 8)]
        self.stages = nn.Sequential(*(Residual(a, b, 1 + (a != b)) for a, b in pairwise(widths)))
        self.out = nn.Linear(8 * width * _BANDS, n_dims)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """(batch, bins, frames) -> (batch, dims)."""
        x = self.stages(self.stem(self.input_norm(spectrogram).mT.unsqueeze(1))).mean(2)
        return self.out(_pool_bands(x).flatten(1))


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Convolution(n_in, n_out, stride),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            Convolution(n_out, n_out),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, frames, bands) of `n_in` to `n_out` channels."""
        return relu(self.body(x) + self.shortcut(x), inplace=True)


class SpectrumBranch(nn.Module):
    """Strided convolutions along the magnitude spectrum of a whole segment, then dense layers."""

    def __init__(self, n_bins: int, n_dims: int) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(n_bins)
        layers: list[nn.Module] = []
        length, channels = n_bins, 1
        for kernel, stride in ((256, 64), (64, 32), (16, 4)):
            convolution = nn.Conv1d(channels, n_dims, kernel, stride, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm1d(n_dims), nn.ReLU(inplace=True)]
            length, channels = 1 + length // stride, n_dims
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Linear(n_dims * length, n_dims), nn.BatchNorm1d(n_dims), nn.ReLU(), nn.Linear(n_dims, n_dims)
        )

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(batch, bins) -> (batch, dims)."""
        x = self.convolutions(self.input_norm(spectrum).unsqueeze(1))
        return self.dense(x.flatten(1))


class MultiResolution(Branches):
    """Small ResNets on spectrograms, and strided convolutions along the spectrum of the whole segment."""

    on_spectrogram, on_spectrum = SpectrogramBranch, SpectrumBranch


def _pool_bands(x: torch.Tensor) -> torch.Tensor:
    """Means over `_BANDS` bands: (batch, channels, frequency) -> (batch, channels, _BANDS).

    As a matrix product: the backward pass of adaptive pooling is not deterministic on a GPU.
    """
    n = x.shape[2]
    edges = torch.arange(_BANDS + 1, device=x.device) * n
    starts, ends = edges[:-1] // _BANDS, -(-edges[1:] // _BANDS)
    row = torch.arange(n, device=x.device)
    inside = (row >= starts[:, None]) & (row < ends[:, None])
    return x @ (inside / inside.sum(1, keepdim=True)).T.to(x.dtype)
