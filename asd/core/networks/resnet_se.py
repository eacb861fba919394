"""The public toolkit's network: pre-activation ResNets with squeeze and excitation at several resolutions.

Layer for layer the network of dcase-asd-toolkit's `dis_multispec_scac_trainable`, the best public recipe that needs
no pretrained weights: batch normalisation without scale and shift, the strongest moment of every band, no biases.
Maps lie as (batch, channels, frames, bands), which is faster on a CPU. A segment too short for its layers (under
4.4 s at 16 kHz) is refused there; here its spectrum and its few frames are filled with zeros.

Source: Fujimura et al., "Improvements of discriminative feature space training for anomalous sound detection in
unlabeled conditions", ICASSP 2025; Wilkinghoff, ICASSP 2024; Hu et al., "Squeeze-and-excitation networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import normalize, pad, relu

from asd.core.networks.encoder import Branches, Convolution, HalvingConvolution

LEAST_BINS = _LEAST_FRAMES = 11  # the fewest of which the first layers leave anything
_CONVOLUTIONS = ((256, 64), (64, 32), (16, 4))  # kernel and stride along the spectrum
_REDUCTION = 16  # channels per unit in the middle of squeeze and excitation


class SpectrogramBranch(nn.Module):
    """ResNet on a magnitude spectrogram of 11 frequency bins or more."""

    def __init__(self, n_bins: int, n_dims: int, width: int) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(n_bins, affine=False)
        self.stem = nn.Sequential(
            HalvingConvolution(width, padding=0),
            nn.BatchNorm2d(width, affine=False),
            nn.MaxPool2d(3, stride=2),
            nn.ReLU(inplace=True),  # after the pooling, which it commutes with, it has a quarter of the work
        )
        widths = [width] + [n * width for n in (1, 1, 2, 2, 4, 4, 8, 8)]
        self.stages = nn.Sequential(*(Residual(a, b, 1 + (a != b)) for a, b in pairwise(widths)))
        n_bands = ((n_bins - 5) // 2 - 1) // 2  # after convolution and pooling
        n_features = 8 * width * -(-n_bands // 8)  # each stage but the first halves the bands
        self.out = nn.Sequential(nn.BatchNorm1d(n_features, affine=False), nn.Linear(n_features, n_dims, bias=False))

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """(batch, bins, frames) -> (batch, dims)."""
        n, _, n_frames = spectrogram.shape
        rows = self.input_norm(spectrogram.mT.flatten(0, 1)).unflatten(0, (n, n_frames))
        if n_frames < _LEAST_FRAMES:
            rows = pad(rows, (0, 0, 0, _LEAST_FRAMES - n_frames))
        return self.out(self.stages(self.stem(rows.unsqueeze(1))).amax(2).flatten(1))


class Residual(nn.Module):
    """Normalisation, then two 3x3 convolutions whose channels are weighted, around a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(n_in, affine=False)
        self.body = nn.Sequential(
            Convolution(n_in, n_out, stride),
            nn.BatchNorm2d(n_out, affine=False),
            nn.ReLU(inplace=True),
            Convolution(n_out, n_out),
        )
        self.excitation = _excitation(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            pooled = nn.MaxPool2d(3, stride=2, padding=1)
            self.shortcut = nn.Sequential(pooled, nn.Conv2d(n_in, n_out, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, frames, bands) of `n_in` to `n_out` channels."""
        x = self.norm(x)
        change = self.body(relu(x))
        weights = self.excitation(change.mean((2, 3)))[:, :, None, None]
        return torch.addcmul(self.shortcut(x), change, weights)


class SpectrumBranch(nn.Module):
    """Strided convolutions along the magnitude spectrum of a whole segment, then six dense layers."""

    def __init__(self, n_bins: int, n_dims: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        least, step, channels = 1, 1, 1
        for kernel, stride in _CONVOLUTIONS:
            convolution = nn.Conv1d(channels, n_dims, kernel, stride, bias=False)
            layers += [convolution, nn.ReLU(inplace=True), ExcitedChannels(n_dims)]
            least, step, channels = least + (kernel - 1) * step, step * stride, n_dims
        self.n_missing = max(0, least - n_bins)  # bins, of a spectrum too short for one value
        self.convolutions = nn.Sequential(*layers)
        dense: list[nn.Module] = []
        n_in = n_dims * (1 + max(0, n_bins - least) // step)
        for _ in range(5):
            dense += [nn.Linear(n_in, n_dims, bias=False), nn.BatchNorm1d(n_dims, affine=False), nn.ReLU()]
            n_in = n_dims
        self.dense = nn.Sequential(*dense, nn.Linear(n_dims, n_dims, bias=False))

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """(batch, bins) -> (batch, dims)."""
        x = self.convolutions(pad(spectrum, (0, self.n_missing)).unsqueeze(1))
        return self.dense(x.flatten(1))


class ResNetSE(Branches):
    """Pre-activation ResNets on spectrograms, and dense layers on the spectrum of the whole segment."""

    on_spectrogram, on_spectrum = SpectrogramBranch, SpectrumBranch
    lowest_hz, centred = 200.0, True

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, parts, dims) of what `spectra` gives, together of unit length."""
        parts = self.parts(spectra)
        return normalize(parts.flatten(1)).view_as(parts)


class ExcitedChannels(nn.Module):
    """Squeeze and excitation along one axis: channels weighted by what all of them are on average."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.excitation = _excitation(n_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, length), as it came in but weighted."""
        return x * self.excitation(x.mean(2)).unsqueeze(2)


def _excitation(n_channels: int) -> nn.Sequential:
    """Means of channels (batch, channels) to their weights, 0 to 1."""
    n_middle = max(1, n_channels // _REDUCTION)
    squeeze, excite = nn.Linear(n_channels, n_middle, bias=False), nn.Linear(n_middle, n_channels, bias=False)
    return nn.Sequential(squeeze, nn.ReLU(), excite, nn.Sigmoid())
