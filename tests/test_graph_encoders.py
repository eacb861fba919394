"""Encoders in a graph: those trained here, one of one's own, and pretrained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import asd as library
from asd.deploy import export as exporting
from asd.deploy.graph import encoders
from asd.detectors.encoders.build import build
from asd.detectors.encoders.pretrained import Pretrained
from asd.detectors.encoders.recipe import EmbeddingSettings
from tests.exported import check_scorers, run_graph
from tests.tiny_encoders import ast_folder, beats_pt, eat_folder


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["multires_cnn", "resnet_se"])
@pytest.mark.parametrize("level", [True, False])
def test_an_embedding_of_segments(encoder: str, level: bool) -> None:
    options = {"encoder": encoder, "epochs": 1, "segment_samples": 12000, "level": level, "backends": "knn_relative"}
    check_scorers("embedding", options, (2048, 12000, 40000), n_clips=40)


@pytest.mark.slow
@pytest.mark.parametrize("level", [True, False])
def test_an_embedding_of_codes(level: bool) -> None:
    options = {"encoder": "bottleneck", "epochs": 1, "segment_samples": 12000, "backends": "knn_relative"}
    options |= {"level": level, "activity": not level}
    check_scorers("embedding", options, (2048, 12000, 40000), n_clips=20)


class Folded(torch.nn.Module):
    """An encoder of one's own, of waveforms."""

    def __init__(self, segment_samples: int) -> None:
        super().__init__()
        self.out = torch.nn.Linear(segment_samples // 8, 16)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(waveforms.abs().unflatten(1, (-1, 8)).mean(2))
        return result


@pytest.mark.slow
def test_an_encoder_of_ones_own() -> None:
    options = {"encoder": f"{__name__}:Folded", "epochs": 1, "segment_samples": 8000, "backends": "mahalanobis"}
    check_scorers("embedding", options, (2048, 8000, 20000), n_clips=20)


class Sorted(Folded):
    """One with a step that ONNX has no operator for."""

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.special.bessel_j0(waveforms))


@pytest.mark.slow
def test_a_step_without_an_operator_is_named() -> None:
    normal = np.random.default_rng(0).normal(0, 0.1, (20, 8000)).astype(np.float32)
    options = {"encoder": f"{__name__}:Sorted", "epochs": 1, "segment_samples": 8000, "backends": "knn"}
    model = library.fit(normal, 16000, detector="embedding", options=options, device="cpu")
    with pytest.raises(library.AsdError, match=r"embedding.encoder=.*:Sorted has a step without an operator of ONNX"):
        exporting.as_onnx(model.detector, "knn", {})


@pytest.mark.parametrize("checkpoint", [beats_pt, eat_folder])
def test_what_pretrained_networks_are_given(checkpoint: Any, tmp_path: Path) -> None:
    name = checkpoint.__name__.split("_")[0]
    encoder: Any = build(EmbeddingSettings(encoder=name, checkpoint=checkpoint(tmp_path), window_s=1.0))
    for n_samples in (2800, 9999, 16000):
        sound = np.random.default_rng(n_samples).normal(0, 0.1, (2, n_samples)).astype(np.float32)
        (found,) = run_graph(sound, lambda g, given: encoders.SPECTRA[Pretrained](g, encoder, given, name))
        np.testing.assert_allclose(found, encoder.spectra(torch.from_numpy(sound))[0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "checkpoint", "options"),
    [
        ("beats", beats_pt, {"layers": "1,3", "pooling": "rdp_gem", "bands": False}),
        ("beats", beats_pt, {"lora_rank": 2, "epochs": 1}),
        ("eat", eat_folder, {"pooling": "rdp4"}),
        ("ast", ast_folder, {}),
    ],
)
def test_pretrained_networks(encoder: str, checkpoint: Any, options: dict[str, Any], tmp_path: Path) -> None:
    """Shorter than the window a clip is taken as it is; longer ones are cut into windows."""
    options |= {
        "encoder": encoder,
        "checkpoint": str(checkpoint(tmp_path)),
        "embedding.window_s": 1.0,
        "backends": "knn",
    }
    check_scorers("embedding", options, (4000, 9999, 16000, 40000), n_clips=20)


@pytest.mark.slow
def test_another_model_of_transformers_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `pretrained` is not installed")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.Wav2Vec2Config(**sizes, conv_dim=(16,), conv_stride=(320,), conv_kernel=(400,))
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    normal = np.random.default_rng(0).normal(0, 0.1, (8, 8000)).astype(np.float32)
    options = {"encoder": "transformers", "checkpoint": str(tmp_path), "embedding.window_s": 0.5, "backends": "knn"}
    model = library.fit(normal, 16000, detector="embedding", options=options, device="cpu")
    with pytest.raises(library.AsdError, match="a Wav2Vec2FeatureExtractor has no formula in the graph"):
        exporting.as_onnx(model.detector, "knn", {})
