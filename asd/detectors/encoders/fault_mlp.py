"""Perceptrons on clip statistics that learn to tell normal clips from synthetic faults of the same machine.

    normal clips ─┬───────────────────► clip statistics ─┐
                  └─ copies ─ faults ─► clip statistics ─┴─ / spread ─ perceptrons ─► normal, or which kind of fault

What separates a machine's normal sound from faults of many kinds is what its own faults are likely to change, and what
merely differs between recordings is left out. Both hidden layers of every perceptron are parts of the embedding.
Several perceptrons are trained side by side on the same vectors, each on the first so many of their dimensions and
with random draws of its own. docs/benchmark.md has what this gives, and what each part of it is worth.

The statistics are divided by their spread within conditions and not whitened: the networks weigh them, whitening comes
behind, in the back end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, relu

from asd.core.runtime import progress
from asd.core.trainer import train
from asd.data.recordings import Recordings
from asd.detectors.base import ClipEncoder, RunContext
from asd.detectors.encoders.recipe import FaultRecipe
from asd.features.clip_statistics import ClipStatistics
from asd.features.faults import KINDS, draw_kinds, with_faults
from asd.scoring.covariance import Groups, spread_of
from asd.scoring.references import FloatArray, references_of
from asd.types import AsdError

SPECTRA = ("level_16", "level_64", "level_128", "level_256")
ENVELOPES = ("modulation", "variation", "kurtosis")
_BATCH_SAMPLES = 1 << 18  # of clips whose copies are altered at once
_MOST_FAULTY_S, _LEAST_COPIES = 4000.0, 3  # beyond so many seconds of faults, clips get fewer copies
_NOISE_ALONE = len(KINDS) + 1  # class of recordings without the machine


class FaultClassifier(nn.Module):
    """inputs - 128 - 64 - classes, with batch normalisation and dropout before each of the first two layers.

    Args:
        n_inputs: length of a vector.
        n_classes: normal, and the kinds of alteration.
        widths: of the two hidden layers.
        dropout: share of the inputs of a layer that is left out in training.
    """

    def __init__(
        self, n_inputs: int, n_classes: int, widths: tuple[int, int] = (128, 64), dropout: float = 0.3
    ) -> None:
        super().__init__()
        first, second = widths
        self.first = nn.Sequential(nn.Linear(n_inputs, first), nn.BatchNorm1d(first))
        self.second = nn.Sequential(nn.Linear(first, second), nn.BatchNorm1d(second))
        self.out = nn.Linear(second, n_classes)
        self.dropout = dropout

    def hidden(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both hidden layers of vectors (batch, n_inputs): the first rectified, the second before that."""
        first = relu(self.first(dropout(x, self.dropout, self.training)))
        return first, self.second(dropout(first, self.dropout, self.training))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, n_classes) of vectors (batch, n_inputs)."""
        logits: torch.Tensor = self.out(relu(self.hidden(x)[1]))
        return logits


class FaultClassifiers(nn.Module):
    """Classifiers side by side, on vectors that are centred and divided by the spread of normal ones.

    Args:
        n_inputs: of each classifier: the first so many dimensions of a vector; the greatest is its length.
        n_classes: see `FaultClassifier`.
        noise: standard deviation of the noise that is added to inputs in training.

    Attributes:
        centre, spread: (dims,) of normal vectors.
        scales: (classifiers,) standard deviation over all of a classifier's inputs, to which these are brought.
    """

    FARTHEST = 10.0  # inputs are cut there: one dimension that runs away must not decide alone

    def __init__(self, n_inputs: Sequence[int], n_classes: int, noise: float = 0.1) -> None:
        super().__init__()
        self.n_inputs, self.noise = tuple(n_inputs), noise
        self.networks = nn.ModuleList(FaultClassifier(n, n_classes) for n in n_inputs)
        self.centre = nn.Buffer(torch.zeros(max(n_inputs)))
        self.spread = nn.Buffer(torch.ones(max(n_inputs)))
        self.scales = nn.Buffer(torch.ones(len(n_inputs)))

    def set_normal(self, vectors: torch.Tensor, spread: torch.Tensor) -> None:
        """Takes centre and scales from normal vectors (clips, dims), and their spread (dims,) as it is given.

        Args:
            vectors: (clips, dims).
            spread: (dims,).
        """
        self.centre.copy_(vectors.mean(0))
        self.spread.copy_(spread)
        standard = (vectors - self.centre) / self.spread
        self.scales.copy_(torch.stack([standard[:, :n].std(correction=0) for n in self.n_inputs]))

    def forward(self, vectors: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Sum of the classifiers' cross entropies of vectors (batch, dims) and classes (batch,), a scalar.

        A sum, so that each classifier has the gradient that it would have alone.

        Args:
            vectors: (batch, dims).
            classes: (batch,) int64.
        """
        losses = []
        for network, x in zip(self.networks, self._inputs(vectors), strict=True):
            x = x + self.noise * torch.randn_like(x) if self.training else x
            losses.append(cross_entropy(network(x).float(), classes))
        return torch.stack(losses).sum()

    def embeddings(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Two hidden layers of each classifier, (batch, width) each."""
        return [
            layer
            for network, x in zip(self.networks, self._inputs(vectors), strict=True)
            for layer in _classifier(network).hidden(x)
        ]

    def _inputs(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        standard = (vectors - self.centre) / self.spread
        return [
            (standard[:, :n] / scale).clamp(-self.FARTHEST, self.FARTHEST)
            for n, scale in zip(self.n_inputs, self.scales, strict=True)
        ]


def _classifier(module: nn.Module) -> FaultClassifier:
    assert isinstance(module, FaultClassifier)
    return module


class FaultMlp(ClipEncoder):
    """Fault classifiers of one machine: half of them see spectra and envelopes, half the spectra alone.

    Args:
        context: device, seed, folder of the run, sample rate.
        recipe: faults, networks and training.
    """

    module: FaultClassifiers

    def __init__(self, context: RunContext, recipe: FaultRecipe) -> None:
        self.context, self.recipe = context, recipe
        self.statistics = ClipStatistics(SPECTRA + ENVELOPES, context.sample_rate_hz).to(context.device)
        tenth = torch.zeros(1, context.sample_rate_hz // 10, device=context.device)
        self.dims = [view.shape[1] for view in self.statistics(tenth).values()]
        n_spectra = sum(self.dims[: len(SPECTRA)])
        torch.manual_seed(context.seed)  # initial weights
        inputs = [sum(self.dims)] * recipe.networks + [n_spectra] * recipe.networks
        self.module = FaultClassifiers(inputs, len(KINDS) + 2, recipe.noise).to(context.device)

    def fit(self, recordings: Recordings) -> None:
        """Alters copies of the clips and trains the classifiers to tell them apart."""
        place, supplement = self.context, self.context.supplement
        learn = supplement.all_normals(recordings)
        normal = self._vectors(learn)
        self.module.set_normal(normal, torch.from_numpy(self._spread(learn, normal)).to(normal))
        copies = self._n_copies(learn)
        faulty, kinds = self._faulty(learn, copies)
        vectors, classes = [normal] * copies + [faulty], [torch.zeros(copies * len(normal)), 1.0 + kinds]
        if supplement.noise_only:
            vectors.append(self._vectors(supplement.noise_only))
            classes.append(torch.full((len(vectors[-1]),), float(_NOISE_ALONE)))
        x, y = torch.cat(vectors), torch.cat(classes).long().to(place.device)
        train(
            self.module,
            lambda items: self.module(x[items], y[items]),
            torch.arange(len(x), device=place.device),
            self.recipe,
            place.directory,
            seed=place.seed,
            fingerprint=place.fingerprint,
            label=f"train {recordings.clips[0].machine}",
        )

    def embed(self, recordings: Recordings) -> list[FloatArray]:
        """Two hidden layers of each classifier."""
        vectors = self._vectors(recordings)
        self.module.eval()
        with torch.inference_mode():
            parts = [part.double().cpu().numpy() for part in self.module.embeddings(vectors)]
        bad = np.flatnonzero(~np.isfinite(np.concatenate(parts, 1)).all(1))
        if len(bad):
            raise AsdError(
                f"the embedding of {recordings.clips[bad[0]].path} holds NaN or infinity; check the recording, or "
                f"train again with a lower embedding.faults.learning_rate"
            )
        return parts

    def facts(self) -> dict[str, Any]:
        """Parameters, multiply-accumulates per clip of any length (without the STFT), words for the meta file."""
        weights = [p for p in self.module.parameters() if p.dim() == 2]
        return {
            "total_parameters": sum(p.numel() for p in self.module.parameters()),
            "macs": sum(weight.numel() for weight in weights),
            "acoustic_features": "log-mel energies, spectrogram, modulation spectrum",
            "machine_learning_method": "MLP",
            "data_augmentation": "synthetic faults",
            "attribute_usage": "condition",
            "ensemble_method_subsystem_count": len(self.module.networks),
        }

    def _vectors(self, recordings: Recordings) -> torch.Tensor:
        """Statistics of clips (clips, dims) on the device; in the residual view near - residual * far."""
        vectors = self._statistics(recordings)
        if residual := recordings.front_end.residual:
            vectors = vectors - residual * self._statistics(recordings.far())
        return vectors

    def _statistics(self, recordings: Recordings) -> torch.Tensor:
        rows = torch.empty(len(recordings), sum(self.dims), device=self.context.device)
        for indices, waveforms in recordings.batches(self.context.device, _BATCH_SAMPLES):
            rows[indices] = self._of(waveforms)
        return rows

    def _of(self, waveforms: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(self.statistics(waveforms).values()), 1).float()

    def _faulty(self, recordings: Recordings, copies: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Statistics (copies * clips, dims) of altered copies, and the kinds of their faults."""
        place = self.context
        generator = torch.Generator().manual_seed(place.seed)
        kinds = draw_kinds(len(recordings), copies, generator)
        rows = torch.empty(copies, len(recordings), sum(self.dims), device=place.device)
        batches = recordings.batches(place.device, _BATCH_SAMPLES)
        for indices, waveforms in progress(batches, f"faults {recordings.clips[0].machine}"):
            altered = with_faults(
                waveforms.repeat(copies, 1), kinds[:, indices].flatten(), place.sample_rate_hz, generator
            )
            rows[:, indices] = self._of(altered).unflatten(0, (copies, len(indices)))
        if residual := recordings.front_end.residual:
            rows -= residual * self._statistics(recordings.far())
        return rows.flatten(0, 1), kinds.flatten()

    def _spread(self, recordings: Recordings, vectors: torch.Tensor) -> FloatArray:
        """Standard deviation of each dimension within conditions, (dims,)."""
        groups = Groups.of(references_of(recordings.clips, vectors.double().cpu().numpy()), "condition")
        parts = np.split(groups.residuals, np.cumsum(self.dims)[:-1], axis=1)
        return np.concatenate([spread_of(part, len(groups.means)) for part in parts])

    def _n_copies(self, recordings: Recordings) -> int:
        """Copies of each clip: those asked for, or fewer where there is much sound already."""
        seconds = float(recordings.lengths_samples.sum()) / self.context.sample_rate_hz
        affordable = max(_LEAST_COPIES, round(_MOST_FAULTY_S / seconds))
        return min(self.recipe.copies, affordable)
