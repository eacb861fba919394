"""Encoders of segments of a waveform on whole clips: trained here, trained jointly, or frozen."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from asd.core.networks.encoder import Encoder
from asd.data.recordings import Recordings, joined
from asd.detectors.base import ClipEncoder, RunContext
from asd.detectors.encoders.build import build, declared
from asd.detectors.encoders.clips import cached_embeddings, clip_embeddings, unit
from asd.detectors.encoders.recipe import EmbeddingSettings
from asd.detectors.encoders.training import classifier, joint_encoder, train_encoder
from asd.scoring.references import FloatArray
from asd.types import AsdError

_CLIP_S = 10.0  # length of a clip for which the meta file wants the multiply-accumulates


class SegmentEncoder(ClipEncoder):
    """The direction of the mean embedding of a clip's segments: one part, of unit length."""

    module: Encoder

    def __init__(self, context: RunContext, settings: EmbeddingSettings) -> None:
        self.context, self.settings = context, settings
        classifier(settings, 1, 2)  # refuses an option that the loss does not have, before long work
        self.module = build(settings, context.sample_rate_hz).to(context.device)
        self.origin = self.module.origin

    def fit(self, recordings: Recordings) -> None:
        """Trains the network on the classes of the clips, takes the joint one, or leaves it frozen."""
        place, supplement = self.context, self.context.supplement
        if self.settings.is_frozen:
            self._refuse_what_needs_training()
        elif self.settings.joint:
            everything = _everything(recordings, supplement.other_machines)
            self.module = joint_encoder(
                everything, self.settings, device=place.device, cache=place.cache, seed=place.seed
            )
        else:
            learn = place.all_normals(recordings)
            self.module = train_encoder(
                joined([learn, supplement.noise_only]) if supplement.noise_only else learn,
                self.settings,
                device=place.device,
                cache=place.cache,
                directory=place.directory,
                seed=place.seed,
                fingerprint=place.fingerprint,
            )

    def embed(self, recordings: Recordings) -> list[FloatArray]:
        """One part of unit length; in the residual view the direction of near - residual * far."""
        vectors = self._directions(recordings)
        if residual := recordings.front_end.residual:
            vectors = unit(vectors - residual * self._directions(recordings.far()))
        return [vectors]

    def facts(self) -> dict[str, Any]:
        """Parameters, multiply-accumulates per 10 s clip (without the STFT), and words for the meta file."""
        encoder, settings = self.module.eval(), self.settings
        clip_samples = round(_CLIP_S * self.context.sample_rate_hz)
        n_samples = encoder.input_samples(clip_samples)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            encoder(torch.zeros(1, n_samples, device=self.context.device))
        names = ("mixup", "featex", "statex", "masking")
        augmentations = [name for name in names if getattr(settings, name) and not settings.is_frozen]
        return {
            "total_parameters": sum(p.numel() for p in encoder.parameters()),
            "macs": counter.get_total_flops() // 2 * -(-clip_samples // n_samples),
            "data_augmentation": ", ".join(augmentations) or None,
            "attribute_usage": None if settings.is_frozen else "classification",
            **declared(settings),
        }

    def _directions(self, recordings: Recordings) -> FloatArray:
        place = self.context
        if self.settings.is_frozen:
            return cached_embeddings(self.module, recordings, place.device, place.cache)
        return clip_embeddings(self.module, recordings, place.device)

    def _refuse_what_needs_training(self) -> None:
        if self.settings.joint or self.context.supplement.noise_only:
            given = "embedding.joint=true" if self.settings.joint else "noise as negatives"
            raise AsdError(
                f"{given} is for encoders that are trained, and embedding.encoder={self.settings.name} is frozen; "
                f"fine-tune it with embedding.lora_rank=64, or leave that option out"
            )


def _everything(recordings: Recordings, others: Recordings | None) -> Recordings:
    """The clips of all machines, sorted, so that each machine asks for the same encoder."""
    if others is None:
        raise AsdError(
            "embedding.joint=true needs the training clips of other machines, and none were given; "
            "use machine=all or embedding.joint=false"
        )
    every = joined([recordings, others])
    clips = every.clips
    return every.subset(sorted(range(len(clips)), key=lambda i: (clips[i].machine, clips[i].name)))
