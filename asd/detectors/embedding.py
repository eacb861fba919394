"""Learn to tell normal clips apart, then ask how far a clip lies from all of them.

An encoder (`encoder_training`) is trained to classify normal clips by machine, section, domain and
attributes; to do so it must hear what distinguishes conditions, and what is unlike every condition lands
away from all training clips.

Scorers are back ends of `scoring.backends`, all on one embedding. Embeddings have unit length, so that the
Euclidean neighbours of those are the cosine neighbours of the papers.

Source: Wilkinghoff, "Self-supervised learning for anomalous sound detection", ICASSP 2024.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from asd.audio import Recordings
from asd.core.checkpoint import load_into, load_tensors, save_tensors
from asd.core.runtime import progress
from asd.detectors.base import Detector, Scores, Workplace
from asd.encoder_training import Recipe, joint_encoder, train_encoder
from asd.scoring.backends import backend_named
from asd.scoring.references import FloatArray, References, references_of, sections_of
from asd.scoring.sections import Sectioned
from asd.types import AsdError
from asd.waveforms import segments

_CHUNK_SEGMENTS = 64  # embedded at once: about 300 MB of activations at the default width


class Embedding(Detector):
    """A trained encoder and a bank of training embeddings.

    Args:
        workplace: device, caches, seed.
        backends: names in `scoring.backends`, each a scorer; the first is the default.
        joint: train one encoder on the clips of several machines.
        auxiliary: normal training clips of the other machines; needed to fit when `joint`.
        recipe: keyword arguments of `encoder_training.Recipe`.
    """

    def __init__(
        self,
        workplace: Workplace,
        *,
        backends: Sequence[str] = ("knn", "knn_density", "mahalanobis"),
        joint: bool = False,
        auxiliary: Recordings | None = None,
        **recipe: Any,
    ) -> None:
        super().__init__(workplace)
        self.scorers = tuple(backends)
        self.backends = {name: backend_named(name) for name in backends}
        self.fitted: dict[str, Sectioned] = {}
        self.joint, self.auxiliary, self.recipe = joint, auxiliary, Recipe(**recipe)
        self.encoder = self.recipe.network().to(workplace.device)
        self.references: References | None = None

    def fit(self, recordings: Recordings) -> None:
        """Trains the encoder, or takes the joint one, and embeds the training clips."""
        place = self.workplace
        if self.joint:
            self.encoder = joint_encoder(
                self._everything(recordings),
                self.recipe,
                device=place.device,
                cache=place.cache,
                seed=place.seed,
            )
        else:
            self.encoder = train_encoder(
                recordings,
                self.recipe,
                device=place.device,
                cache=place.cache,
                directory=place.directory,
                seed=place.seed,
                fingerprint=place.fingerprint,
            )
        self._set(references_of(recordings.clips, self.embed(recordings)))

    def score(self, recordings: Recordings) -> Scores:
        """Scores by each back end."""
        vectors = self.embed(recordings)
        self._bank()
        sections = sections_of(recordings.clips)
        return {name: scorer.score(vectors, sections) for name, scorer in self.fitted.items()}

    def score_training(self, recordings: Recordings) -> Scores:
        """Scores of the training clips, none of which meets itself."""
        self._bank()
        return {name: scorer.training for name, scorer in self.fitted.items()}

    def embed(self, recordings: Recordings) -> FloatArray:
        """Embeddings (clips, parts * dims) of unit length: the direction of the mean over a clip's segments."""
        vectors = np.empty((len(recordings), self.encoder.n_parts * self.encoder.n_dims))
        clip = recordings.clips[0]
        self.encoder.eval()
        with torch.no_grad():
            for indices, waveforms in progress(recordings.batches(), f"embed {clip.machine} {clip.split}"):
                cut = segments(torch.from_numpy(waveforms), self.recipe.segment_samples)
                parts = [
                    self.encoder(chunk.to(self.workplace.device)).flatten(1).double().cpu()
                    for chunk in cut.flatten(0, 1).split(_CHUNK_SEGMENTS)
                ]
                vectors[indices] = torch.cat(parts).unflatten(0, cut.shape[:2]).mean(1).numpy()
        bad = np.flatnonzero(~np.isfinite(vectors).all(1))
        if len(bad):
            raise AsdError(
                f"the embedding of {recordings.clips[bad[0]].path} holds NaN or infinity; the weights are damaged "
                f"or the training diverged: train again, with a lower embedding.learning_rate"
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny))

    def save(self, directory: Path) -> None:
        """Writes weights.safetensors (encoder) and bank.safetensors (training embeddings)."""
        references = self._bank()
        save_tensors(directory / "weights.safetensors", self.encoder.state_dict(), {"detector": "embedding"})
        arrays = {"vectors": references.vectors, **references.facts()}
        bank = {name: torch.from_numpy(array) for name, array in arrays.items()}
        facts = {"detector": "embedding", "encoder": _digest(self.encoder)}
        save_tensors(directory / "bank.safetensors", bank, facts)

    def load(self, directory: Path) -> None:
        """Reads what `save` wrote; a bank of another encoder is refused."""
        path = directory / "weights.safetensors"
        load_into(self.encoder, load_tensors(path)[0], path)
        path = directory / "bank.safetensors"
        tensors, facts = load_tensors(path)
        if missing := {"vectors", "conditions", "is_target", "sections"} - tensors.keys():
            raise AsdError(f"{path} has no {sorted(missing)[0]}; it is not a bank of this detector")
        if facts.get("encoder") != _digest(self.encoder):
            raise AsdError(
                f"{path} was filled by another encoder than the one in weights.safetensors beside it; distances "
                f"between the two mean nothing: restore the file of this run or train again"
            )
        bank = {name: tensor.numpy() for name, tensor in tensors.items()}
        self._set(References(**bank))

    def facts(self) -> Mapping[str, Any]:
        """Parameters, multiply-accumulates per 10 s clip (without the STFT), and words for the meta file."""
        network = self.recipe.network().eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, self.recipe.segment_samples))
        names = ("mixup", "featex", "statex", "masking")
        augmentations = [name for name in names if getattr(self.recipe, name)]
        segments_per_clip = -(-160_000 // self.recipe.segment_samples)
        return {
            "total_parameters": sum(p.numel() for p in network.parameters()),
            "macs": counter.get_total_flops() // 2 * segments_per_clip,
            "acoustic_features": "spectrogram, spectrum",
            "data_augmentation": ", ".join(augmentations) or None,
            "machine_learning_method": "CNN",
            "aggregation_method": "average",
            "attribute_usage": "classification",
            "decision_making": "quantile of the training scores",
        }

    def _everything(self, recordings: Recordings) -> Recordings:
        """Own and auxiliary clips, sorted, so that each machine asks for the same encoder."""
        if self.auxiliary is None:
            raise AsdError(
                "embedding.joint=true needs the training clips of other machines, and none were given; "
                "use machine=all or embedding.joint=false"
            )
        clips = [*recordings.clips, *self.auxiliary.clips]
        lengths = np.concatenate([recordings.lengths_samples, self.auxiliary.lengths_samples])
        order = sorted(range(len(clips)), key=lambda i: (clips[i].machine, str(clips[i].path.resolve())))
        return Recordings(
            [clips[i] for i in order], recordings.sample_rate_hz, recordings.channel, lengths[order]
        )

    def _set(self, references: References) -> None:
        self.references = references
        self.fitted = {name: Sectioned(backend, references) for name, backend in self.backends.items()}

    def _bank(self) -> References:
        if self.references is None:
            raise AsdError("the embedding detector has no bank yet; fit or load it first")
        return self.references


def _digest(encoder: torch.nn.Module) -> str:
    """Hash of an encoder's weights."""
    content = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        content.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
