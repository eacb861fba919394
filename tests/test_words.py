from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.settings.config import STAGES, Evaluate, Run, Section, Submit
from asd.settings.words import keys, parse
from asd.types import AsdError


def test_words_become_typed_settings() -> None:
    run = parse(Run, ["machine=fan,valve", "seeds=0,1,2", "training.epochs=5", "compatible=true", "data=d"])
    assert run.machine == ["fan", "valve"]
    assert run.seeds == [0, 1, 2]
    assert run.training.epochs == 5
    assert run.compatible is True
    assert run.data == Path("d")


def test_seed_is_short_for_seeds() -> None:
    assert parse(Run, ["seed=7"]).seeds == [7]


def test_a_file_lies_below_the_words(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("detector: autoencoder\ntraining:\n  epochs: 3\n  batch_size: 64\n")
    run = parse(Run, ["training.epochs=9", f"config={tmp_path / 'a.yaml'}"])
    assert (run.detector, run.training.epochs, run.training.batch_size) == ("autoencoder", 9, 64)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["machin=fan"], r"unknown key 'machin': did you mean machine\?"),
        (["epochs=3"], r"unknown key 'epochs': did you mean training.epochs\?"),
        (["training.epoch=3"], r"did you mean training.epochs\?"),
        (["xyzzy=3"], "unknown key 'xyzzy': known keys: machine, year"),
        (["fan"], "'fan' is not a key=value word"),
        (["training.epochs=many"], "training.epochs=many does not fit: .*integer"),
        (["training.epochs=0"], "training.epochs=0 does not fit"),
        (["seeds="], "seeds"),
        (["decision.quantile=1.5"], "decision.quantile=1.5 does not fit"),
        (["name=../other"], "name=../other does not fit"),
        (["config=nowhere.yaml"], r"config=nowhere.yaml does not exist"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(AsdError, match=sentence):
        parse(Run, words)


def test_a_missing_word_is_named() -> None:
    with pytest.raises(AsdError, match="label= is missing"):
        parse(Submit, ["name=run"])


@pytest.mark.parametrize("content", ["[1, 2]", "just text", "a: b: c"])
def test_a_config_file_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(AsdError, match=r"x\.yaml"):
        parse(Run, [f"config={tmp_path / 'x.yaml'}"])


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("training:\n  epoch: 3\n")
    with pytest.raises(
        AsdError, match=r"x\.yaml: unknown key 'training.epoch': did you mean training.epochs"
    ):
        parse(Run, [f"config={tmp_path / 'x.yaml'}"])


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_knob_has_a_meaning(stage: str) -> None:
    assert all(meaning for _, _, meaning in keys(STAGES[stage]))


def test_json_is_a_word_though_python_needs_another_name() -> None:
    assert parse(Evaluate, ["json=out.json"]).json_ == Path("out.json")


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 10**6), st.floats(1e-6, 10, allow_nan=False))
def test_settings_survive_being_written_as_words(epochs: int, rate: float) -> None:
    run = parse(Run, [f"training.epochs={epochs}", f"training.learning_rate={rate!r}"])
    assert (run.training.epochs, run.training.learning_rate) == (epochs, rate)


def test_what_does_not_decide_the_model_is_not_in_its_settings() -> None:
    base = Run().settings()
    assert Run(runs=Path("x"), name="y", device="cpu").settings() == base
    assert Run(training={"epochs": 3}).settings() == base  # the default detector trains nothing
    assert (
        Run(detector="autoencoder", training={"epochs": 3}).settings()
        != Run(detector="autoencoder").settings()
    )
    assert issubclass(Run, Section)
