"""The default detector, choosing for itself, beside networks that learn synthetic faults: `detector=auto`.

Which groups of statistics vote, and by which back end, is chosen from faults planted in normal clips (`choice`). The
networks count by a small weight, the same for every machine: no statistic of normal clips tells on which machine to
trust them (docs/embedding.md), and at a twentieth they cannot cost much where they mislead. Both scores come to one
scale by their training scores. Fewer networks and fewer altered copies than in `detector=embedding` keep it short.

Scorers:
    auto: (1 - weight) statistics + weight embedding (default).
    statistics: the statistics' score alone.
    embedding: that of the networks alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asd.core.files import read_json, write_json
from asd.data.recordings import Recordings
from asd.detectors import AutoSettings, StatisticsSettings, detector_class
from asd.detectors.base import Detector, RunContext, Scores
from asd.detectors.encoders.recipe import EmbeddingSettings, FaultRecipe
from asd.scoring.threshold import ScoreNormalizer
from asd.types import AsdError


class Auto(Detector):
    """Two detectors on one scale."""

    settings_type = AutoSettings
    version = 9  # raised with those of its members, `Statistics` and `Embedding`
    scorers = ("auto", "statistics", "embedding")

    def __init__(self, context: RunContext, settings: AutoSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings or AutoSettings()
        faults = FaultRecipe(copies=self.settings.copies, networks=self.settings.networks)
        networks = EmbeddingSettings(faults=faults, backends=["knn_relative"])
        self.members: dict[str, Detector] = {
            "statistics": detector_class("statistics")(context, StatisticsSettings(choose=True)),
            "embedding": detector_class("embedding")(context, networks),
        }
        self.scales: dict[str, ScoreNormalizer] = {}

    def fit(self, recordings: Recordings) -> None:
        """Fits both, and takes the scale of each from its training scores."""
        for name, member in self.members.items():
            member.fit(recordings)
            own = member.score_training(recordings)[member.scorers[0]]
            self.scales[name] = ScoreNormalizer.of(own)

    def score(self, recordings: Recordings) -> Scores:
        """Scores of both, and of their weighted mean."""
        return self._mixed({name: member.score(recordings) for name, member in self.members.items()})

    def score_training(self, recordings: Recordings) -> Scores:
        """The same of the training clips, none of which meets itself."""
        return self._mixed({name: member.score_training(recordings) for name, member in self.members.items()})

    def save(self, directory: Path) -> None:
        """Writes a folder for each of the two, and auto.json: what counts how much, why, and on which scale."""
        for name, member in self.members.items():
            (directory / name).mkdir(exist_ok=True)
            member.save(directory / name)
        why = (
            "the same for every machine: nothing in normal clips tells where the networks can be trusted more; what is "
            "chosen by them within statistics is in statistics/choice.json"
        )
        scales = {name: [scale.mean, scale.deviation] for name, scale in self.scales.items()}
        write_json(directory / "auto.json", {"weights": self.weights, "why": why, "scales": scales})

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote."""
        path = directory / "auto.json"
        scales = read_json(path).get("scales", {})
        if scales.keys() != self.members.keys():
            raise AsdError(f"{path} has no scale of {' and '.join(self.members)}; train the run again")
        self.scales = {name: ScoreNormalizer(*values) for name, values in scales.items()}
        for name, member in self.members.items():
            member.load(directory / name)

    def facts(self) -> Mapping[str, Any]:
        """Those of the statistics, with the networks' parameters and kind of learning."""
        first, second = (member.facts() for member in self.members.values())
        sums = {name: first[name] + second[name] for name in ("total_parameters", "ensemble_method_subsystem_count")}
        return {**second, **first, **sums}

    @property
    def weights(self) -> dict[str, float]:
        """How much each of the two counts."""
        return {"statistics": 1.0 - self.settings.weight, "embedding": self.settings.weight}

    def _mixed(self, scores: Mapping[str, Scores]) -> Scores:
        """The default scores of both on one scale, and their weighted mean."""
        own = {name: self.scales[name].z(scores[name][self.members[name].scorers[0]]) for name in self.members}
        mixed = np.average(list(own.values()), axis=0, weights=[self.weights[name] for name in own])
        return {"auto": mixed, **own}
