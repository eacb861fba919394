"""The waveform itself, heard by a one-dimensional CNN: no spectrum is chosen beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import normalize

from asd.core.networks.encoder import Encoder
from asd.core.networks.raw_wave import RawWaveCNN, RawWaveDesign


class RawWave(Encoder):
    """Segments to the mean and the maximum over time of the last activation map, projected.

    Five convolutions, each followed by batch normalisation and a pooling by 4: founding document 004's recipe
    with few channels, for its own designs take minutes per machine on a CPU. Its classifiers read every place
    of the last map by itself; here a machine may be anywhere in its cycle, so time is pooled away.

    Args:
        segment_samples: length of a segment, at least 1024.
        n_dims: length of an embedding.
        width: channels of the first convolution; the last has four times as many.
        level: whether the level of a segment is heard; else it is divided by its root mean square.
    """

    def __init__(
        self, segment_samples: int = 32000, n_dims: int = 128, width: int = 16, level: bool = True
    ) -> None:
        super().__init__()
        self.segment_samples = self.shortest_samples = segment_samples
        self.n_parts, self.n_dims, self.level = 1, n_dims, level
        channels = tuple(n * width for n in (1, 2, 2, 4, 4))
        design = RawWaveDesign(channels, 25, pool=4, pool_first=True, batch_norm=True)
        self.blocks = RawWaveCNN(design, n_samples=segment_samples).blocks
        self.out = nn.Linear(2 * channels[-1], n_dims)

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """The segments (batch, samples) themselves."""
        return [waveforms.float() if self.level else at_one_level(waveforms.float())]

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, 1, dims) of unit length."""
        maps = self.blocks(spectra[0].unsqueeze(1))
        pooled = torch.cat([maps.mean(2), maps.amax(2)], 1)
        return normalize(self.out(pooled).float(), dim=-1).unsqueeze(1)


def at_one_level(waveforms: torch.Tensor) -> torch.Tensor:
    """Segments (batch, samples) divided by their root mean square; silence stays silent."""
    rms = waveforms.square().mean(1, keepdim=True).sqrt()
    return waveforms / rms.clamp_min(torch.finfo(torch.float32).tiny)
