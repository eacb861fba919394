"""Embeddings of whole clips, of unit length; those of a frozen encoder are computed once.

A clip is cut into the fewest segments that cover it; its embedding is the direction of their mean. Those of
a frozen encoder lie in the cache, a file for some clips at a time: an interrupted run goes on where it
stopped, and every back end and every run with the same encoder reads the same files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from asd.core.files import load_tensors, save_tensors
from asd.core.networks.encoder import Encoder
from asd.core.runtime import fingerprint, log, progress
from asd.data.recordings import Recordings
from asd.features.waveforms import segments
from asd.types import AsdError

Vectors = npt.NDArray[np.float64]  # (clips, parts * dims)

_FORMAT = 2  # raise when the stored numbers change meaning
_CLIPS_PER_FILE = 64
_CHUNK_SAMPLES = 1 << 21  # embedded at once: about 300 MB of activations at the default width


def clip_embeddings(encoder: Encoder, recordings: Recordings, device: torch.device) -> Vectors:
    """Embeddings (clips, parts * dims) of unit length."""
    clip = recordings.clips[0]
    return _embedded(encoder, recordings, device, f"embed {clip.machine} {clip.split}")


def cached_embeddings(encoder: Encoder, recordings: Recordings, device: torch.device, cache: Path) -> Vectors:
    """The same of a frozen encoder, known by its `origin`: read from `cache` or computed there."""
    if not recordings.is_on_disk:
        return clip_embeddings(encoder, recordings, device)
    first = recordings.clips[0]
    folder = cache / f"{first.machine}-{first.split}-embedding-{_key(encoder, recordings)}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = np.split(np.arange(len(recordings)), range(_CLIPS_PER_FILE, len(recordings), _CLIPS_PER_FILE))
    blocks = []
    for indices in progress(parts, f"embed {first.machine} {first.split}"):
        path = folder / f"{indices[0]:06d}.safetensors"
        vectors = _read(path)
        if vectors is None or len(vectors) != len(indices):
            fresh = _embedded(encoder, recordings.subset(indices), device).astype(np.float32)
            save_tensors(path, {"vectors": torch.from_numpy(fresh)})
            vectors = fresh.astype(np.float64)
        blocks.append(vectors)
    return unit(np.concatenate(blocks))


def unit(vectors: Vectors) -> Vectors:
    """Vectors (clips, dims) at length one; zero stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny))


def _embedded(encoder: Encoder, recordings: Recordings, device: torch.device, label: str = "") -> Vectors:
    """Finite embeddings; a progress bar of that name."""
    vectors = np.empty((len(recordings), encoder.n_parts * encoder.n_dims))
    batches = recordings.batches(device)
    for indices, waveforms in progress(batches, label) if label else batches:
        vectors[indices] = _means(encoder, waveforms)
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        raise AsdError(
            f"the embedding of {recordings.clips[bad[0]].path} holds NaN or infinity; the encoder's weights are "
            f"damaged or its training diverged: fetch embedding.checkpoint again, or train again with a lower "
            f"embedding.learning_rate"
        )
    return unit(vectors)


def _means(encoder: Encoder, waveforms: torch.Tensor) -> Vectors:
    """Mean embeddings (batch, parts * dims) of the segments of clips (batch, samples) of one length."""
    encoder.eval()
    n_samples = encoder.input_samples(waveforms.shape[1])
    cut = segments(waveforms, n_samples)
    with torch.inference_mode():
        parts = [
            encoder(chunk).flatten(1).double().cpu()
            for chunk in cut.flatten(0, 1).split(max(1, _CHUNK_SAMPLES // n_samples))
        ]
    means: Vectors = torch.cat(parts).unflatten(0, cut.shape[:2]).mean(1).numpy()
    return means


def _read(path: Path) -> Vectors | None:
    """Embeddings of a file; None where there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        vectors: Vectors = load_tensors(path)[0]["vectors"].double().numpy()
    except (AsdError, KeyError) as error:
        log.warning("%s is damaged (%s): its embeddings are computed once more", path, error)
        return None
    return vectors


def _key(encoder: Encoder, recordings: Recordings) -> str:
    """Hash of the encoder, the recordings and how they are read."""
    return fingerprint(_FORMAT, encoder.origin, recordings.key())
