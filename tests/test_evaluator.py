"""The evaluator against the organisers' own result files, against scikit-learn, and against bad submissions."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hmean
from sklearn.metrics import roc_auc_score

from asd.challenge.evaluator import evaluate_submissions
from asd.types import AsdError

GOLDEN = [
    (2020, "informative tied weak"),
    (2021, "informative tied weak"),
    (2022, "informative tied weak"),
    (2023, "informative tied weak inverted allpositive"),
    (2024, "informative tied weak inverted allpositive"),
]


def read_cells(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def assert_same_cells(path: Path, expected_path: Path) -> None:
    """Same rows, columns and texts; numbers within 1e-12, absolutely and relatively."""
    rows, expected_rows = read_cells(path), read_cells(expected_path)
    assert [len(row) for row in rows] == [len(row) for row in expected_rows]
    for row, expected_row in zip(rows, expected_rows, strict=True):
        for cell, expected in zip(row, expected_row, strict=True):
            if cell != expected:
                assert float(cell) == pytest.approx(float(expected), rel=1e-12, abs=1e-12), (row, expected_row)


@pytest.mark.parametrize(("year", "systems"), GOLDEN)
def test_result_files_equal_the_official_ones(golden: Path, tmp_path: Path, year: int, systems: str) -> None:
    reference = golden / "evaluator" / str(year)
    report = evaluate_submissions(reference / "submissions", reference, year, tmp_path)
    expected = {path.name for path in (reference / "expected").iterdir()}
    pattern = "result_{}.csv" if year == 2020 else "{}_result.csv"
    assert {pattern.format(system) for system in systems.split()} <= expected
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert set(report["systems"]) == set(systems.split())
    for name in sorted(expected):
        assert_same_cells(tmp_path / name, reference / "expected" / name)
        if year == 2020 or name.startswith("official_score"):
            assert (tmp_path / name).read_bytes() == (reference / "expected" / name).read_bytes()


@pytest.mark.slow
def test_evaluating_submissions_needs_no_torch(golden: Path, tmp_path: Path) -> None:
    reference = golden / "evaluator" / "2024"
    code = (
        "import sys; from pathlib import Path; from asd.challenge.evaluator import evaluate_submissions; "
        "evaluate_submissions(Path(sys.argv[1]), Path(sys.argv[2]), 2024, Path(sys.argv[3])); "
        "assert not {'torch', 'sklearn'} & {*sys.modules}"
    )
    arguments = [reference / "submissions", reference, tmp_path]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


class Challenge:
    """A small challenge of 2024 on disk: two machines, one system, 12 clips each."""

    year = 2024

    def __init__(self, root: Path) -> None:
        self.truth, self.system, self.out = root / "truth", root / "teams" / "A_B_task2_1", root / "out"
        self.files = [f"section_00_{i:04d}.wav" for i in range(12)]
        self.is_anomaly = np.arange(12) % 2
        self.is_target = np.arange(12) // 2 % 2
        rng = np.random.default_rng(0)
        self.scores = {}
        for machine in ("fan", "Scanner"):
            name = f"ground_truth_{machine}_section_00_test.csv"
            write_csv(self.truth / "ground_truth_data" / name, self.with_files(self.is_anomaly))
            write_csv(self.truth / "ground_truth_domain" / name, self.with_files(self.is_target))
            attributes = [f"section_00_x_test_y_{i:04d}_noAttribute" for i in range(12)]
            write_csv(self.truth / "ground_truth_attributes" / name, self.with_files(attributes))
            self.scores[machine] = rng.normal(size=12) + self.is_anomaly
            shuffled = rng.permutation(self.with_files(self.scores[machine].tolist())).tolist()
            write_csv(self.score_file(machine), shuffled)
            write_csv(self.decision_file(machine), self.with_files(rng.integers(2, size=12)))

    def with_files(self, values: object) -> list[tuple[object, ...]]:
        return list(zip(self.files, values, strict=True))  # type: ignore[call-overload]

    def score_file(self, machine: str) -> Path:
        return self.system / f"anomaly_score_{machine}_section_00_test.csv"

    def decision_file(self, machine: str) -> Path:
        return self.system / f"decision_result_{machine}_section_00_test.csv"

    def evaluate(self) -> dict[str, object]:
        report = evaluate_submissions(self.system, self.truth, self.year, self.out)
        return report["systems"][self.system.name]


@pytest.fixture
def challenge(tmp_path: Path) -> Challenge:
    return Challenge(tmp_path)


def test_report_equals_scikit_learn(challenge: Challenge) -> None:
    report = challenge.evaluate()
    values = []
    for machine, scores in challenge.scores.items():
        truth, target = challenge.is_anomaly == 1, challenge.is_target == 1
        metrics = report["machines"][machine]["00"]
        assert metrics["auc_source"] == roc_auc_score(truth[~target | truth], scores[~target | truth])
        assert metrics["auc_target"] == roc_auc_score(truth[target | truth], scores[target | truth])
        assert metrics["pauc"] == roc_auc_score(truth, scores, max_fpr=0.1)
        values += [metrics[name] for name in ("auc_source", "auc_target", "pauc")]
    assert report["official_score"] == pytest.approx(hmean(values), abs=1e-12)


def test_report_is_json_with_each_interval_under_its_own_name(challenge: Challenge) -> None:
    report = json.loads(json.dumps(challenge.evaluate()))
    low, high = report["official_score_ci95_bootstrap"]
    assert low < high
    ratio = report["pooled_ci95_jackknife"] / report["pooled_ci95_official_compat"]
    assert ratio == pytest.approx(24 - 1)


def test_result_file_lists_machines_as_the_official_ones_do(challenge: Challenge) -> None:
    challenge.evaluate()
    rows = read_cells(challenge.out / "A_B_task2_1_result.csv")
    assert [row[0] for row in rows if len(row) == 1] == ["Scanner", "fan"]
    assert read_cells(challenge.out / "official_score_paper.csv")[0][4:] == ["Scanner", "fan"]


def test_one_folder_or_a_folder_of_folders(challenge: Challenge) -> None:
    alone = challenge.evaluate()
    together = evaluate_submissions(challenge.system.parent, challenge.truth, 2024, challenge.out)
    assert together == {"year": 2024, "systems": {"A_B_task2_1": alone}}
    unpacked = challenge.system.parent.with_name("unpacked")  # an archive with task2/ around its systems
    unpacked.mkdir()
    challenge.system.parent.rename(unpacked / "task2")
    assert evaluate_submissions(unpacked, challenge.truth, 2024, challenge.out) == together


def test_out_among_the_systems_is_not_a_system(challenge: Challenge) -> None:
    for _ in range(2):
        out = challenge.system.parent / "results"
        report = evaluate_submissions(challenge.system.parent, challenge.truth, 2024, out)
        assert list(report["systems"]) == ["A_B_task2_1"]


def test_what_a_mac_adds_is_not_a_system(challenge: Challenge) -> None:
    for name in ("__MACOSX", ".fseventsd"):
        (challenge.system.parent / name / challenge.system.name).mkdir(parents=True)
    report = evaluate_submissions(challenge.system.parent, challenge.truth, 2024, challenge.out)
    assert list(report["systems"]) == ["A_B_task2_1"]


def test_original_names_and_baseline_file_names_are_accepted(challenge: Challenge) -> None:
    expected = challenge.evaluate()
    path = challenge.score_file("fan")
    rows = [(f"section_00_x_test_y_{name[11:15]}_noAttribute.wav", score) for name, score in read_cells(path)]
    path.unlink()
    name = "anomaly_score_DCASE2024T2fan_section_00_test_seed13711_id(0_)_Eval.csv"
    write_csv(challenge.system / name, rows)
    assert challenge.evaluate() == expected
    write_csv(challenge.system / name.replace("13711", "1"), rows)
    with pytest.raises(AsdError, match="for one section: keep one of them"):
        challenge.evaluate()


def test_a_part_of_the_years_labels_makes_no_official_score_without_a_word(
    challenge: Challenge, caplog: pytest.LogCaptureFixture
) -> None:
    challenge.evaluate()
    assert "truth has no labels of 3DPrinter" in caplog.text
    assert "so this is not the official score of 2024: complete it, or say another year=" in caplog.text
    assert "Scanner" not in caplog.text


def test_a_system_whose_name_is_no_utf8_is_spelled_out(challenge: Challenge) -> None:
    challenge.system = challenge.system.rename(challenge.system.with_name("A_\udcff"))
    evaluate_submissions(challenge.system, challenge.truth, 2024, challenge.out)
    assert (challenge.out / "A_\\udcff_result.csv").is_file()


def test_other_files_of_a_submission_do_not_matter(challenge: Challenge) -> None:
    (challenge.system / "A_B_task2_1.meta.yaml").write_text("submission: {}\n")
    challenge.evaluate()


def replace_line(number: int, line: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:number], line, *lines[number + 1 :]]) + "\n")

    return edit


def prepend(line: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_text(f"{line}\n{path.read_text()}")

    return edit


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


DEFECTS = {
    "missing": (Path.unlink, r"decision_result_fan_section_00_test\.csv is missing: 2024 needs 4 files"),
    "empty": (lambda path: path.write_text(""), "is empty"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not a readable CSV file"),
    "header": (prepend("file,decision"), "starts with a header line 'file,decision': delete it"),
    "short": (cut, r"has 11 rows for 12 test clips: section_00_0011\.wav is missing"),
    "unknown clip": (prepend("section_00_9999.wav,1"), r"has 13 rows for 12 test clips: section_00_9999\.wav"),
    "duplicate": (prepend("section_00_0003.wav,1"), r"lists section_00_0003\.wav twice, .* in line 5"),
    "same clip": (prepend("section_00_x_test_y_0003_noAttribute.wav,1"), r"lists section_00_0003\.wav twice, once"),
    "nan": (replace_line(0, "section_00_0000.wav,nan"), r"has the value nan for section_00_0000\.wav"),
    "infinite": (replace_line(0, "section_00_0000.wav,-inf"), "has the value -inf"),
    "text": (replace_line(1, "section_00_0001.wav,no"), "has 'no' in line 2 where a number belongs"),
    "not binary": (replace_line(0, "section_00_0000.wav,2"), r"decision 2\.0 for section_00_0000\.wav: give 0 or 1"),
    "text in the first line": (replace_line(0, "section_00_0000.wav,no"), "has 'no' in line 1 where a number belongs"),
    "columns": (replace_line(2, "section_00_0002.wav,1,1"), "has 3 columns in line 3 where 2 belong, with commas"),
    "blank line": (replace_line(2, ""), "has 0 columns in line 3"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_one_sentence_that_names_the_file(challenge: Challenge, defect: str) -> None:
    spoil, message = DEFECTS[defect]
    path = challenge.decision_file("fan")
    spoil(path)
    with pytest.raises(AsdError, match=message) as error:
        challenge.evaluate()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not challenge.out.exists()


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r\n", "  \n"])
def test_blank_lines_at_the_end_change_nothing(challenge: Challenge, end: str) -> None:
    before = challenge.evaluate()
    for path in (challenge.score_file("fan"), challenge.decision_file("fan")):
        path.write_text(path.read_text() + end)
    assert challenge.evaluate() == before


def test_unknown_file_is_named_with_its_nearest(challenge: Challenge) -> None:
    challenge.score_file("fan").rename(challenge.score_file("fam"))
    with pytest.raises(AsdError, match=r"anomaly_score_fam_.*did you mean anomaly_score_fan_section_00_test\.csv"):
        challenge.evaluate()


def test_submission_without_scores(challenge: Challenge, tmp_path: Path) -> None:
    with pytest.raises(AsdError, match="is not a folder"):
        evaluate_submissions(tmp_path / "nowhere", challenge.truth, 2024, challenge.out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AsdError, match="holds neither anomaly_score"):
        evaluate_submissions(tmp_path / "empty", challenge.truth, 2024, challenge.out)


def test_a_failed_write_is_named_and_leaves_nothing_half_written(
    challenge: Challenge, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge.out.mkdir()
    old = challenge.out / "A_B_task2_1_result.csv"
    old.write_text("old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(AsdError, match=r"cannot write .*_result\.csv: No space left on device"):
        challenge.evaluate()
    assert [path.name for path in challenge.out.iterdir()] == [old.name]
    assert old.read_text() == "old"


def test_out_is_a_file(challenge: Challenge) -> None:
    challenge.out.write_text("")
    with pytest.raises(AsdError, match=r"cannot write .*_result\.csv: "):
        challenge.evaluate()
