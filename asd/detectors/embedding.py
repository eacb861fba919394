"""An encoder makes vectors of clips; back ends measure how far a clip lies from the normal ones.

The vector that an encoder (`encoders`) makes of a clip has one part or several. The default encoder learns to tell the
machine's normal clips from synthetic faults; others learn to tell normal clips apart by machine, section, domain and
attributes, or are pretrained.

Scorers are back ends of `scoring.backends`, fitted to each part of the embeddings. Several parts are brought to one
scale by their training scores, and averaged. Embeddings of segments have unit length, so that their Euclidean
neighbours are the cosine neighbours of the papers.

Source: Wilkinghoff, "Self-supervised learning for anomalous sound detection", ICASSP 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asd.core.files import load_tensors, save_tensors
from asd.core.runtime import on_threads, weights_hash
from asd.data.recordings import Recordings
from asd.detectors.base import Detector, RunContext, Scores
from asd.detectors.encoders.fault_mlp import FaultMlp
from asd.detectors.encoders.recipe import FAULTS, EmbeddingSettings
from asd.detectors.encoders.segment_encoder import SegmentEncoder
from asd.scoring.backends import PerSectionScorer, backend_named, nested, part_of
from asd.scoring.references import FloatArray, references_of, sections_of
from asd.types import AsdError


class Embedding(Detector):
    """An encoder, and a back end per scorer and part of its embeddings."""

    settings_type = EmbeddingSettings
    version = 7

    def __init__(self, context: RunContext, settings: EmbeddingSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings = settings or EmbeddingSettings()
        settings.check()
        self.scorers = tuple(settings.backends)
        is_default = settings.encoder == FAULTS
        self.encoder = FaultMlp(context, settings.faults) if is_default else SegmentEncoder(context, settings)
        self.fitted: dict[str, list[PerSectionScorer]] = {}  # by scorer, one for each part
        self.search = settings.search_options(self.scorers, context.device)

    def fit(self, recordings: Recordings) -> None:
        """Fits the encoder, embeds the training clips, and fits the back ends to them."""
        self.encoder.fit(recordings)
        self.refit(recordings)

    def refit(self, recordings: Recordings) -> None:
        """Embeds clips with the encoder as it is, and fits the back ends to them."""
        learn = self.context.all_normals(recordings)
        references = [references_of(learn.clips, part) for part in self.encoder.embed(learn)]
        scorers = {name: [self._scorer(name, k) for k in range(len(references))] for name in self.scorers}
        pairs = [pair for of_parts in scorers.values() for pair in zip(of_parts, references, strict=True)]
        on_threads(lambda pair: pair[0].fit(pair[1]), pairs)
        self.fitted = scorers
        self.settings.warn_of_few(pairs[0][0].n_least)

    def score(self, recordings: Recordings) -> Scores:
        """Scores by each back end."""
        fitted, parts, sections = self._scorers(), self.encoder.embed(recordings), sections_of(recordings.clips)
        if len(parts) == 1:
            return {name: of_part.score(parts[0], sections) for name, (of_part,) in fitted.items()}

        def z(scorers: list[PerSectionScorer]) -> FloatArray:
            numbers = range(len(parts))
            return np.mean(on_threads(lambda part: scorers[part].z(parts[part], sections), numbers), axis=0)

        return {name: z(scorers) for name, scorers in fitted.items()}

    def score_training(self, recordings: Recordings) -> Scores:
        """Scores of the training clips, none of which meets itself."""

        def scores(scorers: list[PerSectionScorer]) -> FloatArray:
            if len(scorers) == 1:
                return scorers[0].score_training()
            return np.mean(on_threads(PerSectionScorer.z_training, scorers), axis=0)

        return {name: scores(scorers)[: len(recordings)] for name, scorers in self._scorers().items()}

    def embed(self, recordings: Recordings) -> FloatArray:
        """The embeddings of all parts side by side."""
        return np.concatenate(self.encoder.embed(recordings), axis=1)

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors (encoder) and bank.safetensors (fitted back ends)."""
        arrays: dict[str, Any] = {}
        for name, scorers in self._scorers().items():
            for part, scorer in enumerate(scorers):
                arrays |= nested(f"{name}.{part}", scorer.state())
        module = self.encoder.module
        save_tensors(directory / "weights.safetensors", module.state_dict(), {"detector": "embedding"})
        bank = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        facts = {"encoder": weights_hash(module, self.encoder.origin), "parts": len(scorers)}
        save_tensors(directory / "bank.safetensors", bank, facts)

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote; a bank of another encoder is refused."""
        self.encoder.load(directory / "weights.safetensors")
        path = directory / "bank.safetensors"
        tensors, facts = load_tensors(path)
        if facts.get("encoder") != weights_hash(self.encoder.module, self.encoder.origin):
            raise AsdError(
                f"{path} was filled by another encoder than the one in weights.safetensors beside it; distances "
                f"between the two mean nothing: restore the file of this run or train again"
            )
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        numbers = range(int(facts["parts"]))
        try:
            self.fitted = {
                name: [self._scorer(name, part).restore(part_of(f"{name}.{part}", arrays)) for part in numbers]
                for name in self.scorers
            }
        except AsdError as error:
            raise AsdError(f"{path} is not a bank of this configuration: {error}") from error

    def facts(self) -> Mapping[str, Any]:
        """Facts for a submission: of the encoder, and of what follows it."""
        return {
            "aggregation_method": "average",
            "decision_making": "quantile of the training scores",
            **self.encoder.facts(),
        }

    def _scorers(self) -> dict[str, list[PerSectionScorer]]:
        if not self.fitted:
            raise AsdError("the embedding detector has no bank yet; fit or load it first")
        return self.fitted

    def _scorer(self, name: str, part: int) -> PerSectionScorer:
        options = self.encoder.backend_options(part) if name == "knn_relative" else {}
        return PerSectionScorer(backend_named(name, **{**options, **self.search[name]}))
