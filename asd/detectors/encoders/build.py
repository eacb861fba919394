"""Recipes to networks: encoders by name, by class, or a module that was handed in."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from asd.core.networks.encoder import Encoder
from asd.core.networks.multiresolution import MultiResolution
from asd.core.networks.resnet_se import LEAST_BINS, ResNetSE
from asd.core.runtime import fingerprint, own_code, weights_hash
from asd.detectors.encoders.bottleneck import Bottleneck
from asd.detectors.encoders.pretrained import Pretrained, load_hub
from asd.detectors.encoders.published import BeatsInput, EatInput, content_hash, given_path, load_beats, load_eat
from asd.detectors.encoders.recipe import Recipe, encoder_class
from asd.types import AsdError

_PRETRAINED_RATE_HZ = 16000
_NETWORKS: dict[str, type[MultiResolution | ResNetSE]] = {"multires_cnn": MultiResolution, "resnet_se": ResNetSE}


class OwnEncoder(Encoder):
    """A module from waveforms (batch, samples) to embeddings (batch, dims) or (batch, parts, dims).

    Args:
        module: the network; its embeddings are brought to unit length, part by part.
        segment_samples: length of every input.
        name: how messages call it.

    Raises:
        AsdError: it does not take such waveforms, or gives something else than such embeddings.
    """

    def __init__(self, module: nn.Module, segment_samples: int, name: str) -> None:
        super().__init__()
        self.module = module
        self.segment_samples = self.shortest_samples = segment_samples
        parameter = next(module.parameters(), torch.empty(0))
        was_training = module.training
        try:
            with torch.no_grad():
                found = module.eval()(torch.zeros(2, segment_samples, device=parameter.device))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise AsdError(
                f"embedding.encoder={name} does not take waveforms (batch, {segment_samples}): "
                f"{' '.join(str(error).split())}; its forward has to give embeddings (batch, dims) of them"
            ) from error
        module.train(was_training)
        if not isinstance(found, torch.Tensor) or found.dim() not in (2, 3) or len(found) != 2:
            what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise AsdError(
                f"embedding.encoder={name} gives {what} of two waveforms; it has to give embeddings (batch, dims) or "
                f"(batch, parts, dims)"
            )
        self.n_parts, self.n_dims = (1, found.shape[1]) if found.dim() == 2 else tuple(found.shape[1:])

    def spectra(self, waveforms: torch.Tensor) -> list[torch.Tensor]:
        """The segments (batch, samples) themselves: augmentation of spectra does not act on them."""
        return [waveforms.float()]

    def encode(self, spectra: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings (batch, parts, dims), each part of unit length."""
        embeddings: torch.Tensor = self.module(spectra[0])
        return normalize(embeddings.float().view(-1, self.n_parts, self.n_dims), dim=-1)


def build(recipe: Recipe, sample_rate_hz: int = 16000) -> Encoder:
    """A fresh encoder; torch's random state decides its weights, or a checkpoint.

    `package.module:Class` names an `Encoder`, or any `nn.Module` from waveforms (batch, samples) to embeddings
    (batch, dims) or (batch, parts, dims). Of `segment_samples`, `sample_rate_hz`, `n_dims`, `width` and `level`, its
    constructor is given those that it takes. A module that was handed in is copied, and trained from the weights it
    has; it stays as it is where none of its parameters wants a gradient.

    Args:
        recipe: which network, and its numbers.
        sample_rate_hz: of the recordings.

    Raises:
        AsdError: no such class, a checkpoint that is missing, damaged or of another model, options that do not go
            together, or a network that the recipe's numbers or the sample rate do not allow.
    """
    recipe.check()
    if not isinstance(recipe.encoder, str):
        return _own(deepcopy(recipe.encoder), recipe)
    if ":" in recipe.encoder:
        return _own(_constructed(recipe.encoder, recipe, sample_rate_hz), recipe)
    if recipe.is_pretrained:
        return _pretrained(recipe, sample_rate_hz)
    if recipe.encoder == "bottleneck":
        return Bottleneck(recipe, sample_rate_hz)
    if recipe.encoder == "resnet_se":
        _check_windows(recipe.windows_samples, sample_rate_hz)
    network = _NETWORKS[recipe.encoder]
    sizes = (recipe.segment_samples, recipe.windows_samples, recipe.whole, recipe.n_dims, recipe.width, recipe.level)
    return network(*sizes, sample_rate_hz)


