"""Files over broken lines: against a server that breaks off, refuses, lies and forgets."""

from __future__ import annotations

import errno
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asd.challenge.download import Remote, download
from asd.challenge.web import Patience
from asd.types import AsdError
from tests.archive_server import ArchiveServer, Fault, serving

CONTENT = random.Random(0).randbytes(700_000)
NAME = "dev_fan.zip"
PATIENT = Patience(attempts=4, sleep=lambda seconds: None, timeout_s=5)


@pytest.fixture(scope="module")
def running() -> Iterator[ArchiveServer]:
    with serving() as archive:
        archive.publish(1, NAME, CONTENT)
        yield archive


@pytest.fixture
def server(running: ArchiveServer) -> ArchiveServer:
    running.faults.clear()
    running.requests.clear()
    return running


def remote(server: ArchiveServer, **known: object) -> Remote:
    """The file, with what its publisher says of it."""
    said = {"size_bytes": len(CONTENT), "md5": hashlib.md5(CONTENT).hexdigest()} | known
    return Remote(NAME, f"{server.url}/api/records/1/files/{NAME}/content", **said)  # type: ignore[arg-type]


def left(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_a_file_arrives_and_is_not_fetched_twice(server: ArchiveServer, tmp_path: Path) -> None:
    counted: list[int] = []
    for _ in range(2):
        download(remote(server), tmp_path / NAME, PATIENT, counted.append)
        assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.asked(NAME) == [None]
    assert sum(counted) == 2 * len(CONTENT)
    assert left(tmp_path) == {NAME: len(CONTENT)}


def test_a_broken_line_is_continued_where_it_broke(server: ArchiveServer, tmp_path: Path) -> None:
    server.faults[NAME] = [Fault.break_off(100_000), Fault.status(503), Fault.break_off(1)]
    download(remote(server), tmp_path / NAME, PATIENT)
    assert server.asked(NAME) == [None, "bytes=100000-", "bytes=100000-", "bytes=100001-"]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_giving_up_keeps_what_was_received_for_the_next_command(server: ArchiveServer, tmp_path: Path) -> None:
    server.faults[NAME] = [Fault.break_off(300_000), *[Fault.status(500)] * 4]
    with pytest.raises(AsdError, match=r"answers 500 .* what has been received is kept"):
        download(remote(server), tmp_path / NAME, PATIENT)
    assert list(left(tmp_path).values()) == [300_000]
    server.faults.clear()
    download(remote(server), tmp_path / NAME, PATIENT)
    assert server.asked(NAME)[-1] == "bytes=300000-"
    assert left(tmp_path) == {NAME: len(CONTENT)}


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: ArchiveServer, tmp_path: Path) -> None:
    server.faults[NAME] = [Fault.break_off(300_000), Fault(ignores_range=True)]
    counted: list[int] = []
    download(remote(server), tmp_path / NAME, PATIENT, counted.append)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)


def test_a_server_that_ignores_ranges_and_breaks_off_always_is_given_up(server: ArchiveServer, tmp_path: Path) -> None:
    server.faults[NAME] = [Fault.break_off(300_000, ignores_range=True)] * 20
    with pytest.raises(AsdError, match="broke off after 300000 of 700000 bytes, 4 times in a row"):
        download(remote(server), tmp_path / NAME, PATIENT)
    assert len(server.asked(NAME)) == 4


@pytest.mark.parametrize("announced", [len(CONTENT) + 5, 10])
def test_a_lie_about_the_length_is_noticed_before_a_byte_is_kept(
    server: ArchiveServer, tmp_path: Path, announced: int
) -> None:
    server.faults[NAME] = [Fault.announce(announced)] * 20
    with pytest.raises(AsdError, match=f"announces {announced} bytes where its record says 700000"):
        download(remote(server), tmp_path / NAME, PATIENT)
    assert sum(left(tmp_path).values()) == 0
    server.faults[NAME] = [Fault.announce(announced)]
    download(remote(server), tmp_path / NAME, PATIENT)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_lie_about_the_length_of_a_file_without_a_record(server: ArchiveServer, tmp_path: Path) -> None:
    """Nothing else is known of a repository's archive, so it must have as many bytes as were announced."""
    server.faults[NAME] = [Fault.announce(len(CONTENT) + 5)]
    download(remote(server, size_bytes=None, md5=None), tmp_path / NAME, PATIENT)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.asked(NAME) == [None, "bytes=700000-", None]


