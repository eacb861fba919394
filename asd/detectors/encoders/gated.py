"""Log-mel frames, spectrum and attributes in one vector by gates, where the attributes may be absent.

    log-mel windows ─ MLP, mean ─────► unit vector ─ dense ─ x gate ─┐
    spectrum of the segment ─ CNN ───► unit vector ─ dense ─ x gate ─┼─ + ─► embedding
    attributes ─ a code each, added ─► or absent   ─ dense ─ x gate ─┘

Attributes are known of training clips, where they are not hidden. What is to be scored has none: the rules hide
them in the evaluation set, and a reference with and a test clip without would not be comparable. So they
are absent whenever embeddings are taken, and in training each branch is withheld at random, so that the others
learn to do without it.

Source: founding document 002 (the gates); Neverova et al., "ModDrop", 2016 (branches withheld).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import normalize

from asd.core.networks.encoder import Encoder
from asd.core.networks.gated_fusion import Fused, GatedFusion, drop_modalities
from asd.core.networks.multiresolution import SpectrumBranch
from asd.detectors.encoders.bottleneck import Bottleneck
from asd.detectors.encoders.labels import CODE_DIMS
from asd.detectors.encoders.raw_wave import at_one_level

HEARD = ("log_mel", "spectrum")
MODALITIES = (*HEARD, "attribute")


class Listening(NamedTuple):
    """What each modality has to do with the fused vectors."""

    gates: torch.Tensor  # (batch, modalities) mean over dimensions, 0 where absent
    shares: torch.Tensor  # (batch, modalities) part of the vector's length that it explains; adds up to one


class Gated(Encoder):
    """Segments, and attributes where they are told, to one vector.

    Args:
        segment_samples: length of a segment.
        sample_rate_hz: of the waveforms.
        n_dims: length of an embedding, and of each branch.
        level: whether the level of a segment is heard.
        modalities: some of `MODALITIES`, one of `HEARD` among them.
        dropout: probability that a branch is withheld from a segment in training.
    """

    def __init__(
        self,
        segment_samples: int = 32000,
        sample_rate_hz: int = 16000,
        n_dims: int = 128,
        level: bool = True,
        modalities: Sequence[str] = MODALITIES,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.segment_samples = self.shortest_samples = segment_samples
        self.n_parts, self.n_dims, self.level, self.dropout = 1, n_dims, level, dropout
        self.modalities = tuple(name for name in MODALITIES if name in modalities)
        if "log_mel" in self.modalities:
            self.log_mel = Bottleneck(segment_samples, sample_rate_hz, n_dims, level)
        if "spectrum" in self.modalities:
            self.spectrum = SpectrumBranch(segment_samples // 2 + 1, n_dims)
        widths = {name: CODE_DIMS if name == "attribute" else n_dims for name in self.modalities}
        self.fusion = GatedFusion(widths, n_dims)

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """Log-mel levels (batch, mels, frames) and magnitudes (batch, bins), of those that are in use."""
        heard = []
        if "log_mel" in self.modalities:
            heard += self.log_mel.spectra(waveforms)
        if "spectrum" in self.modalities:
            waveforms = waveforms.float() if self.level else at_one_level(waveforms.float())
            heard.append(torch.fft.rfft(waveforms).abs())
        return heard

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, 1, dims) of unit length.

        Args:
            spectra: from `spectra`; with codes (batch, CODE_DIMS) of attributes behind them where these are
                told, NaN where they are absent.
        """
        features = self._features(spectra)
        return normalize(self._fused(features).vectors.float(), dim=-1).unsqueeze(1)

    def listening(self, spectra: Sequence[torch.Tensor]) -> Listening:
        """Gates and shares of the modalities for the arguments of `encode`, to be asked for in eval mode."""
        features = self._features(spectra)
        vectors, gates = self._fused(features)
        assert gates is not None
        parts = [embed(features[name].nan_to_num()) for name, embed in self.fusion.embed.items()]
        along = (gates * torch.stack(parts, 1) * vectors.unsqueeze(1)).sum(2)
        return Listening(gates.mean(2), along / along.sum(1, keepdim=True))

    def _features(self, spectra: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Unit vectors (batch, n_dims) of what is heard, and the attributes' codes, all NaN where not told."""
        left = list(spectra)
        features = {}
        if "log_mel" in self.modalities:
            features["log_mel"] = self.log_mel.encode([left.pop(0)])[:, 0]
        if "spectrum" in self.modalities:
            features["spectrum"] = normalize(self.spectrum(left.pop(0)).float(), dim=-1)
        if "attribute" in self.modalities:
            nothing = spectra[0].new_full((len(spectra[0]), CODE_DIMS), torch.nan)
            features["attribute"] = left.pop(0) if left else nothing
        return features

    def _fused(self, features: dict[str, torch.Tensor]) -> Fused:
        present = torch.stack([~x.isnan().any(1) | (name in HEARD) for name, x in features.items()], 1)
        if self.training:
            # torch's own generator: the training loop seeds it per epoch and keeps its state.
            present = drop_modalities(present, self.dropout, torch.default_generator)
        fused: Fused = self.fusion(features, present)
        return fused
