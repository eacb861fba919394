"""Published checkpoints of BEATs and EAT to networks: a `.pt`, a `.safetensors`, or a folder of the latter.

A `.pt` is read without running any code in it. Tensors that only pretraining or a classifier needed are left
aside; any that the network lacks or holds in another shape mean that the checkpoint is of another model.

Their inputs are normalised filter banks, as in pretraining: waveforms (batch, samples) at 16 kHz to (batch, bands,
frames), so that augmentation knows the axes. Zero is about the mean level.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from asd.core.checkpoint import state_in, without_wrappers
from asd.core.files import load_tensors
from asd.core.networks.beats import Beats, BeatsConfig
from asd.core.networks.eat import Eat, EatConfig
from asd.core.runtime import file_hash, imported
from asd.features.logmel import KaldiFbank
from asd.types import AsdError

PUBLISHED = {
    "beats": "BEATs_iter3_plus_AS2M.pt or another BEATs checkpoint, published at "
    "https://github.com/microsoft/unilm/tree/master/beats",
    "eat": "the folder EAT-base_epoch30_pretrain (config.json, model.safetensors) or another EAT, published at "
    "https://huggingface.co/worstchan/EAT-base_epoch30_pretrain and https://github.com/cwx-worst-one/EAT",
    "ast": "the folder ast-finetuned-audioset-10-10-0.4593 or another AST, published at "
    "https://huggingface.co/MIT/ast-finetuned-audioset-10-10-0.4593",
    "transformers": "a folder with config.json, preprocessor_config.json and weights of an audio model, such as "
    "those published at https://huggingface.co/models?pipeline_tag=audio-classification",
}
Tensors = dict[str, torch.Tensor]
_HEAD_DIMS = 64  # of every published EAT, for checkpoints that do not say
_EAT_PREFIXES = ("model.", "modality_encoders.IMAGE.")  # fairseq's, and the one of Hugging Face

PATCH_FRAMES = 16


def given_path(encoder: str, checkpoint: Path | None) -> Path:
    """The checkpoint as it was named; `AsdError` where there is none says what is wanted and where it is published."""
    if checkpoint is None:
        raise AsdError(f"embedding.encoder={encoder} needs embedding.checkpoint=PATH: {PUBLISHED[encoder]}")
    if not checkpoint.exists():
        raise AsdError(f"embedding.checkpoint={checkpoint} does not exist; wanted is {PUBLISHED[encoder]}")
    return checkpoint


def load_beats(path: Path) -> Beats:
    """A BEATs with its published weights."""
    tensors, config = _read(path, "beats")
    network = Beats(BeatsConfig.of(config))
    _fill(network, tensors, path, "beats")
    return network


def load_eat(path: Path) -> Eat:
    """An EAT with its published weights, named as by fairseq or as at Hugging Face."""
    tensors, config = _read(path, "eat")
    tensors = {_eat_name(name): tensor for name, tensor in tensors.items()}
    network = Eat(EatConfig.of(_eat_sizes(tensors, path) | config))
    _fill(network, tensors, path, "eat")
    return network


def content_hash(path: Path) -> str:
    """Hash of a checkpoint: of the file, or of all files of the folder."""
    content = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            facts = file.stat()
            content.update(_digest(file.absolute(), facts.st_size, facts.st_mtime_ns))
    return content.hexdigest()[:16]


@lru_cache
def _digest(file: Path, _size: int, _written: int) -> bytes:
    """Of a file as it is now: a checkpoint is large, and every job asks for it."""
    return bytes.fromhex(file_hash(file))


def _read(path: Path, encoder: str) -> tuple[Tensors, dict[str, Any]]:
    """Tensors by name, and the configuration beside or among them, {} where there is none."""
    if path.suffix in {".pt", ".pth"}:
        return _read_pt(path, encoder)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise AsdError(
                f"{path} holds {len(found)} .safetensors files and should hold one, with its config.json; "
                f"wanted is {PUBLISHED[encoder]}"
            )
        path = found[0]
    config_path = path.with_name("config.json")
    try:
        config = json.loads(config_path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AsdError(f"{config_path}, which goes with {path.name}, cannot be read ({error})") from error
    return without_wrappers(load_tensors(path)[0]), config


def _read_pt(path: Path, encoder: str) -> tuple[Tensors, dict[str, Any]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything from EOFError to UnpicklingError
        way_out = f"fetch it again: {PUBLISHED[encoder]}"
        if "weights_only" in str(error):
            way_out = (
                "it holds Python objects that would run as code: where you trust it, convert it once with "
                "torch.save({'model': torch.load(FILE, weights_only=False)['model']}, 'plain.pt')"
            )
        raise AsdError(f"{path} cannot be read as plain tensors ({type(error).__name__}); {way_out}") from error
    tensors = state_in(content)
    if tensors is None:
        raise AsdError(f"{path} holds no named tensors; wanted is {PUBLISHED[encoder]}")
    # fairseq's own "cfg" describes a whole training, its network among the rest; tensors tell the sizes, too
    config = content.get("cfg") if encoder == "beats" else {}
    return tensors, dict(config or {})


def _eat_name(name: str) -> str:
    for prefix in _EAT_PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace("context_encoder.norm.", "pre_norm.")


def _eat_sizes(tensors: Tensors, path: Path) -> dict[str, Any]:
    """The configuration, as far as shapes tell it."""
    patches, positions = (tensors.get("local_encoder.proj.weight"), tensors.get("fixed_positional_encoder.positions"))
    hidden = tensors.get("blocks.0.mlp.fc1.weight")
    if patches is None or positions is None or hidden is None:
        raise AsdError(f"{path} is a checkpoint of another model than EAT; wanted is {PUBLISHED['eat']}")
    dims, n_bands = len(patches), EatConfig.mel_bins // patches.shape[-1]
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    return {
        "embed_dim": dims,
        "depth": depth,
        "num_heads": dims // _HEAD_DIMS,
        "mlp_ratio": len(hidden) / dims,
        "patch_size": patches.shape[-1],
        "max_length": positions.shape[1] // n_bands,
    }


def _fill(network: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path, encoder: str) -> None:
    """Loads the weights into the network; what belongs to neither body nor network is left aside."""
    own = network.state_dict()
    parts = {name.split(".")[0] for name in own}
    missing = sorted(own.keys() - tensors.keys())
    shapes = sorted(n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape)
    unknown = sorted(name for name in tensors.keys() - own.keys() if name.split(".")[0] in parts)
    if wrong := [*missing, *shapes, *unknown]:
        raise AsdError(
            f"{path} is a checkpoint of another model than {type(network).__name__}: {len(missing)} tensors are "
            f"missing, {len(shapes)} of another shape, {len(unknown)} unknown (first: {wrong[0]}); wanted is "
            f"{PUBLISHED[encoder]}"
        )
    network.load_state_dict({name: tensors[name] for name in own})


class BeatsInput(nn.Module):
    """Filter bank of 16-bit samples; mean and twice the spread over AudioSet are those of BEATs' authors."""

    mean, spread = 15.41663, 6.55582
    shortest_samples = KaldiFbank.n_samples(PATCH_FRAMES)

    def __init__(self) -> None:
        super().__init__()
        self.fbank = KaldiFbank("povey")

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, 128, frames)."""
        fbank: torch.Tensor = self.fbank(waveforms * 2**15)
        return (fbank.mT - self.mean) / (2 * self.spread)


class EatInput(nn.Module):
    """Filter bank of samples without their mean, filled up to whole patches; constants as EAT's authors'."""

    mean, spread = -4.268, 4.569
    shortest_samples = KaldiFbank.n_samples(PATCH_FRAMES)

    def __init__(self) -> None:
        super().__init__()
        self.fbank = KaldiFbank("hanning")

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, 128, frames), a multiple of 16 frames; those filled in are ln 1."""
        fbank: torch.Tensor = self.fbank(waveforms - waveforms.mean(1, keepdim=True))
        fbank = pad(fbank.mT, (0, -fbank.shape[1] % PATCH_FRAMES))
        return (fbank - self.mean) / (2 * self.spread)


def optional(package: str, purpose: str) -> Any:
    """The package, imported for a purpose: the setting that needs it."""
    return imported(
        package,
        f"{purpose} needs the package {package}, which is not installed; install the extra: "
        f".venv/bin/pip install -e '.[pretrained]'",
    )
