"""What --help lists, and in which order."""

from __future__ import annotations

import pytest

from asd.settings.config import STAGES, Run, Score
from asd.settings.help import describe
from asd.settings.parsing import keys
from asd.settings.stages import Evaluate, Predict


def test_every_option_has_a_meaning() -> None:
    for stage in STAGES.values():
        for line in describe("x", "y", stage).splitlines():
            if line.startswith("  "):
                assert len(line.split(None, 1)) == 2, line


def test_train_lists_what_matters_first_and_then_by_detector() -> None:
    text = describe("train", "fit", Run)
    heads = [line.split(":")[0] for line in text.splitlines() if line and not line.startswith(" ")]
    detectors = ("detector=statistics", "detector=autoencoder", "detector=embedding", "detector=auto")
    assert heads[1:7] == ["most used", "further", *detectors]
    assert heads[7].startswith("every training by gradient, autoencoder.training.*, embedding.*")
    most = text.split("\n\n")[1].splitlines()[1:]
    assert [row.split("=")[0].strip() for row in most] == [*Run.leading, "config"]
    shown = {line.split("=")[0].strip() for line in text.splitlines() if line.startswith("  ")}
    for key in keys(Run):
        name = key.split(".", 1)[1] if key.split(".")[0] in Run.detector_names() else key
        assert (name in shown or name.split(".")[-1] in shown) == (key not in Run.hidden), key
    lines = [line for line in text.splitlines() if line]
    twice = {line.split("=")[0].strip() for line in lines if lines.count(line) > 1}
    # The back ends of two detectors have the same options, and two trainings a learning rate of their own.
    assert twice <= {"learning_rate", "neighbours", "index"}, twice


def test_the_options_of_one_detector_can_be_asked_for() -> None:
    text = describe("train", "fit", Run, "autoencoder")
    assert "training.epochs=100" in text
    assert "detector=embedding" not in text


def test_score_lists_its_own_options_only() -> None:
    text = describe("score", "score", Score)
    assert "weights=" in text
    assert not any(word in text for word in ("epochs", "schedule", "views", "overwrite", "frontend"))


def test_what_a_stage_works_on_comes_before_where_its_jobs_run() -> None:
    rows = [line.split("=")[0].strip() for line in describe("predict", "score", Predict).splitlines()[2:]]
    assert rows[0] == "name"
    assert rows[-4:] == ["executor", "workers", "address", "config"]


@pytest.mark.parametrize(("stage", "option"), [(Evaluate, "json="), (Run, "overwrite=false"), (Run, "seeds=0")])
def test_options_are_shown_as_they_are_written(stage: type[Run], option: str) -> None:
    assert f"  {option} " in describe("x", "y", stage)
