"""Pretrained encoders of a few thousand random weights, in the form in which the real ones are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from asd.core.files import save_tensors
from asd.core.networks.beats import Beats, BeatsConfig
from asd.core.networks.eat import Eat, EatConfig

BEATS = {
    "embed_dim": 16,
    "encoder_layers": 3,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 2,
    "conv_pos_groups": 4,
    "layer_norm_first": False,
    "deep_norm": True,
}
EAT = {"embed_dim": 64, "depth": 2, "num_heads": 1, "mlp_ratio": 1.5, "max_length": 8, "stride": 16}


def beats_pt(folder: Path, seed: int = 0) -> Path:
    """A `.pt` as published: configuration, weights, and the classifier that fine-tuning left behind."""
    torch.manual_seed(seed)
    model = Beats(BeatsConfig.of(BEATS)).state_dict()
    path = folder / "BEATs_tiny.pt"
    torch.save({"cfg": BEATS, "model": model | {"predictor.weight": torch.zeros(5, 32)}}, path)
    return path


def eat_folder(folder: Path, seed: int = 0) -> Path:
    """A folder as at Hugging Face."""
    torch.manual_seed(seed)
    place = folder / "eat"
    place.mkdir()
    network = Eat(EatConfig.of(EAT))
    torch.nn.init.normal_(network.fixed_positional_encoder["positions"], std=0.1)
    weights = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    save_tensors(place / "model.safetensors", weights)
    (place / "config.json").write_text(json.dumps(EAT | {"model_type": "eat"}))
    return place


def ast_folder(folder: Path, max_length: int = 100, **changes: int) -> Path:
    """A folder as `save_pretrained` writes it: an AST that takes `max_length` frames of 10 ms."""
    transformers = pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    place = folder / "ast"
    config = transformers.ASTConfig(**(sizes | changes), max_length=max_length)
    transformers.ASTModel(config).save_pretrained(place)
    transformers.ASTFeatureExtractor(max_length=max_length).save_pretrained(place)
    return place
