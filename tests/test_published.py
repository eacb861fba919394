from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.core.files import load_tensors, save_tensors
from asd.detectors.encoders.published import BeatsInput, EatInput, content_hash, given_path, load_beats, load_eat
from asd.types import AsdError
from tests.tiny_encoders import BEATS, EAT, beats_pt, eat_folder


def fairseq_pt(folder: Path) -> Path:
    """An EAT as fairseq writes it, with the decoder of pretraining and a configuration of its own."""
    names = {"pre_norm": "modality_encoders.IMAGE.context_encoder.norm"}
    tensors = {"modality_encoders.IMAGE.decoder.proj.weight": torch.zeros(3), "_ema": torch.zeros(2)}
    for name, tensor in load_tensors(eat_folder(folder) / "model.safetensors")[0].items():
        room, _, rest = name.removeprefix("model.").partition(".")
        own = room if room == "blocks" else names.get(room, f"modality_encoders.IMAGE.{room}")
        tensors[f"{own}.{rest}" if rest else own] = tensor
    path = folder / "EAT.pt"
    torch.save({"cfg": {"model": {"depth": 12}}, "model": tensors, "args": None}, path)
    return path


def test_the_reference_checkpoints_load_as_they_are(golden: Path) -> None:
    place = golden / "encoders"
    assert load_beats(place / "beats_tiny").n_layers == 3
    assert load_beats(place / "beats_tiny/weights.safetensors").n_dims == 48
    assert load_eat(place / "eat_tiny").n_layers == 3


def test_a_published_pt_loads_without_what_only_its_classifier_needed(tmp_path: Path) -> None:
    path = beats_pt(tmp_path)
    network = load_beats(path)
    weights = torch.load(path, weights_only=True)["model"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize(("container", "prefix"), [("state_dict", ""), ("model", "module.")])
def test_a_checkpoint_of_a_wrapped_network_is_read(tmp_path: Path, container: str, prefix: str) -> None:
    path = beats_pt(tmp_path)
    expected = load_beats(path).state_dict()
    weights = torch.load(path, weights_only=True)["model"]
    state = {prefix + name: tensor for name, tensor in weights.items()}
    torch.save({"cfg": BEATS, container: state, "epoch": 7}, path)
    found = load_beats(path).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_eat_is_the_same_from_fairseq_and_from_a_folder(tmp_path: Path) -> None:
    from_fairseq = load_eat(fairseq_pt(tmp_path)).state_dict()
    from_folder = load_eat(tmp_path / "eat").state_dict()
    assert from_fairseq.keys() == from_folder.keys()
    assert all(torch.equal(from_fairseq[name], from_folder[name]) for name in from_folder)


def test_a_missing_checkpoint_names_the_file_and_where_it_is_published(tmp_path: Path) -> None:
    places = {"beats": "microsoft/unilm", "eat": "worstchan/EAT-base", "ast": "MIT/ast-finetuned"}
    for encoder, place in places.items():
        with pytest.raises(AsdError, match=rf"needs embedding\.checkpoint=PATH: .*{place}"):
            given_path(encoder, None)
        with pytest.raises(AsdError, match=rf"nowhere\.pt does not exist; wanted is .*{place}"):
            given_path(encoder, tmp_path / "nowhere.pt")


def test_checkpoints_of_other_models_are_refused(tmp_path: Path) -> None:
    beats, eat = beats_pt(tmp_path), eat_folder(tmp_path)
    with pytest.raises(AsdError, match=r"BEATs_tiny\.pt is a checkpoint of another model than EAT"):
        load_eat(beats)
    with pytest.raises(AsdError, match=r"another model than Beats: \d+ tensors are missing"):
        load_beats(eat)
    content = torch.load(beats, weights_only=True)
    for change, what in (
        ({"encoder_layers": 2}, r"[1-9]\d* unknown \(first: encoder\.layers\.2"),
        ({"encoder_ffn_embed_dim": 64}, r"[1-9]\d* of another shape"),
        ({"activation_fn": "relu"}, "activation_fn='relu' is none of the published ones"),
    ):
        torch.save(content | {"cfg": BEATS | change}, tmp_path / "other.pt")
        with pytest.raises(AsdError, match=what):
            load_beats(tmp_path / "other.pt")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = beats_pt(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AsdError, match=r"BEATs_tiny\.pt cannot be read as plain tensors .* fetch it again"):
        load_beats(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(AsdError, match="holds no named tensors"):
        load_beats(path)
    torch.save({"model": {"a": torch.zeros(1)}, "cfg": Path("code")}, path)
    with pytest.raises(AsdError, match=r"would run as code.*convert it once"):
        load_beats(path)


def test_a_folder_holds_one_file_of_weights_and_its_configuration(tmp_path: Path) -> None:
    place = eat_folder(tmp_path)
    (place / "config.json").write_text("{")
    with pytest.raises(AsdError, match=r"config\.json, which goes with model\.safetensors, cannot be read"):
        load_eat(place)
    (place / "config.json").write_text(json.dumps(EAT))
    save_tensors(place / "more.safetensors", {})
    with pytest.raises(AsdError, match=r"holds 2 \.safetensors files and should hold one"):
        load_eat(place)


def test_the_hash_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = eat_folder(tmp_path / "a"), eat_folder(tmp_path / "b")
    assert content_hash(first) == content_hash(second)
    weights, _ = load_tensors(second / "model.safetensors")
    weights["model.extra_tokens"] += 1
    save_tensors(second / "model.safetensors", weights)
    assert content_hash(first) != content_hash(second)


def test_beats_hears_what_its_public_implementation_gives_it(golden: Path) -> None:
    expected = np.load(golden / "encoders/beats_tiny/io.npz")
    ours = BeatsInput()(torch.from_numpy(expected["waveform"])).mT
    np.testing.assert_allclose(ours.numpy(), expected["fbank"], atol=1e-4)


def test_eat_hears_what_its_public_implementation_gives_it(golden: Path) -> None:
    expected = np.load(golden / "encoders/eat_tiny/io.npz")
    ours = EatInput()(torch.from_numpy(expected["waveform"])).mT.numpy()
    fbank = expected["fbank"][:, 0]
    assert ours.shape == (len(fbank), 208, 128)  # 198 frames, filled up to whole patches; there to 256
    np.testing.assert_allclose(ours, fbank[:, :208], atol=1e-4)
    assert np.unique(fbank[:, 198:]).size == 1


def test_the_shortest_input_fills_one_patch() -> None:
    for listen in (BeatsInput(), EatInput()):
        assert listen(torch.randn(2, listen.shortest_samples)).shape == (2, 128, 16)


def test_a_constant_offset_is_not_heard() -> None:
    waveforms = 0.1 * torch.randn(2, 8000)
    for listen in (BeatsInput(), EatInput()):
        torch.testing.assert_close(listen(waveforms + 0.25), listen(waveforms), atol=1e-2, rtol=0)
