"""Perceptrons on clip statistics that learn to tell normal clips from synthetic faults of the same machine.

    normal clips ─┬───────────────────► clip statistics ─┐
                  └─ copies ─ faults ─► clip statistics ─┴─ inputs ─ perceptrons ─► normal, or which kind of fault

What separates a machine's normal sound from faults of many kinds is what its own faults are likely to change, and what
merely differs between recordings is left out. The first hidden layer of every perceptron is a part of the embedding.

A third of the perceptrons sees levels and envelopes, a third levels alone, in units of their spread within conditions.
The last third sees level, flux and roughness of each resolution along the few axes on which faults stand out most from
how normal clips vary (`scoring.gaussian`), as all of their dimensions would be more than there are clips. These three
are also parts of the embedding as they are, and the back end whitens them by what it knows of faults.
docs/embedding.md has what each part is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, relu

from asd.core.runtime import progress
from asd.core.trainer import train
from asd.data.recordings import Recordings
from asd.detectors.base import ClipEncoder, RunContext, require_finite
from asd.detectors.encoders.recipe import FaultRecipe
from asd.detectors.statistic_groups import JOINT, RELATIVE, Part, faults_of_spectra, relative_options
from asd.features.clip_statistics import OVERLAP, WINDOWS_MS, ClipStatistics, overlap_of, views_of
from asd.features.faults import KINDS, draw_kinds, with_faults
from asd.scoring.gaussian import Groups, Whitening, spread_of
from asd.scoring.references import FloatArray, references_of

LEVELS = tuple(f"level_{ms}" for ms in WINDOWS_MS)
ENVELOPES = ("modulation", "variation", "kurtosis")
VIEWS = tuple(dict.fromkeys((*LEVELS, *ENVELOPES, *chain(*(part.views for part in JOINT)))))
_AXES = 48  # of each resolution, along which faults stand out most
_AXES_SHRINKAGE = 2.0  # of the covariance of normal clips behind them
_BATCH_SAMPLES = 1 << 18  # of clips whose copies are altered at once
_MOST_FAULTY_S, _LEAST_COPIES = 4000.0, 3  # beyond so many seconds of faults, clips get fewer copies
_NOISE_ALONE = len(KINDS) + 1  # class of recordings without the machine


class FaultClassifier(nn.Module):
    """inputs - 128 - 64 - classes, with batch normalisation and dropout before each of the first two layers.

    Args:
        n_inputs: length of a vector.
        n_classes: normal, and the kinds of alteration.
    """

    DROPOUT = 0.3  # share of the inputs of a layer that is left out in training

    def __init__(self, n_inputs: int, n_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(n_inputs, 128), nn.BatchNorm1d(128))
        self.second = nn.Sequential(nn.Linear(128, 64), nn.BatchNorm1d(64))
        self.out = nn.Linear(64, n_classes)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """The first hidden layer (batch, 128) of vectors (batch, n_inputs), rectified."""
        return relu(self.first(dropout(x, self.DROPOUT, self.training)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, n_classes) of vectors (batch, n_inputs)."""
        second = self.second(dropout(self.hidden(x), self.DROPOUT, self.training))
        return self.out(relu(second))


