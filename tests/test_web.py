"""Requests that fail, and what is tried again: against a server on this machine, without waiting."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from asd.challenge.web import PassingError, Patience, open_url, patiently, read_json
from asd.types import AsdError
from tests.archive_server import ArchiveServer, Fault, serving


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with serving() as archive:
        archive.publish(7, "a.zip", b"abc")
        yield archive


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def patience(pauses: list[float]) -> Patience:
    return Patience(attempts=4, sleep=pauses.append, timeout_s=5)


def record(server: ArchiveServer) -> str:
    return f"{server.url}/api/records/7"


def test_what_may_pass_is_tried_again_after_growing_pauses(
    server: ArchiveServer, patience: Patience, pauses: list[float]
) -> None:
    server.faults["7"] = [Fault.status(500), Fault.status(503), Fault.status(502)]
    assert read_json(record(server), patience)["id"] == 7
    assert pauses == [1, 2, 4]


def test_the_server_says_how_long_to_wait(server: ArchiveServer, patience: Patience, pauses: list[float]) -> None:
    server.faults["7"] = [Fault.status(429, after="3"), Fault.status(429, after=formatdate(time.time() + 100))]
    read_json(record(server), patience)
    assert pauses[0] == 3
    assert 90 < pauses[1] <= 100


def test_a_retry_after_that_makes_no_sense_is_as_if_there_were_none(
    server: ArchiveServer, patience: Patience, pauses: list[float]
) -> None:
    server.faults["7"] = [Fault.status(429, after="soon")]
    read_json(record(server), patience)
    assert pauses == [1]


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server: ArchiveServer, patience: Patience) -> None:
    server.faults["7"] = [Fault.status(429, after="3600")]
    with pytest.raises(AsdError, match=r"answers 429 .* asks to wait 3600 s"):
        read_json(record(server), patience)


def test_patience_ends(server: ArchiveServer, patience: Patience, pauses: list[float]) -> None:
    server.faults["7"] = [Fault.status(500)] * 9
    with pytest.raises(AsdError, match=r"records/7 answers 500 .*, 4 times in a row"):
        read_json(record(server), patience)
    assert len(pauses) == 3


def test_what_will_not_pass_is_an_error_at_once(server: ArchiveServer, patience: Patience, pauses: list[float]) -> None:
    with pytest.raises(AsdError, match="records/8 answers 404"):
        read_json(f"{server.url}/api/records/8", patience)
    server.faults["7"] = [Fault.status(403)]
    with pytest.raises(AsdError, match="answers 403"):
        read_json(record(server), patience)
    assert pauses == []


def test_nobody_there(patience: Patience, pauses: list[float]) -> None:
    with serving() as server:
        url = record(server)
    with pytest.raises(AsdError, match="cannot be reached"):
        read_json(url, patience)
    assert len(pauses) == 3


def test_half_an_answer_is_asked_for_again(server: ArchiveServer, patience: Patience) -> None:
    server.faults["7"] = [Fault.break_off(5)]
    assert read_json(record(server), patience)["id"] == 7


def test_an_answer_that_is_no_json_names_the_word(server: ArchiveServer, patience: Patience) -> None:
    with pytest.raises(AsdError, match=r"does not answer with JSON .*archive="):
        read_json(f"{server.url}/api/records/7/files/a.zip/content", patience)


@pytest.mark.parametrize("url", ["http://a..b/x", "http://127.0.0.1:port/x", "http://[x/y"])
def test_what_cannot_be_asked_is_not_tried_again(
    server: ArchiveServer, url: str, patience: Patience, pauses: list[float]
) -> None:
    with pytest.raises(AsdError, match=r"is or leads to no address .*: check archive="):
        open_url(url, patience)
    server.faults["7"] = [Fault.redirect(url)]
    with pytest.raises(AsdError, match=r"records/7 is or leads to no address"):
        read_json(record(server), patience)
    assert pauses == []


def test_a_redirection_in_a_circle_is_one_line(server: ArchiveServer, patience: Patience) -> None:
    server.faults["7"] = [Fault.redirect(record(server))] * 20
    with pytest.raises(AsdError, match=r"records/7 answers 302 .* infinite loop.*task page") as found:
        read_json(record(server), patience)
    assert "\n" not in str(found.value)


def test_an_answer_that_is_nested_without_end_is_no_json(server: ArchiveServer, patience: Patience) -> None:
    server.publish(7, "deep.json", b"[" * 200_000)
    with pytest.raises(AsdError, match="does not answer with JSON"):
        read_json(f"{server.url}/api/records/7/files/deep.json/content", patience)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://zenodo.org", "zenodo.org"])
def test_only_http_is_spoken(url: str, patience: Patience) -> None:
    with pytest.raises(AsdError, match="is not an http"):
        open_url(url, patience)


def test_new_bytes_are_a_success_on_the_way(patience: Patience, pauses: list[float]) -> None:
    """A line that breaks after every byte is no reason to give up; one that brings nothing new is."""
    have = itertools.count(1)
    gained = 0

    def attempt() -> str:
        nonlocal gained
        gained = next(have)
        if gained == 50:
            return "done"
        raise PassingError("broke off")

    assert patiently(attempt, "http://x", patience, lambda: gained) == "done"
    assert set(pauses) == {1}
