"""Every defect a submission can have, one by one; an intact package of every year has none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from asd.challenge.submission import kinds, output_name, write_submission
from asd.challenge.validator import Findings, expected_files, validate
from asd.challenge.years import YEARS, Unit, Year, get_year
from asd.types import AsdError, Clip, Domain, Split
from tests.made_submission import (
    LABEL,
    add,
    clip_names,
    edit,
    facts,
    made_submission,
    remove,
    replace_name,
    replace_value,
    score_table,
)

SCORES = "anomaly_score_HairDryer_section_00_test.csv"
DECISIONS = "decision_result_HairDryer_section_00_test.csv"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """An intact package of every year."""
    root = tmp_path_factory.mktemp("packages")
    return {year: made_submission(root / str(year), get_year(year)) for year in YEARS}


@pytest.fixture
def package(packages: dict[int, Path], tmp_path: Path) -> Path:
    """A package of 2024 to damage."""
    return shutil.copytree(packages[2024], tmp_path / LABEL)


def widen(lines: list[str]) -> None:
    lines[4] += ",1"
    lines[6] += ",1"


CSV_DEFECTS = {
    "missing machine": (remove("*_HairDryer_*"), r"machine HairDryer is missing"),
    "missing score file": (remove(SCORES), rf"{SCORES} is missing"),
    "missing decision file": (remove(DECISIONS), rf"{DECISIONS} is missing"),
    "too few rows": (edit(SCORES, lambda rows: rows.pop()), rf"{SCORES} has 199 rows in place of 200"),
    "too many rows": (
        edit(SCORES, lambda rows: rows.append("section_00_0200.wav,0.5")),
        rf"{SCORES} has 201 rows in place of 200",
    ),
    "empty file": (edit(SCORES, list.clear), rf"{SCORES} has 0 rows in place of 200"),
    "header": (
        edit(SCORES, lambda rows: rows.insert(0, "file,score")),
        rf"{SCORES} has a header line \('file,score'\)",
    ),
    "NaN": (edit(SCORES, replace_value(2, "nan")), rf"{SCORES} has NaN or infinity in line 3\."),
    "infinity": (edit(SCORES, replace_value(0, "-inf")), rf"{SCORES} has NaN or infinity in line 1\."),
    "grouped digits": (edit(SCORES, replace_value(9, "1_000.5")), rf"{SCORES} has no number in line 10\."),
    "no number": (edit(SCORES, replace_value(9, "high")), rf"{SCORES} has no number in line 10\."),
    "duplicate": (
        edit(SCORES, replace_name(5, "section_00_0004.wav")),
        rf"{SCORES} lists 'section_00_0004\.wav' more than once",
    ),
    "unknown file": (
        edit(SCORES, replace_name(5, "section_01_0004.wav")),
        rf"{SCORES} lists 'section_01_0004\.wav', which is not a clip of HairDryer 00",
    ),
    "renamed file": (
        edit(SCORES, replace_name(5, "section_00_source_test_normal_0005_id_A1.wav")),
        r"which is not a clip of HairDryer 00",
    ),
    "blank after the name": (
        edit(SCORES, replace_name(5, "section_00_0005.wav ")),
        r"lists 'section_00_0005\.wav ', which is not a clip of HairDryer 00",
    ),
    "capitals in the name": (
        edit(SCORES, replace_name(5, "section_00_0005.WAV")),
        r"lists 'section_00_0005\.WAV', which is not a clip of HairDryer 00",
    ),
    "folder in the name": (edit(SCORES, replace_name(5, "test/section_00_0005.wav")), r"'test/section_00_0005\.wav'"),
    "three columns": (edit(SCORES, widen), rf"{SCORES} has other than two columns in line 5 and 1 more\."),
    "blank line": (
        edit(SCORES, lambda rows: rows.__setitem__(7, "")),
        rf"{SCORES} has other than two columns in line 8\.",
    ),
    "decision 2": (edit(DECISIONS, replace_value(0, "2")), rf"{DECISIONS} has a decision other than 0 or 1 in line 1"),
    "decision nan": (edit(DECISIONS, replace_value(1, "nan")), r"decision other than 0 or 1 in line 2"),
    "decision word": (edit(DECISIONS, replace_value(2, "anomaly")), rf"{DECISIONS} has no number in line 3"),
    "not text": (add(SCORES, b"\xff\xfe\x00"), rf"{SCORES} is not a text file"),
    "stray file": (add("notes.txt"), r"notes\.txt is not a file of a 2024 submission: remove it"),
    "stray machine": (
        add("anomaly_score_bearing_section_00_test.csv"),
        r"anomaly_score_bearing_section_00_test\.csv is not a file of a 2024 submission",
    ),
    "missing meta": (remove("*.meta.yaml"), rf"{LABEL}\.meta\.yaml is missing"),
}


def defects_of(folder: Path, year: int = 2024) -> list[str]:
    return list(validate(folder, get_year(year)).defects)


@pytest.mark.parametrize("year", YEARS)
def test_an_intact_package_has_no_defect(packages: dict[int, Path], year: int) -> None:
    assert validate(packages[year], get_year(year)) == Findings((), ())
    assert validate(packages[year].with_suffix(".zip"), get_year(year)) == Findings((), ())
    assert validate(packages[year].parent, get_year(year)) == Findings((), ())


@pytest.mark.parametrize("year", YEARS)
def test_a_package_of_another_year_has_defects(packages: dict[int, Path], year: int) -> None:
    assert validate(packages[year], get_year(2020 if year == 2026 else year + 1)).defects


@pytest.mark.parametrize(("damage", "sentence"), CSV_DEFECTS.values(), ids=CSV_DEFECTS.keys())
def test_each_defect_is_named_alone(package: Path, damage: Callable[[Path], None], sentence: str) -> None:
    damage(package)
    (found,) = defects_of(package)
    assert re.search(sentence, found), found
    assert found.startswith(f"{LABEL}: ")
    assert found.endswith(".")


def test_a_blank_line_at_the_end_is_no_defect(package: Path) -> None:
    (package / SCORES).write_text((package / SCORES).read_text() + "\n")
    assert not validate(package, get_year(2024)).defects


def test_a_first_row_without_a_number_is_no_header(package: Path) -> None:
    edit(SCORES, replace_value(0, "high"))(package)
    (defect,) = validate(package, get_year(2024)).defects
    assert defect.endswith(f"{SCORES} has no number in line 1.")


def test_a_misspelt_file_is_paired_with_the_missing_one(package: Path) -> None:
    (package / SCORES).rename(package / SCORES.replace("HairDryer", "Hairdryer"))
    missing, stray = defects_of(package)
    assert f"{SCORES} is missing" in missing
    assert f"should it be {SCORES}?" in stray


def test_scores_of_a_development_machine_are_taken_for_no_other_machine(package: Path) -> None:
    (package / SCORES).rename(package / "anomaly_score_fan_section_00_test.csv")
    missing, stray = defects_of(package)
    assert f"{SCORES} is missing" in missing
    assert "a 2024 submission: section 00 of fan is of the development set, score the evaluation set." in stray


def test_a_package_of_another_year_is_recognised(packages: dict[int, Path]) -> None:
    """It was to be removed, file by file."""
    defects = validate(packages[2024], get_year(2025)).defects
    stray = [defect for defect in defects if "is not a file of a 2025 submission: " in defect]
    assert len(stray) == 18
    assert all(defect.endswith("it is one of 2024, is year=2025 right?") or "ToothBrush" in defect for defect in stray)
    assert sum(defect.endswith("it is one of 2024 or 2026, is year=2025 right?") for defect in stray) == 2


@pytest.mark.parametrize("year", [2020, 2021, 2022])
def test_sections_of_the_development_set_are_taken_for_no_evaluation_section(tmp_path: Path, year: int) -> None:
    """The machines are the same in these years; a file of fan 02 was to be renamed to one of fan 05."""
    folder = made_submission(tmp_path, get_year(year))
    unit = next(unit for unit in get_year(year).eval_units() if unit.machine == "fan")
    for kind in kinds(get_year(year)):
        (folder / output_name(kind, unit, get_year(year))).rename(
            folder / output_name(kind, unit._replace(section="02"), get_year(year))
        )
    defects = validate(folder, get_year(year)).defects
    missing, stray = defects[: len(defects) // 2], defects[len(defects) // 2 :]
    assert f"{output_name('anomaly_score', unit, get_year(year))} is missing" in missing[0]
    assert len(stray) == len(kinds(get_year(year)))
    assert all(defect.endswith("02 of fan is of the development set, score the evaluation set.") for defect in stray)


def test_all_defects_are_named_at_once(package: Path) -> None:
    for damage in (CSV_DEFECTS["header"][0], CSV_DEFECTS["decision 2"][0], CSV_DEFECTS["stray file"][0]):
        damage(package)
    edit(SCORES, replace_value(3, "nan"))(package)
    assert len(defects_of(package)) == 4


def test_label_outside_the_grammar(package: Path) -> None:
    folder = package.rename(package.with_name("my_system"))
    assert any("my_system: the label is not [LastName]_[Institute]_task2_[1-4]" in text for text in defects_of(folder))


def test_label_of_the_meta_file_does_not_match_the_folder(package: Path) -> None:
    other = LABEL.replace("_1", "_2")
    folder = package.rename(package.with_name(other))
    (folder / f"{LABEL}.meta.yaml").rename(folder / f"{other}.meta.yaml")
    (found,) = defects_of(folder)
    assert f"submission.label is '{LABEL}' in place of '{other}'" in found


def test_meta_file_of_another_name(package: Path) -> None:
    (package / f"{LABEL}.meta.yaml").rename(package / "Other_LAB_task2_1.meta.yaml")
    stray, missing = defects_of(package)
    assert f"should it be {LABEL}.meta.yaml?" in stray
    assert f"{LABEL}.meta.yaml is missing" in missing


def several(folder: Path, n_systems: int) -> Path:
    for number in range(1, n_systems + 1):
        made_submission(folder, get_year(2025), f"Tester_LAB_task2_{number}" if number <= 4 else "Tester_LABB_task2_1")
    return folder


def test_four_systems_and_a_report(tmp_path: Path) -> None:
    folder = several(tmp_path / "s", 4)
    (folder / "Tester_LAB.technical_report.pdf").touch()
    (folder / f"{LABEL}.zip").touch()
    (folder / "Tester_LAB_task2.zip").touch()  # which bundle writes
    assert defects_of(folder, 2025) == []


def test_a_fifth_system(tmp_path: Path) -> None:
    (found,) = defects_of(several(tmp_path / "s", 5), 2025)
    assert found == "5 systems in one package: at most 4 are allowed."


def test_two_systems_of_one_label(packages: dict[int, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(packages[2024], tmp_path / name / LABEL)
    (found,) = defects_of(tmp_path)
    assert found == f"2 systems are called {LABEL}: every system needs a label of its own."


def test_stray_file_beside_the_systems(packages: dict[int, Path], tmp_path: Path) -> None:
    shutil.copytree(packages[2024], tmp_path / LABEL)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/roc.png").touch()
    assert defects_of(tmp_path) == [
        "notes.txt belongs to no system: remove it.",
        "figures/roc.png belongs to no system: remove it.",
    ]


def test_a_damaged_zip_is_read_like_a_folder(package: Path) -> None:
    edit(SCORES, replace_value(2, "nan"))(package)
    path = package.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in package.iterdir():
            archive.write(file, f"{LABEL}/{file.name}")
    assert defects_of(path) == defects_of(package) != []


def zipped(package: Path, *others: tuple[str, bytes]) -> Path:
    """A zip of the package, and of other entries."""
    path = package.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [*((f"{LABEL}/{file.name}", file.read_bytes()) for file in package.iterdir()), *others]:
            archive.writestr(name, content)
    return path


def test_what_a_mac_adds_to_a_zip_is_no_second_system(package: Path) -> None:
    others = [f"__MACOSX/{LABEL}/._{LABEL}.meta.yaml", f"__MACOSX/{LABEL}/._{SCORES}"]
    found = defects_of(zipped(package, *((name, b"\0\5\x16\7") for name in others)))
    assert found == [f"{name} belongs to no system: remove it." for name in others]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_files_of_one_name_is_refused(package: Path) -> None:
    with pytest.raises(AsdError, match=rf"it holds {LABEL}/{SCORES} twice.*: pack the submission anew"):
        defects_of(zipped(package, (f"{LABEL}/{SCORES}", b"section_00_0000.wav,nan\n")))


@pytest.mark.parametrize("separator", ["\t", ";"])
def test_another_separator_is_no_header(package: Path, separator: str) -> None:
    edit(SCORES, lambda lines: lines.__setitem__(slice(None), [line.replace(",", separator) for line in lines]))(
        package
    )
    (found,) = defects_of(package)
    assert found == f"{LABEL}: {SCORES} has other than two columns in line 1 and 199 more."


@pytest.mark.parametrize("defect", ["a byte", "a password"])
def test_a_zip_that_cannot_be_read_is_named(package: Path, defect: str) -> None:
    path = package.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(package / SCORES, f"{LABEL}/{SCORES}")
    content = bytearray(path.read_bytes())
    if defect == "a byte":
        content[200] ^= 1
    else:
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag "encrypted" of both headers
    path.write_bytes(content)
    saying = {"a byte": "cannot be read as a zip file .*: pack the submission", "a password": "which is encrypted"}
    with pytest.raises(AsdError, match=rf"Tester_LAB_task2_1\.zip .*{saying[defect]}"):
        defects_of(path)


@pytest.mark.parametrize("folder", ["/", "../", "task2\\", "C:/"])
def test_a_zip_that_leads_out_of_its_folder_is_refused(package: Path, folder: str) -> None:
    with pytest.raises(AsdError, match=r"task2_1\.zip holds .*, which leads out of its folder or has"):
        defects_of(zipped(package, (f"{folder}{SCORES}", b"section_00_0000.wav,nan\n")))


def test_a_bomb_is_not_unpacked_into_memory(package: Path) -> None:
    path = package.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{LABEL}/{SCORES}", bytes(65 * 2**20))
    with pytest.raises(AsdError, match=r"cannot be read as a zip file \(its texts unpack to more than 64 MB\)"):
        defects_of(path)


def test_nothing_to_validate(tmp_path: Path) -> None:
    (found,) = defects_of(tmp_path)
    assert "holds no system" in found
    (tmp_path / "x.zip").write_text("no zip")
    for path in (tmp_path / "x.zip", tmp_path / "nowhere"):
        with pytest.raises(AsdError, match=r"neither a folder nor a zip file"):
            defects_of(path)


@pytest.mark.parametrize("name", ["section_03_target_test_0007.wav", "section_03_0007.wav"])
def test_clip_of_the_other_domain_in_2021(packages: dict[int, Path], tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(packages[2021], tmp_path / LABEL)
    edit("anomaly_score_fan_section_03_source_test.csv", replace_name(7, name))(folder)
    (found,) = defects_of(folder, 2021)
    assert f"lists '{name}', which is not a clip of fan 03 source" in found


def test_decisions_are_stray_in_2020(packages: dict[int, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(packages[2020], tmp_path / LABEL)
    (folder / "decision_result_fan_id_01.csv").touch()
    (found,) = defects_of(folder, 2020)
    assert "decision_result_fan_id_01.csv is not a file of a 2020 submission" in found


def expected_of(year: Year) -> dict[Unit, set[str]]:
    return {unit: {*clip_names(year, unit)} for unit in year.eval_units()}


def test_given_names_are_held_to_the_last_one(package: Path) -> None:
    expected = expected_of(get_year(2024))
    assert validate(package, get_year(2024), expected=expected).defects == ()
    edit(SCORES, replace_name(5, "section_00_0777.wav"))(package)
    assert defects_of(package) == []  # a possible name: without the list nobody can tell
    (found,) = validate(package, get_year(2024), expected=expected).defects
    assert "lists 'section_00_0777.wav', which is not a clip of HairDryer 00" in found


def test_given_names_tell_which_clip_is_missing(package: Path) -> None:
    edit(SCORES, lambda rows: rows.pop())(package)
    (found,) = validate(package, get_year(2024), expected=expected_of(get_year(2024))).defects
    assert found.endswith("has 199 rows in place of 200: it lacks 'section_00_0199.wav'.")


def test_data_of_ones_own(tmp_path: Path) -> None:
    """Machines outside the catalogue: the clips decide what must be there, and whose results."""
    year = get_year(2025)
    names = [f"section_00_source_test_normal_{number:04d}.wav" for number in range(7)]
    clips = [Clip(Path(name), "kettle", "00", Split.TEST, Domain.SOURCE) for name in names]
    table = score_table(year).iloc[:7].assign(machine="kettle", file=names)
    own = replace(facts(year), results={"kettle": facts(year).results["fan"]})
    folder = write_submission(table, own, label=LABEL, year=year, folder=tmp_path)
    assert validate(folder, year, expected=expected_files(clips, year)).defects == ()
    assert validate(folder, year).defects


def test_expected_files_are_split_by_domain_in_2021_only() -> None:
    clips = [Clip(Path(f"{d}.wav"), "fan", "00", Split.TEST, d) for d in Domain]
    assert len(expected_files(clips, get_year(2021))) == 2
    assert expected_files(clips, get_year(2022)) == {Unit("fan", "00"): {"source.wav", "target.wav"}}


@pytest.mark.parametrize("year", range(2020, 2025))
def test_reference_submissions_of_the_evaluators(golden: Path, year: int) -> None:
    """Their CSV files are well-formed; as they hold made-up systems, labels and meta files are not."""
    root = golden / f"evaluator/{year}/submissions"
    for system in root.iterdir():
        found = [text for text in defects_of(system, year) if ".csv" in text or "machine" in text]
        assert found == []


def test_validating_needs_no_torch_pandas_or_numpy() -> None:
    code = "import sys, asd.challenge.validator; assert not {'torch', 'pandas', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
