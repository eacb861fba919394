"""The options of the detector `embedding`: how its encoder is built, what it learns, and what scores.

Nothing here loads torch, so that `--help` is quick; `build.build` makes the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from asd.detectors import LEAST_SAMPLES, DetectorSettings, SearchSettings, class_at
from asd.options import NO_RESULT, Names, Numbers, Sizes, TrainSettings
from asd.types import AsdError

if TYPE_CHECKING:
    from torch import nn

FAULTS = "fault_mlp"
TRAINED = ("multires_cnn", "resnet_se", "bottleneck")
PRETRAINED = ("beats", "eat", "ast", "transformers")
ENCODERS = (FAULTS, *TRAINED, *PRETRAINED)
_MODULE = "module of the class "  # what the options of a run hold of a module that was handed in


def _checked_encoder(encoder: Any) -> Any:
    """An encoder's name, `package.module:Class` or module as it was given; `AsdError` where it is none of these."""
    if isinstance(encoder, str):
        if encoder.startswith(_MODULE):
            raise AsdError(
                f"embedding.encoder is a {encoder}, and no name makes it again: a model to save needs "
                f"package.module:Class"
            )
        if encoder not in ENCODERS and ":" not in encoder:
            raise AsdError(
                f"embedding.encoder={encoder} is unknown; there are {', '.join(ENCODERS)}, and "
                f"package.module:Class for one of your own"
            )
    elif isinstance(encoder, type) or not hasattr(encoder, "forward"):
        raise AsdError(
            f"embedding.encoder is a {type(encoder).__name__}; give the name of an encoder, package.module:Class or a "
            f"torch.nn.Module"
        )
    return encoder


def _stored(encoder: Any) -> str:
    return encoder if isinstance(encoder, str) else f"{_MODULE}{type(encoder).__name__}"


if TYPE_CHECKING:
    EncoderOption = str | nn.Module
else:
    EncoderOption = Annotated[Any, BeforeValidator(_checked_encoder), PlainSerializer(_stored, return_type=str)]


def encoder_class(place: str) -> type[nn.Module]:
    """The network that "package.module:Class" names; `AsdError` where it cannot be imported, or is none."""
    from torch import nn

    kind = class_at(place, f"embedding.encoder={place}")
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise AsdError(f"embedding.encoder={place} is no torch.nn.Module; name a class that is one")
    return kind


class Recipe(TrainSettings):
    """Everything that decides an encoder besides data and seed: its network, what it learns, and how."""

    encoder: EncoderOption = Field(
        FAULTS,
        description=f"{', '.join((FAULTS, *TRAINED))}; pretrained: {', '.join(PRETRAINED)}; package.module:Class",
    )
    checkpoint: Path | None = Field(None, description="file or folder of a pretrained encoder's weights")
    layers: Numbers = Field([], description="pretrained: layers to take, from 1; by default the last")
    pooling: Literal["mean", "rdp4", "rdp8", "rdp_gem"] = Field(
        "mean", description="pretrained, over time: mean, rdp4, rdp8 or rdp_gem"
    )
    bands: bool = Field(True, description="pretrained: keep the frequency bands side by side")
    window_s: float = Field(10.0, ge=0.2, description="pretrained: seconds of one input")
    lora_rank: int = Field(0, ge=0, description="pretrained: fine-tuned by adapters of this rank; 0: frozen")
    segment_samples: int = Field(32000, ge=2048, description="samples of one input of an encoder trained here")
    windows_samples: Sizes = Field([256, 1024, 4096], description="STFT windows, one branch each")
    whole: bool = Field(True, description="also a branch on the spectrum of the whole segment")
    n_dims: int = Field(128, ge=1, description="dimensions of each part that is learnt")
    width: int = Field(16, ge=1, description="channels of the first stage; the last has 8 times as many")
    level: bool = Field(True, description="give the encoder the level of a segment")
    activity: bool = Field(False, description="bottleneck: weigh frames by the machine's level in them")
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
    memory_gib: float = Field(
        4.0, gt=0, description="most that the training waveforms may take", json_schema_extra=NO_RESULT
    )
    epochs: int = Field(16, ge=1, description="passes over the training clips")
    batch_size: int = Field(32, ge=2, description="segments per step")
    weight_decay: float = Field(1e-2, ge=0, description="per step and unit of learning rate")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 on a CPU"
    )

    def check(self) -> None:
        """Raises `AsdError` for options that do not go together."""
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

    @property
    def name(self) -> str:
        """The encoder's name, or the class of the module that was given."""
        return _stored(self.encoder).removeprefix(_MODULE)

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


class FaultRecipe(TrainSettings):
    """How `fault_mlp` learns to tell synthetic faults of a machine apart; see `fault_mlp.FaultMlp`."""

    copies: int = Field(8, ge=1, description="altered copies of each clip; fewer beyond 4000 s of sound")
    networks: int = Field(2, ge=1, description="on each of three kinds of inputs")
    noise: float = Field(0.1, ge=0, description="deviation of noise on the inputs in training")
    epochs: int = Field(8, ge=1, description="passes over the training data")
    batch_size: int = Field(128, ge=2, description="items per step of the optimiser")
    learning_rate: float = Field(2e-3, gt=0, description="largest step size")
    weight_decay: float = Field(1e-3, ge=0, description="per step and unit of learning rate")


class EmbeddingSettings(Recipe, SearchSettings, DetectorSettings):
    """An encoder and what scores its embeddings; the defaults take a CPU core less than a minute a machine."""

    faults: FaultRecipe = FaultRecipe()

    backends: Names = Field(
        ["knn_relative", "knn", "mahalanobis"], description="what scores an embedding; the first is the default"
    )
    joint: bool = Field(False, description="one encoder for all machines of the run")

    def check_names(self) -> None:
        """Looks up the back ends, and the class of an encoder of one's own; the names of others are known already."""
        self.check()
        self.own_classes()
        self.search_options(self.backends)

    def own_classes(self) -> list[type]:
        """The class of an encoder that is none of this package."""
        if isinstance(self.encoder, str):
            return [encoder_class(self.encoder)] if ":" in self.encoder else []
        return [type(module) for module in self.encoder.modules()]

    def own_files(self) -> list[Path]:
        """The checkpoint, where there is one: a missing one is refused by what needs it."""
        return [self.checkpoint] if self.checkpoint and self.checkpoint.exists() else []

    def check(self) -> None:
        """Refuses options that do not go together, or that `fault_mlp` would leave unread."""
        super().check()
        if self.encoder != FAULTS:
            return
        fields = {**Recipe.model_fields, "joint": EmbeddingSettings.model_fields["joint"]}
        given = [n for n, field in fields.items() if n != "encoder" and getattr(self, n) != field.default]
        if given:
            instead = f"give embedding.faults.{given[0]}, or " if given[0] in FaultRecipe.model_fields else ""
            raise AsdError(
                f"embedding.{given[0]} is no option of embedding.encoder={FAULTS}; {instead}take another encoder, such "
                f"as {TRAINED[0]}"
            )

    @property
    def is_joint(self) -> bool:
        """Whether the encoder also learns from the other machines."""
        return self.joint

    def least_clips(self) -> int:
        """As the back ends."""
        return self.least_vectors(self.backends)

    def least_samples(self) -> int:
        """As for clip statistics, which find the pseudo-classes; shorter segments are filled by repetition."""
        return LEAST_SAMPLES
