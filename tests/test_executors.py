"""Jobs here, in local processes and as stages use them: the same results, and a failure costs one machine only."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from asd.core import executors, ray_executor
from asd.core.executors import finished
from asd.options import Execution, SideBySide
from asd.stages import running
from asd.stages.running import Share
from asd.types import AsdError
from tests.command import ONE_VIEW, asd, contents, refuses, succeeds, tiny_machines

MACHINES = ("fan", "pump", "valve")
LOCAL = ("executor=local", "workers=2")


class UnportableError(Exception):
    """Cannot be unpickled: it takes more than its message."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} {why}")


def work(task: int) -> tuple[int, int]:
    """What a task is worth and where it was done; some fail, and one kills its process."""
    if task == 1:
        raise AsdError("one is no number; take another")
    if task == 2:
        raise ZeroDivisionError("two")
    if task == 8:
        raise UnportableError("eight", "is too many")
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return task * task, os.getpid()


def shorter(word: str) -> str:
    return word[1:]


def test_the_inside_of_a_process_answers_until_the_other_side_closes_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "begin_worker", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    inside = threading.Thread(target=executors._serve, args=(theirs,), daemon=True)
    inside.start()
    for task, found in (("abc", "bc"), (7, None), ("", "")):
        ours.send((shorter, task))
        assert ours.poll(5)
        result, error = ours.recv()
        assert result == found
        assert isinstance(error, TypeError) == (found is None)
    ours.close()
    inside.join(5)
    assert not inside.is_alive()


@pytest.mark.parametrize(
    ("code", "how"), [(-9, "was killed by signal 9"), (3, "ended with code 3"), (0, "ended with code 0")]
)
def test_how_a_process_ended_is_said(code: int, how: str, caplog: pytest.LogCaptureFixture) -> None:
    error = executors._death(SimpleNamespace(join=lambda: None, exitcode=code))  # type: ignore[arg-type]
    assert str(error) == f"its process {how}, as when memory runs out; give fewer workers= and start it again"
    assert caplog.messages == [f"a worker {how}"]


def test_a_failure_is_told_with_where_it_was_and_returned_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    _, error = executors.attempt(shorter, 7)
    assert error
    assert executors.log_failure("fan", error) == "TypeError: 'int' object is not subscriptable"
    (told,) = caplog.messages
    assert told.startswith("fan: TypeError: 'int' object is not subscriptable\nTraceback")
    assert "in shorter" in told
    assert executors.log_failure("fan", AsdError("two\nlines")) == "two lines"


@pytest.mark.slow
def test_a_failure_or_a_dead_process_costs_its_own_task() -> None:
    found = {each.task: each for each in finished(work, range(9), SideBySide(workers=2))}
    assert sorted(found) == list(range(9))
    assert {t: each.result[0] for t, each in found.items() if each.error is None} == {t: t * t for t in (0, 4, 5, 6, 7)}
    assert str(found[1].error) == "one is no number; take another"
    assert isinstance(found[2].error, ZeroDivisionError)
    assert "in work" in found[2].error.__notes__[0]
    assert "was killed by signal 9" in str(found[3].error)
    assert str(found[8].error) == "UnportableError: eight is too many"
    assert "in work" in found[8].error.__notes__[0]
    places = {each.result[1] for each in found.values() if each.error is None}
    assert os.getpid() not in places
    assert len(places) <= 3  # two, and one instead of the dead


KILLED = """
import os, signal
import killed
from asd.core.executors import finished
from asd.core.runtime import progress
from asd.options import Execution

def work(task):
    list(progress(range(3), "bar"))
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    print(*(found.error for found in finished(killed.work, [0], Execution(executor="local"))))
"""


