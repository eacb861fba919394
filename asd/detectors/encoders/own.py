"""Somebody's own network as an encoder: any module from waveforms to embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import normalize

from asd.core.networks.encoder import Encoder
from asd.types import AsdError


class OwnEncoder(Encoder):
    """A module from waveforms (batch, samples) to embeddings (batch, dims) or (batch, parts, dims).

    Args:
        module: the network; its embeddings are brought to unit length, part by part.
        segment_samples: length of every input.
        name: how messages call it.

    Raises:
        AsdError: it does not take such waveforms, or gives something else than such embeddings.
    """

    def __init__(self, module: nn.Module, segment_samples: int, name: str) -> None:
        super().__init__()
        self.module = module
        self.segment_samples = self.shortest_samples = segment_samples
        parameter = next(module.parameters(), torch.empty(0))
        was_training = module.training
        try:
            with torch.no_grad():
                found = module.eval()(torch.zeros(2, segment_samples, device=parameter.device))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise AsdError(
                f"embedding.encoder={name} does not take waveforms (batch, {segment_samples}): "
                f"{' '.join(str(error).split())}; its forward has to give embeddings (batch, dims) of them"
            ) from error
        module.train(was_training)
        if not isinstance(found, torch.Tensor) or found.dim() not in (2, 3) or len(found) != 2:
            what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise AsdError(
                f"embedding.encoder={name} gives {what} of two waveforms; it has to give embeddings (batch, dims) or "
                f"(batch, parts, dims)"
            )
        self.n_parts, self.n_dims = (1, found.shape[1]) if found.dim() == 2 else tuple(found.shape[1:])

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """The segments (batch, samples) themselves: augmentation of spectra does not act on them."""
        return [waveforms.float()]

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, parts, dims), each part of unit length."""
        embeddings: torch.Tensor = self.module(spectra[0])
        return normalize(embeddings.float().view(len(embeddings), self.n_parts, self.n_dims), dim=-1)