def _check_windows(windows_samples: Sequence[int], sample_rate_hz: int) -> None:
    """Refuses STFT windows of which the first layers of `ResNetSE` would leave nothing."""

    def suffices(n: int) -> bool:
        return n // 2 + 1 - ResNetSE.first_bin(n, sample_rate_hz) >= LEAST_BINS

    if short := [n for n in windows_samples if not suffices(n)]:
        least = next((2**k for k in range(5, 16) if suffices(2**k)), None)
        needs = f"windows of {least} samples or more" if least else "recordings of a higher sample rate"
        raise AsdError(
            f"embedding.windows_samples has {short[0]}, and embedding.encoder=resnet_se needs {needs} at "
            f"{sample_rate_hz} Hz; change that or take embedding.encoder=multires_cnn"
        )


def _pretrained(recipe: Recipe, sample_rate_hz: int) -> Encoder:
    if sample_rate_hz != _PRETRAINED_RATE_HZ:
        raise AsdError(
            f"embedding.encoder={recipe.name} was pretrained at {_PRETRAINED_RATE_HZ} Hz and cannot take "
            f"{sample_rate_hz} Hz; resample the recordings or use embedding.encoder=multires_cnn"
        )
    checkpoint = given_path(recipe.name, recipe.checkpoint)
    front_end: nn.Module
    network: nn.Module
    if recipe.encoder == "beats":
        front_end, network = BeatsInput(), load_beats(checkpoint)
    elif recipe.encoder == "eat":
        front_end, network = EatInput(), load_eat(checkpoint)
    else:
        front_end, network = load_hub(recipe.name, checkpoint, sample_rate_hz, recipe.window_s)
    segment_samples = round(recipe.window_s * sample_rate_hz)
    decisive = [recipe.encoder, list(recipe.layers), recipe.pooling, recipe.bands, segment_samples]
    return Pretrained(front_end, network, recipe, segment_samples, fingerprint(content_hash(checkpoint), *decisive))


def _constructed(path: str, recipe: Recipe, sample_rate_hz: int) -> nn.Module:
    """An instance of the class that `package.module:Class` names."""
    kind = encoder_class(path)
    given = {name: getattr(recipe, name) for name in ("segment_samples", "n_dims", "width", "level")}
    given["sample_rate_hz"] = sample_rate_hz
    known = inspect.signature(kind).parameters
    try:
        return kind(**{name: value for name, value in given.items() if name in known})
    except TypeError as error:
        raise AsdError(
            f"embedding.encoder={path} cannot be constructed ({error}); its constructor is given those of "
            f"{', '.join(given)} that it names, and everything else needs a default"
        ) from error


def _own(module: nn.Module, recipe: Recipe) -> Encoder:
    """A module as an encoder; one that is frozen is known by a hash of its weights and of its code."""
    encoder = module if isinstance(module, Encoder) else OwnEncoder(module, recipe.segment_samples, recipe.name)
    if recipe.is_frozen:
        encoder.origin = fingerprint(
            recipe.name, encoder.segment_samples, weights_hash(encoder), own_code({*map(type, module.modules())})
        )
    return encoder


_AUDIOSET = {
    "name": "AudioSet",
    "url": "https://research.google.com/audioset/",
    "total_audio_length": 347387,  # minutes: 2,084,320 clips of 10 s
}

_IMAGENET = {"name": "ImageNet", "url": "https://www.image-net.org/", "total_audio_length": 0}

_UNKNOWN = {"name": "<pretraining data>", "url": "<url>", "total_audio_length": "<minutes>"}

_CNN = {"acoustic_features": "spectrogram, spectrum", "machine_learning_method": "CNN"}

_TRAINED_HERE = {
    "multires_cnn": _CNN,
    "resnet_se": _CNN,
    "bottleneck": {"acoustic_features": "log-mel energies", "machine_learning_method": "MLP"},
}

_LEARNT_FROM = {
    "beats": ("BEATs", [_AUDIOSET]),
    "eat": ("EAT", [_AUDIOSET]),
    "ast": ("AST", [_AUDIOSET, _IMAGENET]),
    "transformers": ("<name of the pretrained network>", [_UNKNOWN]),
}


def declared(recipe: Recipe) -> dict[str, Any]:
    """What a submission declares of the network: fields of `challenge.system_meta.SystemFacts`."""
    if not recipe.is_pretrained:
        own = {"acoustic_features": "<acoustic features>", "machine_learning_method": recipe.name}
        return dict(_TRAINED_HERE.get(recipe.name, own))
    name, datasets = _LEARNT_FROM[recipe.name]
    return {
        "acoustic_features": "log-mel energies",
        "machine_learning_method": "Transformer",
        "embeddings": name,
        "external_data_usage": "embeddings" if recipe.is_frozen else "embeddings, pre-trained model",
        "external_datasets": datasets,
    }
