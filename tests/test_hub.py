from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asd.core.files import load_tensors, save_tensors
from asd.detectors.encoders.build import build
from asd.detectors.encoders.recipe import Recipe
from asd.types import AsdError
from tests.tiny_encoders import ast_folder

transformers = pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")


def encoder(folder: Path, **changes: Any) -> Any:
    words: dict[str, Any] = {"encoder": "ast", "window_s": 1.0} | changes
    return build(Recipe(**words, checkpoint=folder)).eval()


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_an_ast_gives_what_the_library_gives(tmp_path: Path) -> None:
    place = ast_folder(tmp_path)
    ours, waveforms = encoder(place, layers=[1, 2]), noise(3, 16000)
    model = transformers.ASTModel.from_pretrained(place).eval()
    values = transformers.ASTFeatureExtractor.from_pretrained(place)(
        list(waveforms.numpy()), sampling_rate=16000, return_tensors="pt"
    ).input_values
    with torch.no_grad():
        hidden = model(values, output_hidden_states=True).hidden_states
        embeddings = ours(waveforms)
    for part, layer in zip(embeddings.unbind(1), hidden[1:], strict=True):
        grid = layer[:, 2:].unflatten(1, (12, 9))  # 12 bands of 16 mels every 10, 9 times of 100 frames
        expected = grid.mean(2).flatten(1)
        torch.testing.assert_close(part, expected / expected.norm(dim=1, keepdim=True))


def test_the_bands_of_an_ast_lie_along_frequency(tmp_path: Path) -> None:
    tuned = encoder(ast_folder(tmp_path), layers=[1])
    spectrum = torch.zeros(1, 128, 100)
    patches = tuned.network.model.embeddings.patch_embeddings
    spectrum[:, 60:66] = 1.0  # only bands whose 16 mels from 0, 10, 20, ... hold some of these
    with torch.no_grad():
        change = (patches(spectrum.mT) - patches(0 * spectrum.mT)).abs().sum(2).unflatten(1, (12, 9))
    assert change.sum(2)[0].nonzero().flatten().tolist() == [5, 6]


def test_other_models_of_the_library_are_heard_as_one_band(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.Wav2Vec2Config(
        **sizes, conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2,
        num_conv_pos_embedding_groups=2, num_conv_pos_embeddings=8,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path / "w")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "w")
    ours = encoder(tmp_path / "w", encoder="transformers")
    assert ours(noise(2, 16000)).shape == (2, 1, 16)
    with pytest.raises(AsdError, match=r"another model \(wav2vec2\); wanted is .*MIT/ast-finetuned"):
        encoder(tmp_path / "w")


def test_adapters_learn_in_an_ast(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra `pretrained` is not installed")
    tuned = encoder(ast_folder(tmp_path), lora_rank=2, n_dims=4)
    tuned(noise(2, 16000)).sum().backward()
    learnt = {name for name, parameter in tuned.named_parameters() if parameter.grad is not None}
    assert any("lora_B" in name for name in learnt)
    assert learnt == set(tuned.state_dict())


def test_folders_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AsdError, match="empty is no audio model of transformers"):
        encoder(tmp_path / "empty")
    place = ast_folder(tmp_path)
    with pytest.raises(AsdError, match=r"window_s=10 is longer than the 1 s that .*ast takes at once"):
        encoder(place, window_s=10.0)
    weights, _ = load_tensors(place / "model.safetensors")
    name = next(name for name in weights if "layer" in name and name.endswith("weight"))
    save_tensors(place / "model.safetensors", {k: v for k, v in weights.items() if k != name})
    with pytest.raises(AsdError, match="lacks 1 weights of its model"):
        encoder(place)


def test_a_short_clip_is_repeated_to_fill_the_window(tmp_path: Path) -> None:
    frozen = encoder(ast_folder(tmp_path))
    assert [frozen.input_samples(n) for n in (4000, 16000, 64000)] == [16000] * 3
    assert np.isfinite(frozen(noise(1, 16000)).detach().numpy()).all()
