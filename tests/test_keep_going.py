"""`--keep-going`: a machine that fails does not stop the others; the exit code and a list tell of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import asd, refuses, succeeds, tiny_machines


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_machines(Path("data"), "fan", "pump", "valve")
    clip = next(Path("data/pump/train").glob("*.wav"))
    clip.write_bytes(clip.read_bytes()[:100])
    return tmp_path


def done(place: Path) -> set[str]:
    return {path.parents[1].name for path in place.glob("runs/*/*/seed0/DONE")}


@pytest.mark.parametrize("word", ["--keep-going", "keep_going=true"])
def test_the_others_are_done_and_the_failure_is_listed(place: Path, word: str) -> None:
    answer = asd("train", "machine=all", "data=data", word)
    assert answer.code == 2
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("error: 1 failed: pump (")
    assert "is truncated" in last
    assert last.endswith("done: fan, valve")
    assert done(place) == {"fan", "valve"}
    assert asd("score", "machine=all", "data=data", word).code == 2


def test_without_it_nothing_is_begun(place: Path) -> None:
    refuses("train", "machine=all", "data=data", saying="is truncated")
    assert done(place) == set()


def test_it_changes_nothing_where_nothing_fails(place: Path) -> None:
    succeeds("train", "machine=fan,valve", "data=data", "--keep-going")
    assert "is done already" in succeeds("train", "machine=fan", "data=data").err
