from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from asd.challenge.system_meta import SystemFacts, fill_meta, load_template
from asd.challenge.years import get_year
from asd.core.networks.multiresolution import MultiResolution
from asd.detectors.embedding import Embedding
from asd.detectors.encoders.bottleneck import Bottleneck
from asd.detectors.encoders.build import build, declared
from asd.detectors.encoders.pretrained import Pretrained
from asd.detectors.encoders.recipe import PRETRAINED, EmbeddingSettings, Recipe
from asd.detectors.encoders.training import Discriminator
from asd.features.waveforms import segments
from asd.types import AsdError, Split
from tests.command import refuses, short_training, succeeds
from tests.machines import recordings, run_context, tone_machine
from tests.tiny_encoders import beats_pt, eat_folder

EMBEDDING = ("detector=embedding", "name=pretrained", "embedding.backends=knn")


def test_names_lead_to_networks(tmp_path: Path) -> None:
    kinds: dict[str, tuple[type, dict[str, Any]]] = {
        "multires_cnn": (MultiResolution, {}),
        "bottleneck": (Bottleneck, {}),
        "beats": (Pretrained, {"checkpoint": beats_pt(tmp_path)}),
        "eat": (Pretrained, {"checkpoint": eat_folder(tmp_path)}),
    }
    for name, (kind, words) in kinds.items():
        design = Recipe(encoder=name, **words)
        assert isinstance(build(design), kind)
        assert design.is_pretrained is design.is_frozen is (kind is Pretrained)


def test_an_encoder_of_the_whole_spectrum_alone_needs_no_windows() -> None:
    assert build(Recipe(encoder="multires_cnn", windows_samples=())).n_parts == 1
    with pytest.raises(AsdError, match="would have no input"):
        build(Recipe(encoder="multires_cnn", windows_samples=(), whole=False))


def test_a_name_that_there_is_not_is_refused() -> None:
    with pytest.raises(AsdError, match=r"encoder=scrtach is unknown; there are fault_mlp, multires_cnn"):
        EmbeddingSettings(encoder="scrtach")
    with pytest.raises(ValidationError, match="Input should be 'subcluster_adacos'"):
        EmbeddingSettings(loss="adacos")
    with pytest.raises(AsdError, match=r"encoder is a int; give the name of an encoder"):
        Recipe(encoder=3)
    with pytest.raises(AsdError, match=r"encoder is a type; .* or a torch.nn.Module"):
        Recipe(encoder=Energies)


class Energies(nn.Module):
    """Log energies of equal stretches of a waveform, and a layer on them."""

    def __init__(self, n_dims: int = 6) -> None:
        super().__init__()
        self.out = nn.Linear(20, n_dims)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        powers = waveforms.unflatten(1, (20, -1)).square().mean(2)
        embeddings: torch.Tensor = self.out((powers + 1e-9).log())
        return embeddings


def test_a_class_by_its_path_is_an_encoder() -> None:
    encoder = build(Recipe(encoder="tests.test_build:Energies", n_dims=4, segment_samples=8000))
    assert (encoder.n_parts, encoder.n_dims, encoder.segment_samples) == (1, 4, 8000)
    torch.testing.assert_close(encoder(torch.randn(3, 8000)).norm(dim=2), torch.ones(3, 1))
    branches = build(Recipe(encoder="asd.core.networks.multiresolution:MultiResolution", n_dims=8, width=2))
    assert isinstance(branches, MultiResolution)


@pytest.mark.parametrize(
    ("path", "saying"),
    [
        ("nowhere:Net", "cannot be imported"),
        ("tests.test_build:Nothing", "cannot be imported"),
        ("tests.test_build:run_context", r"is no torch\.nn\.Module"),
        ("torch.nn:Linear", "cannot be constructed"),
        ("torch.nn:Bilinear", "cannot be constructed"),
        ("torch.nn:Conv2d", "cannot be constructed"),
        ("torch.nn:RNNBase", "cannot be constructed"),
        ("torch.nn:Identity", None),
        ("torch.nn:BatchNorm2d", "cannot be constructed"),
        ("torch.nn:GLU", None),
        ("torch.nn:Softmax2d", "does not take waveforms"),
    ],
)
def test_classes_that_cannot_be_encoders_are_named(path: str, saying: str | None) -> None:
    recipe = Recipe(encoder=path)
    if saying is None:
        assert build(recipe)(torch.randn(2, recipe.segment_samples)).dim() == 3
    else:
        with pytest.raises(AsdError, match=saying):
            build(recipe)


