"""Encoders of segments of a waveform on whole clips: trained here, trained jointly, or frozen.

A clip is cut into the fewest segments that cover it; its embedding is the direction of their mean. Those of
a frozen encoder lie in the cache, a file for some clips at a time: an interrupted run goes on where it
stopped, and every back end and every run with the same encoder reads the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from asd.core.files import load_tensors, save_tensors
from asd.core.networks.encoder import Encoder
from asd.core.runtime import fingerprint, log, progress
from asd.data.recordings import Recordings, joined
from asd.detectors.base import ClipEncoder, RunContext, require_finite
from asd.detectors.encoders.build import build, declared
from asd.detectors.encoders.recipe import EmbeddingSettings
from asd.detectors.encoders.training import classifier, joint_encoder, train_encoder
from asd.features.waveforms import segments
from asd.scoring.references import FloatArray
from asd.types import AsdError

_CLIP_S = 10.0  # length of a clip for which the meta file wants the multiply-accumulates
_FORMAT = 2  # raise when the stored numbers change meaning
_CLIPS_PER_FILE = 64
_CHUNK_SAMPLES = 1 << 21  # embedded at once: about 300 MB of activations at the default width


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
        context, settings, supplement = self.context, self.settings, self.context.supplement
        if settings.is_frozen:
            if settings.joint or supplement.noise_only:
                given = "embedding.joint=true" if settings.joint else "noise as negatives"
                raise AsdError(
                    f"{given} is for encoders that are trained, and embedding.encoder={settings.name} is frozen; "
                    f"fine-tune it with embedding.lora_rank=64, or leave that option out"
                )
        elif settings.joint:
            self.module = joint_encoder(_everything(recordings, supplement.other_machines), settings, context)
        else:
            learn = context.all_normals(recordings)
            learn = joined([learn, supplement.noise_only]) if supplement.noise_only else learn
            self.module = train_encoder(learn, settings, context)

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
        if self.settings.is_frozen:
            cache = self.context.cache_of(recordings)
            return cached_embeddings(self.module, recordings, self.context.device, cache)
        return clip_embeddings(self.module, recordings, self.context.device, _label(recordings))


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


def clip_embeddings(encoder: Encoder, recordings: Recordings, device: torch.device, label: str = "") -> FloatArray:
    """Embeddings (clips, parts * dims) of unit length, finite; with a progress bar where it has a label."""
    vectors = np.empty((len(recordings), encoder.n_parts * encoder.n_dims))
    for indices, waveforms in progress(recordings.batches(device), label):
        vectors[indices] = _means(encoder, waveforms)
    way = (
        "the encoder's weights are damaged or its training diverged: fetch embedding.checkpoint again, or train again "
        "with a lower embedding.learning_rate"
    )
    require_finite(vectors, recordings, "the embedding", way)
    return unit(vectors)


def cached_embeddings(encoder: Encoder, recordings: Recordings, device: torch.device, cache: Path | None) -> FloatArray:
    """The same of a frozen encoder, known by its `origin`: read from `cache` or computed there; None: kept nowhere."""
    if cache is None or not recordings.is_on_disk:
        exact = clip_embeddings(encoder, recordings, device, _label(recordings))
        return unit(exact.astype(np.float32).astype(np.float64))  # the digits that are kept: one score every way
    first = recordings.clips[0]
    key = fingerprint(_FORMAT, encoder.origin, recordings.key())
    folder = cache / f"{first.machine}-{first.split}-embedding-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = np.split(np.arange(len(recordings)), range(_CLIPS_PER_FILE, len(recordings), _CLIPS_PER_FILE))
    blocks = []
    for indices in progress(parts, _label(recordings)):
        path = folder / f"{indices[0]:06d}.safetensors"
        vectors = _read(path)
        if vectors is None or len(vectors) != len(indices):
            fresh = clip_embeddings(encoder, recordings.subset(indices), device).astype(np.float32)
            save_tensors(path, {"vectors": torch.from_numpy(fresh)})
            vectors = fresh.astype(np.float64)
        blocks.append(vectors)
    return unit(np.concatenate(blocks))


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors (clips, dims) at length one; zero stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny))


def _label(recordings: Recordings) -> str:
    return f"embed {recordings.clips[0].machine} {recordings.clips[0].split}"


def _means(encoder: Encoder, waveforms: torch.Tensor) -> FloatArray:
    """Mean embeddings (batch, parts * dims) of the segments of clips (batch, samples) of one length."""
    encoder.eval()
    n_samples = encoder.input_samples(waveforms.shape[1])
    cut = segments(waveforms, n_samples)
    with torch.inference_mode():
        parts = [
            encoder(chunk).flatten(1).double().cpu()
            for chunk in cut.flatten(0, 1).split(max(1, _CHUNK_SAMPLES // n_samples))
        ]
    return torch.cat(parts).unflatten(0, cut.shape[:2]).mean(1).numpy()


def _read(path: Path) -> FloatArray | None:
    """Embeddings of a file; None where there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        vectors: FloatArray = load_tensors(path)[0]["vectors"].double().numpy()
    except (AsdError, KeyError) as error:
        log.warning("%s is damaged (%s): its embeddings are computed once more", path, error)
        return None
    return vectors