class FaultClassifiers(nn.Module):
    """Classifiers side by side, on vectors that are centred and divided by the spread of normal ones.

    Args:
        inputs: of each classifier: which columns it sees, of the dimensions of a vector and the axes behind them.
        n_dims: length of a vector.
        n_axes: directions in a vector that may be seen beside its dimensions.
        n_classes: see `FaultClassifier`.
        noise: standard deviation of the noise that is added to inputs in training.
        direct: dimensions of each part of an embedding that no network changes.

    Attributes:
        centre, spread: (dims,) of normal vectors.
        axes: (dims, axes), of vectors in units of their spread.
        scales: (classifiers,) standard deviation over all of a classifier's inputs, to which these are brought.
        overlap: () of the windows behind the vectors.
    """

    FARTHEST = 10.0  # inputs are cut there: one dimension that runs away must not decide alone
    networks: Any  # `FaultClassifier`s

    def __init__(
        self,
        inputs: Sequence[slice],
        n_dims: int,
        n_axes: int,
        n_classes: int,
        noise: float = 0.1,
        direct: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        self.inputs, self.noise, self.direct = tuple(inputs), noise, tuple(direct)
        self.networks = nn.ModuleList(FaultClassifier(own.stop - own.start, n_classes) for own in inputs)
        self.centre = nn.Buffer(torch.zeros(n_dims))
        self.spread = nn.Buffer(torch.ones(n_dims))
        self.axes = nn.Buffer(torch.zeros(n_dims, n_axes))
        self.scales = nn.Buffer(torch.ones(len(inputs)))
        self.overlap = nn.Buffer(torch.tensor(OVERLAP))

    def set_normal(self, vectors: torch.Tensor, spread: torch.Tensor, axes: torch.Tensor) -> None:
        """Takes centre and scales from normal vectors (clips, dims); spread (dims,) and axes (dims, axes) as given."""
        self.centre.copy_(vectors.mean(0))
        self.spread.copy_(spread)
        self.axes.copy_(axes)
        columns = self._columns(vectors)
        self.scales.copy_(torch.stack([columns[:, own].std(correction=0) for own in self.inputs]))

    def forward(self, vectors: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Sum of the classifiers' cross entropies of vectors (batch, dims) and classes (batch,), a scalar.

        A sum, so that each classifier has the gradient that it would have alone.
        """
        losses = []
        for network, x in zip(self.networks, self._inputs(self._columns(vectors)), strict=True):
            x = x + self.noise * torch.randn_like(x) if self.training else x
            losses.append(cross_entropy(network(x).float(), classes))
        return torch.stack(losses).sum()

    def embeddings(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """First hidden layer of each classifier, and what no network changes: (batch, width) each."""
        columns = self._columns(vectors)
        layers = [net.hidden(x) for net, x in zip(self.networks, self._inputs(columns), strict=True)]
        return layers + [columns[:, list(dims)] for dims in self.direct]

    def _columns(self, vectors: torch.Tensor) -> torch.Tensor:
        standard = (vectors - self.centre) / self.spread
        return torch.cat([standard, standard @ self.axes], 1)

    def _inputs(self, columns: torch.Tensor) -> list[torch.Tensor]:
        return [
            (columns[:, own] / scale).clamp(-self.FARTHEST, self.FARTHEST)
            for own, scale in zip(self.inputs, self.scales, strict=True)
        ]


class FaultMlp(ClipEncoder):
    """Fault classifiers of one machine, as many on each of three kinds of inputs."""

    module: FaultClassifiers

    def __init__(self, context: RunContext, recipe: FaultRecipe) -> None:
        self.context, self.recipe = context, recipe
        self.statistics = ClipStatistics(VIEWS, context.sample_rate_hz).to(context.device)
        tenth_s = torch.zeros(1, context.sample_rate_hz // 10, device=context.device)
        widths = {view: values.shape[1] for view, values in self.statistics(tenth_s).items()}
        ends = zip(widths.items(), accumulate(widths.values()), strict=True)
        self.dims = {view: range(end - width, end) for (view, width), end in ends}  # of each view in a vector
        n_dims, n_axes = sum(widths.values()), _AXES * len(JOINT)
        n_levels, n_inputs = self.dims[LEVELS[-1]].stop, self.dims[ENVELOPES[-1]].stop
        inputs = [slice(0, n_inputs), slice(0, n_levels), slice(n_dims, n_dims + n_axes)]
        torch.manual_seed(context.seed)  # initial weights
        each = [own for own in inputs for _ in range(recipe.networks)]
        direct = [[*chain(*(self.dims[view] for view in part.views))] for part in JOINT]
        self.module = FaultClassifiers(each, n_dims, n_axes, len(KINDS) + 2, recipe.noise, direct).to(context.device)

    def fit(self, recordings: Recordings) -> None:
        """Alters copies of the clips and trains the classifiers to tell them apart."""
        place, supplement = self.context, self.context.supplement
        learn = place.all_normals(recordings)
        self.module.overlap.fill_(overlap_of(learn.durations_s))
        self.statistics.set_overlap(int(self.module.overlap))
        normal = self._vectors(learn)
        self.module.set_normal(normal, *self._spread_and_axes(learn, normal))
        copies = self._n_copies(learn)
        faulty, kinds = self._faulty(learn, copies)
        vectors = [*[normal] * copies, faulty]  # as many normal clips as faulty ones
        classes = [torch.zeros(copies * len(normal)), 1.0 + kinds]
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

    def load(self, path: Path) -> None:
        """Reads what was learnt; windows then overlap as those of the training clips did."""
        super().load(path)
        self.statistics.set_overlap(int(self.module.overlap))

    def embed(self, recordings: Recordings) -> list[FloatArray]:
        """First hidden layer of each classifier, and level, flux and roughness of each resolution."""
        vectors = self._vectors(recordings)
        self.module.eval()
        with torch.inference_mode():
            parts = [part.double().cpu().numpy() for part in self.module.embeddings(vectors)]
        way = "check the recording, or train again with a lower embedding.faults.learning_rate"
        require_finite(np.concatenate(parts, 1), recordings, "the embedding", way)
        return parts

    def backend_options(self, part: int) -> dict[str, Any]:
        """Those of `detector=statistics`, with the fault covariance for level, flux and roughness."""
        n_networks = len(self.module.networks)  # whose first layers come first, see `FaultClassifiers.embeddings`
        if part < n_networks:
            return RELATIVE
        spread = self.module.spread.double().cpu().numpy()
        spreads = {view: spread[dims] for view, dims in self.dims.items()}
        # an embedding has levels around their mean
        return {**relative_options(JOINT[part - n_networks], spreads), "levels": None}

    def facts(self) -> dict[str, Any]:
        """Parameters, multiply-accumulates per clip of any length (without the STFT), words for the meta file."""
        weights = [p for p in self.module.parameters() if p.dim() == 2]
        return {
            "total_parameters": sum(p.numel() for p in [*self.module.parameters(), self.module.axes]),
            "macs": sum(weight.numel() for weight in [*weights, self.module.axes]),
            "acoustic_features": "log-mel energies, spectrogram, modulation spectrum",
            "machine_learning_method": "MLP",
            "data_augmentation": "synthetic faults",
            "attribute_usage": "condition",
            "ensemble_method_subsystem_count": len(self.module.networks) + len(JOINT),
        }

    def _vectors(self, recordings: Recordings) -> torch.Tensor:
        """Statistics of clips (clips, dims) on the device; in the residual view near - residual * far."""
        vectors = self._statistics(recordings)
        if residual := recordings.front_end.residual:
            vectors = vectors - residual * self._statistics(recordings.far())
        return vectors

    def _statistics(self, recordings: Recordings) -> torch.Tensor:
        views = views_of(recordings, self.statistics, self.context.device, f"statistics {recordings.clips[0].machine}")
        return torch.from_numpy(np.concatenate([*views.values()], 1)).float().to(self.context.device)

    def _faulty(self, recordings: Recordings, copies: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Statistics (copies * clips, dims) of altered copies, and the kinds of their faults."""
        place = self.context
        generator = torch.Generator().manual_seed(place.seed)
        kinds = draw_kinds(len(recordings), copies, generator)
        rows = torch.empty(copies, len(recordings), len(self.module.centre), device=place.device)
        batches = recordings.batches(place.device, _BATCH_SAMPLES)
        for indices, waveforms in progress(batches, f"faults {recordings.clips[0].machine}"):
            altered = with_faults(
                waveforms.repeat(copies, 1), kinds[:, indices].flatten(), place.sample_rate_hz, generator
            )
            views = torch.cat([*self.statistics(altered).values()], 1).float()
            rows[:, indices] = views.unflatten(0, (copies, len(indices)))
        if residual := recordings.front_end.residual:
            rows -= residual * self._statistics(recordings.far())
        return rows.flatten(0, 1), kinds.flatten()

    def _spread_and_axes(self, recordings: Recordings, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Spread (dims,) of normal vectors (clips, dims) within conditions, and the axes (dims, axes) of `JOINT`."""
        references = references_of(recordings.clips, vectors.double().cpu().numpy())
        groups = Groups.of(references, "condition")
        each = (groups.residuals[:, dims] for dims in self.dims.values())
        spread = np.concatenate([spread_of(residuals, len(groups.means)) for residuals in each])
        axes = np.zeros((len(spread), _AXES * len(JOINT)))
        for number, (part, rows) in enumerate(zip(JOINT, self.module.direct, strict=True)):
            scaled = references.replace(references.vectors[:, rows] / spread[list(rows)])
            whitening = Whitening.of(Groups.of(scaled, "condition"), _AXES_SHRINKAGE, self._faults(part))
            axes[rows, number * _AXES : (number + 1) * _AXES] = whitening.clearest(_AXES)
        return [torch.from_numpy(array).to(vectors) for array in (spread, axes)]

    def _faults(self, part: Part) -> FloatArray:
        return faults_of_spectra([len(self.dims[view]) for view in part.views])

    def _n_copies(self, recordings: Recordings) -> int:
        """Copies of each clip: those asked for, or fewer where there is much sound already."""
        affordable = max(_LEAST_COPIES, round(_MOST_FAULTY_S / float(recordings.durations_s.sum())))
        return min(self.recipe.copies, affordable)
