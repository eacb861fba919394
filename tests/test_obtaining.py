"""`data` and `data-check` as a user types them, against an archive on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from asd.challenge.files import list_clips
from asd.challenge.ground_truth import read_ground_truth
from asd.challenge.years import get_year
from asd.types import Split
from tests.archive_server import ArchiveServer, Fault, serving
from tests.command import Answer, asd, contents, refuses, succeeds
from tests.miniature_year import publish_year

SMALL = {"train_source": 2, "train_target": 1, "test_per_cell": 1, "duration_s": 0.3}
MACHINES = "machine=fan,RoboticArm,ToothBrush"
ZIP = "eval_data_RoboticArm_train_r2.zip"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveServer]:
    """Machines of 2024: one of the development set, two of the evaluation set."""
    with serving() as archive:
        folder = tmp_path_factory.mktemp("clips")
        publish_year(archive, 2024, folder, dev=["fan"], evaluation=["RoboticArm", "ToothBrush"], **SMALL)
        yield archive


@pytest.fixture
def server(running: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArchiveServer:
    running.faults.clear()
    running.lies.clear()
    running.requests.clear()
    monkeypatch.chdir(tmp_path)
    return running


def fetch(server: ArchiveServer, *words: str) -> Answer:
    return asd("data", "year=2024", MACHINES, *server.words, *words)


def check(*words: str) -> Answer:
    return asd("data-check", "year=2024", MACHINES, *words)


def states(answer: Answer) -> list[str]:
    """The column of states."""
    return re.findall(r"present|missing|damaged|by hand|half-unpacked|replaced|other year", answer.out)


def test_all_parts_arrive_where_the_other_stages_look(server: ArchiveServer) -> None:
    answer = fetch(server)
    assert answer.code == 0, answer.err
    year = get_year(2024)
    assert len(list_clips(year.dev_root, "fan", Split.TRAIN)) == 3
    assert len(list_clips(year.dev_root, "fan", Split.TEST)) == 4
    for machine in ("RoboticArm", "ToothBrush"):
        assert len(list_clips(year.eval_root, machine, Split.TRAIN)) == 3
        assert len(list_clips(year.eval_root, machine, Split.TEST)) == 4
    assert {unit.machine for unit in read_ground_truth(year.truth_root, year)} == {"RoboticArm", "ToothBrush"}
    assert not [*(year.folder / "archives").iterdir()]
    assert states(check()) == ["present"] * 6
    assert "all there" in check().out


def test_what_is_there_is_not_asked_for_again(server: ArchiveServer) -> None:
    fetch(server)
    before, n_requests = contents(Path("data")), len(server.requests)
    assert fetch(server).code == 0
    assert len(server.requests) == n_requests
    assert contents(Path("data")) == before


def test_a_year_comes_to_an_address(server: ArchiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files as in a folder; on this computer stay only names, from which another command goes on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    bucket = fsspec.filesystem("memory")
    try:
        assert "asd-mirror" not in (answer := fetch(server, "data=memory://year")).out + answer.err
        assert answer.code == 0, answer.err
        fetch(server)
        here = {n: c for n, c in contents(Path("data/dcase2024t2")).items() if ".lock" not in n}
        assert {n.removeprefix("/year/"): bucket.cat_file(n) for n in bucket.find("/year")} == here
        assert not [path for path in Path("cache").rglob("*.wav") if path.stat().st_blocks]
        assert not [*Path("cache").rglob("*.zip")]
        monkeypatch.setenv("XDG_CACHE_HOME", str(Path("another computer").absolute()))
        n_requests = len(server.requests)
        assert fetch(server, "data=memory://year").code == 0
        assert len(server.requests) == n_requests
        assert states(check("data=memory://year")) == ["present"] * 6
        clip = next(name for name in bucket.find("/year/eval_data") if "_test_" in name or "/test/" in name)
        whole = bucket.cat_file(clip)
        bucket.pipe(clip, bytes(len(whole)))
        assert "damaged" in states(check("data=memory://year"))
        succeeds("data", "year=2024", MACHINES, *server.words, "data=memory://year", "overwrite=true", "keep=true")
        assert bucket.cat_file(clip) == whole
        assert len(bucket.find("/year/archives")) == 6
        assert not [path for path in Path("another computer").rglob("*.wav") if path.stat().st_blocks]
    finally:
        bucket.store.clear()


@pytest.mark.parametrize(
    ("part", "present"),
    [
        ("dev", {"dev_data/raw/fan"}),
        ("train", {"eval_data/raw/RoboticArm"}),
        ("eval", {"eval_data/raw/RoboticArm", "eval_data/ground_truth"}),
    ],
)
def test_parts(server: ArchiveServer, part: str, present: set[str]) -> None:
    machine = "fan" if part == "dev" else "RoboticArm"
    succeeds("data", "year=2024", f"machine={machine}", f"part={part}", *server.words)
    place = Path("data/dcase2024t2")
    folders = [*place.glob("*/raw/*"), *place.glob("*/ground_truth")]
    assert {str(folder.relative_to(place)) for folder in folders} == present


def test_missing_underscores_are_understood(server: ArchiveServer) -> None:
    fetch(server)
    clips = list_clips(get_year(2024).eval_root, "RoboticArm", Split.TRAIN)
    assert all("section0" in clip.name and "_train" in clip.name for clip in clips)
    assert {clip.section for clip in clips} == {"00"}
    assert {clip.domain for clip in clips} == {"source", "target"}


def test_everything_that_may_pass_passes(server: ArchiveServer) -> None:
    server.faults = {
        "11259435": [Fault.status(429, after="0"), Fault.status(500, after="0")],
        ZIP: [Fault.status(429, after="0"), Fault.break_off(500), Fault.status(503, after="0")],
    }
    assert fetch(server).code == 0
    assert states(check()) == ["present"] * 6


@pytest.mark.parametrize("machine", ["fann", "Fan", "robotic_arm", "valv"])
def test_an_unknown_machine_is_named_with_the_nearest(server: ArchiveServer, machine: str) -> None:
    for stage in ("data", "data-check"):
        sentence = refuses(stage, "year=2024", f"machine={machine}", saying="is not in part=all of 2024")
        assert re.search(r"did you mean (fan|RoboticArm|valve)\?", sentence)
    assert not Path("data").exists()


def test_a_machine_of_another_part_is_named(server: ArchiveServer) -> None:
    refuses("data", "year=2024", "machine=fan", "part=eval", saying="'fan' is not in part=eval of 2024")


def test_a_wrong_checksum_stops_with_both_values_and_nothing_under_the_name(server: ArchiveServer) -> None:
    wrong = "0" * 32
    server.lies[ZIP] = {"checksum": f"md5:{wrong}"}
    sentence = refuses("data", "year=2024", MACHINES, *server.words, saying=f"{ZIP}.*md5:.*md5:{wrong}")
    assert ZIP in sentence
    assert not Path("data/dcase2024t2/eval_data/raw/RoboticArm/train").exists()
    assert not list(Path("data").rglob(ZIP))


def test_with_keep_going_the_rest_arrives_and_the_failures_are_listed(server: ArchiveServer) -> None:
    server.lies[ZIP] = {"checksum": "md5:" + "0" * 32}
    server.faults["eval_data_ToothBrush_train.zip"] = [Fault.status(404)]
    answer = fetch(server, "keep_going=true")
    assert answer.code == 2
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("error: 2 failed: ")
    assert "RoboticArm eval_train (" in last
    assert "ToothBrush eval_train (" in last
    assert last.endswith("done: fan dev, RoboticArm eval_test, ToothBrush eval_test, ground truth")
    answer = check()
    assert answer.code == 1
    assert states(answer) == ["present", "missing", "missing", "present", "present", "present"]
    assert "2 of 6 are not; next: python -m asd data year=2024 part=all" in answer.out
    server.lies.clear()
    assert fetch(server).code == 0
    assert check().code == 0


def test_a_record_that_cannot_be_had_fails_its_machines_only(server: ArchiveServer) -> None:
    server.faults["10902294"] = [Fault.status(404)] * 9
    answer = fetch(server, "keep_going=true")
    assert answer.code == 2
    assert "1 failed: fan dev (" in answer.err


def test_a_damaged_archive_does_not_keep_the_others(server: ArchiveServer, running: ArchiveServer) -> None:
    """Its checksum is right, so it was damaged before it was published."""
    record = get_year(2024).archive("dev", "fan").record
    whole = running.records[record]["dev_fan.zip"]
    running.records[record]["dev_fan.zip"] = whole[: len(whole) // 2]
    try:
        answer = fetch(server, "keep_going=true")
    finally:
        running.records[record]["dev_fan.zip"] = whole
    assert answer.code == 2
    assert "dev_fan.zip is damaged" in answer.err
    assert states(check()) == ["missing", *["present"] * 5]
    assert not Path("data/dcase2024t2/dev_data/raw/fan").exists()


def test_damage_is_found_and_repaired_by_the_same_command(server: ArchiveServer) -> None:
    fetch(server)
    clip = min(Path("data/dcase2024t2/dev_data/raw/fan/train").iterdir())
    content = clip.read_bytes()
    clip.write_bytes(content[:-1] + b"x")
    assert states(check("quick=true")) == ["present"] * 6
    answer = check()
    assert (answer.code, states(answer)[0]) == (1, "damaged")
    assert clip.name in answer.out
    clip.unlink()
    answer = fetch(server)
    assert "fan dev is damaged" in answer.err
    assert clip.read_bytes() == content


def test_clips_put_there_by_hand_are_used_and_not_touched(server: ArchiveServer) -> None:
    fetch(server)
    Path("data/dcase2024t2/dev_data/raw/fan/manifest_dev.json").unlink()
    assert states(check())[0] == "by hand"
    assert check().code == 0
    before = contents(Path("data"))
    answer = fetch(server)
    assert answer.code == 0
    assert "fan dev was put there by hand and is taken as it is" in answer.err
    assert contents(Path("data")) == before
    assert fetch(server, "overwrite=true").code == 0
    assert states(check()) == ["present"] * 6


@pytest.mark.parametrize("name", ["normal_id_02_00000000.wav", "section_00_source_train_normal_0000.wav"])
def test_clips_of_another_year_or_half_a_machine_are_not_touched(server: ArchiveServer, name: str) -> None:
    clip = Path("data/dcase2024t2/dev_data/raw/fan/train", name)
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"precious")
    refuses("data", "year=2024", MACHINES, *server.words, saying="1 clips that `data` has not put there")
    answer = fetch(server, "keep_going=true")
    assert answer.code == 2
    assert "1 failed: fan dev (" in answer.err
    assert states(check())[1:] == ["present"] * 5
    assert clip.read_bytes() == b"precious"


def test_another_place_and_the_archives_kept(server: ArchiveServer, tmp_path: Path) -> None:
    answer = fetch(server, "data=elsewhere", "keep=true")
    assert "data=elsewhere/dev_data/raw" in answer.out
    assert ZIP in {path.name for path in Path("elsewhere/archives").iterdir()}
    assert states(check("data=elsewhere")) == ["present"] * 6
    shutil.rmtree("elsewhere/eval_data")
    n_requests = len(server.asked(ZIP))
    assert fetch(server, "data=elsewhere", "keep=true").code == 0
    assert len(server.asked(ZIP)) == n_requests  # unpacked again from the archive that was kept


@pytest.mark.parametrize("word", ["archive=zenodo", "evaluators=file:///tmp"])
def test_an_address_that_is_none(server: ArchiveServer, word: str) -> None:
    refuses("data", "year=2024", MACHINES, *server.words, word, saying="is not an http")


def test_a_wrong_address_names_the_word(server: ArchiveServer) -> None:
    refuses("data", "year=2024", "machine=fan", "part=dev", f"archive={server.url}/x", saying="answers 404")


@pytest.mark.slow
def test_no_torch_is_loaded() -> None:
    code = (
        "import sys, asd.challenge.installed, asd.challenge.download, asd.stages.obtaining, asd.evaluation.labelling\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("year", "machine"), [(2020, "fan"), (2021, "pump"), (2026, "fan")])
def test_the_layouts_of_other_years(year: int, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evaluation = "Sander" if year == 2026 else machine
    with serving() as server:
        publish_year(server, year, tmp_path / "clips", dev=[machine], evaluation=[evaluation], **SMALL)
        names = f"machine={','.join(dict.fromkeys([machine, evaluation]))}"
        succeeds("data", f"year={year}", names, *server.words)
    assert states(succeeds("data-check", f"year={year}", names)) == ["present"] * 4
    rules = get_year(year)
    tests = list_clips(rules.eval_root, evaluation, Split.TEST)
    assert {clip.section for clip in tests} == {*rules.eval[evaluation]}
    assert all(clip.label is None for clip in tests)
    assert {clip.domain for clip in tests} == ({"source", "target"} if year == 2021 else {None})
    truth = read_ground_truth(rules.truth_root, rules)
    assert {clip.name for clip in tests} == {clip.file for clips in truth.values() for clip in clips}
