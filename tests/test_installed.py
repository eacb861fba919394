"""A machine's folder is filled from several archives, and none of them is ever half there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from asd.challenge.files import list_clips, list_machines
from asd.challenge.ground_truth import read_ground_truth
from asd.challenge.installed import UNPACKING, Finding, inspect, install_machine, install_truth
from asd.challenge.years import Part, get_year
from asd.types import AsdError, Split
from tests.command import contents
from tests.miniature_year import zipped

YEAR = get_year(2024)
TRAIN = "section_00_source_train_normal_0000_noAttribute.wav"
DEV = {
    f"fan/train/{TRAIN}": b"RIFF1",
    "fan/test/section_00_source_test_anomaly_0000_noAttribute.wav": b"RIFF2",
    "fan/attributes_00.csv": b"file_name\n",
}


def install(root: Path, contents: dict[str, bytes], part: Part = "dev", machine: str = "fan") -> None:
    """Through a zip file beside the root."""
    archive = YEAR.archive(part, machine)
    path = root.parent / archive.file
    path.write_bytes(zipped(contents))
    install_machine(path, root / machine, part, archive, "0" * 32)


def state(root: Path, part: Part = "dev", machine: str = "fan", *, quick: bool = False) -> Finding:
    return inspect(root, machine, part, YEAR, quick=quick)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def test_an_installed_machine_is_present(root: Path) -> None:
    assert state(root).state == "missing"
    install(root, DEV)
    assert state(root) == Finding("fan", "dev", "present", 2)
    assert [clip.name for clip in list_clips(root, "fan", Split.TRAIN)] == [TRAIN]
    assert not (root / UNPACKING / "fan-dev").exists()


def test_the_manifest_is_for_people_too(root: Path) -> None:
    install(root, DEV)
    manifest = json.loads((root / "fan/manifest_dev.json").read_text())
    assert manifest["archive"] == "dev_fan.zip"
    assert manifest["record"] == 10902294
    assert manifest["files"][f"train/{TRAIN}"][0] == 5


def test_damage_is_found_and_named(root: Path) -> None:
    install(root, DEV)
    clip = root / "fan/train" / TRAIN
    clip.write_bytes(b"RIFF!")
    assert state(root, quick=True).state == "present"  # as long as it was
    found = state(root)
    assert (found.state, found.n_clips, found.is_good) == ("damaged", 1, False)
    assert found.about == f"1 of 3 files missing or changed, the first train/{TRAIN}"
    clip.unlink()
    assert state(root, quick=True).state == "damaged"
    install(root, DEV)
    assert state(root).state == "present"


def test_a_damaged_manifest_is_damage(root: Path) -> None:
    install(root, DEV)
    (root / "fan/manifest_dev.json").write_text("{")
    assert state(root).state == "damaged"


def test_train_and_test_of_a_machine_come_from_two_archives(root: Path) -> None:
    test = {"ToothBrush/test/section_00_0000.wav": b"RIFF"}
    install(root, test, "eval_test", "ToothBrush")
    assert state(root, "eval_train", "ToothBrush").state == "missing"
    install(root, {f"ToothBrush/train/{TRAIN}": b"RIFF"}, "eval_train", "ToothBrush")
    for part in ("eval_train", "eval_test"):
        assert state(root, part, "ToothBrush").state == "present"
    assert not list((root / "ToothBrush").glob(".*"))


def test_what_another_archive_brought_is_not_replaced(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "ToothBrush/attributes_00.csv"
    install(root, {f"ToothBrush/train/{TRAIN}": b"R", table: b"train"}, "eval_train", "ToothBrush")
    install(root, {"ToothBrush/test/section_00_0000.wav": b"R", table: b"test"}, "eval_test", "ToothBrush")
    assert (root / table).read_bytes() == b"train"
    assert "eval_data_ToothBrush_test.zip also holds attributes_00.csv, which stays as it is" in caplog.text
    assert state(root, "eval_train", "ToothBrush").state == "present"
    assert state(root, "eval_test", "ToothBrush").state == "present"


def test_an_archive_that_fails_leaves_the_machine_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(root, DEV)
    before = contents(root)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(AsdError, match="No space left on device"):
        install(root, {f"fan/train/{TRAIN}": b"other"})
    assert contents(root) == before
    with pytest.raises(AsdError, match="No space left on device"):
        install(root, {f"valve/train/{TRAIN}": b"other"}, machine="valve")
    assert contents(root) == before
    assert list_machines(root) == ["fan"]


def test_a_process_that_is_killed_while_it_unpacks_leaves_no_machine(root: Path) -> None:
    """What it leaves lies one folder deeper than machines do."""
    install(root, DEV)
    half = root / UNPACKING / "valve-dev/train"
    half.mkdir(parents=True)
    (half / TRAIN).write_bytes(b"RIFF")
    assert list_machines(root) == ["fan"]


def test_a_process_that_is_killed_while_it_moves_is_known(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = {"ToothBrush/test/section_00_0000.wav": b"RIFF"}
    install(root, {f"ToothBrush/train/{TRAIN}": b"RIFF"}, "eval_train", "ToothBrush")
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if path.name == "test":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            install(root, test, "eval_test", "ToothBrush")
    assert state(root, "eval_test", "ToothBrush").state == "half-unpacked"
    assert state(root, "eval_train", "ToothBrush").state == "present"
    with pytest.raises(AsdError, match=r"ToothBrush is only half there, .* or remove .*\.manifest_eval_test\.json"):
        list_clips(root, "ToothBrush", Split.TRAIN)
    install(root, test, "eval_test", "ToothBrush")
    assert state(root, "eval_test", "ToothBrush").state == "present"


def test_a_replaced_release_is_known_from_the_catalogue(root: Path) -> None:
    old = root.parent / "eval_data_RoboticArm_train.zip"
    old.write_bytes(zipped({f"RoboticArm/train/{TRAIN}": b"RIFF"}))
    archive = YEAR.archive("eval_train", "RoboticArm")
    install_machine(old, root / "RoboticArm", "eval_train", archive, "0" * 32)
    found = state(root, "eval_train", "RoboticArm")
    assert found.state == "replaced"
    assert found.about.endswith("was replaced by eval_data_RoboticArm_train_r2.zip")


def test_clips_that_were_put_there_by_hand_are_taken_by_their_names(root: Path) -> None:
    for name in DEV:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"RIFF")
    assert state(root) == Finding("fan", "dev", "by hand", 2, "no manifest to compare with")
    shutil.rmtree(root / "fan/test")
    assert state(root).state == "missing"


@pytest.mark.parametrize("name", ["normal_id_02_00000000.wav", "section_01_source_train_normal_0000.wav", "x.wav"])
def test_clips_of_another_year_are_named(root: Path, name: str) -> None:
    for folder in ("train", "test"):
        (root / "fan" / folder).mkdir(parents=True)
        (root / "fan" / folder / name.replace("train", folder)).write_bytes(b"RIFF")
    found = state(root)
    assert found.state == "other year"
    assert "where 2024 has 00" in found.about or "outside the file-name grammar" in found.about


def test_ground_truth_of_an_evaluator_is_what_is_in_it(tmp_path: Path, golden: Path) -> None:
    place = golden / "evaluator/2024"
    path = tmp_path / "evaluator.zip"
    path.write_bytes(zipped({f"wrapper-main/{name}": content for name, content in contents(place).items()}))
    install_truth(path, tmp_path / "truth", YEAR)
    assert read_ground_truth(tmp_path / "truth", YEAR) == read_ground_truth(place, YEAR)
    assert {path.name for path in (tmp_path / "truth").iterdir()} == {
        "ground_truth_attributes",
        "ground_truth_data",
        "ground_truth_domain",
    }


def test_ground_truth_of_another_year_is_refused(tmp_path: Path, golden: Path) -> None:
    place = golden / "evaluator/2023"
    path = tmp_path / "evaluator.zip"
    path.write_bytes(zipped({f"wrapper-main/{name}": content for name, content in contents(place).items()}))
    with pytest.raises(AsdError, match="not of 2024"):
        install_truth(path, tmp_path / "truth", YEAR)
    assert not (tmp_path / "truth").exists()


def test_ground_truth_of_2020_is_a_list(tmp_path: Path, golden: Path) -> None:
    path = tmp_path / "eval_data_list.csv"
    path.write_bytes((golden / "ground_truth/eval_data_list_2020.csv").read_bytes())
    year = get_year(2020)
    install_truth(path, tmp_path / "truth", year)
    expected = read_ground_truth(golden / "evaluator/2020", year)
    assert read_ground_truth(tmp_path / "truth", year) == expected
    assert sum(map(len, expected.values())) == sum(map(year.n_eval_clips, year.eval_units()))


def test_a_list_without_clips_is_no_ground_truth(tmp_path: Path) -> None:
    path = tmp_path / "eval_data_list.csv"
    path.write_text("fan\n")
    with pytest.raises(AsdError, match="lists no clip"):
        install_truth(path, tmp_path / "truth", get_year(2020))
