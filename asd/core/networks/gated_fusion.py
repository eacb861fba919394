"""Several modalities in one vector, any of which may be absent; and the Transformer that reads such vectors.

    modality (..., width) ─ absent? 0 ─ dense ─► embedding (..., d) ─ x sigmoid(dense) ─┐
    modality (..., width) ─ absent? 0 ─ dense ─► embedding (..., d) ─ x sigmoid(dense) ─┴─ + ─► (..., d)

An absent modality is taken out by selection, before anything is computed from it: what stands in its place
(NaN, as a rule) can reach neither an output nor a gradient, where a product with a mask would keep NaN.

Source: the report "Multimodal learning experiment" of 2025-12-14. Its "4,860,691 parameters" are those of the model of
tracks alone (20 tracks with nine values each); the model that it describes (twelve values each, ten of them outputs)
has 5,209,366. Not stated there, chosen here: sinusoids as positions, ReLU, post-normalisation (torch's default), and a
track's code added before the ReLU that its heads read from.

Args:
    features: {modality: (..., width)}, every modality; values of absent ones do not matter, of present ones are finite.
    present: (..., modalities) bool, False where a modality is absent; None: all are present.
    widths: length of a vector of each modality, by name; the order is that of `present` and of the gates.
    fusion: "gated" adds up embeddings weighted by sigmoid gates, one per dimension, which each embedding sets for
        itself; "concatenated" projects all side by side; "added" adds them up as they are.

Raises:
    AsdError: no modality or an unknown fusion; features of other modalities or shapes than the network was built for,
        or a place where none is present.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import relu

from asd.core.networks.transformer_layers import sinusoids
from asd.types import AsdError, one_of

FUSIONS = ("gated", "concatenated", "added")


class Fused(NamedTuple):
    """What fusion gives."""

    vectors: torch.Tensor  # (..., d)
    gates: torch.Tensor | None  # (..., modalities, d) in 0..1, 0 where absent; None unless gated


class TrackOutput(NamedTuple):
    """What the multimodal Transformer says of every step and track."""

    active: torch.Tensor  # (batch, steps, tracks, 2) logits of idle and active
    asset: torch.Tensor  # (batch, steps, tracks, assets) logits
    numbers: torch.Tensor  # (batch, steps, tracks, numbers)
    gates: torch.Tensor | None  # (batch, steps, modalities, d); None unless gated


class GatedFusion(nn.Module):
    """Modalities of any width to one vector, by gates, by concatenation or by addition."""

    def __init__(self, widths: Mapping[str, int], n_dims: int = 256, fusion: str = "gated") -> None:
        super().__init__()
        if not widths:
            raise AsdError("fusion received no modality; name at least one with the length of its vectors")
        self.widths, self.fusion = dict(widths), one_of(fusion, FUSIONS, "fusion")
        self.embed = nn.ModuleDict({name: nn.Linear(n, n_dims) for name, n in widths.items()})
        if fusion == "gated":
            self.gate = nn.ModuleDict({name: nn.Linear(n_dims, n_dims) for name in widths})
        if fusion == "concatenated":
            self.join = nn.Linear(len(widths) * n_dims, n_dims)

    def forward(self, features: Mapping[str, torch.Tensor], present: torch.Tensor | None = None) -> Fused:
        """Fused vectors of features."""
        present = self._checked(features, present)
        parts, gates = [], []
        for i, (name, embed) in enumerate(self.embed.items()):
            here = present[..., i, None]
            part = torch.where(here, embed(torch.where(here, features[name], 0)), 0)
            if self.fusion == "gated":
                gate = torch.where(here, self.gate[name](part).sigmoid(), 0)
                gates.append(gate)
                part = gate * part
            parts.append(part)
        vectors = self.join(torch.cat(parts, -1)) if self.fusion == "concatenated" else torch.stack(parts).sum(0)
        return Fused(vectors, torch.stack(gates, -2) if gates else None)

    def _checked(self, features: Mapping[str, torch.Tensor], present: torch.Tensor | None) -> torch.Tensor:
        """`present`, once features and presence are found to fit the network and each other."""
        places = next(iter(features.values()), torch.zeros(0)).shape[:-1]
        wanted = {name: (*places, width) for name, width in self.widths.items()}
        given = {name: tuple(values.shape) for name, values in features.items()}
        if given != wanted:
            raise AsdError(
                f"fusion of modalities of the shapes {wanted} received {given}; give every modality, at the same "
                "places, absent ones with any values and present=False"
            )
        shape = (*places, len(self.widths))
        if present is None:
            return torch.ones(shape, dtype=torch.bool, device=next(self.parameters()).device)
        if present.dtype != torch.bool or present.shape != shape:
            raise AsdError(
                f"present is {present.dtype} of shape {tuple(present.shape)}, not torch.bool of shape {shape}; "
                "give one truth value per place and modality"
            )
        if empty := int((~present.any(-1)).sum()):
            raise AsdError(
                f"all modalities ({', '.join(self.widths)}) are absent in {empty} of {places.numel()} places; "
                "leave these places out or give them at least one modality"
            )
        return present


class MultimodalTransformer(nn.Module):
    """Fused modalities over time to what every track does: active or not, which asset, and its numbers.

    Args:
        n_numbers: regressed values of a track (its size, position, crop ...).
        n_heads: a divisor of `n_dims`.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        n_numbers: int = 7,
        n_tracks: int = 20,
        n_assets: int = 10,
        fusion: str = "gated",
        n_dims: int = 256,
        n_heads: int = 8,
        n_layers: int = 6,
        n_feedforward: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if n_dims % n_heads:
            raise AsdError(f"n_heads={n_heads} does not divide n_dims={n_dims}; choose a divisor")
        self.fusion = GatedFusion(widths, n_dims, fusion)
        layer = nn.TransformerEncoderLayer(n_dims, n_heads, n_feedforward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.dense = nn.Linear(n_dims, n_dims)
        self.tracks = nn.Parameter(torch.randn(n_tracks, n_dims))
        self.active = nn.Linear(n_dims, 2)
        self.asset = nn.Linear(n_dims, n_assets)
        self.numbers = nn.Linear(n_dims, n_numbers)

    def forward(self, features: Mapping[str, torch.Tensor], present: torch.Tensor | None = None) -> TrackOutput:
        """What every track does at every step, of features (batch, steps, width)."""
        x, gates = self._placed(features, present)
        x = self.dense(self.encoder(x)).unsqueeze(2)
        x = relu(x + self.tracks)
        return TrackOutput(self.active(x), self.asset(x), self.numbers(x), gates)

    def attention(self, features: Mapping[str, torch.Tensor], present: torch.Tensor | None = None) -> torch.Tensor:
        """Attention weights (layers, batch, heads, steps, steps), to be asked for in eval mode.

        The row of a step tells how much it takes from every step, and adds up to one.
        """
        x, _ = self._placed(features, present)
        weights = []
        for layer in self.encoder.layers:
            weights.append(layer.self_attn(x, x, x, average_attn_weights=False)[1])
            x = layer(x)
        return torch.stack(weights)

    def _placed(self, features: Mapping[str, torch.Tensor], present: torch.Tensor | None) -> Fused:
        """Fused vectors with their position in the sequence."""
        x, gates = self.fusion(features, present)
        if x.dim() != 3:
            raise AsdError(
                f"a Transformer over (batch, steps, width) received modalities with {x.dim()} axes; give three"
            )
        return Fused(x + sinusoids(x.shape[1], x.shape[2], like=x), gates)


def drop_modalities(present: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Presence in which each modality of each sequence has gone missing with a probability, for training.

    A modality goes for a whole sequence (row of the first axis); a step that would lose its last one keeps
    all that it had. Draws come from the generator's own device, so one on the CPU fixes them for all devices.
    `AsdError` for a probability outside 0 to 1.
    """
    if not 0 <= probability <= 1:
        raise AsdError(f"probability={probability} of a modality dropping out is outside 0 to 1")
    shape = (present.shape[0], *[1] * (present.dim() - 2), present.shape[-1])
    draw = torch.rand(shape, generator=generator, device=generator.device).to(present.device)
    kept = present & (draw >= probability)
    return torch.where(kept.any(-1, keepdim=True), kept, present)
