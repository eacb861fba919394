"""Everything that decides an encoder besides data and seed: its design, what it learns, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asd.core.losses.metric_learning import ClassificationLoss, loss_named
from asd.core.trainer import TrainSettings
from asd.detectors.encoders.design import Design
from asd.types import AsdError


@dataclass(frozen=True)
class Recipe(Design):
    """Everything that decides an encoder besides data and seed: its design, and how it is trained.

    Attributes:
        loss: name in `metric_learning.LOSSES`.
        scale: factor of the loss's cosines; None: its own.
        margin: angle in radians that the true class has to overcome, of "arcface"; None: its own.
        n_centres: directions per class of "subcluster_adacos" and "adaproj"; None: their own.
        part_losses: whether each part of an embedding is classified, too, beside the whole.
        attribute_head: loss of the head that tells domain and attribute values; "none": no head.
        attribute_weight: of that loss beside the mean of the others.
        co_occurrence: strength of the graph Laplacian in that head.
        ema_decay: the encoder is the running average of what it was at each step; 0: what it is at last.
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
    part_losses: bool = True
    attribute_head: str = "none"
    attribute_weight: float = 1.0
    co_occurrence: float = 0.0
    ema_decay: float = 0.0
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
        if self.co_occurrence and self.attribute_head == "none":
            raise AsdError(
                f"embedding.co_occurrence={self.co_occurrence:g} is a penalty on the answers of the attribute head, "
                f"and there is none; add embedding.attribute_head=bce"
            )
        if self.statex and (self.attribute_head != "none" or self.encoder in ("raw_wave", "gated")):
            given = "attribute_head" if self.attribute_head != "none" else f"encoder={self.encoder}"
            raise AsdError(
                f"embedding.statex={self.statex:g} makes new classes out of exchanged spectrograms, which does not "
                f"go with embedding.{given}; leave one of them out"
            )

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
