"""An encoder learns to tell normal clips apart; what it then hears in a clip is the embedding.

    segments ─ mixup ─ spectra ─ masking, StatEx ─ branches ─┬─ loss per branch
                                                             ├─ loss on all branches side by side
                                                             └─ FeatEx ─ loss on exchanged branches

Everything is on the device: a batch is an index lookup in the resident waveforms, the STFT is a part of the
network, and an epoch's random numbers are a function of (seed, epoch).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import one_hot

from asd import augment
from asd.audio import Recordings
from asd.core.checkpoint import load_into, load_tensors, save_tensors
from asd.core.losses.metric_learning import ClassificationLoss, loss_named
from asd.core.networks.encoder import Encoder
from asd.core.runtime import fingerprint, log
from asd.core.trainer import TrainSettings, train
from asd.encoders.design import Design
from asd.frames import log_mel_frames
from asd.labels import classes_of
from asd.waveforms import ResidentWaveforms

_LOG_MEL = {"n_fft": 1024, "hop_samples": 512, "n_mels": 128}  # what pseudo-classes are clustered by


@dataclass(frozen=True)
class Recipe(Design):
    """Everything that decides an encoder besides data and seed: its design, and how it is trained.

    Attributes:
        loss: name in `metric_learning.LOSSES`.
        scale: factor of the loss's cosines; None: its own.
        margin: angle in radians that the true class has to overcome, of "arcface"; None: its own.
        n_centres: directions per class of "subcluster_adacos" and "adaproj"; None: their own.
        mixup, featex, statex: share of the rows that are mixed or exchanged.
        masking: widest band and stretch that is blanked, as a share of the axis.
        balance: 0 draws clips alike, 1 classes alike.
        least_classes: a machine's section with fewer real classes is split into pseudo-classes.
        most_classes: cap on the classes of a section that is split.
        memory_gib: most memory that the training waveforms may take on the device.
        epochs, batch_size, learning_rate, weight_decay, warmup, schedule: of the training.
        precision, clip_norm, accumulate, tensorboard: see `core.trainer.TrainSettings`.

    Raises:
        AsdError: a design that cannot work, or a knob that the loss does not have.
    """

    loss: str = "subcluster_adacos"
    scale: float | None = None
    margin: float | None = None
    n_centres: int | None = None
    mixup: float = 0.5
    featex: float = 0.0
    statex: float = 0.0
    masking: float = 0.0
    balance: float = 0.5
    least_classes: int = 3
    most_classes: int = 8
    memory_gib: float = 4.0
    epochs: int = 16
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    clip_norm: float | None = None
    accumulate: int = 1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.classifier(1, 2)  # refuses knobs that the loss does not have

    def classifier(self, n_dims: int, n_classes: int) -> ClassificationLoss:
        """A fresh loss on embeddings (batch, n_dims)."""
        given = {"scale": self.scale, "margin": self.margin, "n_centres": self.n_centres}
        return loss_named(self.loss, n_dims, n_classes, **{k: v for k, v in given.items() if v is not None})

    def train_settings(self, seed: int) -> TrainSettings:
        """Settings of the training loop."""
        return TrainSettings(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            seed,
            self.weight_decay,
            self.warmup,
            self.schedule,
            self.precision,
            self.clip_norm,
            self.accumulate,
            tensorboard=self.tensorboard,
        )


class Discriminator(nn.Module):
    """An encoder with a classification loss on the whole embedding and one on each part.

    Args:
        encoder: waveforms to embeddings in parts.
        n_classes: classes to tell apart.
        recipe: loss and augmentation.
    """

    def __init__(self, encoder: Encoder, n_classes: int, recipe: Recipe) -> None:
        super().__init__()
        self.encoder, self.recipe = encoder, recipe
        self.several = encoder.n_parts > 1
        loss, n_dims = recipe.classifier, encoder.n_parts * encoder.n_dims
        if recipe.statex:
            n_classes *= 3  # left alone; content; statistics
        self.whole = loss(n_dims, n_classes)
        n_parts = encoder.n_parts if self.several else 0  # one part alone is the whole
        self.parts = nn.ModuleList(loss(encoder.n_dims, n_classes) for _ in range(n_parts))
        if recipe.featex and self.several:
            self.exchanged = loss(n_dims, n_classes * (1 + encoder.n_parts))

    def forward(self, waveforms: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of segments (batch, samples) with soft labels (batch, classes)."""
        n, recipe = len(waveforms), self.recipe
        mixing = augment.draw_mixup(n, recipe.mixup)
        waveforms, labels = augment.mixup(waveforms, mixing), augment.mixup(labels, mixing)
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
        return torch.stack(losses).mean()

    def _augmented(
        self, spectra: list[torch.Tensor], labels: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        if self.recipe.masking:
            masks = augment.draw_masks(len(labels), self.recipe.masking)
            spectra = [augment.mask(x, masks) for x in spectra]
        if self.recipe.statex:
            exchange = augment.draw_exchange(len(labels), 2, self.recipe.statex)
            spectra = [augment.exchange_statistics(x, exchange) if x.dim() == 3 else x for x in spectra]
            labels = augment.exchange_labels(labels, exchange)
        return spectra, labels


def train_encoder(
    recordings: Recordings,
    recipe: Recipe,
    *,
    device: torch.device,
    cache: Path,
    directory: Path,
    seed: int,
    fingerprint: str,
) -> Encoder:
    """Trains an encoder to tell the recordings' classes apart; resumes from `directory`.

    Args:
        recordings: normal training clips, of one machine or of several.
        recipe: network, loss, augmentation, training.
        device: where everything happens.
        cache: folder of log-mel features, for pseudo-classes.
        directory: receives metrics.jsonl and the state to resume from.
        seed: fixes every random draw.
        fingerprint: hash of configuration and data.

    Raises:
        AsdError: nothing to tell apart, too much memory, or a loss that is not finite.
    """
    classes = classes_of(
        recordings.clips,
        lambda indices: mean_spectra(recordings, indices, cache, device),
        least_classes=recipe.least_classes,
        most_classes=recipe.most_classes,
        seed=seed,
    )
    log.info("encoder: %d clips of %d classes", len(recordings), len(classes.names))
    waveforms = ResidentWaveforms(recordings, device, int(recipe.memory_gib * 2**30))
    labels = one_hot(torch.from_numpy(classes.index), len(classes.names)).float().to(device)
    torch.manual_seed(seed)  # initial weights
    encoder = recipe.network()
    module = Discriminator(encoder, len(classes.names), recipe).to(device)
    train(
        module,
        lambda clips: module(waveforms.random_segments(clips, encoder.segment_samples), labels[clips]),
        torch.arange(len(recordings), device=device),
        recipe.train_settings(seed),
        directory,
        weights=torch.from_numpy(classes.balanced_weights(recipe.balance)),
        fingerprint=fingerprint,
        label="train " + " ".join(sorted({clip.machine for clip in recordings.clips})),
    )
    return encoder


def joint_encoder(
    recordings: Recordings, recipe: Recipe, *, device: torch.device, cache: Path, seed: int
) -> Encoder:
    """The encoder of several machines, trained once: `cache` keeps it under a hash of all it depends on.

    Args:
        recordings: normal training clips of all machines, in an order that does not depend on the machine
            that asks first.
        recipe, device, seed: as in `train_encoder`.
        cache: folder of all caches; an interrupted training resumes there.
    """
    clips = [(str(clip.path.resolve()), clip.path.stat().st_size) for clip in recordings.clips]
    encoder = recipe.network().to(device)
    digest = fingerprint(asdict(recipe), encoder.origin, seed, device.type, recordings.key(), clips)
    folder = cache / f"encoder-{digest}"
    path = folder / "encoder.safetensors"
    if not path.exists():
        trained = train_encoder(
            recordings, recipe, device=device, cache=cache, directory=folder, seed=seed, fingerprint=digest
        )
        save_tensors(path, trained.state_dict())
        (folder / "state.safetensors").unlink()
    load_into(encoder, load_tensors(path, device)[0], path)
    return encoder


def mean_spectra(
    recordings: Recordings, indices: npt.NDArray[np.int64], cache: Path, device: torch.device
) -> npt.NDArray[np.floating[Any]]:
    """Mean log-mel spectrum in dB of some clips, level removed: (n, mels)."""
    frames = log_mel_frames(recordings.subset(indices), _LOG_MEL, cache, device)
    sums = np.add.reduceat(frames.to(torch.device("cpu")).numpy(), np.cumsum(frames.lengths) - frames.lengths)
    means = sums / frames.lengths[:, None]
    return means - means.mean(1, keepdims=True)
