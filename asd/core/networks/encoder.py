"""What every encoder is, and encoders of several spectra with a network of its own each: branches side by side.

    waveform ─┬─ STFT 256  ─ network ─► 128 ─┐
              ├─ STFT 1024 ─ network ─► 128 ─┤
              ├─ STFT 4096 ─ network ─► 128 ─┼─► (batch, 4, 128)
              └─ FFT of the whole ─ network ─► 128 ─┘

A click needs the short window, a hum the long one, and a slow drift of speed shows only in the spectrum of
the whole segment. The branches stay apart to the end, so that each can have a loss of its own and parts
can be exchanged between clips.

Args:
    sample_rate_hz: of the waveforms.
    window_samples: length of an STFT's window.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import conv2d, normalize, pad, pixel_unshuffle


class Encoder(nn.Module, ABC):
    """Segments of a waveform to embeddings in parts, each of unit length or all together."""

    segment_samples: int  # length of a segment in samples
    # least length that is taken as it is; equal to `segment_samples` where every input has to have that length, and
    # shorter clips are repeated end to end
    shortest_samples: int
    n_parts: int  # parts of an embedding
    n_dims: int  # length of each part
    # Hash of what the encoder did not learn here, pretrained weights and how they are used; "" where it learnt all. Its
    # `state_dict` is what it did learn.
    origin: str = ""

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, parts, dims) of segments (batch, samples)."""
        return self.encode(self.spectra(waveforms))

    def input_samples(self, clip_samples: int) -> int:
        """Length of the segments that a clip is cut into: a short one is left whole, where the encoder can."""
        return min(self.segment_samples, max(self.shortest_samples, clip_samples))

    @abstractmethod
    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """Spectra of segments (batch, samples): each (batch, bands, frames) or (batch, bands)."""

    @abstractmethod
    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, parts, dims) of what `spectra` gives."""


class Convolution(nn.Conv2d):
    """3x3 convolution of maps (batch, channels, frames, bands); the kernels are kept as bands by frames.

    Results and names of the weights are those of torch's own convolution of (bands, frames). A long last axis
    fills the lanes of a CPU, and of bands there are up to sixty times as many as of frames: with frames last the
    deepest layers would take twice the time.
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
    is the same; on a CPU it takes half the time, as kernels for one channel leave most lanes idle. There are `padding`
    zeros on each side of both axes.
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


class Branches(Encoder):
    """Waveform segments of a fixed length to embeddings, one part per spectrum; a subclass names the networks.

    Args:
        windows_samples: STFT windows (half overlapping), one branch each; at least one of `windows_samples`
            and `whole` is needed.
        whole: also a branch on the magnitude spectrum of the whole segment.
        width: channels of the first stage on a spectrogram; the last has eight times as many.
        level: keep the level of a segment; False divides it by its root mean square.
    """

    on_spectrogram: type[nn.Module]  # by bins, dims and width: a network of (batch, bins, frames)
    on_spectrum: type[nn.Module]  # by bins and dims: a network of (batch, bins)
    lowest_hz = 0.0  # STFT branches leave out what is below
    # Frames are centred on multiples of the hop, with silence around the segment, and magnitudes are in units of the
    # window's norm; otherwise the first frame begins with the segment.
    centred = False

    def __init__(
        self,
        segment_samples: int = 32000,
        windows_samples: Sequence[int] = (256, 1024, 4096),
        whole: bool = True,
        n_dims: int = 128,
        width: int = 16,
        level: bool = True,
        sample_rate_hz: int = 16000,
    ) -> None:
        super().__init__()
        self.segment_samples = self.shortest_samples = segment_samples
        self.windows_samples, self.level = tuple(windows_samples), level
        self.first_bins = tuple(self.first_bin(n, sample_rate_hz) for n in self.windows_samples)
        self.n_parts, self.n_dims = len(self.windows_samples) + whole, n_dims
        bins = [n // 2 + 1 - k for n, k in zip(self.windows_samples, self.first_bins, strict=True)]
        branches = [self.on_spectrogram(n, n_dims, width) for n in bins]
        if whole:
            branches.append(self.on_spectrum(segment_samples // 2 + 1, n_dims))
        self.branches = nn.ModuleList(branches)
        for i, n in enumerate(self.windows_samples):
            window = torch.hann_window(n)
            self.register_buffer(f"window_{i}", window / window.norm() if self.centred else window, persistent=False)
        # A third faster on a CPU; torch's type stubs do not know the keyword.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def first_bin(cls, window_samples: int, sample_rate_hz: int) -> int:
        """The lowest bin that counts of an STFT."""
        return math.ceil(cls.lowest_hz * window_samples / sample_rate_hz)

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """Magnitudes per branch: (batch, bins, frames) of each STFT, (batch, bins) of the whole."""
        waveforms = waveforms.float()
        if not self.level:
            rms = waveforms.square().mean(1, keepdim=True).sqrt()
            waveforms = waveforms / rms.clamp_min(torch.finfo(torch.float32).tiny)
        how: dict[str, Any] = {"center": self.centred, "pad_mode": "constant", "return_complex": True}
        spectra = [
            torch.stft(waveforms, n, n // 2, window=self.get_buffer(f"window_{i}"), **how).abs()[:, first:]
            for i, (n, first) in enumerate(zip(self.windows_samples, self.first_bins, strict=True))
        ]
        if len(self.branches) > len(spectra):
            spectra.append(torch.fft.rfft(waveforms).abs())
        return spectra

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, parts, dims) of what `spectra` gives, each part of unit length."""
        return normalize(self.parts(spectra), dim=-1)

    def parts(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """What the branches make of the spectra, of any length: (batch, parts, dims)."""
        parts = [branch(x) for branch, x in zip(self.branches, spectra, strict=True)]
        return torch.stack(parts, 1).float()
