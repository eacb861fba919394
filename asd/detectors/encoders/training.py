"""Trains an encoder to classify normal clips; what it makes of a clip is the embedding.

A class is machine x section x domain x attributes. Where a machine has too few of them to train an encoder
on, its larger classes are split into pseudo-classes by k-means; only training clips are looked at.

    segments ─ mixup ─ spectra ─ masking, StatEx ─ branches ─┬─ loss per branch
                                                             ├─ loss on all branches side by side
                                                             └─ FeatEx ─ loss on exchanged branches

Everything is on the device: a batch is an index lookup in the resident waveforms, the STFT is a part of the
network, and an epoch's random numbers are a function of (seed, epoch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch import nn
from torch.nn.functional import one_hot

from asd.core.checkpoint import load_into
from asd.core.files import alone, load_tensors, save_tensors
from asd.core.losses.metric_learning import ClassificationLoss, loss_named
from asd.core.networks.encoder import Encoder
from asd.core.runtime import fingerprint, log, own_code, weights_hash
from asd.core.semi import EmaTeacher
from asd.core.trainer import train
from asd.data.frontends import activity_target
from asd.data.recordings import Recordings
from asd.detectors.base import RunContext
from asd.detectors.encoders.bottleneck import Bottleneck
from asd.detectors.encoders.build import build
from asd.detectors.encoders.recipe import Recipe
from asd.features import augment
from asd.features.frames import log_mel_frames
from asd.features.waveforms import ResidentWaveforms
from asd.types import AsdError, Clip

Indices = npt.NDArray[np.int64]
_LEAST_CLIPS = 8  # per pseudo-class: with fewer, an encoder learns the clips by heart
_LOG_MEL = {"n_fft": 1024, "hop_samples": 512, "n_mels": 128}  # what pseudo-classes are clustered by


def classifier(recipe: Recipe, n_dims: int, n_classes: int) -> ClassificationLoss:
    """A fresh loss of a recipe, on embeddings (batch, n_dims)."""
    given = {"scale": recipe.scale, "margin": recipe.margin, "n_centres": recipe.n_centres}
    return loss_named(recipe.loss, n_dims, n_classes, **{k: v for k, v in given.items() if v is not None})


class Discriminator(nn.Module):
    """An encoder with a classification loss on the whole embedding and, if wanted, one on each part."""

    def __init__(self, encoder: Encoder, n_classes: int, recipe: Recipe) -> None:
        super().__init__()
        self.encoder, self.recipe = encoder, recipe
        self.several = encoder.n_parts > 1
        loss, n_dims = partial(classifier, recipe), encoder.n_parts * encoder.n_dims
        if recipe.statex:
            n_classes *= 3  # left alone; content; statistics
        self.whole = loss(n_dims, n_classes)
        n_parts = encoder.n_parts if self.several and recipe.part_losses else 0  # one part alone is the whole
        self.parts = nn.ModuleList(loss(encoder.n_dims, n_classes) for _ in range(n_parts))
        if recipe.featex and self.several:
            self.exchanged = loss(n_dims, n_classes * (1 + encoder.n_parts))

    def forward(self, waveforms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of segments, and beside it what an activity head has still to learn."""
        n, recipe = len(waveforms), self.recipe
        mixing = augment.draw_mixup(n, recipe.mixup)
        alone, waveforms = waveforms, augment.mixup(waveforms, mixing)
        labels = augment.mixup(labels, mixing)
        with torch.autocast(waveforms.device.type, enabled=False):  # filter banks need their digits
            spectra = self.encoder.spectra(waveforms)
        spectra, labels = self._augmented(spectra, labels)
        embeddings = self.encoder.encode(spectra)
        losses = [self.whole(embeddings.flatten(1), labels)]
        losses += [loss(embeddings[:, k], labels) for k, loss in enumerate(self.parts)]
        if recipe.featex and self.several:
            exchange = augment.draw_exchange(n, self.encoder.n_parts, recipe.featex)
            mixed = augment.exchange_parts(embeddings, exchange).flatten(1)
            losses.append(self.exchanged(mixed, augment.exchange_labels(labels, exchange)))
        loss = torch.stack(losses).mean()
        if recipe.activity and isinstance(self.encoder, Bottleneck):
            loss = loss + self.encoder.activity_loss(spectra, augment.mixup(activity_target(alone), mixing))
        return loss

    def _augmented(self, spectra: list[torch.Tensor], labels: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        if self.recipe.masking:
            masks = augment.draw_masks(len(labels), self.recipe.masking)
            spectra = [augment.mask(x, masks) for x in spectra]
        if self.recipe.statex:
            if not any(x.dim() == 3 for x in spectra):
                raise AsdError(
                    f"embedding.statex={self.recipe.statex:g} exchanges statistics of spectrograms, and "
                    f"embedding.encoder={self.recipe.name} takes none here; leave it out"
                )
            exchange = augment.draw_exchange(len(labels), 2, self.recipe.statex)
            spectra = [augment.exchange_statistics(x, exchange) if x.dim() == 3 else x for x in spectra]
            labels = augment.exchange_labels(labels, exchange)
        return spectra, labels


def train_encoder(recordings: Recordings, recipe: Recipe, context: RunContext) -> Encoder:
    """Trains an encoder to tell the recordings' classes apart; resumes from the directory of the context."""
    device = context.device
    names, index = classes_of(
        recordings.clips, lambda indices: mean_spectra(recordings, indices, context.cache, device), recipe, context.seed
    )
    log.info("encoder: %d clips of %d classes", len(recordings), len(names))
    waveforms = ResidentWaveforms(recordings, device, int(recipe.memory_gib * 2**30))
    labels = one_hot(torch.from_numpy(index), len(names)).float().to(device)
    torch.manual_seed(context.seed)  # initial weights
    encoder = build(recipe, recordings.sample_rate_hz)
    module = Discriminator(encoder, len(names), recipe).to(device)
    teacher = EmaTeacher(module, recipe.ema_decay, "ema") if recipe.ema_decay else None
    train(
        module,
        lambda clips: module(waveforms.random_segments(clips, encoder.segment_samples), labels[clips]),
        torch.arange(len(recordings), device=device),
        recipe,
        context.directory,
        seed=context.seed,
        teacher=teacher,
        weights=torch.from_numpy(balanced_weights(index, recipe.balance)),
        fingerprint=context.fingerprint,
        label="train " + " ".join(sorted({clip.machine for clip in recordings.clips})),
    )
    return encoder if teacher is None else cast(Discriminator, teacher.module).encoder


def joint_encoder(recordings: Recordings, recipe: Recipe, context: RunContext) -> Encoder:
    """The encoder of several machines, trained once: the cache keeps it under a hash of all it depends on.

    Args:
        recordings: normal training clips of all machines, in an order that does not depend on the machine
            that asks first.
        recipe: as in `train_encoder`.
        context: of the machine that asks; an interrupted training resumes in its cache.
    """
    torch.manual_seed(context.seed)
    encoder = build(recipe, recordings.sample_rate_hz).to(context.device)
    origin = encoder.origin or weights_hash(encoder, own_code({*map(type, encoder.modules())}))
    key = fingerprint(recipe.deciding(), origin, context.seed, context.device.type, recordings.key())
    folder = context.cache / f"encoder-{key}"
    path = folder / "encoder.safetensors"
    with alone(folder):  # machines that are trained side by side ask for the same encoder
        if not path.exists():
            trained = train_encoder(recordings, recipe, replace(context, directory=folder, fingerprint=key))
            save_tensors(path, trained.state_dict())
            (folder / "state.safetensors").unlink()
    load_into(encoder, load_tensors(path, context.device)[0], path)
    return encoder


def mean_spectra(
    recordings: Recordings, indices: npt.NDArray[np.int64], cache: Path, device: torch.device
) -> npt.NDArray[np.floating[Any]]:
    """Mean log-mel spectrum in dB of some clips, level removed: (n, mels)."""
    frames = log_mel_frames(recordings.subset(indices), _LOG_MEL, cache, device)
    sums = np.add.reduceat(frames.to(torch.device("cpu")).numpy(), np.cumsum(frames.lengths) - frames.lengths)
    means = sums / frames.lengths[:, None]
    return means - means.mean(1, keepdims=True)


def balanced_weights(index: Indices, balance: float) -> npt.NDArray[np.float64]:
    """Sampling weight of each clip, (clips,), by the number of its class: class size to the power of -`balance`.

    0 draws clips alike, 1 draws classes alike; in between, 10 target clips are neither drowned by 990
    of the source nor learnt by heart.
    """
    return np.bincount(index)[index].astype(np.float64) ** -balance


def class_name(clip: Clip) -> str:
    """Machine, section, domain and attributes, as far as they are known."""
    known = [clip.machine, clip.section, *([str(clip.domain)] if clip.domain else [])]
    return " ".join([*known, *(f"{key}={value}" for key, value in sorted(clip.attributes.items()))])


def classes_of(
    clips: Sequence[Clip], vectors: Callable[[Indices], npt.NDArray[np.floating]], recipe: Recipe, seed: int
) -> tuple[list[str], Indices]:
    """Classes of training clips, with pseudo-classes where a machine's section has fewer than the recipe wants.

    `vectors` is called with indices (n,) of clips to cluster: (n, dims) that describe their sound.

    Returns:
        Names, such as "bearing 00 source rpm=800" or, of pseudo-classes, "fan 00 #0"; and the number of each clip's
        class, (clips,).
    """
    names = np.array([class_name(clip) for clip in clips], dtype=object)
    sections = np.array([f"{clip.machine} {clip.section}" for clip in clips], dtype=object)
    for section in sorted(set(sections)):
        own = sections == section
        real = sorted(set(names[own]))
        if len(real) >= recipe.least_classes:
            continue
        for name in real:
            members = np.flatnonzero(names == name)
            most = min(1 + recipe.most_classes - len(real), len(members) // _LEAST_CLIPS)
            if most >= 2:
                pseudo = pseudo_classes(vectors(members), most, seed)
                names[members] = [f"{name} #{k}" for k in pseudo]
        if (made := len(set(names[own]))) > len(real):
            log.warning(
                f"{section} has {len(real)} real class(es), too few to train an encoder: split into {made} "
                f"pseudo-classes by k-means of the mean log-mel spectrum"
            )
    unique, index = np.unique(names.astype(str), return_inverse=True)
    if len(unique) < 2:
        raise AsdError(
            f"all {len(clips)} training clips are of one class ({unique[0]}) and too few to split: there is "
            f"nothing to tell apart; add clips, train jointly with other machines, or use another detector"
        )
    return unique.tolist(), index.astype(np.int64)


def pseudo_classes(vectors: npt.NDArray[np.floating], most: int, seed: int = 0) -> Indices:
    """Clusters of vectors (n, dims), (n,): k-means, k from 2 to `most` by the best silhouette.

    The silhouette asks only how compact and apart the clusters are, so that no test clip is needed.
    Identical vectors are one cluster.
    """
    best = np.zeros(len(vectors), np.int64)
    highest = -np.inf
    distinct = len(np.unique(vectors, axis=0))
    for k in range(2, min(most, distinct - 1) + 1):
        found = KMeans(k, n_init=10, random_state=seed).fit_predict(vectors)
        quality = float(silhouette_score(vectors, found))
        if quality > highest:
            best, highest = found.astype(np.int64), quality
    return best
