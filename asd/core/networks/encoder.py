"""What every encoder is: waveforms to spectra, where augmentation acts, and spectra to an embedding in parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn


class Encoder(nn.Module, ABC):
    """Segments of a waveform to embeddings in parts, each of unit length or all together.

    Attributes:
        segment_samples: length of a segment in samples.
        shortest_samples: least length that is taken as it is; equal to `segment_samples` where every input
            has to have that length, and shorter clips are repeated end to end.
        n_parts: parts of an embedding.
        n_dims: length of each part.
        origin: hash of what the encoder did not learn here, pretrained weights and how they are used; ""
            where it learnt all. Its `state_dict` is what it did learn.
    """

    segment_samples: int
    shortest_samples: int
    n_parts: int
    n_dims: int
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
