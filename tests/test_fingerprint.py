"""One fingerprint of data: it is of everything that is known of a recording, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from asd.data.audio import Sound
from asd.data.recordings import Recordings
from asd.types import Clip, Domain, Label, Split

CLIP = Clip(Path("data/fan/train/a.wav"), "fan", "00", Split.TRAIN, Domain.SOURCE, Label.NORMAL, {"v": "1", "w": "2"})
OTHER: dict[str, Any] = {
    "path": Path("data/fan/train/b.wav"),
    "machine": "pump",
    "section": "01",
    "split": Split.TEST,
    "domain": Domain.TARGET,
    "label": None,
    "attributes": {"v": "1", "w": "3"},
    "file": "normal/b.wav",
}


def fingerprint_of(clips: Sequence[tuple[Clip, str]]) -> str:
    """Of clips with contents of these hashes."""
    sounds = [
        Sound(path=None, content=content, sample_rate_hz=1, file_rate_hz=1, n_channels=1, n_samples=1)
        for _, content in clips
    ]
    return Recordings([clip for clip, _ in clips], sounds).fingerprint


def test_every_fact_of_a_clip_counts() -> None:
    assert OTHER.keys() == {field.name for field in fields(Clip)}
    variants = [replace(CLIP, **{name: value}) for name, value in OTHER.items()]
    found = [fingerprint_of([(clip, "1234")]) for clip in (CLIP, *variants)]
    assert len(set(found)) == len(found)


def test_content_and_order_count() -> None:
    one, two = (CLIP, "1234"), (replace(CLIP, section="01"), "5678")
    keys = {fingerprint_of(pairs) for pairs in ([one, two], [two, one], [one], [(CLIP, "5678")], [])}
    assert len(keys) == 5


@pytest.mark.parametrize(
    "same", [replace(CLIP, path=Path("/elsewhere/a.wav")), replace(CLIP, attributes={"w": "2", "v": "1"})]
)
def test_the_place_and_the_order_of_attributes_do_not(same: Clip) -> None:
    assert fingerprint_of([(same, "1234")]) == fingerprint_of([(CLIP, "1234")])