def test_a_module_handed_in_is_trained_or_stays_as_it_is(tmp_path: Path) -> None:
    tone_machine(tmp_path, n_train=12, n_target=3, n_test=2)
    clips, test = recordings(tmp_path), recordings(tmp_path, "fan", Split.TEST)
    words: dict[str, Any] = {"segment_samples": 8000, "epochs": 2, "batch_size": 8}
    torch.manual_seed(0)
    mine = Energies()
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    trained = Embedding(run_context(tmp_path), EmbeddingSettings(encoder=mine, **words))
    trained.fit(clips)
    frozen = Embedding(run_context(tmp_path), EmbeddingSettings(encoder=mine.requires_grad_(False), **words))
    frozen.fit(clips)
    assert all(torch.equal(mine.state_dict()[name], before[name]) for name in before)
    first = recordings(tmp_path, "fan", Split.TEST).waveform(0)
    cut = segments(torch.from_numpy(first)[None], 8000)[0]
    mean = torch.nn.functional.normalize(mine(cut), dim=1).mean(0)
    np.testing.assert_allclose(frozen.encoder.embed(test)[0][0], (mean / mean.norm()).numpy(), rtol=1e-4)
    assert not np.allclose(trained.encoder.embed(test)[0], frozen.encoder.embed(test)[0])
    trained.save(tmp_path)
    again = Embedding(run_context(tmp_path), EmbeddingSettings(encoder=Energies(), **words))
    again.load(tmp_path)
    np.testing.assert_allclose(again.score(test)["knn"], trained.score(test)["knn"], rtol=1e-4)


def test_a_frozen_module_of_other_weights_has_a_cache_of_its_own() -> None:
    torch.manual_seed(0)
    one, other = (Energies().requires_grad_(False) for _ in range(2))
    origins = {build(Recipe(encoder=net, segment_samples=8000)).origin for net in (one, other, one)}
    assert len(origins) == 2
    assert "" not in origins


def test_a_frozen_module_of_other_code_has_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    origins = []
    for pooling in ("mean", "amax", "mean"):
        text = f"""import torch
class Pooled(torch.nn.Module):
    def forward(self, waveforms):
        return waveforms.unflatten(1, (20, -1)).{pooling}(2)
"""
        (tmp_path / "pooled_here.py").write_text(text)
        monkeypatch.delitem(sys.modules, "pooled_here", raising=False)
        net = importlib.import_module("pooled_here").Pooled()
        origins.append(build(Recipe(encoder=net, segment_samples=8000)).origin)
    assert origins[0] == origins[2] != origins[1]


def test_an_encoder_that_there_is_not_is_refused_before_any_recording_is_read() -> None:
    with pytest.raises(AsdError, match=r"embedding\.encoder=tests\.test_build:Nothing cannot be imported"):
        EmbeddingSettings(encoder="tests.test_build:Nothing").check_names()


def test_statistics_are_not_exchanged_where_there_is_no_spectrogram(tmp_path: Path) -> None:
    module = Discriminator(build(recipe := Recipe(encoder=Energies(), segment_samples=8000, statex=0.5)), 2, recipe)
    with pytest.raises(AsdError, match=r"statex=0\.5 exchanges statistics of spectrograms, .*Energies"):
        module(torch.randn(4, 8000), torch.eye(2)[[0, 1, 0, 1]])


@pytest.mark.parametrize("encoder", PRETRAINED)
def test_what_it_was_pretrained_on_is_declared(encoder: str) -> None:
    words: dict[str, Any] = declared(Recipe(encoder=encoder))
    facts = SystemFacts(name="x", abbreviation="x", sampling_rate_hz=16000, total_parameters=1, **words)
    system = fill_meta(load_template(get_year(2025)), facts, "Doe_ACME_task2_1")["system"]
    assert system["description"]["embeddings"] == words["embeddings"]
    assert system["external_datasets"] == words["external_datasets"]
    if encoder != "transformers":  # whose data only the user knows: left to be filled in
        assert "AudioSet" in {entry["name"] for entry in system["external_datasets"]}
        assert "<" not in str(system["external_datasets"])


def test_a_pretrained_encoder_from_the_command_line(place: Path) -> None:
    words = (*short_training()[:3], *EMBEDDING, "embedding.encoder=beats")
    refuses(*words, saying=r"needs embedding\.checkpoint=PATH: BEATs_iter3_plus_AS2M\.pt .*unilm/tree/master/beats")
    refuses(*words[:-1], "embedding.encoder=scrtach", saying=r"encoder=scrtach is unknown; there are fault_mlp, ")
    refuses(*words, "embedding.checkpoint=nowhere.pt", saying=r"nowhere\.pt does not exist; wanted is BEATs")
    checkpoint = f"embedding.checkpoint={beats_pt(place)}"
    refuses(*words, checkpoint, "embedding.layers=7", saying=r"layers=7 is beyond the 3 layers")
    succeeds(*words, checkpoint, "embedding.layers=1,3")
    assert len(list(Path("runs/.cache").glob("fan-*-embedding-*"))) == 2
    beats_pt(place, seed=1)  # other weights in the same file
    refuses(
        *words, checkpoint, "embedding.layers=1,3", saying="made by other code or weights: .*checkpoint, has changed"
    )
    succeeds(*words, checkpoint, "embedding.layers=1,3", "overwrite=true")
    assert len(list(Path("runs/.cache").glob("fan-*-embedding-*"))) == 4
    succeeds(*words[:-1], "embedding.encoder=bottleneck", "name=bottleneck", "embedding.epochs=1")
    spectrum = ("embedding.encoder=multires_cnn", "embedding.windows_samples=", "embedding.epochs=1")
    succeeds(*words[:-1], *spectrum, "name=spectrum")
