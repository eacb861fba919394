"""Records of an archive, and the release of a file that is taken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from asd.challenge.download import Sources, latest
from asd.challenge.web import Patience
from asd.challenge.years import YEARS, Archive, Repository, get_year, revision
from asd.types import AsdError
from tests.archive_server import ArchiveServer, serving

PATIENT = Patience(attempts=2, sleep=lambda seconds: None, timeout_s=5)


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with serving() as archive:
        archive.publish(7, "dev_fan.zip", b"abc")
        yield archive


def sources(server: ArchiveServer) -> Sources:
    return Sources(f"{server.url}/", server.url, PATIENT)


def test_a_record_tells_size_checksum_and_address(server: ArchiveServer) -> None:
    file = sources(server).find(Archive(7, "dev_fan.zip"))
    assert (file.size_bytes, file.md5) == (3, "900150983cd24fb0d6963f7d28e17f72")  # RFC 1321's own example
    assert file.url == f"{server.url}/api/records/7/files/dev_fan.zip/content"


def test_every_record_is_asked_for_once_also_when_it_cannot_be_had(server: ArchiveServer) -> None:
    found = sources(server)
    for _ in range(3):
        found.find(Archive(7, "dev_fan.zip"))
    assert len(server.asked("7")) == 1
    for _ in range(2):
        with pytest.raises(AsdError, match="404"):
            found.find(Archive(8, "dev_fan.zip"))


def test_a_later_release_is_taken_with_a_warning(server: ArchiveServer, caplog: pytest.LogCaptureFixture) -> None:
    server.publish(7, "dev_fan_r2.zip", b"new")
    server.publish(7, "dev_fan_r10.zip", b"newer")
    assert sources(server).find(Archive(7, "dev_fan.zip")).name == "dev_fan_r10.zip"
    assert "record 7 replaces dev_fan.zip by dev_fan_r10.zip" in caplog.text


def test_an_older_release_is_not(server: ArchiveServer) -> None:
    with pytest.raises(AsdError, match=r"record 7 has no dev_fan_r2.zip: did it become dev_fan.zip\?"):
        sources(server).find(Archive(7, "dev_fan_r2.zip"))


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        (["dev_fan.zip", "dev_fan_r2.zip"], "dev_fan_r2.zip", "dev_fan_r2.zip"),
        (["dev_fan_r3.zip"], "dev_fan_r2.zip", "dev_fan_r3.zip"),
        (["dev_fan_r1.zip"], "dev_fan.zip", "dev_fan_r1.zip"),
        (["dev_fan_rest.zip", "dev_fans.zip", "dev_fan.txt"], "dev_fan.zip", None),
        (["eval_data_list.csv"], "eval_data_list.csv", "eval_data_list.csv"),
        ([], "dev_fan.zip", None),
    ],
)
def test_releases(names: list[str], wanted: str, expected: str | None) -> None:
    assert latest(names, wanted) == expected


@pytest.mark.parametrize(
    "false",
    [
        {"checksum": "sha256:00"},
        {"checksum": "md5:xyz"},
        {"size": "many"},
        {"size": 0},
        {"size": -5},
        {"links": None},
        {"key": "../../etc/passwd"},
        {"key": ".bashrc"},
    ],
)
def test_a_record_that_does_not_tell_enough_is_named(server: ArchiveServer, false: dict[str, Any]) -> None:
    server.lies["dev_fan.zip"] = false
    with pytest.raises(AsdError, match=r"records/7 does not tell key, size, md5"):
        sources(server).find(Archive(7, "dev_fan.zip"))


def test_an_evaluator_is_fetched_at_one_commit(server: ArchiveServer) -> None:
    file = sources(server).find(Repository("nttcslab/evaluator", "0123456789abcdef"))
    assert file.url == f"{server.url}/nttcslab/evaluator/zip/0123456789abcdef"
    assert (file.name, file.md5, file.size_bytes) == ("evaluator-0123456789ab.zip", None, None)


def test_the_catalogue_has_every_archive_of_the_published_lists(golden: Path) -> None:
    """All addresses of the organisers' own download lists, replacements included."""
    listed: set[tuple[int, int, str]] = set()
    for path in sorted((golden / "ground_truth").glob("zenodo_*.yaml")):
        for title, machines in yaml.safe_load(path.read_text()).items():
            for parts in machines.values():
                for url in (url for urls in parts.values() for url in urls):
                    match = re.fullmatch(r"https://zenodo.org/records?/(\d+)/files/(.+)", url)
                    assert match is not None
                    listed.add((int(title[5:9]), int(match[1]), match[2]))
    ours = set()
    for number in YEARS:
        year = get_year(number)
        ours |= {(number, *year.archive("dev", machine)) for machine in year.dev}
        ours |= {(number, *year.archive("eval_train", machine)) for machine in year.eval}
        tests = {(number, *year.archive("eval_test", machine)) for machine in year.eval}
        ours |= tests if number < 2026 else set()  # published after that list was made
    assert ours == listed
    assert {name for _, _, name in ours if revision(name)[1] > 1} == {
        "eval_data_3DPrinter_train_r2.zip",
        "eval_data_RoboticArm_train_r2.zip",
        "dev_ToyCar_r2.zip",
    }
