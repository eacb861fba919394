"""The archive of up to four systems: the same bytes each time, validated itself, or not written at all."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import pytest

from asd.challenge.submission import list_zip, write_submission, write_zip
from asd.challenge.years import get_year
from asd.types import AsdError
from tests.command import asd, contents, refuses, succeeds
from tests.made_submission import facts, score_table

YEAR = get_year(2025)


@pytest.fixture(scope="module")
def two_systems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "submissions"
    for number in (1, 3):
        label = f"Nishida_HIT_task2_{number}"
        write_submission(score_table(YEAR), facts(YEAR), label=label, year=YEAR, folder=folder)
    return folder


@pytest.fixture
def place(two_systems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for path, content in contents(two_systems).items():
        target = tmp_path / "submissions" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 made up")
    return tmp_path


def test_systems_and_report_in_one_archive_with_the_same_bytes_each_time(place: Path) -> None:
    words = ("bundle", "team=Nishida_HIT", "report=report.pdf")
    answer = succeeds(*words)
    archive = place / "submissions/Nishida_HIT_task2.zip"
    first = archive.read_bytes()
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
    assert "task2/Nishida_HIT.technical_report.pdf" in names
    assert {name.split("/")[1] for name in names if name.count("/") == 2} == {
        "Nishida_HIT_task2_1",
        "Nishida_HIT_task2_3",
    }
    assert "report is missing" not in answer.out
    assert list_zip(archive).sha256 in answer.out
    archive.unlink()
    succeeds(*words)
    assert archive.read_bytes() == first
    assert asd("validate", f"path={archive}").code == 0


def test_a_dry_run_shows_everything_and_writes_nothing(place: Path) -> None:
    before = contents(place)
    answer = succeeds("bundle", "team=Nishida_HIT", "dry_run=true")
    assert contents(place) == before
    assert "Nishida_HIT_task2_3/anomaly_score_AutoTrash_section_00_test.csv" in answer.out
    assert "200 lines" in answer.out
    assert "technical report is missing" in answer.out
    assert "this is a dry run" in answer.out


def test_systems_that_a_table_of_results_cannot_tell_apart_are_named(place: Path) -> None:
    both = "Nishida_HIT_task2_1 and Nishida_HIT_task2_3: submission"
    answer = succeeds("bundle", "team=Nishida_HIT", "dry_run=true")
    assert f"to do: {both}.abbreviation is 'AE' in each" in answer.out
    meta = place / "submissions/Nishida_HIT_task2_3/Nishida_HIT_task2_3.meta.yaml"
    meta.write_text(meta.read_text().replace("abbreviation: AE", "abbreviation: AE3"))
    answer = succeeds("bundle", "team=Nishida_HIT", "dry_run=true")
    assert f"{both}.abbreviation" not in answer.out
    assert f"{both}.name is 'Autoencoder' in each" in answer.out


def test_what_was_edited_in_a_package_is_not_lost(place: Path) -> None:
    folder = place / "submissions"
    package = folder / "Nishida_HIT_task2_1"
    again = partial(write_submission, score_table(YEAR), facts(YEAR), label=package.name, year=YEAR, folder=folder)
    again()
    meta = package / f"{package.name}.meta.yaml"
    meta.write_text(meta.read_text().replace("abbreviation: AE", "abbreviation: mine"))
    before = contents(folder)
    with pytest.raises(AsdError, match=r"task2_1\.meta\.yaml was edited after it was packaged.*authors= may"):
        again()
    assert contents(folder) == before
    package.rename(folder / "away")
    again()


def test_an_archive_with_a_defect_is_not_written(place: Path) -> None:
    broken = place / "submissions/Nishida_HIT_task2_3/anomaly_score_AutoTrash_section_00_test.csv"
    broken.write_text("".join(broken.read_text().splitlines(keepends=True)[:-1]))
    answer = asd("bundle", "team=Nishida_HIT", "report=report.pdf")
    assert answer.code == 1
    assert "Nishida_HIT_task2_3: anomaly_score_AutoTrash_section_00_test.csv has 199 rows" in answer.out
    assert "nothing was written: it has defects" in answer.out
    assert not (place / "submissions/Nishida_HIT_task2.zip").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("team=Nobody_HIT",), r"submissions holds no system of team=Nobody_HIT; `submit name=RUN"),
        (("team=Nishida",), r"team='Nishida' is not \[LastName\]_\[Institute\]"),
        (("team=Nishida_HIT", "report=none.pdf"), r"report=none.pdf cannot be read"),
        (("team=Nishida_HIT", "report=notes.txt"), r"report=notes.txt is not a PDF"),
    ],
)
def test_what_cannot_be_archived(place: Path, words: tuple[str, ...], sentence: str) -> None:
    (place / "notes.txt").write_text("notes")
    refuses("bundle", *words, saying=sentence)
    assert not (place / "submissions/Nishida_HIT_task2.zip").exists()


def test_a_zip_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    files = {"b.csv": b"1\n2\n", "a.pdf": b"%PDF"}
    write_zip(tmp_path / "one.zip", files)
    write_zip(tmp_path / "two.zip", dict(sorted(files.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    listing = list_zip(tmp_path / "one.zip")
    assert listing.entries == (("a.pdf", 4, None), ("b.csv", 4, 2))
