"""A waveform to several spectra, each with a network of its own: branches side by side, a part of the embedding each.

    waveform ─┬─ STFT 256  ─ network ─► 128 ─┐
              ├─ STFT 1024 ─ network ─► 128 ─┤
              ├─ STFT 4096 ─ network ─► 128 ─┼─► (batch, 4, 128)
              └─ FFT of the whole ─ network ─► 128 ─┘

A click needs the short window, a hum the long one, and a slow drift of speed shows only in the spectrum of
the whole segment. The branches stay apart to the end, so that each can have a loss of its own and parts
can be exchanged between clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import normalize

from asd.core.networks.encoder import Encoder


class Branches(Encoder):
    """Waveform segments of a fixed length to embeddings, one part per spectrum.

    Args:
        segment_samples: length of every input.
        windows_samples: STFT windows (half overlapping), one branch each; at least one of `windows_samples`
            and `whole` is needed.
        whole: also a branch on the magnitude spectrum of the whole segment.
        n_dims: length of each part.
        level: keep the level of a segment; False divides it by its root mean square.
        on_spectrogram: number of bins to a network of (batch, bins, frames).
        on_spectrum: number of bins to a network of (batch, bins).
        first_bins: of each STFT, the lowest bin that counts.
        centred: frames are centred on multiples of the hop, with silence around the segment, and magnitudes are in
            units of the window's norm; otherwise the first frame begins with the segment.
    """

    def __init__(
        self,
        segment_samples: int,
        windows_samples: Sequence[int],
        whole: bool,
        n_dims: int,
        level: bool,
        on_spectrogram: Callable[[int], nn.Module],
        on_spectrum: Callable[[int], nn.Module],
        first_bins: Sequence[int] | None = None,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.segment_samples = self.shortest_samples = segment_samples
        self.windows_samples = tuple(windows_samples)
        self.first_bins = tuple(first_bins or [0] * len(self.windows_samples))
        self.level, self.centred = level, centred
        self.n_parts, self.n_dims = len(self.windows_samples) + whole, n_dims
        bins = [n // 2 + 1 - k for n, k in zip(self.windows_samples, self.first_bins, strict=True)]
        branches = [on_spectrogram(n) for n in bins]
        if whole:
            branches.append(on_spectrum(segment_samples // 2 + 1))
        self.branches = nn.ModuleList(branches)
        for i, n in enumerate(self.windows_samples):
            window = torch.hann_window(n)
            self.register_buffer(
                f"window_{i}", window / window.norm() if centred else window, persistent=False
            )
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
                waveforms,
                n,
                n // 2,
                window=self.get_buffer(f"window_{i}"),
                center=self.centred,
                pad_mode="constant",
                return_complex=True,
            ).abs()[:, first:]
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