def test_a_wrong_checksum_tells_both_and_leaves_nothing_under_the_name(server: ArchiveServer, tmp_path: Path) -> None:
    wrong = "0" * 32
    with pytest.raises(AsdError) as refusal:
        download(remote(server, md5=wrong), tmp_path / NAME, PATIENT)
    sentence = str(refusal.value)
    assert NAME in sentence
    assert wrong in sentence
    assert hashlib.md5(CONTENT).hexdigest() in sentence
    assert left(tmp_path) == {}


def test_bytes_that_were_not_its_own_are_given_up(
    server: ArchiveServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A part that a power failure has garbled costs a second download, not an error."""
    file = remote(server)
    assert file.md5 is not None
    (tmp_path / f"{NAME}.{file.md5[:8]}.part").write_bytes(bytes(1000))
    counted: list[int] = []
    download(file, tmp_path / NAME, PATIENT, counted.append)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert "from the start" in caplog.text
    assert sum(counted) == len(CONTENT)


@pytest.mark.parametrize("extra_bytes", [0, 1, 1000])
def test_a_part_that_is_complete_or_too_long(server: ArchiveServer, tmp_path: Path, extra_bytes: int) -> None:
    file = remote(server)
    assert file.md5 is not None
    (tmp_path / f"{NAME}.{file.md5[:8]}.part").write_bytes(CONTENT + bytes(extra_bytes))
    download(file, tmp_path / NAME, PATIENT)
    assert left(tmp_path) == {NAME: len(CONTENT)}
    assert len(server.asked(NAME)) == (extra_bytes > 0)


def test_a_part_of_another_release_is_not_continued(server: ArchiveServer, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.00000000.part").write_bytes(bytes(1000))
    download(remote(server), tmp_path / NAME, PATIENT)
    assert server.asked(NAME) == [None]


def test_a_full_disk_is_a_sentence_and_the_part_stays(
    server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(n_bytes: int) -> None:
        if n_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AsdError, match=r"cannot write .*dev_fan.*No space left on device.*resumes"):
        download(remote(server), tmp_path / NAME, PATIENT, full)
    assert [name.endswith(".part") for name in left(tmp_path)] == [True]


def test_a_file_that_is_gone_is_not_waited_for(server: ArchiveServer, tmp_path: Path) -> None:
    gone = Remote("x.zip", f"{server.url}/api/records/1/files/x.zip/content", 5, "0" * 32)
    with pytest.raises(AsdError, match="answers 404"):
        download(gone, tmp_path / "x.zip", PATIENT)


FAULTS = st.lists(
    st.one_of(
        st.builds(Fault.break_off, st.integers(0, len(CONTENT) - 1), ignores_range=st.booleans()),
        st.builds(Fault.status, st.sampled_from([429, 500, 503]), st.sampled_from([None, "0"])),
        st.builds(Fault.announce, st.integers(1, 2 * len(CONTENT))),
    ),
    max_size=3,
)


@given(FAULTS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_goes_wrong_up_to_three_times_the_file_arrives(
    running: ArchiveServer, tmp_path_factory: pytest.TempPathFactory, faults: list[Fault]
) -> None:
    folder = tmp_path_factory.mktemp("broken")
    running.faults[NAME] = list(faults)
    counted: list[int] = []
    download(remote(running), folder / NAME, PATIENT, counted.append)
    assert (folder / NAME).read_bytes() == CONTENT
    assert left(folder) == {NAME: len(CONTENT)}
    assert sum(counted) == len(CONTENT)
    running.faults.clear()
