"""The input of a pretrained Transformer: waveforms to normalised filter banks, as in its pretraining.

Conventions: waveforms (batch, samples) at 16 kHz; filter banks (batch, bands, frames), so that augmentation
knows the axes. Zero is about the mean level.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pad

from asd.features.logmel import KaldiFbank

_PATCH_FRAMES = 16


class BeatsInput(nn.Module):
    """Filter bank of 16-bit samples; mean and twice the spread over AudioSet are those of BEATs' authors."""

    mean, spread = 15.41663, 6.55582
    shortest_samples = KaldiFbank.n_samples(_PATCH_FRAMES)

    def __init__(self) -> None:
        super().__init__()
        self.fbank = KaldiFbank("povey")

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, 128, frames)."""
        fbank: torch.Tensor = self.fbank(waveforms * 2**15)
        return (fbank.mT - self.mean) / (2 * self.spread)


class EatInput(nn.Module):
    """Filter bank of samples without their mean, filled up to whole patches; constants as EAT's authors'."""

    mean, spread = -4.268, 4.569
    shortest_samples = KaldiFbank.n_samples(_PATCH_FRAMES)

    def __init__(self) -> None:
        super().__init__()
        self.fbank = KaldiFbank("hanning")

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, 128, frames), a multiple of 16 frames; those filled in are ln 1."""
        fbank: torch.Tensor = self.fbank(waveforms - waveforms.mean(1, keepdim=True))
        fbank = pad(fbank.mT, (0, -fbank.shape[1] % _PATCH_FRAMES))
        return (fbank - self.mean) / (2 * self.spread)
