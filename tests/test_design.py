from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asd.challenge.system_meta import SystemFacts, fill_meta, load_template
from asd.challenge.years import get_year
from asd.core.networks.multiresolution import MultiResolution
from asd.detectors.encoders.bottleneck import Bottleneck
from asd.detectors.encoders.design import PRETRAINED, Design
from asd.detectors.encoders.pretrained import Pretrained
from asd.types import AsdError
from tests.command import refuses, short_training, succeeds
from tests.tiny_encoders import beats_pt, eat_folder

EMBEDDING = ("detector=embedding", "name=pretrained", "embedding.backends=knn")


def test_names_lead_to_networks(tmp_path: Path) -> None:
    kinds: dict[str, tuple[type, dict[str, Any]]] = {
        "scratch": (MultiResolution, {}),
        "bottleneck": (Bottleneck, {}),
        "beats": (Pretrained, {"checkpoint": beats_pt(tmp_path)}),
        "eat": (Pretrained, {"checkpoint": eat_folder(tmp_path)}),
    }
    for name, (kind, words) in kinds.items():
        design = Design(encoder=name, **words)
        assert isinstance(design.network(), kind)
        assert design.is_pretrained is design.is_frozen is (kind is Pretrained)


def test_an_encoder_of_the_whole_spectrum_alone_needs_no_windows() -> None:
    assert Design(windows_samples=()).network().n_parts == 1
    with pytest.raises(AsdError, match="would be deaf"):
        Design(windows_samples=(), whole=False)


@pytest.mark.parametrize("encoder", PRETRAINED)
def test_what_it_was_pretrained_on_is_declared(encoder: str) -> None:
    words: dict[str, Any] = Design(encoder=encoder).declared()
    facts = SystemFacts(name="x", abbreviation="x", sampling_rate_hz=16000, total_parameters=1, **words)
    system = fill_meta(load_template(get_year(2025)), facts, "Doe_ACME_task2_1")["system"]
    assert system["description"]["embeddings"] == words["embeddings"]
    assert system["external_datasets"] == words["external_datasets"]
    if encoder != "transformers":  # whose data only the user knows: left to be filled in
        assert "AudioSet" in {entry["name"] for entry in system["external_datasets"]}
        assert "<" not in str(system["external_datasets"])


def test_a_pretrained_encoder_from_the_command_line(place: Path) -> None:
    words = (*short_training()[:3], *EMBEDDING, "embedding.encoder=beats")
    refuses(
        *words,
        saying=r"needs embedding\.checkpoint=PATH: BEATs_iter3_plus_AS2M\.pt .*unilm/tree/master/beats",
    )
    refuses(*words, "embedding.checkpoint=nowhere.pt", saying=r"nowhere\.pt does not exist; wanted is BEATs")
    checkpoint = f"embedding.checkpoint={beats_pt(place)}"
    refuses(*words, checkpoint, "embedding.layers=7", saying=r"layers=7 is beyond the 3 layers")
    succeeds(*words, checkpoint, "embedding.layers=1,3")
    assert len(list(Path("runs/.cache").glob("fan-*-embedding-*"))) == 2
    succeeds(*words[:-1], "embedding.encoder=bottleneck", "name=bottleneck", "embedding.epochs=1")
    succeeds(*words[:-1], "embedding.windows_samples=", "name=spectrum", "embedding.epochs=1")
