"""The daily walk of docs/daily-use.md: every command, in order; and what a handful of recordings can promise."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.command import asd, contents, refuses
from tests.machines import write_clip

PAGE = Path(__file__).parents[1] / "docs/daily-use.md"


def commands(heading: str) -> list[list[str]]:
    """The commands under a heading, as a shell takes them apart."""
    text = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [shlex.split(line)[3:] for line in re.findall(r"^    (python -m asd .*)$", text, re.MULTILINE)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    places = (("my recordings/pump 3", 12), ("pump 4, six recordings", 6), ("good ones", 3), ("new recordings", 3))
    for k, (folder, count) in enumerate(places):
        for i in range(count):
            write_clip(Path(folder) / f"take {i}.wav", 100 * k + i)
    write_clip(Path("new recordings") / "whistle.wav", 900, 1.0, 3000.0)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_a_day_does_what_the_page_says(place: Path) -> None:
    walk = commands("New recordings")
    assert [words[0] for words in walk] == ["train", "predict", "predict", "explain", "report"]
    for words in walk:
        assert asd(*words).code == (3 if "--fail-on-anomaly" in words else 0), words
    table = pd.read_csv("predictions/statistics/new-recordings/predictions.csv")
    assert table["path"].iloc[0] == "new recordings/whistle.wav"
    text = PAGE.read_text()
    assert all(f"`{column}`" in text for column in table.columns)
    assert Path("today/report.html").is_file()
    assert pd.read_csv("today/explain/pump3/explain.csv")["file"].iloc[0] == "new recordings/whistle.wav"


def test_a_handful_promises_what_it_can_and_grows(place: Path) -> None:
    enroll, grow, back = commands("A handful of normal recordings")
    answer = asd(*enroll)
    assert answer.code == 0, answer.err
    bound = 1 - 0.05 ** (1 / 6)
    assert f"6 normal recordings and a confidence of 95%, at most {bound:.0%}" in answer.out
    assert "for 10% it takes 29" in answer.out
    run = Path("runs/enrolled/pump4/seed0")
    limit = json.loads((run / "scores/thresholds.json").read_text())["ensemble"]
    assert limit["value"] == pd.read_csv(run / "model/training_scores.csv")["ensemble"].max()
    model = contents(run / "model")
    grown = asd(*grow)
    assert grown.code == 0, grown.err
    assert f"which holds 9 now: threshold {limit['value']:.4g} -> " in grown.out
    assert f"at most {1 - 0.05 ** (1 / 9):.0%}" in grown.out
    assert asd(*back).code == 0
    assert contents(run / "model") == model
    refuses("enroll", "machine=pump4", saying="normal= is missing")
