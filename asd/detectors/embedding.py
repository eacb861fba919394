"""Learn to tell normal clips apart, then ask how far a clip lies from all of them.

An encoder (`encoders`) is trained to classify normal clips by machine, section, domain and attributes
(`detectors.encoders.training`); to do so it must learn what distinguishes conditions, and what is unlike every
condition lands away from all training clips. An encoder that was pretrained on other sounds may be left as it is.

Scorers are back ends of `scoring.backends`, all on one embedding. Embeddings have unit length, so that the
Euclidean neighbours of those are the cosine neighbours of the papers.

Source: Wilkinghoff, "Self-supervised learning for anomalous sound detection", ICASSP 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from asd.core.checkpoint import digest, load_into, load_tensors, save_tensors
from asd.core.networks.encoder import Encoder
from asd.data.recordings import Recordings, joined
from asd.detectors.base import Detector, RunContext, Scores
from asd.detectors.encoders.build import build, declared
from asd.detectors.encoders.clips import cached_embeddings, clip_embeddings, unit
from asd.detectors.encoders.recipe import EmbeddingSettings
from asd.detectors.encoders.training import classifier, joint_encoder, train_encoder
from asd.scoring.backends import backend_named
from asd.scoring.references import FloatArray, References, references_of, sections_of
from asd.scoring.sections import PerSectionScorer
from asd.types import AsdError

_CLIP_S = 10.0  # length of a clip for which the meta file wants the multiply-accumulates


class Embedding(Detector):
    """An encoder and a bank of training embeddings.

    Args:
        context: device, caches, seed, sample rate.
        settings: the encoder, how it is trained, and the scorers, names in `scoring.backends`.
    """

    settings_type = EmbeddingSettings

    def __init__(self, context: RunContext, settings: EmbeddingSettings | None = None) -> None:
        super().__init__(context)
        self.settings = settings or EmbeddingSettings()
        classifier(self.settings, 1, 2)  # refuses an option that the loss does not have, before long work
        self.scorers = tuple(self.settings.backends)
        self.backends = {name: backend_named(name) for name in self.scorers}
        self.fitted: dict[str, PerSectionScorer] = {}
        self.encoder = build(self.settings, context.sample_rate_hz).to(context.device)
        self.references: References | None = None

    def fit(self, recordings: Recordings) -> None:
        """Trains the encoder, takes the joint one, or leaves it frozen, and embeds the training clips."""
        supplement = self.context.supplement
        learn = supplement.all_normals(recordings)
        if not self.settings.is_frozen:
            self.encoder = self._trained(recordings)
        elif self.settings.joint or supplement.noise_only:
            given = "embedding.joint=true" if self.settings.joint else "noise as negatives"
            raise AsdError(
                f"{given} is for encoders that are trained, and embedding.encoder={self.settings.name} is frozen; "
                f"fine-tune it with embedding.lora_rank=64, or leave that word out"
            )
        self._set(references_of(learn.clips, self.embed(learn)))

    def score(self, recordings: Recordings) -> Scores:
        """Scores by each back end."""
        vectors = self.embed(recordings)
        self._bank()
        sections = sections_of(recordings.clips)
        return {name: scorer.score(vectors, sections) for name, scorer in self.fitted.items()}

    def score_training(self, recordings: Recordings) -> Scores:
        """Scores of the training clips, none of which meets itself."""
        self._bank()
        return {name: scorer.score_training()[: len(recordings)] for name, scorer in self.fitted.items()}

    def embed(self, recordings: Recordings) -> FloatArray:
        """Embeddings (clips, parts * dims) of unit length; in the residual view near - residual * far."""
        vectors = self._directions(recordings)
        if residual := recordings.front_end.residual:
            vectors = unit(vectors - residual * self._directions(recordings.far()))
        return vectors

    def _directions(self, recordings: Recordings) -> FloatArray:
        """Direction (clips, parts * dims) of the mean over a clip's segments."""
        place = self.context
        if self.settings.is_frozen:
            return cached_embeddings(self.encoder, recordings, place.device, place.cache)
        return clip_embeddings(self.encoder, recordings, place.device)

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors (encoder) and bank.safetensors (training embeddings)."""
        references = self._bank()
        save_tensors(directory / "weights.safetensors", self.encoder.state_dict(), {"detector": "embedding"})
        arrays = {"vectors": references.vectors, **references.facts()}
        bank = {name: torch.from_numpy(array) for name, array in arrays.items()}
        facts = {"detector": "embedding", "encoder": digest(self.encoder, self.encoder.origin)}
        save_tensors(directory / "bank.safetensors", bank, facts)

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote; a bank of another encoder is refused."""
        path = directory / "weights.safetensors"
        load_into(self.encoder, load_tensors(path)[0], path)
        path = directory / "bank.safetensors"
        tensors, facts = load_tensors(path)
        if missing := {"vectors", "conditions", "is_target", "sections"} - tensors.keys():
            raise AsdError(f"{path} has no {sorted(missing)[0]}; it is not a bank of this detector")
        if facts.get("encoder") != digest(self.encoder, self.encoder.origin):
            raise AsdError(
                f"{path} was filled by another encoder than the one in weights.safetensors beside it; distances "
                f"between the two mean nothing: restore the file of this run or train again"
            )
        bank = {name: tensor.numpy() for name, tensor in tensors.items()}
        self._set(References(**bank))

    def facts(self) -> Mapping[str, Any]:
        """Parameters, multiply-accumulates per 10 s clip (without the STFT), and words for the meta file."""
        encoder, recipe = self.encoder.eval(), self.settings
        clip_samples = round(_CLIP_S * self.context.sample_rate_hz)
        n_samples = encoder.input_samples(clip_samples)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            encoder(torch.zeros(1, n_samples, device=self.context.device))
        names = ("mixup", "featex", "statex", "masking")
        augmentations = [name for name in names if getattr(recipe, name) and not recipe.is_frozen]
        return {
            "total_parameters": sum(p.numel() for p in encoder.parameters()),
            "macs": counter.get_total_flops() // 2 * -(-clip_samples // n_samples),
            "data_augmentation": ", ".join(augmentations) or None,
            "aggregation_method": "average",
            "attribute_usage": None if recipe.is_frozen else "classification",
            "decision_making": "quantile of the training scores",
            **declared(recipe),
        }

    def _trained(self, recordings: Recordings) -> Encoder:
        """The encoder of this machine, or of all of them."""
        place, supplement = self.context, self.context.supplement
        learn = supplement.all_normals(recordings)
        if self.settings.joint:
            everything = self._everything(recordings)
            return joint_encoder(
                everything, self.settings, device=place.device, cache=place.cache, seed=place.seed
            )
        return train_encoder(
            joined([learn, supplement.noise_only]) if supplement.noise_only else learn,
            self.settings,
            device=place.device,
            cache=place.cache,
            directory=place.directory,
            seed=place.seed,
            fingerprint=place.fingerprint,
        )

    def _everything(self, recordings: Recordings) -> Recordings:
        """Training clips of all machines, sorted, so that each machine asks for the same encoder."""
        others = self.context.supplement.other_machines
        if others is None:
            raise AsdError(
                "embedding.joint=true needs the training clips of other machines, and none were given; "
                "use machine=all or embedding.joint=false"
            )
        every = joined([recordings, others])
        clips = every.clips
        return every.subset(sorted(range(len(clips)), key=lambda i: (clips[i].machine, clips[i].name)))

    def _set(self, references: References) -> None:
        self.references = references
        self.fitted = {
            name: PerSectionScorer(backend).fit(references) for name, backend in self.backends.items()
        }

    def _bank(self) -> References:
        if self.references is None:
            raise AsdError("the embedding detector has no bank yet; fit or load it first")
        return self.references
