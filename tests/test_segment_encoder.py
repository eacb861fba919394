from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from asd.core.networks.encoder import Encoder
from asd.detectors.encoders import segment_encoder
from asd.detectors.encoders.build import build
from asd.detectors.encoders.recipe import Recipe
from asd.detectors.encoders.segment_encoder import cached_embeddings, clip_embeddings
from asd.types import AsdError, Split
from tests.machines import recordings, tone_machine, write_clip
from tests.tiny_encoders import beats_pt

CPU = torch.device("cpu")


def beats(checkpoint: Path, **changes: Any) -> Encoder:
    return build(Recipe(encoder="beats", checkpoint=checkpoint, **changes))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    tone_machine(folder, n_train=6, n_target=2, n_test=2)
    beats_pt(folder)
    return folder


def test_a_long_clip_is_the_mean_of_its_windows(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "fan/test/section_00_0000.wav"
    write_clip(path, 0, 2.5)
    encoder = beats(root / "BEATs_tiny.pt", window_s=1.0).eval()
    clip = recordings(tmp_path, split=Split.TEST)
    wave = torch.from_numpy(clip.waveform(0))[None]
    with torch.no_grad():
        parts = torch.cat([encoder(wave[:, i : i + 16000]) for i in (0, 12000, 24000)])
    expected = parts.flatten(1).double().mean(0).numpy()
    found = clip_embeddings(encoder, clip, CPU)
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_embeddings_are_computed_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, checkpoint = recordings(root), root / "BEATs_tiny.pt"
    fresh = clip_embeddings(beats(checkpoint), own, CPU)
    first = cached_embeddings(beats(checkpoint), own, CPU, tmp_path)
    np.testing.assert_allclose(first, fresh, atol=1e-6)
    with monkeypatch.context() as patch:
        patch.setattr(segment_encoder, "_means", None)
        again = cached_embeddings(beats(checkpoint), own, CPU, tmp_path)
        with pytest.raises(TypeError):
            cached_embeddings(beats(checkpoint, layers=[1]), own, CPU, tmp_path)
        with pytest.raises(TypeError):
            cached_embeddings(beats(checkpoint), recordings(root, split=Split.TEST), CPU, tmp_path)
        with pytest.raises(TypeError):
            cached_embeddings(beats(beats_pt(tmp_path, seed=1)), own, CPU, tmp_path)
    np.testing.assert_array_equal(first, again)
    kept = sorted(tmp_path.rglob("*"))
    np.testing.assert_array_equal(cached_embeddings(beats(checkpoint), own, CPU, None), first)
    assert sorted(tmp_path.rglob("*")) == kept


def test_an_interrupted_computation_goes_on_where_it_stopped(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(segment_encoder, "_CLIPS_PER_FILE", 2)
    own, encoder = recordings(root), beats(root / "BEATs_tiny.pt")
    whole = cached_embeddings(encoder, own, CPU, tmp_path)
    files = sorted(tmp_path.glob("fan-train-embedding-*/*.safetensors"))
    assert len(files) == 3
    files[1].unlink()
    kept = files[0].stat().st_mtime_ns
    np.testing.assert_array_equal(cached_embeddings(encoder, own, CPU, tmp_path), whole)
    assert files[0].stat().st_mtime_ns == kept
    files[2].write_bytes(b"x")
    np.testing.assert_array_equal(cached_embeddings(encoder, own, CPU, tmp_path), whole)
    assert "000004.safetensors is damaged" in caplog.text
    assert "computed once more" in caplog.text
    files[0].write_bytes(save({"vectors": torch.zeros(1, whole.shape[1])}))
    np.testing.assert_array_equal(cached_embeddings(encoder, own, CPU, tmp_path), whole)


def test_an_embedding_that_is_not_finite_is_named_and_not_kept(root: Path, tmp_path: Path) -> None:
    content = torch.load(root / "BEATs_tiny.pt", weights_only=True)
    content["model"]["encoder.layers.2.fc2.bias"][0] = torch.inf
    torch.save(content, tmp_path / "damaged.pt")
    with pytest.raises(AsdError, match=r"section_00_.*\.wav holds NaN or infinity .*; .* fetch embedding\.checkpoint"):
        cached_embeddings(beats(tmp_path / "damaged.pt"), recordings(root), CPU, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*/*.safetensors"))
