"""The official autoencoder's first half as an encoder: windows of log-mel frames, one by one, then their mean.

With an activity head the mean is weighted. The head learns how active the machine is in a window from the power
of its frames (`asd.data.frontends`); the power of a segment that is mixed with another is known of each alone, so that
the head learns to find the machine in what sounds beside it. The weights are the head's alone: what is good for
telling classes apart does not move them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from asd.core.networks.autoencoder import MLPAutoencoder
from asd.core.networks.encoder import Encoder
from asd.data.frontends import LEAST_WEIGHT
from asd.detectors.encoders.recipe import Recipe
from asd.features.logmel import LogMel

_N_FRAMES = 5  # of a window, as the official baseline has it
ZERO_DB, STEP_DB = -60.0, 20.0  # about the mean and the spread of recordings of machines


class Bottleneck(Encoder):
    """Segments to the mean code of their windows: 640 - 128 x 4 - `n_dims`, of which the official autoencoder has 8.

    The last rectifier is left out, for a direction needs both signs.
    """

    def __init__(self, recipe: Recipe, sample_rate_hz: int = 16000) -> None:
        super().__init__()
        self.segment_samples = self.shortest_samples = recipe.segment_samples
        self.n_parts, self.n_dims, self.level = 1, recipe.n_dims, recipe.level
        self.log_mel = LogMel(sample_rate_hz).requires_grad_(False)
        n_inputs = _N_FRAMES * self.log_mel.mel.n_mels
        layers = list(MLPAutoencoder(n_inputs, n_bottleneck=recipe.n_dims).encoder.children())
        self.code = nn.Sequential(*layers[:-1])
        self.activity = nn.Linear(n_inputs, 1) if recipe.activity else None

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """Log-mel levels (batch, mels, frames) in steps of 20 dB around -60 dB, or around their mean."""
        levels: torch.Tensor = self.log_mel(waveforms.float())
        zero = ZERO_DB if self.level else levels.mean((1, 2), keepdim=True)
        return [(levels - zero) / STEP_DB]

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, 1, dims) of unit length."""
        windows = _windows(spectra[0])
        codes = self.code(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        if self.activity is not None:
            weights = self.activity(windows).sigmoid().clamp_min(LEAST_WEIGHT).detach()
            codes = codes * weights / weights.mean(1, keepdim=True)
        return normalize(codes.mean(1, keepdim=True).float(), dim=-1)

    def activity_loss(self, spectra: Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """What the activity head has still to learn: scalar cross entropy, its least value taken off."""
        assert self.activity is not None
        aims = targets.unfold(1, _N_FRAMES, 1).mean(2)
        logits = self.activity(_windows(spectra[0])).squeeze(2)
        aims = aims[:, : logits.shape[1]]  # of a ragged end a frame more
        least = binary_cross_entropy_with_logits(aims.logit(1e-6), aims)
        return binary_cross_entropy_with_logits(logits, aims) - least


def _windows(levels: torch.Tensor) -> torch.Tensor:
    """(batch, mels, frames) -> (batch, windows, frames of a window * mels)."""
    return levels.mT.unfold(1, _N_FRAMES, 1).mT.flatten(2)