@pytest.mark.slow
def test_a_dead_process_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    done = subprocess.run([sys.executable, "killed.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "was killed by signal 9" in done.stdout
    assert done.stderr.strip() == "a worker was killed by signal 9"


@pytest.mark.slow
def test_a_process_that_dies_between_two_tasks_costs_none() -> None:
    found = finished(work, [4, 5, 6], SideBySide(workers=1))
    first = next(found)
    os.kill(first.result[1], signal.SIGKILL)
    while multiprocessing.active_children():
        time.sleep(0.01)
    others = list(found)
    assert [each.error for each in others] == [None, None]
    assert {each.result[0] for each in others} == {25, 36}
    assert first.result[1] not in {each.result[1] for each in others}


@pytest.mark.slow
def test_processes_that_die_at_once_cost_their_tasks_and_do_not_start_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_serve", os._exit)  # which takes no pipe
    found = list(finished(len, ["x" * 10**6] * 2, SideBySide(workers=2)))  # more than a pipe holds
    assert {each.task for each in found} == {0, 1}
    assert all("ended with code 1" in str(each.error) for each in found)


def test_here_it_is_this_process_one_task_after_another() -> None:
    found = list(finished(work, [0, 1, 4], Execution()))
    assert [each.task for each in found] == [0, 1, 2]
    assert found[0].result == (0, os.getpid())
    assert isinstance(found[1].error, AsdError)


@pytest.mark.slow
def test_who_stops_asking_ends_the_tasks_and_their_processes() -> None:
    found = finished(work, [1, *[4] * 50], SideBySide(workers=1))
    assert isinstance(next(found).error, AsdError)
    found.close()
    assert not multiprocessing.active_children()
    assert not list(finished(work, [], SideBySide()))


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["workers=2"], "workers=2 needs executor=local or executor=ray"),
        (["address=here:1", "executor=local"], "address=here:1 needs executor=ray"),
        (["executor=slurm"], "executor=slurm does not fit"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: list[str], saying: str) -> None:
    refuses("train", *words, saying=saying)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_machines(Path("data"), *MACHINES)
    return tmp_path


def results(run: str) -> dict[str, bytes]:
    """Every file of a run, without seconds and without the name of the run."""
    found = contents(Path("runs", run))
    changing = re.compile(rb'"seconds": [0-9.]+|name: ' + run.encode())
    return {name: changing.sub(b"", content) for name, content in found.items()}


@pytest.mark.slow
def test_results_are_those_of_one_process_to_the_bit(place: Path) -> None:
    for words in (
        ("detector=autoencoder", "training.epochs=2", "machine=fan", "seeds=0,1"),
        ("detector=tests.loudness:Loudness", "machine=fan,valve"),
    ):
        train = ("train", "data=data", "device=cpu", *words)
        succeeds(*train, "name=here")
        succeeds(*train, "name=local", *LOCAL)
        assert len([*Path("runs/local").rglob("DONE")]) == 2
        assert results("local") == results("here")
        done = {path: path.stat().st_mtime_ns for path in Path("runs/local").rglob("DONE")}
        succeeds(*train, "name=local", *LOCAL)  # nothing is left to do
        assert {path: path.stat().st_mtime_ns for path in done} == done
        shutil.rmtree("runs")


@pytest.mark.slow
def test_a_machine_that_fails_is_named_and_the_others_are_done(place: Path) -> None:
    clip = next(Path("data/pump/train").glob("*.wav"))
    whole = clip.read_bytes()
    clip.write_bytes(whole[:100])
    answer = asd("train", "data=data", ONE_VIEW, *LOCAL)
    assert answer.code == 2
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("error: 1 failed: pump (")
    assert str(Share({"seeds": [0, 1]}, "pump", [1], True, False, True, "")) == "pump seed 1"
    assert last.endswith("done: fan, valve")
    assert "pump" in refuses("evaluate", "name=statistics", saying="missing|not complete")
    clip.write_bytes(whole)
    done = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("DONE")}
    succeeds("train", "data=data", ONE_VIEW, *LOCAL)  # goes on with what is missing
    assert {path: path.stat().st_mtime_ns for path in done} == done
    before = results("statistics")
    succeeds("score", "data=data", *LOCAL)
    assert results("statistics") == before
    assert {path: path.stat().st_mtime_ns for path in done} != done
    succeeds("evaluate", "name=statistics")


def test_a_run_that_was_removed_meanwhile_is_not_called_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "warn_of_run", lambda runs, name: shutil.rmtree(runs / name / "pump"))
    words = ("train", "machine=fan,pump", "data=data", ONE_VIEW, "name=gone")
    refuses(*words, saying="runs/gone/pump/seed0 was done and is gone: .* start the same command again")


@pytest.mark.parametrize("known", [False, True])
def test_how_a_cluster_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    asked: list[str] = []

    def init(address: str, **_: object) -> SimpleNamespace:
        asked.append(address)
        if address == "foo":
            raise ValueError("no address")
        return SimpleNamespace(address_info={"session_dir": str(tmp_path / "session")})

    ray = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setattr(ray_executor, "imported", lambda *_: ray)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_task_oom_retries", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "session/logs").mkdir(parents=True)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").touch()  # as Ray leaves it where it has started a cluster
    with ray_executor.connected("first" if known else None):
        assert asked == ["first" if known else "local"]  # not the one that a file of Ray names, which may have gone
    assert os.environ.get("RAY_AUTH_MODE") == ("token" if known else None)
    assert (tmp_path / "session").exists() == known
    monkeypatch.setenv("RAY_ADDRESS", "foo")
    with pytest.raises(AsdError, match=r"at RAY_ADDRESS=foo \(no address\); start"), ray_executor.connected(None):
        pass


def test_a_server_that_is_not_one_of_ray_is_told_at_once() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(ValueError, match="the server there is not one of Ray"):
            ray_executor._knock(f"127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()


def test_an_unknown_machine_is_refused_before_any_work(place: Path) -> None:
    refuses("train", "machine=fan,pomp", "data=data", *LOCAL, saying="did you mean pump")
    assert not Path("runs").exists()
