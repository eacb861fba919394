"""Score clips by their statistics alone: seconds on a CPU, nothing to train, the default detector.

Each view of `features.clip_statistics` gets a back end of its own over the training clips; the scores of all views are
brought to one scale by cross-fitted training scores and averaged. No view is best on every machine, and
which one fails is not known beforehand: the mean over views loses little to the best of them.

Scorers:
    ensemble: mean z score over all views (default).
    <view>: the z score of one view alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asd.core.checkpoint import load_tensors, save_tensors
from asd.core.runtime import log, progress
from asd.data.recordings import Recordings
from asd.detectors.base import Detector, RunContext, Scores
from asd.detectors.options import StatisticsSettings
from asd.features.clip_statistics import FURTHER_VIEWS, VIEWS, ClipStatistics
from asd.features.pseudo_anomalies import add_foreign_sound
from asd.metrics import auc
from asd.scoring.backends import backend_named
from asd.scoring.covariance import nuisance_directions, without_directions
from asd.scoring.references import FloatArray, References, references_of, sections_of
from asd.scoring.sections import PerSectionScorer
from asd.types import AsdError

AUTO = "auto"
_NUISANCE = "nuisance."  # before a view's name, in the bank
CANDIDATES = ("gaussian", "mahalanobis_within", "knn", "knn_density", "knn_whitened", "gmm")


class Statistics(Detector):
    """Clip statistics and a back end per view.

    Args:
        context: device and sample rate; the seed matters to `backend="auto"` only.
        settings: views, names of `features.clip_statistics.VIEWS` or `FURTHER_VIEWS` ("all" are the former); and
            the name of a back end in `scoring.backends`, or "auto": the one that tells normal clips best from the
            same clips with a foreign sound added (see `features.pseudo_anomalies`).
    """

    settings_type = StatisticsSettings

    def __init__(self, context: RunContext, settings: StatisticsSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings or StatisticsSettings()
        views = self.settings.views
        self.views = VIEWS if views == ["all"] else tuple(views)
        known = VIEWS + FURTHER_VIEWS
        if unknown := [view for view in self.views if view not in known]:
            raise AsdError(f"statistics.views={unknown[0]} is unknown; there are {', '.join(known)}")
        self.scorers = ("ensemble", *self.views)
        self.backend = self.settings.backend
        if self.backend != AUTO:
            backend_named(self.backend)
        self.extract = ClipStatistics(self.views, context.sample_rate_hz).to(context.device)
        self.references: dict[str, References] = {}
        self.fitted: dict[str, PerSectionScorer] = {}
        self.nuisances: dict[str, FloatArray] = {}  # view -> (directions, dims) that are left out

    def fit(self, recordings: Recordings) -> None:
        """Takes the statistics of the training clips as references, without what the noise varies in."""
        supplement = self.context.supplement
        learn = supplement.all_normals(recordings)
        if supplement.noise_only:
            noise = self._views(supplement.noise_only)
            self.nuisances = {view: nuisance_directions(noise[view]) for view in self.views}
        vectors = self.vectors(learn)
        references = {view: references_of(learn.clips, vectors[view]) for view in self.views}
        if self.backend == AUTO:
            self.backend = self._choose(references, self.vectors(learn, foreign=True))
        self._set(references)

    def score(self, recordings: Recordings) -> Scores:
        """Scores per view and fused."""
        vectors = self.vectors(recordings)
        sections = sections_of(recordings.clips)
        return _with_mean({view: self.fitted[view].z(vectors[view], sections) for view in self.views})

    def score_training(self, recordings: Recordings) -> Scores:
        """Cross-fitted scores of the training clips."""
        n = len(recordings)
        return _with_mean({view: self.fitted[view].z_training()[:n] for view in self.views})

    def save(self, directory: Path) -> None:
        """Writes the bank: vectors of all training clips per view, their conditions and domains."""
        vectors = {view: refs.vectors for view, refs in self.references.items()}
        nuisances = {_NUISANCE + view: directions for view, directions in self.nuisances.items()}
        arrays = {**vectors, **nuisances, **self.references[self.views[0]].facts()}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        save_tensors(directory / "bank.safetensors", tensors, {"backend": self.backend})

    def load(self, directory: Path) -> None:
        """Reads the bank and fits the back ends to it, which takes less than reading a clip."""
        path = directory / "bank.safetensors"
        tensors, facts = load_tensors(path)
        about = ("conditions", "is_target", "sections")
        if missing := {*self.views, *about} - tensors.keys():
            raise AsdError(f"{path} has no {sorted(missing)[0]}; it is the bank of another configuration")
        self.backend = facts["backend"]
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        shared = {name: arrays[name] for name in about}
        self.nuisances = {v: arrays[_NUISANCE + v] for v in self.views if _NUISANCE + v in arrays}
        self._set({view: References(arrays[view], **shared) for view in self.views})

    def facts(self) -> Mapping[str, Any]:
        """Entries of means and covariances, or for other back ends of the references, as parameters."""
        method = backend_named(self.backend).method
        return {
            "total_parameters": sum(_n_parameters(refs, method) for refs in self.references.values()),
            "acoustic_features": "log-mel energies, spectrogram, modulation spectrum",
            "machine_learning_method": method,
            "aggregation_method": "average",
            "domain_generalization_method": "normal clips of both domains as references",
            "attribute_usage": "condition" if self.backend == "gaussian" else None,
            "ensemble_method_subsystem_count": len(self.views),
            "decision_making": "quantile of the training scores",
        }

    def _set(self, references: dict[str, References]) -> None:
        self.references = references
        backend = backend_named(self.backend)
        self.fitted = {view: PerSectionScorer(backend).fit(refs) for view, refs in references.items()}

    def _choose(self, references: dict[str, References], foreign: dict[str, FloatArray]) -> str:
        """Back end whose fused scores separate held-out clips best from their altered copies."""
        separation = {}
        for name in CANDIDATES:
            fitted = {
                view: PerSectionScorer(backend_named(name)).fit(refs) for view, refs in references.items()
            }
            normal = np.mean([fitted[view].held_out(references[view].vectors) for view in self.views], axis=0)
            altered = np.mean([fitted[view].held_out(foreign[view]) for view in self.views], axis=0)
            is_foreign = np.repeat([False, True], len(normal))
            separation[name] = auc(is_foreign, np.concatenate([normal, altered]))
        best = max(separation, key=lambda name: separation[name])
        log.info("back end %s chosen: %s", best, ", ".join(f"{n} {v:.3f}" for n, v in separation.items()))
        return best

    def vectors(self, recordings: Recordings, *, foreign: bool = False) -> dict[str, FloatArray]:
        """Vectors of all clips, or of their copies with a foreign sound: {view: (clips, dims)}.

        In the residual view they are near - residual * far; directions in which noise alone varies are out.
        """
        views = self._views(recordings, foreign=foreign)
        if residual := recordings.front_end.residual:
            far = self._views(recordings.far())
            views = {view: near - residual * far[view] for view, near in views.items()}
        return {
            view: without_directions(vectors, self.nuisances[view]) if view in self.nuisances else vectors
            for view, vectors in views.items()
        }

    def _views(self, recordings: Recordings, *, foreign: bool = False) -> dict[str, FloatArray]:
        rows: dict[str, list[FloatArray]] = {view: [np.empty(0)] * len(recordings) for view in self.views}
        clip, context = recordings.clips[0], self.context
        batches = recordings.batches(context.device, 1 << 20)
        for indices, waveforms in progress(batches, f"{clip.machine} {clip.split}"):
            if foreign:
                plain = waveforms.cpu().numpy()
                altered = add_foreign_sound(plain, indices, context.sample_rate_hz, context.seed)
                waveforms = torch.from_numpy(altered).to(context.device)
            views = self.extract(waveforms)
            for view in self.views:
                for index, row in zip(indices, views[view].double().cpu().numpy(), strict=True):
                    rows[view][index] = row
        return {view: np.stack(parts) for view, parts in rows.items()}


def _with_mean(scores: Scores) -> Scores:
    return {"ensemble": np.mean(list(scores.values()), axis=0), **scores}


def _n_parameters(references: References, method: str) -> int:
    n_clips, n_dims = references.vectors.shape
    if method != "Mahalanobis distance":
        return n_clips * n_dims
    return n_dims * (n_dims + len(np.unique(references.conditions)) + 1)  # covariance, means, scale
