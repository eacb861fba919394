"""Packages of every year: names, contents, the zip's bytes, and that no half package is ever left."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from asd.challenge import submission
from asd.challenge.submission import check_label, kinds, output_name, write_submission
from asd.challenge.years import YEARS, Unit, Year, get_year
from asd.types import AsdError, Domain
from tests.made_submission import LABEL, facts, made_submission, score_table


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("year", "unit", "name"),
    [
        (2020, Unit("fan", "01"), "anomaly_score_fan_id_01.csv"),
        (2021, Unit("fan", "03", Domain.TARGET), "anomaly_score_fan_section_03_target_test.csv"),
        (2022, Unit("fan", "03"), "anomaly_score_fan_section_03_test.csv"),
        (2024, Unit("3DPrinter", "00"), "anomaly_score_3DPrinter_section_00_test.csv"),
    ],
)
def test_output_name(year: int, unit: Unit, name: str) -> None:
    assert output_name("anomaly_score", unit, get_year(year)) == name


@pytest.mark.parametrize("year", range(2020, 2025))
def test_output_names_are_those_the_evaluators_read(golden: Path, year: int) -> None:
    entry = get_year(year)
    names = {output_name(kind, unit, entry) for unit in entry.eval_units() for kind in kinds(entry)}
    for system in (golden / f"evaluator/{year}/submissions").iterdir():
        assert {path.name for path in system.iterdir()} == names


@pytest.mark.parametrize("year", YEARS)
def test_scores_come_back_to_the_last_bit(tmp_path: Path, year: int) -> None:
    entry = get_year(year)
    folder = made_submission(tmp_path / "submissions", entry)
    table = score_table(entry).set_index(["machine", "section", "domain", "file"])
    n_rows = 0
    for unit in entry.eval_units():
        for kind in kinds(entry):
            column = "score" if kind == "anomaly_score" else "decision"
            with (folder / output_name(kind, unit, entry)).open(newline="") as lines:
                rows = list(csv.reader(lines))
            assert rows == sorted(rows)
            wanted = table.loc[(unit.machine, unit.section, unit.domain or ""), column]
            assert {file: float(value) for file, value in rows} == wanted.to_dict()
            n_rows += len(rows)
    assert n_rows == len(table) * len(kinds(entry))


def test_a_comma_in_a_name_costs_no_score(tmp_path: Path) -> None:
    year = get_year(2025)
    table = score_table(year)
    table["file"] = table["file"].str.replace(".wav", ' at 5,5 bar "new".wav')
    folder = write_submission(table, facts(year), label=LABEL, year=year, folder=tmp_path)
    rows = [row for path in folder.glob("anomaly_score_*") for row in csv.reader(path.open(newline=""))]
    assert sorted((file, float(score)) for file, score in rows) == sorted(
        zip(table["file"], table["score"], strict=True)
    )


def test_only_test_rows_are_written(tmp_path: Path) -> None:
    table = score_table(get_year(2025))
    extra = table.iloc[:5].assign(split="train", machine="train-only")
    folder = write_submission(
        pd.concat([table, extra]), facts(get_year(2025)), label=LABEL, year=get_year(2025), folder=tmp_path
    )
    assert not list(folder.glob("*train-only*"))


def test_the_zip_holds_the_folder_and_never_changes_by_itself(tmp_path: Path) -> None:
    year = get_year(2025)
    folder = made_submission(tmp_path / "a", year)
    again = made_submission(tmp_path / "b", year)
    first, second = (path.with_name(f"{LABEL}.zip") for path in (folder, again))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed == {f"task2/{LABEL}/{name}": content for name, content in tree(folder).items()}


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    year = get_year(2023)
    table = score_table(year)
    shuffled = table.sample(frac=1, random_state=0)
    one, two = (
        write_submission(rows, facts(year), label=LABEL, year=year, folder=tmp_path / name)
        for name, rows in (("a", table), ("b", shuffled))
    )
    assert tree(one.parent) == tree(two.parent)


def test_a_later_package_replaces_the_earlier_one(tmp_path: Path) -> None:
    folder = made_submission(tmp_path / "s", get_year(2024))
    made_submission(tmp_path / "s", get_year(2023))
    assert not list(folder.glob("*3DPrinter*"))
    assert sorted(path.name for path in folder.parent.iterdir()) == [LABEL, f"{LABEL}.zip"]


@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("stage", ["write_zip", "rename"])
def test_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool, stage: str
) -> None:
    folder = tmp_path / "s"
    if earlier:
        made_submission(folder, get_year(2024))
    folder.mkdir(exist_ok=True)
    before = tree(folder)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if stage == "write_zip":
        monkeypatch.setattr(submission, "write_zip", full_disk)
    else:
        rename = Path.rename

        def rename_but_the_new_zip(self: Path, target: Path) -> Path:
            return full_disk() if self.name == f"{LABEL}.zip" and self.parent.name == "new" else rename(self, target)

        monkeypatch.setattr(Path, "rename", rename_but_the_new_zip)
    with pytest.raises(AsdError, match=r"cannot write .*No space left"):
        made_submission(folder, get_year(2025))
    assert tree(folder) == before
    assert len(list(folder.iterdir())) == (2 if earlier else 0)


@pytest.mark.parametrize(
    "label", ["Nishida_HIT_task2_0", "Nishida_HIT_task2_5", "Nishida_task2_1", "nishida", "A_B_task1_1", "../x", ""]
)
def test_bad_labels(tmp_path: Path, label: str) -> None:
    with pytest.raises(AsdError, match=r"label=.*\[LastName\]_\[Institute\]_task2_\[1-4\].*Nishida_HIT_task2_1"):
        made_submission(tmp_path / "s", get_year(2025), label)
    assert list((tmp_path / "s").iterdir()) == []


def test_good_labels() -> None:
    for label in ("Nishida_HIT_task2_1", "Lopez-Meyer_IL_task2_4", "Jie_IESEFPT_task2_2"):
        check_label(label)


def nan_score(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(score=table["score"].where(table.index != 3))


DAMAGE = [
    (2025, nan_score, r"section_00_0003\.wav is nan: every score must be finite"),
    (2025, lambda t: t.assign(score=float("inf")), r"is inf: every score must be finite"),
    (2025, lambda t: t.assign(decision=0.5), r"decision on .* is 0\.5: it must be 0 or 1"),
    (2025, lambda t: t.assign(decision=float("nan")), r"decision on .* is nan"),
    (2025, lambda t: pd.concat([t, t.iloc[:1]]), r"section_00_0000\.wav is in the score table twice"),
    (2025, lambda t: t.drop(columns="decision"), r"no column decision"),
    (2025, lambda t: t.assign(split="train"), r"no test rows"),
    (2025, lambda t: t.assign(section=0), r"section 0: read the score table with sections as text"),
    (2021, lambda t: t.assign(domain=float("nan")), r"has no domain \(nan\).*2021 are split by domain"),
]


@pytest.mark.parametrize(("year", "damage", "complaint"), DAMAGE)
def test_bad_score_tables(tmp_path: Path, year: int, damage: object, complaint: str) -> None:
    entry: Year = get_year(year)
    with pytest.raises(AsdError, match=complaint):
        write_submission(damage(score_table(entry)), facts(entry), label=LABEL, year=entry, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_decisions_are_not_asked_for_in_2020(tmp_path: Path) -> None:
    year = get_year(2020)
    table = score_table(year).assign(decision=float("nan"))
    folder = write_submission(table, facts(year), label=LABEL, year=year, folder=tmp_path)
    assert not list(folder.glob("decision_result*"))
