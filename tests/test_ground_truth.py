"""Ground truth in both shapes of folder, of every year, and its defects."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from asd.challenge.ground_truth import TrueClip, read_ground_truth
from asd.challenge.years import Unit, get_year
from asd.types import AsdError, Domain, Label

LIST_2020 = """fan
id_01_00000000.wav,normal_id_01_00000098.wav,0
id_01_00000001.wav,anomaly_id_01_00000064.wav,1
ToyCar
id_05_00000000.wav,anomaly_id_05_00000000.wav,1
"""


def test_list_of_2020_keeps_its_order(tmp_path: Path) -> None:
    (tmp_path / "eval_data_list.csv").write_text(LIST_2020)
    truth = read_ground_truth(tmp_path, get_year(2020))
    assert list(truth) == [Unit("fan", "01"), Unit("ToyCar", "05")]
    assert truth[Unit("fan", "01")] == [
        TrueClip("id_01_00000000.wav", Label.NORMAL, None, "normal_id_01_00000098.wav"),
        TrueClip("id_01_00000001.wav", Label.ANOMALY, None, "anomaly_id_01_00000064.wav"),
    ]


def test_link_that_git_wrote_as_text_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text(LIST_2020)
    (tmp_path / "2020").mkdir()
    (tmp_path / "2020" / "eval_data_list.csv").write_text("../real.csv")
    assert len(read_ground_truth(tmp_path / "2020", get_year(2020))) == 2


@pytest.mark.parametrize("year", range(2020, 2026))
def test_published_lists_hold_every_unit_of_the_year(golden: Path, tmp_path: Path, year: int) -> None:
    source = golden / "ground_truth" / f"eval_data_list_{year}.csv"
    shutil.copy(source, tmp_path / "eval_data_list.csv")
    truth = read_ground_truth(tmp_path, get_year(year))
    assert set(truth) == set(get_year(year).eval_units())
    for unit, clips in truth.items():
        assert {clip.label for clip in clips} == set(Label)
        domains = {None} if year == 2020 else {unit.domain} if unit.domain else set(Domain)
        assert {clip.domain for clip in clips} == domains


def write_folder(root: Path, unit: str, labels: str, domains: str | None) -> None:
    for kind, codes in (("data", labels), ("domain", domains)):
        if codes is not None:
            folder = root / f"ground_truth_{kind}"
            folder.mkdir(exist_ok=True)
            lines = [f"clip_{i}.wav,{code}\n" for i, code in enumerate(codes.split())]
            (folder / f"ground_truth_{unit}.csv").write_text("".join(lines))


def test_folder_of_2021_tells_the_domain_by_the_name(tmp_path: Path) -> None:
    write_folder(tmp_path, "fan_section_03_target_test", "0 1", None)
    assert read_ground_truth(tmp_path, get_year(2021)) == {
        Unit("fan", "03", Domain.TARGET): [
            TrueClip("clip_0.wav", Label.NORMAL, Domain.TARGET),
            TrueClip("clip_1.wav", Label.ANOMALY, Domain.TARGET),
        ]
    }


def test_folder_since_2022_is_sorted_by_machine(tmp_path: Path) -> None:
    for machine in ("fan", "ToyCar"):
        write_folder(tmp_path, f"{machine}_section_00_test", "0 1", "1 0")
    truth = read_ground_truth(tmp_path, get_year(2025))
    assert list(truth) == [Unit("ToyCar", "00"), Unit("fan", "00")]
    assert [clip.domain for clip in truth[Unit("fan", "00")]] == [Domain.TARGET, Domain.SOURCE]


@pytest.mark.parametrize(
    ("unit", "labels", "domains", "year", "message"),
    [
        ("fan_section_00_test", "0 2", "0 1", 2024, r"has 2\.0 for clip_1\.wav where 0 or 1 belongs"),
        ("fan_section_00_test", "0 1", "0 1 1", 2024, "do not list the same clips"),
        ("fan_section_00_test", "0 1", None, 2024, r"ground_truth_domain/.*\.csv is missing"),
        ("fan_section_00_test", "0 1", "0 1", 2021, "is year=2021 right"),
        ("fan_section_00_source_test", "0 1", None, 2022, "is year=2022 right"),
        ("fan", "0 1", "0 1", 2024, "is not named as ground truth of 2024"),
    ],
)
def test_defects_of_a_folder(
    tmp_path: Path, unit: str, labels: str, domains: str | None, year: int, message: str
) -> None:
    write_folder(tmp_path, unit, labels, domains)
    with pytest.raises(AsdError, match=message):
        read_ground_truth(tmp_path, get_year(year))


@pytest.mark.parametrize(
    ("text", "year", "message"),
    [
        ("id_01_00000000.wav,normal_id_01_00000098.wav,0\n", 2020, "where the name of a machine belongs"),
        ("fan\nid_01_00000000.wav,id_01_00000098.wav\n", 2020, "does not tell what 2020 needs"),
        ("fan\nid_01_00000000.wav,normal_id_01_00000098.wav\n", 2024, "does not tell what 2024 needs"),
        ("fan\nid_01_00000000.wav,nonsense.wav\n", 2020, "outside the file-name grammar"),
        (
            "fan\nid_01_0.wav,normal_id_01_00000098.wav,1\n",
            2020,
            "has the label '1' for normal_id_01_00000098.wav in line 2",
        ),
        ("fan\n" + "id_01_0.wav,normal_id_01_00000098.wav\n" * 2, 2020, "lists id_01_0.wav of fan twice, .* in line 3"),
        ("fan\na,b,c,d\n", 2020, "has 4 columns in line 2"),
    ],
)
def test_defects_of_a_list(tmp_path: Path, text: str, year: int, message: str) -> None:
    (tmp_path / "eval_data_list.csv").write_text(text)
    with pytest.raises(AsdError, match=message):
        read_ground_truth(tmp_path, get_year(year))


def test_no_ground_truth(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"holds neither eval_data_list\.csv nor ground_truth_data/"):
        read_ground_truth(tmp_path, get_year(2024))
    (tmp_path / "ground_truth_data").mkdir()
    with pytest.raises(AsdError, match=r"holds no ground_truth_\*\.csv"):
        read_ground_truth(tmp_path, get_year(2024))
