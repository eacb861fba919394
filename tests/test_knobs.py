"""Which knobs make another run of it, and which do not."""

from __future__ import annotations

import pytest

from asd.sed.config import Learning, Train
from asd.settings.config import Run
from asd.settings.detectors import Autoencoder, Embedding, Statistics, Training

SECTIONS = {
    "training": ("autoencoder", Training),
    "autoencoder": ("autoencoder", Autoencoder),
    "embedding": ("embedding", Embedding),
    "statistics": ("statistics", Statistics),
}
CHANGES_NO_RESULT = {"training.tensorboard", "embedding.tensorboard", "embedding.memory_gib"}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", SECTIONS)
def test_every_knob_that_can_change_a_result_makes_another_run(name: str) -> None:
    detector, section = SECTIONS[name]
    usual = Run(detector=detector)
    for knob in section.model_fields:
        changed = usual.model_copy(update={name: section().model_copy(update={knob: "another"})})
        is_same = changed.settings() == usual.settings()
        assert is_same == (f"{name}.{knob}" in CHANGES_NO_RESULT), knob


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_so_does_every_knob_of_event_detection() -> None:
    for knob in Learning.model_fields:
        changed = Train().model_copy(update={"training": Learning().model_copy(update={knob: "another"})})
        assert (changed.decisive() == Train().decisive()) == (knob == "tensorboard"), knob


def test_runs_of_before_keep_their_hash() -> None:
    """It was made of all knobs: those that change no result still count, as if they had their defaults."""
    usual = Run(detector="embedding")
    everything = {"detector", "sample_rate_hz", "frontend", "residual", "supplemental"}
    assert usual.settings() == usual.model_dump(include=everything) | usual.detector_arguments()
