"""A waveform heard at several resolutions at once: one small network per spectrum, side by side.

    waveform ─┬─ STFT 256  ─ ResNet ─► 128 ─┐
              ├─ STFT 1024 ─ ResNet ─► 128 ─┤
              ├─ STFT 4096 ─ ResNet ─► 128 ─┼─► (batch, 4, 128)
              └─ FFT of the whole ─ CNN ─► 128 ─┘

A click needs the short window, a hum the long one, and a slow drift of speed shows only in the spectrum of
the whole segment. The branches stay apart to the end, so that each can have a loss of its own and parts
can be exchanged between clips.

Source: Wilkinghoff, "Self-supervised learning for anomalous sound detection", ICASSP 2024 (STFT and FFT
branch); Fujimura et al., arXiv 2409.09332 (several resolutions). Widths here are smaller; the frequency
axis is kept to the end instead of averaged away; each bin is normalised over the training clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import conv2d, normalize, pad, pixel_unshuffle, relu

from asd.core.networks.encoder import Encoder

_BANDS = 8  # bands that the frequency axis is pooled to before the last layer of an STFT branch


class MultiResolution(Encoder):
    """Waveform segments of a fixed length to embeddings, one part per spectrum.

    Args:
        segment_samples: length of every input.
        windows_samples: STFT windows (half overlapping), one branch each; at least one of `windows_samples`
            and `whole` is needed.
        whole: also a branch on the magnitude spectrum of the whole segment.
        n_dims: length of each part.
        width: channels of the first ResNet stage; the last has eight times as many.
        level: keep the level of a segment; False divides it by its root mean square.
        blocks: residual blocks per stage of an STFT branch; the published networks have two.
    """

    def __init__(
        self,
        segment_samples: int = 32000,
        windows_samples: Sequence[int] = (256, 1024, 4096),
        whole: bool = True,
        n_dims: int = 128,
        width: int = 16,
        level: bool = True,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        self.segment_samples = self.shortest_samples = segment_samples
        self.windows_samples = tuple(windows_samples)
        self.level, self.n_parts, self.n_dims = level, len(self.windows_samples) + whole, n_dims
        branches: list[nn.Module] = [
            SpectrogramBranch(n // 2 + 1, n_dims, width, blocks) for n in windows_samples
        ]
        if whole:
            branches.append(SpectrumBranch(segment_samples // 2 + 1, n_dims))
        self.branches = nn.ModuleList(branches)
        for i, n in enumerate(self.windows_samples):
            self.register_buffer(f"window_{i}", torch.hann_window(n), persistent=False)
        # A third faster on a CPU; torch's type stubs do not know the keyword.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """Magnitudes per branch: (batch, bins, frames) of each STFT, (batch, bins) of the whole."""
        waveforms = waveforms.float()
        if not self.level:
            rms = waveforms.square().mean(1, keepdim=True).sqrt()
            waveforms = waveforms / rms.clamp_min(torch.finfo(torch.float32).tiny)
        spectra = [
            torch.stft(
                waveforms, n, n // 2, window=self.get_buffer(f"window_{i}"), center=False, return_complex=True
            ).abs()
            for i, n in enumerate(self.windows_samples)
        ]
        if len(self.branches) > len(spectra):
            spectra.append(torch.fft.rfft(waveforms).abs())
        return spectra

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, parts, dims) of what `spectra` gives, each part of unit length."""
        parts = [branch(x) for branch, x in zip(self.branches, spectra, strict=True)]
        return normalize(torch.stack(parts, 1).float(), dim=-1)


class SpectrogramBranch(nn.Module):
    """Small ResNet on a magnitude spectrogram; averages over time, keeps coarse frequency.

    Args:
        n_bins: frequency bins.
        n_dims: length of the embedding.
        width: channels of the first stage.
        blocks: residual blocks per stage.
    """

    def __init__(self, n_bins: int, n_dims: int, width: int, blocks: int) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(n_bins)
        self.stem = nn.Sequential(
            HalvingConvolution(width),
            nn.BatchNorm2d(width),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.ReLU(inplace=True),  # after the pooling, which it commutes with, it has a quarter of the work
        )
        widths = [width] + [n * width for n in (1, 2, 4, 8) for _ in range(blocks)]
        self.stages = nn.Sequential(*(Residual(a, b, 1 + (a != b)) for a, b in pairwise(widths)))
        self.out = nn.Linear(8 * width * _BANDS, n_dims)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """(batch, bins, frames) -> (batch, dims)."""
        x = self.stages(self.stem(self.input_norm(spectrogram).mT.unsqueeze(1))).mean(2)
        embedding: torch.Tensor = self.out(_pool_bands(x).flatten(1))
        return embedding


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
    """7x7 convolution of one channel with stride 2 and padding 3, computed as 4x4 of four with stride 1.

    The four channels are the corners of 2x2 cells, the kernel has a row and a column of zeros in front. The
    result is the same; on a CPU it takes half the time, as kernels for one channel leave most lanes idle.

    Args:
        n_out: channels out.
    """

    def __init__(self, n_out: int) -> None:
        super().__init__(1, n_out, 7, stride=2, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, frames, bands) -> (batch, n_out, half the frames, half the bands), rounded up."""
        frames, bands = x.shape[2:]
        cells = pixel_unshuffle(pad(x, (4, 2 + bands % 2, 4, 2 + frames % 2)), 2)
        kernel = pixel_unshuffle(pad(self.weight.mT, (1, 0, 1, 0)), 2)
        last = torch.channels_last
        return conv2d(cells.contiguous(memory_format=last), kernel.contiguous(memory_format=last))


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut.

    Args:
        n_in: channels in.
        n_out: channels out.
        stride: step of the first convolution along both axes.
    """

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
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, frames, bands) of `n_in` to `n_out` channels."""
        return relu(self.body(x) + self.shortcut(x), inplace=True)


class SpectrumBranch(nn.Module):
    """Strided convolutions along the magnitude spectrum of a whole segment, then dense layers.

    Args:
        n_bins: frequency bins.
        n_dims: length of the embedding, and channels.
    """

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
        embedding: torch.Tensor = self.dense(x.flatten(1))
        return embedding


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
