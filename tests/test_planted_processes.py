"""Commands that are killed at any moment, or meet a second one on the same run: the next one ends as if alone."""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asd.challenge.years import get_year
from tests.archive_server import ArchiveServer, serving
from tests.command import asd, contents, succeeds
from tests.faults.fault import STAGES, left_over, numbers, results, written
from tests.faults.place import Place
from tests.miniature_year import publish_year
from tests.test_planted_faults import finished, spoilt, undisturbed

__all__ = ["finished", "spoilt", "undisturbed"]  # fixtures

# A child that need not import everything anew. It could wait for threads of its parent's calculations for ever, but
# conftest.py sees to it that there are none.
FORK = multiprocessing.get_context("fork")
N_FEW, N_MANY = (2, 17)  # moments per stage; three stages make the 50 of the slow test, and the download has its own
STOPPED = ("train", "score", "bundle")


def _child(words: tuple[str, ...]) -> None:
    sys.exit(asd(*words).code)


def begin(*words: object) -> multiprocessing.process.BaseProcess:
    """The command in a process of its own."""
    process = FORK.Process(target=_child, args=(tuple(map(str, words)),))
    process.start()
    return process


def kill(words: tuple[object, ...], after_s: float) -> None:
    """Begins the command and ends it by SIGKILL."""
    process = begin(*words)
    time.sleep(after_s)
    process.kill()
    process.join()


def seconds_of(*words: object) -> float:
    """How long the command takes, which decides when it is killed."""
    begun = time.perf_counter()
    process = begin(*words)
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - begun


def kill_and_go_on(place: Place, stage: str, n_moments: int, undisturbed: Callable[[str], dict[str, bytes]]) -> None:
    """Kills a stage at random moments, each time in a fresh place, and lets it go on."""
    draw = random.Random(0)
    before = results(Path.cwd())
    longest_s = seconds_of(*STAGES[stage])
    place.put_back()
    for _ in range(n_moments):
        try:
            kill(STAGES[stage], draw.uniform(0, longest_s))
            others = {
                name: content for name, content in before.items() if not name.startswith(("runs/one/fan", "runs/new"))
            }
            after = results(Path.cwd())
            assert {name: after.get(name) for name in others} == others, "nothing finished is lost"
            succeeds(*STAGES[stage])
            assert left_over(Path.cwd()) == []
            assert written(numbers(before), numbers(results(Path.cwd()))) == undisturbed(stage)
        finally:
            place.put_back()


@pytest.mark.parametrize("stage", STOPPED)
def test_killed_at_some_moments(
    stage: str, spoilt: Place, undisturbed: Callable[[str], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spoilt.root)
    kill_and_go_on(spoilt, stage, N_FEW, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STOPPED)
def test_killed_at_many_moments(
    stage: str, spoilt: Place, undisturbed: Callable[[str], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spoilt.root)
    kill_and_go_on(spoilt, stage, N_MANY, undisturbed)


@pytest.mark.parametrize("stage", ["train", "score", "fuse", "submit", "bundle"])
def test_two_at_once(
    stage: str, spoilt: Place, undisturbed: Callable[[str], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both may be done, or one is refused; what is there afterwards is whole."""
    monkeypatch.chdir(spoilt.root)
    before = results(Path.cwd())
    try:
        both = [begin(*STAGES[stage]) for _ in range(2)]
        for process in both:
            process.join()
        assert {process.exitcode for process in both} <= {0, 2}
        assert 0 in {process.exitcode for process in both}
        if stage in {"train", "score"}:
            succeeds(*STAGES[stage])
        assert left_over(Path.cwd()) == []
        assert written(numbers(before), numbers(results(Path.cwd()))) == undisturbed(stage)
    finally:
        spoilt.put_back()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ArchiveServer]:
    with serving() as archive:
        small = {"train_source": 8, "train_target": 2, "test_per_cell": 2, "duration_s": 0.3}
        publish_year(archive, 2024, tmp_path / "clips", evaluation=["ToothBrush", "Scanner"], **small)
        yield archive


@pytest.mark.slow
def test_a_download_that_is_killed(server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("data", "year=2024", "machine=ToothBrush,Scanner", *server.words)
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    longest_s = seconds_of(*words)
    whole = contents(tmp_path / "whole" / get_year(2024).eval_root)
    draw = random.Random(0)
    for number in range(N_MANY):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        kill(words, draw.uniform(0, longest_s))
        succeeds(*words)
        found = contents(tmp_path / str(number) / get_year(2024).eval_root)
        assert found.keys() == whole.keys()
        assert all(found[name] == whole[name] for name in whole if name.endswith(".wav"))
