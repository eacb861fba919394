"""`data` that is stopped, killed, doubled or out of space: nothing is lost, and the same command goes on."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive_server import ArchiveServer, Fault, serving
from tests.command import refuses, start, succeeds
from tests.miniature_year import publish_year


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveServer]:
    """A machine of 2024, from a working directory of one's own."""
    monkeypatch.chdir(tmp_path)
    with serving() as archive:
        sizes = {"train_source": 2, "train_target": 1, "test_per_cell": 1}
        publish_year(archive, 2024, tmp_path / "clips", dev=["fan"], duration_s=0.3, **sizes)
        yield archive


def words(server: ArchiveServer) -> list[str]:
    return ["data", "year=2024", "machine=fan", "part=dev", *server.words]


def test_two_commands_do_not_fill_one_place(server: ArchiveServer) -> None:
    Path("data/dcase2024t2/archives").mkdir(parents=True)
    with Path("data/dcase2024t2/.archives.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refuses(*words(server), saying="another data stage works in")


def test_what_a_killed_command_was_unpacking_is_removed(server: ArchiveServer) -> None:
    half = Path("data/dcase2024t2/dev_data/raw/.unpacking/fan-dev/train")
    half.mkdir(parents=True)
    succeeds(*words(server))
    assert not half.exists()


@pytest.mark.slow
def test_a_stopped_command_resumes(server: ArchiveServer) -> None:
    server.faults["dev_fan.zip"] = [Fault(pause_s=0.05)]
    command = start(*words(server))
    deadline_s = time.monotonic() + 30
    while not any(part.stat().st_size for part in Path("data").rglob("*.part")):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=30)
    assert command.returncode == 130, err
    assert "interrupted: nothing finished is lost" in err
    (part,) = Path("data").rglob("*.part")
    received = part.stat().st_size
    succeeds(*words(server))
    assert server.asked("dev_fan.zip") == [None, f"bytes={received}-"]


_ON_A_SMALL_DISK = """
mkdir data && mount -t tmpfs -o size=100k tmpfs data || exit 77
"$@" 2> first.txt; echo $? >> first.txt
find data > left.txt
mount -o remount,size=4m data
exec "$@"
"""


@pytest.mark.slow
def test_a_disk_that_is_full_loses_nothing(server: ArchiveServer) -> None:
    """A real one of 100 kB, in a mount namespace of its own; then it grows and the same command goes on."""
    inside = ["sh", "-c", _ON_A_SMALL_DISK, "sh", sys.executable, "-m", "asd", *words(server)]
    try:
        ended = subprocess.run(["unshare", "--map-root-user", "--mount", *inside], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if not Path("left.txt").exists():
        pytest.skip(f"no mount namespace may be made here: {ended.stderr.decode()}")
    *_, sentence, code = Path("first.txt").read_text().splitlines()
    assert code == "2"
    assert re.match(r"error: .*dev_fan.zip needs \d+ bytes to unpack where .* has \d+ free", sentence)
    assert "the archive is kept" in sentence
    left = Path("left.txt").read_text()
    assert "archives/dev_fan.zip" in left
    assert ".wav" not in left
    assert ended.returncode == 0, ended.stderr
    assert server.asked("dev_fan.zip") == [None]
