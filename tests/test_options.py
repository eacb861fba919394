"""Which options make another run of it, and which do not."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from asd.data.supplemental import SupplementalPolicy
from asd.detectors import AutoencoderSettings, StatisticsSettings
from asd.detectors.encoders.recipe import EmbeddingSettings
from asd.detectors.statistics import Statistics
from asd.options import NO_RESULT, Names, Settings, TrainSettings, join_names, run_options, split_names
from asd.sed.config import Learning, Train
from asd.settings.config import Decision, Run

CHANGES_NO_RESULT = {"memory_gib"}


class Lists(Settings):
    names: Names = Field([])


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("model", [StatisticsSettings, AutoencoderSettings, EmbeddingSettings, TrainSettings])
def test_every_option_that_can_change_a_result_decides(model: type[Settings]) -> None:
    usual = model()
    for name in model.model_fields:
        changed = usual.model_copy(update={name: "another"})
        assert (changed.deciding() == usual.deciding()) == (name in CHANGES_NO_RESULT), name


def test_options_inside_an_option_decide_too() -> None:
    def deciding(**training: Any) -> dict[str, Any]:
        return AutoencoderSettings(training=TrainSettings(**training)).deciding()

    assert deciding(epochs=3) != deciding()


def test_what_decides_is_plain_values() -> None:
    class Places(Settings):
        place: Path = Path("a/b")
        sizes: tuple[int, ...] = (1, 2)

    class Nested(Settings):
        inner: Places = Places()
        idle: int = Field(1, json_schema_extra=NO_RESULT)

    assert Nested().deciding() == {"inner": {"place": "a/b", "sizes": [1, 2]}}


def test_a_command_names_its_run_as_a_shell_takes_it() -> None:
    assert run_options("fan", Path("runs")) == "name=fan"
    assert shlex.split(run_options("a b", Path("my runs"), "x=1 2")) == ["name=a b", "runs=my runs", "x=1 2"]


def test_a_run_is_decided_by_its_own_detector_alone() -> None:
    statistics = Run()
    assert Run(embedding=EmbeddingSettings(epochs=3)).settings() == statistics.settings()
    assert Run(statistics=StatisticsSettings(backend="knn")).settings() != statistics.settings()
    assert Run(detector="embedding").settings() != statistics.settings()


def test_what_is_heard_and_by_which_detector_decides_and_where_and_when_does_not() -> None:
    usual = Run().settings()
    assert usual["detector"] == "statistics"  # two of one's own may have the same options
    assert usual["version"] == Statistics.version > 1
    noise = SupplementalPolicy(noise="profile")
    heard = {"sample_rate_hz": 8000, "frontend": "far", "residual": 0.5, "channel": 1, "window_s": 2.0}
    for name, value in {**heard, "supplemental": noise}.items():
        assert Run().model_copy(update={name: value}).settings() != usual, name
    elsewhere = {"runs": Path("x"), "name": "y", "device": "cuda", "seeds": [3], "machine": ["fan"], "data": Path("z")}
    later = {"decision": Decision(quantile=0.5), "keep_going": True, "overwrite": True}
    assert Run().model_copy(update=elsewhere | later).settings() == usual


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_option_of_event_detection_decides() -> None:
    for name in Learning.model_fields:
        changed = Train().model_copy(update={"training": Learning().model_copy(update={name: "another"})})
        assert changed.decisive() != Train().decisive(), name


@pytest.mark.parametrize("given", ["a, b", ["a", "b"], ("a", "b")])
def test_lists_are_written_with_commas(given: Any) -> None:
    assert Lists(names=given).names == ["a", "b"]
    for empty in ("", "a,", "a,a"):
        with pytest.raises(ValidationError, match=r"it is empty|name each once"):
            Lists(names=empty)


@pytest.mark.parametrize("name", ['"a', 'a"b', 'a "b" c', "a\nb", "a, b", "x" * 140_000])
def test_a_name_is_read_as_it_is_listed(name: str) -> None:
    assert split_names(join_names([name, "c"])) == [name, "c"]


def test_options_are_fixed_and_none_is_added() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Run(), "year", 2024)  # noqa: B010
    with pytest.raises(ValidationError, match="Extra inputs"):
        Run.model_validate({"yaer": 2024})
