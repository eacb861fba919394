"""Score clips by statistics over time of their spectra and envelopes: the default detector; nothing is trained.

The statistics (`features.clip_statistics`) form groups (`statistic_groups`). A part of a group is one vector per clip,
with a nearest-neighbour back end of its own over the training clips, or one for each of its bands. Scores of all are
brought to one scale by those of the training clips, averaged within a group, and over groups by fixed weights: which
group is best on a machine cannot be known from normal clips (docs/benchmark.md). With `statistics.choose=true` what
does not find faults planted in normal clips has no vote (`choice`).

Scorers:
    ensemble: weighted mean z score over all groups (default).
    <group>: mean z score of one group alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from asd.core.files import load_tensors, save_tensors, write_json
from asd.core.runtime import log, on_threads
from asd.data.recordings import Recordings
from asd.detectors import StatisticsSettings
from asd.detectors.base import Detector, RunContext, Scores, require_finite
from asd.detectors.choice import LEAST_CLIPS, Choice, choose, read_choice
from asd.detectors.statistic_groups import Part, band_slice, relative_options
from asd.features.clip_statistics import OVERLAP, Alter, ClipStatistics, overlap_of, views_of
from asd.features.faults import draw_kinds, with_faults
from asd.scoring.backends import PerSectionScorer, backend_named, nested, part_of
from asd.scoring.gaussian import Groups, nuisance_directions, without_directions
from asd.scoring.references import FloatArray, References, references_of, sections_of
from asd.types import AsdError

_ALTERNATIVE = "gaussian"  # what else could score, see `choice`: the best of another kind (docs/benchmark.md)
_CLIPS_OF_A_THREAD = 32  # fewer are scored before another thread has started
Vectors = Mapping[str, FloatArray]  # view -> (clips, dims)
Band = tuple[Part, int]  # a part, and the number of one of its bands


class Statistics(Detector):
    """Clip statistics and a back end for each part of them."""

    settings_type = StatisticsSettings
    version = 10

    def __init__(self, context: RunContext, settings: StatisticsSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings = settings or StatisticsSettings()
        self.groups = settings.groups()
        self.weights = {name: group.weight for name, group in self.groups.items()}
        parts = dict.fromkeys(part for group in self.groups.values() for part in group.parts)
        self.bands: list[Band] = [(part, number) for part in parts for number in range(part.n_bands)]
        self.views = tuple(dict.fromkeys(view for part in parts for view in part.views))
        self.scorers = ("ensemble", *self.groups)
        self.search = settings.search_options([settings.backend], context.device)
        statistics = ClipStatistics(self.views, context.sample_rate_hz, settings.overlap or OVERLAP)
        self.extract = statistics.to(context.device)
        self.fitted: dict[Band, PerSectionScorer] = {}
        self.spreads: dict[str, FloatArray] = {}  # view -> (dims,) within conditions
        self.nuisances: dict[str, FloatArray] = {}  # view -> (directions, dims) that are left out
        self.choice = Choice(settings.backend, self.weights)

    def fit(self, recordings: Recordings) -> None:
        """Takes the statistics of the training clips as references, without what the noise varies in."""
        learn, noise_only = self.context.all_normals(recordings), self.context.supplement.noise_only
        self.extract.set_overlap(self.settings.overlap or overlap_of(learn.durations_s))
        if noise_only:
            self.nuisances = {view: nuisance_directions(noise) for view, noise in self._views(noise_only).items()}
        vectors = self.vectors(learn)
        # conditions and sections of the clips; each band puts its own vectors in place of those of the first view
        references = references_of(learn.clips, vectors[self.views[0]])
        self.spreads = {view: Groups.of(references.replace(vectors[view]), "condition").spread for view in self.views}
        scaled = self._scaled(vectors)
        self.choice = Choice(self.settings.backend, self.weights)
        self.fitted = self._fitted(self.settings.backend, scaled, references)
        self.settings.warn_of_few(next(iter(self.fitted.values())).n_least)
        if self.settings.choose:
            self._choose(learn, scaled, references)
            log.info("%s: %s", learn.clips[0].machine, self.choice.why)

    def refit(self, recordings: Recordings) -> None:
        """The same as `fit`: nothing is trained."""
        self.fit(recordings)

    def score(self, recordings: Recordings) -> Scores:
        """Scores per group and fused."""
        scaled, sections = self._scaled(self.vectors(recordings)), sections_of(recordings.clips)

        def z_of(band: Band, scorer: PerSectionScorer) -> FloatArray:
            return scorer.z(columns_of(band, scaled), sections)

        return self._fused(self.fitted, z_of, len(recordings))

    def score_training(self, recordings: Recordings) -> Scores:
        """Scores of the training clips, each by models that have seen neither it nor its neighbours in time."""
        n = len(recordings)  # what else was learnt from comes behind them
        return self._fused(self.fitted, lambda _, scorer: scorer.z_training()[:n])

    def embed(self, recordings: Recordings) -> FloatArray:
        """All views side by side, each in units of its spread and with the same weight."""
        scaled = self._scaled(self.vectors(recordings)).values()
        return np.concatenate([view / np.sqrt(view.shape[1]) for view in scaled], axis=1)

    def save(self, directory: Path) -> None:
        """Writes bank.safetensors: the fitted back ends, and what vectors are divided by or leave out."""
        arrays: dict[str, npt.NDArray[Any]] = {**nested("spread", self.spreads), **nested("nuisance", self.nuisances)}
        for band, scorer in self.fitted.items():
            arrays |= nested(_key(band), scorer.state())
        tensors = {name: torch.from_numpy(np.asarray(array, order="C")) for name, array in arrays.items()}
        facts = {"backend": self.settings.backend, "overlap": self.extract.overlap}
        save_tensors(directory / "bank.safetensors", tensors, facts)
        if self.settings.choose:
            write_json(directory / "choice.json", asdict(self.choice))

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote; nothing is fitted again."""
        path = directory / "bank.safetensors"
        tensors, facts = load_tensors(path)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        self.extract.set_overlap(facts["overlap"])
        self.spreads, self.nuisances = part_of("spread", arrays), part_of("nuisance", arrays)
        if missing := [view for view in self.views if view not in self.spreads]:
            raise AsdError(f"{path} has no {missing[0]}; it is the bank of another configuration")
        if facts["backend"] != self.settings.backend:
            raise AsdError(
                f"{path} holds the back end {facts['backend']}, not {self.settings.backend}; it is of another run"
            )
        if self.settings.choose:
            self.choice = read_choice(directory / "choice.json", self.groups)
        name = self.choice.backend
        self.fitted = {band: self._scorer(band, name).restore(part_of(_key(band), arrays)) for band in self.bands}

    def facts(self) -> Mapping[str, Any]:
        """What the meta file of a submission wants to know; parameters are the numbers stored for scoring."""
        states = [scorer.state() for scorer in self.fitted.values()]
        stored = (a.size for state in states for name, a in state.items() if not name.endswith("training"))
        return {
            "total_parameters": sum(stored),
            "acoustic_features": "log-mel energies, spectrogram, modulation spectrum",
            "machine_learning_method": backend_named(self.choice.backend).method,
            "aggregation_method": "weighted average",
            "domain_generalization_method": "normal clips of both domains as references",
            "attribute_usage": "condition" if self.choice.backend in ("knn_relative", "gaussian") else None,
            "ensemble_method_subsystem_count": len({part for part, _ in self.bands}),
            "decision_making": "quantile of the training scores",
        }

    def vectors(self, recordings: Recordings, alter: Alter | None = None) -> dict[str, FloatArray]:
        """Vectors of all clips, {view: (clips, dims)}.

        In the residual view they are near - residual * far; directions in which noise alone varies are out.

        Args:
            recordings: the clips.
            alter: what is done to waveforms (batch, samples) of clips (batch,) before, at the near microphone alone.
        """
        views = self._views(recordings, alter)
        if residual := recordings.front_end.residual:
            far = self._views(recordings.far())
            views = {view: near - residual * far[view] for view, near in views.items()}
        for view, directions in self.nuisances.items():
            views[view] = without_directions(views[view], directions)
        return views

    def _views(self, recordings: Recordings, alter: Alter | None = None) -> dict[str, FloatArray]:
        clip = recordings.clips[0]
        views = views_of(recordings, self.extract, self.context.device, f"{clip.machine} {clip.split}", alter)
        for view, vectors in views.items():
            require_finite(vectors, recordings, f"the view {view}")
        return views

    def _scaled(self, vectors: Vectors) -> Vectors:
        """Vectors in units of their spread within conditions: views of different units can stand side by side."""
        return {view: vectors[view] / self.spreads[view] for view in self.views}

    def _scorer(self, band: Band, name: str) -> PerSectionScorer:
        """A back end of a name for a band, not fitted yet."""
        part, number = band
        options = self.search.get(name, {})
        if name == "knn_relative":
            options = {**relative_options(part, self.spreads, number), **options}
        return PerSectionScorer(backend_named(name, **options))

    def _fitted(self, name: str, scaled: Vectors, references: References) -> dict[Band, PerSectionScorer]:
        """The back ends of a name, fitted to all bands."""

        def fitted(band: Band) -> PerSectionScorer:
            return self._scorer(band, name).fit(references.replace(columns_of(band, scaled)))

        return dict(zip(self.bands, on_threads(fitted, self.bands), strict=True))

    def _choose(self, learn: Recordings, scaled: Vectors, references: References) -> None:
        """Plants a fault in a copy of every training clip, and keeps what finds them, see `choice`."""
        if len(learn) < LEAST_CLIPS:
            self.choice = replace(self.choice, why=f"{len(learn)} training clips are too few to choose by")
            return
        generator = torch.Generator().manual_seed(self.context.seed)
        kinds, rate_hz = draw_kinds(len(learn), 1, generator)[0], self.context.sample_rate_hz
        copies = self.vectors(learn, lambda rows, sound: with_faults(sound, kinds[rows], rate_hz, generator))
        faulty, fitted = self._scaled(copies), {self.settings.backend: self.fitted}
        if _ALTERNATIVE not in fitted:
            fitted[_ALTERNATIVE] = self._fitted(_ALTERNATIVE, scaled, references)

        def z_of_faulty(band: Band, scorer: PerSectionScorer) -> FloatArray:
            return scorer.held_out(columns_of(band, faulty))

        of_normal = {name: self._fused(bands, lambda _, scorer: scorer.z_training()) for name, bands in fitted.items()}
        of_faulty = {name: self._fused(bands, z_of_faulty) for name, bands in fitted.items()}
        self.choice = choose(self.weights, of_normal, of_faulty, "ensemble")
        self.fitted = fitted[self.choice.backend]

    def _fused(
        self,
        fitted: Mapping[Band, PerSectionScorer],
        z_of: Callable[[Band, PerSectionScorer], FloatArray],
        n_clips: int = _CLIPS_OF_A_THREAD,
    ) -> Scores:
        """z scores of all bands to those of the groups and of all; of the bands of a part the highest counts."""
        most = None if n_clips >= _CLIPS_OF_A_THREAD else 1
        every = on_threads(lambda fitted_band: z_of(*fitted_band), [*fitted.items()], most=most)
        z = dict(zip(fitted, every, strict=True))

        def highest(part: Part) -> FloatArray:
            return np.asarray(np.max([z[part, number] for number in range(part.n_bands)], axis=0))

        scores = {name: np.mean([highest(part) for part in group.parts], axis=0) for name, group in self.groups.items()}
        weights = [self.choice.weights[name] for name in scores]
        return {"ensemble": np.average(list(scores.values()), axis=0, weights=weights), **scores}


def columns_of(band: Band, vectors: Vectors) -> FloatArray:
    """The views of a part side by side, (clips, dims), as far as they lie in one of its bands.

    Args:
        band: the part, and the number of the band.
        vectors: (clips, dims) by view.
    """
    part, number = band
    views = [vectors[view] for view in part.views]
    return np.concatenate([view[:, band_slice(view.shape[1], number, part.n_bands)] for view in views], axis=1)


def _key(band: Band) -> str:
    """The name under which a bank keeps a band."""
    part, number = band
    return f"{'+'.join(part.views)}/{part.n_bands}/{part.shrinkage:g}.band{number}"
