"""Score clips by statistics over time of their spectra and envelopes: the default detector; nothing is trained.

The statistics (`features.clip_statistics`) form groups of one kind. A part of a group is one vector per clip, at one
resolution, with a nearest-neighbour back end of its own over the training clips. Leave-one-out scores of the
training clips bring all parts to one scale. Scores are averaged within a group, and groups by fixed weights: which
group is best on a machine cannot be known from normal clips (docs/benchmark.md), and the mean loses little to it. With
`statistics.choose=true` what does not find faults planted in normal clips has no vote (`choice`).

Scorers:
    ensemble: weighted mean z score over all groups (default).
    <group>: mean z score of one group alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from asd.detectors.statistic_groups import RELATIVE, Part, PartScorer, groups_named
from asd.features.clip_statistics import OVERLAP, ClipStatistics, overlap_of
from asd.features.faults import draw_kinds, with_faults
from asd.features.normal_spectra import Alter, views_of
from asd.scoring.backends import backend_named
from asd.scoring.base import nested, part_of
from asd.scoring.covariance import Groups, nuisance_directions, spread_of, without_directions
from asd.scoring.references import FloatArray, References, references_of, sections_of
from asd.types import AsdError

_ALTERNATIVE = "gaussian"  # what else could score, see `choice`: the best of another kind (docs/benchmark.md)
_CLIPS_OF_A_THREAD = 32  # fewer are scored before another thread has started


class Statistics(Detector):
    """Clip statistics and a back end for each part of them.

    Args:
        context: device, seed and sample rate.
        settings: which groups or views, and the back end.

    Raises:
        AsdError: an unknown group, view or back end.
    """

    settings_type = StatisticsSettings
    # 2: relative neighbours, local bands, correlations of steps; 3: whitening knows how faults move bands;
    # 4: longer windows overlap eightfold
    version = 4

    def __init__(self, context: RunContext, settings: StatisticsSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings or StatisticsSettings()
        self.groups = groups_named(self.settings.views)
        self.scorers = ("ensemble", *self.groups)
        self.search = self.settings.search_options([self.settings.backend], context.device)
        self.views = tuple(
            dict.fromkeys(view for group in self.groups.values() for part in group.parts for view in part.views)
        )
        statistics = ClipStatistics(self.views, context.sample_rate_hz, self.settings.overlap or OVERLAP)
        self.extract = statistics.to(context.device)
        self.fitted: dict[Part, PartScorer] = {}
        self.spreads: dict[str, FloatArray] = {}  # view -> (dims,) within conditions
        self.nuisances: dict[str, FloatArray] = {}  # view -> (directions, dims) that are left out
        self.choice = self._unchosen("statistics.choose=false")

    def fit(self, recordings: Recordings) -> None:
        """Takes the statistics of the training clips as references, without what the noise varies in."""
        supplement = self.context.supplement
        learn = self.context.all_normals(recordings)
        self.extract.set_overlap(self.settings.overlap or overlap_of(learn.durations_s))
        if supplement.noise_only:
            noise = self._views(supplement.noise_only)
            self.nuisances = {view: nuisance_directions(noise[view]) for view in self.views}
        vectors = self.vectors(learn)
        references = {view: references_of(learn.clips, vectors[view]) for view in self.views}
        self.spreads = {view: _spread(refs) for view, refs in references.items()}
        some, scaled = next(iter(references.values())), self._scaled(vectors)
        self.choice = self._unchosen("statistics.choose=false")
        self.fitted = self._fitted(self.settings.backend, scaled, some)
        if self.settings.choose:
            self._choose(learn, scaled, some)

    def refit(self, recordings: Recordings) -> None:
        """The same as `fit`: nothing is trained."""
        self.fit(recordings)

    def score(self, recordings: Recordings) -> Scores:
        """Scores per group and fused."""
        scaled = self._scaled(self.vectors(recordings))
        sections = sections_of(recordings.clips)
        return self._fused(self.fitted, lambda scorer: scorer.z(scaled, sections), len(recordings))

    def score_training(self, recordings: Recordings) -> Scores:
        """Scores of the training clips, each by models that have seen neither it nor its neighbours in time."""
        n = len(recordings)
        return self._fused(self.fitted, lambda scorer: scorer.z_training()[:n])

    def embed(self, recordings: Recordings) -> FloatArray:
        """All views side by side, each in units of its spread and with the same weight."""
        scaled = self._scaled(self.vectors(recordings)).values()
        return np.concatenate([view / np.sqrt(view.shape[1]) for view in scaled], axis=1)

    def save(self, directory: Path) -> None:
        """Writes bank.safetensors: the fitted back ends, and what vectors are divided by or leave out."""
        arrays: dict[str, npt.NDArray[Any]] = {**nested("spread", self.spreads), **nested("nuisance", self.nuisances)}
        for part, scorer in self.fitted.items():
            arrays |= nested(part.name, scorer.state())
        tensors = {name: torch.from_numpy(np.asarray(array, order="C")) for name, array in arrays.items()}
        facts = {"backend": self.settings.backend, "overlap": self.extract.overlap}
        save_tensors(directory / "bank.safetensors", tensors, facts)
        if self.settings.choose:
            write_json(directory / "choice.json", self.choice.facts())

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
        scorers = self._scorers(self.choice.backend)
        self.fitted = {part: scorer.restore(part_of(part.name, arrays)) for part, scorer in scorers}

    def facts(self) -> Mapping[str, Any]:
        """What the meta file of a submission wants to know; parameters are the numbers stored for scoring."""
        states = [scorer.state() for scorer in self.fitted.values()]
        stored = (a.size for state in states for name, a in state.items() if not name.endswith("training"))
        backend = backend_named(self.choice.backend)
        return {
            "total_parameters": sum(stored),
            "acoustic_features": "log-mel energies, spectrogram, modulation spectrum",
            "machine_learning_method": backend.method,
            "aggregation_method": "weighted average",
            "domain_generalization_method": "normal clips of both domains as references",
            "attribute_usage": "condition" if self.choice.backend in ("knn_relative", "gaussian") else None,
            "ensemble_method_subsystem_count": len(self.fitted),
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
        return {
            view: without_directions(vectors, self.nuisances[view]) if view in self.nuisances else vectors
            for view, vectors in views.items()
        }

    def _views(self, recordings: Recordings, alter: Alter | None = None) -> dict[str, FloatArray]:
        clip = recordings.clips[0]
        what = f"{clip.machine} {clip.split}"
        vectors = views_of(recordings, self.extract, self.context.device, what, alter)
        for view in self.views:
            require_finite(vectors[view], recordings, f"the view {view}")
        return vectors

    def _scaled(self, vectors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Vectors in units of their spread within conditions: views of different units can stand side by side."""
        return {view: vectors[view] / self.spreads[view] for view in self.views}

    def _scorers(self, name: str) -> Iterator[tuple[Part, PartScorer]]:
        """Every part with back ends of a name that are not fitted yet."""
        for part in dict.fromkeys(part for group in self.groups.values() for part in group.parts):
            own = {**RELATIVE, "shrinkage": part.shrinkage} if name == "knn_relative" else {}
            backend = backend_named(name, **{**own, **self.search.get(name, {})})
            yield part, PartScorer(part, backend, knows_faults=name == "knn_relative")

    def _fitted(self, name: str, scaled: Mapping[str, FloatArray], some: References) -> dict[Part, PartScorer]:
        """The back ends of a name, fitted to all parts."""
        parts, scorers = zip(*self._scorers(name), strict=True)
        return dict(zip(parts, on_threads(lambda scorer: scorer.fit(scaled, some), scorers), strict=True))

    def _unchosen(self, why: str) -> Choice:
        """What holds where nothing is chosen."""
        return Choice(self.settings.backend, dict(self._weights), {}, {}, why)

    def _choose(self, learn: Recordings, scaled: Mapping[str, FloatArray], some: References) -> None:
        """Plants a fault in a copy of every training clip, and keeps what finds them, see `choice`."""
        own = self.settings.backend
        if len(learn) < LEAST_CLIPS:
            self.choice = self._unchosen(f"{len(learn)} training clips are too few to choose by")
            return
        generator = torch.Generator().manual_seed(self.context.seed)
        kinds, rate_hz = draw_kinds(len(learn), 1, generator)[0], self.context.sample_rate_hz
        faulty = self._scaled(
            self.vectors(learn, lambda rows, sound: with_faults(sound, kinds[rows], rate_hz, generator))
        )
        others = {_ALTERNATIVE} - {own}
        fitted = {own: self.fitted} | {name: self._fitted(name, scaled, some) for name in others}
        self.choice = choose(
            self._weights,
            {name: self._fused(parts, PartScorer.z_training) for name, parts in fitted.items()},
            {name: self._fused(parts, lambda part: part.held_out(faulty)) for name, parts in fitted.items()},
            "ensemble",
        )
        self.fitted = fitted[self.choice.backend]
        log.info("%s: %s", learn.clips[0].machine, self.choice.why)

    @property
    def _weights(self) -> dict[str, float]:
        return {name: group.weight for name, group in self.groups.items()}

    def _fused(
        self,
        fitted: Mapping[Part, PartScorer],
        z_of: Callable[[PartScorer], FloatArray],
        n_clips: int = _CLIPS_OF_A_THREAD,
    ) -> Scores:
        """z scores of all parts to those of the groups and of all."""
        most = None if n_clips >= _CLIPS_OF_A_THREAD else 1
        z = dict(zip(fitted, on_threads(z_of, [*fitted.values()], most=most), strict=True))
        scores = {name: np.mean([z[part] for part in group.parts], axis=0) for name, group in self.groups.items()}
        weights = [self.choice.weights[name] for name in scores]
        return {"ensemble": np.average(list(scores.values()), axis=0, weights=weights), **scores}


def _spread(references: References) -> FloatArray:
    """Spread of each dimension within conditions, (dims,)."""
    groups = Groups.of(references, "condition")
    return spread_of(groups.residuals, len(groups.means))
