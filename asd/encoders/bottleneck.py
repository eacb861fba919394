"""The official autoencoder's first half as an encoder: windows of log-mel frames, one by one, then their mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import normalize

from asd.core.networks.autoencoder import MLPAutoencoder
from asd.core.networks.encoder import Encoder
from asd.features import LogMel

_N_FRAMES = 5  # of a window, as the official baseline has it
_ZERO_DB, _STEP_DB = -60.0, 20.0  # about the mean and the spread of recordings of machines


class Bottleneck(Encoder):
    """Segments to the mean code of their windows: 640 - 128 x 4 - `n_dims`.

    The last rectifier is left out, for a direction needs both signs.

    Args:
        segment_samples: length of a segment.
        sample_rate_hz: of the waveforms.
        n_dims: width of the bottleneck; the official autoencoder's is 8.
        level: whether the level of a segment is heard; else its mean level in dB is taken off.
    """

    def __init__(
        self, segment_samples: int = 32000, sample_rate_hz: int = 16000, n_dims: int = 128, level: bool = True
    ) -> None:
        super().__init__()
        self.segment_samples = self.shortest_samples = segment_samples
        self.n_parts, self.n_dims, self.level = 1, n_dims, level
        self.log_mel = LogMel(sample_rate_hz).requires_grad_(False)
        n_inputs = _N_FRAMES * self.log_mel.mel.n_mels
        layers = list(MLPAutoencoder(n_inputs, n_bottleneck=n_dims).encoder.children())
        self.code = nn.Sequential(*layers[:-1])

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """Log-mel levels (batch, mels, frames) in steps of 20 dB around -60 dB, or around their mean."""
        levels: torch.Tensor = self.log_mel(waveforms.float())
        zero = _ZERO_DB if self.level else levels.mean((1, 2), keepdim=True)
        return [(levels - zero) / _STEP_DB]

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, 1, dims) of unit length."""
        windows = spectra[0].mT.unfold(1, _N_FRAMES, 1).mT.flatten(2)  # (batch, windows, frames * mels)
        codes = self.code(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return normalize(codes.mean(1, keepdim=True).float(), dim=-1)
