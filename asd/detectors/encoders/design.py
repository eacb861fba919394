"""What an encoder is made of: everything that decides its network besides what it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from asd.core.networks.encoder import Encoder
from asd.core.networks.multiresolution import MultiResolution
from asd.core.networks.resnet_se import LEAST_BINS, ResNetSE, first_bin
from asd.core.runtime import fingerprint
from asd.detectors.encoders.bottleneck import Bottleneck
from asd.detectors.encoders.gated import HEARD, MODALITIES, Gated
from asd.detectors.encoders.hub import load_hub
from asd.detectors.encoders.inputs import BeatsInput, EatInput
from asd.detectors.encoders.pretrained import Pretrained
from asd.detectors.encoders.published import content_hash, given_path, load_beats, load_eat
from asd.detectors.encoders.raw_wave import RawWave
from asd.types import AsdError

PRETRAINED = ("beats", "eat", "ast", "transformers")
_PRETRAINED_RATE_HZ = 16000

_TRAINED_HERE = {
    "scratch": {"acoustic_features": "spectrogram, spectrum", "machine_learning_method": "CNN"},
    "resnet_se": {"acoustic_features": "spectrogram, spectrum", "machine_learning_method": "CNN"},
    "bottleneck": {"acoustic_features": "log-mel energies", "machine_learning_method": "MLP"},
    "raw_wave": {"acoustic_features": "raw waveform", "machine_learning_method": "CNN"},
    "gated": {"acoustic_features": "log-mel energies, spectrum", "machine_learning_method": "MLP, CNN"},
}
_NAMES = {"beats": "BEATs", "eat": "EAT", "ast": "AST", "transformers": "<name of the pretrained network>"}
_AUDIOSET = {
    "name": "AudioSet",
    "url": "https://research.google.com/audioset/",
    "total_audio_length": 347387,  # minutes: 2,084,320 clips of 10 s
}
_IMAGENET = {"name": "ImageNet", "url": "https://www.image-net.org/", "total_audio_length": 0}
_UNKNOWN = {"name": "<pretraining data>", "url": "<url>", "total_audio_length": "<minutes>"}
_LEARNT_FROM = {
    "beats": [_AUDIOSET],
    "eat": [_AUDIOSET],
    "ast": [_AUDIOSET, _IMAGENET],
    "transformers": [_UNKNOWN],
}


@dataclass(frozen=True)
class Design:
    """An encoder by name and numbers.

    Attributes:
        encoder: "scratch" (several resolutions), "resnet_se" (the same, by the public toolkit's network),
            "bottleneck" (the autoencoder's), "raw_wave" (no spectrum), "gated" (`gated.MODALITIES`), or one of
            `PRETRAINED`.
        sample_rate_hz: of the recordings.
        segment_samples: length of what an encoder that is trained here hears at once.
        windows_samples: STFT windows of "scratch" and "resnet_se", one branch each.
        whole: whether they also have a branch on the spectrum of the whole segment.
        n_dims: length of each part of an embedding; a frozen pretrained network has its own.
        width: channels of their first ResNet stage, and of the first convolution of "raw_wave".
        level: whether the level of a segment is heard; a pretrained network always hears it.
        modalities: of "gated"; the attribute is told in training only.
        modality_dropout: probability that "gated" has to do without a modality in training.
        activity: whether the windows of "bottleneck" weigh as the machine is heard in them.
        checkpoint: weights of a pretrained network.
        layers: its layers that are heard, from 1, a part each; none: the last.
        pooling: over time, a name in `pretrained.POOLINGS`.
        bands: whether its frequency bands are kept side by side.
        window_s: what it hears at once; a longer clip is heard in several windows.
        lora_rank: of the adapters that fine-tune it; 0 leaves it frozen.
    """

    encoder: str = "scratch"
    sample_rate_hz: int = 16000
    segment_samples: int = 32000
    windows_samples: Sequence[int] = (256, 1024, 4096)
    whole: bool = True
    n_dims: int = 128
    width: int = 16
    level: bool = True
    modalities: Sequence[str] = MODALITIES
    modality_dropout: float = 0.5
    activity: bool = False
    checkpoint: Path | None = None
    layers: Sequence[int] = ()
    pooling: str = "mean"
    bands: bool = True
    window_s: float = 10.0
    lora_rank: int = 0

    def __post_init__(self) -> None:
        longest = max(self.windows_samples, default=0)
        if longest > self.segment_samples:
            raise AsdError(
                f"embedding.segment_samples={self.segment_samples} is shorter than the longest STFT window "
                f"({longest}); raise it or drop the window"
            )
        if not self.windows_samples and not self.whole:
            raise AsdError("embedding.windows_samples is empty and whole=false: the encoder would be deaf")
        if self.encoder == "resnet_se":
            self._check_bins()
        if self.is_pretrained and self.sample_rate_hz != _PRETRAINED_RATE_HZ:
            raise AsdError(
                f"embedding.encoder={self.encoder} was pretrained at {_PRETRAINED_RATE_HZ} Hz and cannot hear "
                f"{self.sample_rate_hz} Hz; resample the recordings or use embedding.encoder=scratch"
            )
        if not self.is_pretrained and (self.checkpoint or self.lora_rank):
            raise AsdError(
                f"embedding.checkpoint and embedding.lora_rank are for pretrained encoders; "
                f"embedding.encoder={self.encoder} is trained from nothing: choose one of {', '.join(PRETRAINED)}"
            )

        if self.activity and self.encoder != "bottleneck":
            raise AsdError(
                f"embedding.activity=true weighs the windows of embedding.encoder=bottleneck, and "
                f"{self.encoder} has none; leave it out or take that encoder"
            )
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown or not {*HEARD} & {*self.modalities}:
            raise AsdError(
                f"embedding.modalities={','.join(self.modalities)} "
                f"{f'has {unknown[0]}, which is none' if unknown else 'hears nothing'}; choose from "
                f"{', '.join(MODALITIES)}, with one of {' and '.join(HEARD)}"
            )

    def _check_bins(self) -> None:
        """Refuses STFT windows of which the first layers of "resnet_se" would leave nothing."""

        def suffices(n: int) -> bool:
            return n // 2 + 1 - first_bin(n, self.sample_rate_hz) >= LEAST_BINS

        short = [n for n in self.windows_samples if not suffices(n)]
        if short:
            least = next((2**k for k in range(5, 16) if suffices(2**k)), None)
            needs = f"windows of {least} samples or more" if least else "recordings of a higher sample rate"
            raise AsdError(
                f"embedding.windows_samples has {short[0]}, and embedding.encoder=resnet_se needs {needs} at "
                f"{self.sample_rate_hz} Hz; change that or take embedding.encoder=scratch"
            )

    @property
    def is_pretrained(self) -> bool:
        """Whether the network comes with weights."""
        return self.encoder in PRETRAINED

    @property
    def is_frozen(self) -> bool:
        """Whether there is nothing to train."""
        return self.is_pretrained and not self.lora_rank

    def network(self) -> Encoder:
        """A fresh encoder; torch's random state decides its weights, or a checkpoint.

        Raises:
            AsdError: the checkpoint is missing, damaged or of another model.
        """
        if self.is_pretrained:
            return self._pretrained(given_path(self.encoder, self.checkpoint))
        if self.encoder == "bottleneck":
            return Bottleneck(
                self.segment_samples, self.sample_rate_hz, self.n_dims, self.level, self.activity
            )
        if self.encoder == "raw_wave":
            return RawWave(self.segment_samples, self.n_dims, self.width, self.level)
        if self.encoder == "gated":
            return Gated(
                self.segment_samples,
                self.sample_rate_hz,
                self.n_dims,
                self.level,
                self.modalities,
                self.modality_dropout,
            )
        several = (
            self.segment_samples,
            self.windows_samples,
            self.whole,
            self.n_dims,
            self.width,
            self.level,
        )
        if self.encoder == "resnet_se":
            return ResNetSE(*several, self.sample_rate_hz)
        return MultiResolution(*several)

    def declared(self) -> dict[str, Any]:
        """What a submission declares of the network: fields of `challenge.system_meta.SystemFacts`."""
        if not self.is_pretrained:
            return dict(_TRAINED_HERE[self.encoder])
        return {
            "acoustic_features": "log-mel energies",
            "machine_learning_method": "Transformer",
            "embeddings": _NAMES[self.encoder],
            "external_data_usage": "embeddings" if self.is_frozen else "embeddings, pre-trained model",
            "external_datasets": _LEARNT_FROM[self.encoder],
        }

    def _pretrained(self, checkpoint: Path) -> Pretrained:
        listen: nn.Module
        network: nn.Module
        segment_samples = round(self.window_s * self.sample_rate_hz)
        if self.encoder == "beats":
            listen, network = BeatsInput(), load_beats(checkpoint)
        elif self.encoder == "eat":
            listen, network = EatInput(), load_eat(checkpoint)
        else:
            listen, network = load_hub(self.encoder, checkpoint, self.sample_rate_hz, self.window_s)
        heard = [self.encoder, list(self.layers), self.pooling, self.bands, segment_samples]
        return Pretrained(
            listen,
            network,
            layers=self.layers,
            pooling=self.pooling,
            bands=self.bands,
            segment_samples=segment_samples,
            origin=fingerprint(content_hash(checkpoint), *heard),
            lora_rank=self.lora_rank,
            n_dims=self.n_dims,
        )
