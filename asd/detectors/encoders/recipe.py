"""Everything that decides an encoder besides data and seed: its network by name and numbers, and how it is trained.

`Recipe` is plain values and loads no torch; `build.build` makes the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from asd.core.train_settings import TrainSettings
from asd.types import AsdError

if TYPE_CHECKING:
    from torch import nn

TRAINED = ("multires_cnn", "resnet_se", "bottleneck")
PRETRAINED = ("beats", "eat", "ast", "transformers")
_PRETRAINED_RATE_HZ = 16000


def checked_encoder(encoder: str) -> str:
    """A name of an encoder, or the `package.module:Class` of one, as it was given.

    Raises:
        AsdError: it is neither.
    """
    if encoder not in TRAINED + PRETRAINED and ":" not in encoder:
        raise AsdError(
            f"embedding.encoder={encoder} is unknown; there are {', '.join(TRAINED + PRETRAINED)}, and "
            f"package.module:Class for one of your own"
        )
    return encoder


@dataclass(frozen=True)
class Recipe:
    """An encoder and its training.

    Attributes:
        encoder: "multires_cnn" (several resolutions), "resnet_se" (the same, by the public toolkit's network),
            "bottleneck" (the autoencoder's), one of `PRETRAINED`, `package.module:Class`, or a module; see
            `build.build` for the last two.
        sample_rate_hz: of the recordings.
        segment_samples: length of what an encoder that is trained here takes at once.
        windows_samples: STFT windows of "multires_cnn" and "resnet_se", one branch each.
        whole: whether they also have a branch on the spectrum of the whole segment.
        n_dims: length of each part of an embedding; a frozen pretrained network has its own.
        width: channels of their first ResNet stage.
        level: whether the level of a segment counts; for a pretrained network it always does.
        activity: whether the windows of "bottleneck" weigh as the machine is active in them.
        checkpoint: weights of a pretrained network.
        layers: its layers that are taken, from 1, a part each; none: the last.
        pooling: over time, a name in `pretrained.POOLINGS`.
        bands: whether its frequency bands are kept side by side.
        window_s: what it takes at once; a longer clip is cut into several windows.
        lora_rank: of the adapters that fine-tune it; 0 leaves it frozen.
        loss: name in `metric_learning.LOSSES`.
        scale: factor of the loss's cosines; None: its own.
        margin: angle in radians that the true class has to overcome, of "arcface"; None: its own.
        n_centres: directions per class of "subcluster_adacos" and "adaproj"; None: their own.
        part_losses: whether each part of an embedding is classified, too, beside the whole.
        ema_decay: the encoder is the running average of what it was at each step; 0: what it is at last.
        mixup, featex, statex: share of the rows that are mixed or exchanged.
        masking: widest band and stretch that is blanked, as a share of the axis.
        balance: 0 draws clips alike, 1 classes alike.
        least_classes: a machine's section with fewer real classes is split into pseudo-classes.
        most_classes: cap on the classes of a section that is split.
        memory_gib: most memory that the training waveforms may take on the device.
        epochs, batch_size, learning_rate, weight_decay, warmup, schedule: of the training.
        precision, clip_norm, accumulate, tensorboard: see `core.train_settings.TrainSettings`.

    Raises:
        AsdError: an encoder that there is not, or settings that do not go together.
    """

    encoder: str | nn.Module = "multires_cnn"
    sample_rate_hz: int = 16000
    segment_samples: int = 32000
    windows_samples: Sequence[int] = (256, 1024, 4096)
    whole: bool = True
    n_dims: int = 128
    width: int = 16
    level: bool = True
    activity: bool = False
    checkpoint: Path | None = None
    layers: Sequence[int] = ()
    pooling: str = "mean"
    bands: bool = True
    window_s: float = 10.0
    lora_rank: int = 0
    loss: str = "subcluster_adacos"
    scale: float | None = None
    margin: float | None = None
    n_centres: int | None = None
    part_losses: bool = True
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
        if isinstance(self.encoder, str):
            checked_encoder(self.encoder)
        elif not hasattr(self.encoder, "forward"):
            raise AsdError(
                f"embedding.encoder is a {type(self.encoder).__name__}; give the name of an encoder, "
                f"package.module:Class or a torch.nn.Module"
            )
        self._check_spectra()
        if self.is_pretrained and self.sample_rate_hz != _PRETRAINED_RATE_HZ:
            raise AsdError(
                f"embedding.encoder={self.encoder} was pretrained at {_PRETRAINED_RATE_HZ} Hz and cannot take "
                f"{self.sample_rate_hz} Hz; resample the recordings or use embedding.encoder=multires_cnn"
            )
        if not self.is_pretrained and (self.checkpoint or self.lora_rank):
            raise AsdError(
                f"embedding.checkpoint and embedding.lora_rank are for pretrained encoders; "
                f"embedding.encoder={self.name} is trained from nothing: choose one of {', '.join(PRETRAINED)}"
            )
        if self.activity and self.encoder != "bottleneck":
            raise AsdError(
                f"embedding.activity=true weighs the windows of embedding.encoder=bottleneck, and "
                f"{self.name} has none; leave it out or take that encoder"
            )

    def _check_spectra(self) -> None:
        longest = max(self.windows_samples, default=0)
        if longest > self.segment_samples:
            raise AsdError(
                f"embedding.segment_samples={self.segment_samples} is shorter than the longest STFT window "
                f"({longest}); raise it or drop the window"
            )
        if not self.windows_samples and not self.whole:
            raise AsdError(
                "embedding.windows_samples is empty and whole=false: the encoder would have no input; give one"
            )

    @property
    def name(self) -> str:
        """The encoder's name, or the class of the module that was given."""
        return self.encoder if isinstance(self.encoder, str) else type(self.encoder).__name__

    @property
    def is_pretrained(self) -> bool:
        """Whether the network is one of `PRETRAINED`, which come with weights."""
        return self.encoder in PRETRAINED

    @property
    def is_frozen(self) -> bool:
        """Whether there is nothing to train: no adapters, or a module none of whose parameters wants a gradient."""
        if isinstance(self.encoder, str):
            return self.is_pretrained and not self.lora_rank
        return not any(parameter.requires_grad for parameter in self.encoder.parameters())

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
