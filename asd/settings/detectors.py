"""The knobs of the detectors, a section each, and of the training that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from asd.detectors.encoders.recipe import PRETRAINED, TRAINED, checked_encoder
from asd.settings.knobs import Loop, Names, Numbers, Section, Sizes
from asd.types import AsdError

LEAST_SAMPLES = 2048  # an eighth of a second at 16 kHz


def _encoder(name: str) -> str:
    try:
        return checked_encoder(name)
    except AsdError as error:
        raise PydanticCustomError("encoder", "{why}", {"why": str(error)}) from error


class Training(Loop):
    """Gradient training; detectors without any ignore it."""

    epochs: int = Field(100, ge=1, description="passes over the training data")
    batch_size: int = Field(256, ge=2, description="items per step")
    learning_rate: float = Field(1e-3, gt=0, description="step size of Adam")


class Autoencoder(Section):
    """Input of the autoencoder; the defaults are the official baseline's."""

    also_takes = ("compatible", "training")

    n_fft: int = Field(1024, ge=16, description="window of the spectrogram in samples")
    hop_samples: int = Field(512, ge=1, description="step between frames in samples")
    n_mels: int = Field(128, ge=2, description="mel bands")
    n_frames: int = Field(5, ge=1, description="consecutive frames per input vector")

    def least_samples(self) -> int:
        """One window: frames are centred, so the first needs no samples before the second."""
        return (self.n_frames - 1) * self.hop_samples or 1


class Statistics(Section):
    """Clip statistics and what scores them."""

    also_takes = ("sample_rate_hz",)

    views: Names = Field(["all"], description="clip statistics that take part, or all")
    backend: str = Field("gaussian", description="what scores a view")

    def least_samples(self) -> int:
        """Some frames for the envelopes to move in."""
        return LEAST_SAMPLES


class Embedding(Loop):
    """Encoder that is trained to tell normal clips apart; sized so that a CPU core takes about a minute."""

    also_takes = ("sample_rate_hz",)

    encoder: Annotated[str, AfterValidator(_encoder)] = Field(
        "multires_cnn",
        description=", ".join(TRAINED) + "; pretrained: " + ", ".join(PRETRAINED) + "; package.module:Class",
    )
    checkpoint: Path | None = Field(None, description="file or folder of a pretrained encoder's weights")
    layers: Numbers = Field([], description="pretrained: layers that are taken, from 1; by default the last")
    pooling: Literal["mean", "rdp4", "rdp8"] = Field("mean", description="over time: mean, rdp4 or rdp8")
    bands: bool = Field(True, description="pretrained: keep the frequency bands side by side")
    window_s: float = Field(10.0, ge=0.2, description="pretrained: seconds that are taken at once")
    lora_rank: int = Field(0, ge=0, description="pretrained: fine-tuned by adapters of this rank; 0: frozen")
    backends: Names = Field(
        ["knn", "knn_density", "mahalanobis"],
        description="what scores an embedding; the first is the default",
    )
    joint: bool = Field(False, description="one encoder for all machines of the run")
    segment_samples: int = Field(32000, ge=2048, description="length of what the encoder takes at once")
    windows_samples: Sizes = Field([256, 1024, 4096], description="STFT windows, one branch each")
    whole: bool = Field(True, description="also a branch on the spectrum of the whole segment")
    n_dims: int = Field(128, ge=1, description="dimensions of each part that is learnt")
    width: int = Field(16, ge=1, description="channels of the first stage; the last has 8 times as many")
    level: bool = Field(True, description="let the level of a segment count")
    activity: bool = Field(False, description="bottleneck: frames weigh as the machine is active in them")
    loss: Literal["subcluster_adacos", "adaproj", "arcface", "cross_entropy"] = Field(
        "subcluster_adacos", description="subcluster_adacos, adaproj, arcface or cross_entropy"
    )
    scale: float | None = Field(None, gt=0, description="factor of the cosines, by default the loss's own")
    margin: float | None = Field(None, ge=0, description="angle in radians, of arcface")
    n_centres: int | None = Field(None, ge=1, description="sub-clusters a class; directions, of adaproj")
    part_losses: bool = Field(True, description="classify each part of an embedding beside the whole")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="the encoder is the average of its steps; 0: not")
    mixup: float = Field(0.5, ge=0, le=1, description="share of segments mixed with another")
    featex: float = Field(0.0, ge=0, le=1, description="share of segments whose branches are exchanged")
    statex: float = Field(0.0, ge=0, le=1, description="share of spectra whose statistics are exchanged")
    masking: float = Field(0.0, ge=0, lt=1, description="widest masked band and stretch, share of the axis")
    balance: float = Field(0.5, ge=0, le=1, description="0 draws clips alike, 1 draws classes alike")
    least_classes: int = Field(3, ge=1, description="with fewer real classes, clips are clustered")
    most_classes: int = Field(8, ge=2, description="cap on the classes of a machine that is clustered")
    memory_gib: float = Field(4.0, gt=0, description="most that the training waveforms may take")
    epochs: int = Field(16, ge=1, description="passes over the training clips")
    batch_size: int = Field(32, ge=2, description="segments per step")
    learning_rate: float = Field(1e-3, gt=0, description="step size of AdamW")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of steps in which the learning rate rises")
    schedule: Literal["constant", "cosine"] = Field("constant", description="constant or cosine")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 on a CPU"
    )

    def least_samples(self) -> int:
        """As for clip statistics, which find the pseudo-classes; shorter segments are filled by repetition."""
        return LEAST_SAMPLES
