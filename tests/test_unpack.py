"""Archives that lie, are damaged or are too large; and those of the years, in their layouts."""

from __future__ import annotations

import errno
import io
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asd.challenge import unpack as unpacking
from asd.challenge.unpack import judge, machine_place, truth_place, unpack
from asd.types import AsdError
from tests.command import contents
from tests.miniature_year import zipped

FAN = machine_place("fan")
CLIP = "fan/train/section_00_source_train_normal_0000_speed_5.wav"


def archive(folder: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    path = folder / "dev_fan.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in entries:
            zipped.writestr(name, content)
    return path


def test_what_is_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    path = archive(tmp_path, (CLIP, b"RIFF"), ("fan/attributes_00.csv", b"file_name\n"), ("fan/", b""))
    members = unpack(path, tmp_path / "fan", FAN)
    assert contents(tmp_path / "fan") == {CLIP.removeprefix("fan/"): b"RIFF", "attributes_00.csv": b"file_name\n"}
    assert {name: member.size_bytes for name, member in members.items()} == {
        CLIP.removeprefix("fan/"): 4,
        "attributes_00.csv": 10,
    }


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fan/train/x.wav", "train/x.wav"),
        ("train/x.wav", "train/x.wav"),
        ("dev_data/fan/test/x.WAV", "test/x.WAV"),
        ("fan/source_test/x.wav", "source_test/x.wav"),
        ("fan/target_test/x.wav", "target_test/x.wav"),
        ("fan/supplemental/x.wav", "supplemental/x.wav"),
        ("fan_r2/train/x.wav", "train/x.wav"),
        ("Fan/train/x.wav", "train/x.wav"),
        ("fan/attributes_00.csv", "attributes_00.csv"),
        ("attributes_00.csv", "attributes_00.csv"),
        ("valve/train/x.wav", None),
        ("fan/README.md", None),
        ("fan/other/x.wav", None),
        ("fan/x.wav", None),
        ("__MACOSX/fan/train/._x.wav", None),
        ("__MACOSX/fan/train/x.wav", None),
        ("fan/train/.DS_Store", None),
    ],
)
def test_where_files_of_a_machine_go(name: str, place: str | None) -> None:
    assert FAN(PurePosixPath(name)) == (None if place is None else PurePosixPath(place))


def test_where_labels_go() -> None:
    inside = "ground_truth_data/ground_truth_fan_section_00_test.csv"
    assert truth_place(PurePosixPath(f"evaluator-main/{inside}")) == PurePosixPath(inside)
    assert truth_place(PurePosixPath("evaluator-main/evaluator.py")) is None
    assert truth_place(PurePosixPath("evaluator-main/ground_truth_data/run.sh")) is None


@pytest.mark.parametrize(
    "name",
    [
        "../evil.wav",
        "fan/train/../../../evil.wav",
        "/etc/train/evil.wav",
        "C:/train/evil.wav",
        "fan\\train\\evil.wav",
        "~/train/evil.wav",
        "fan/train/e\0vil.wav",
    ],
)
def test_a_name_that_leads_out_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    entry = zipfile.ZipInfo("x")
    entry.filename = name  # the constructor would tidy it up
    path = archive(tmp_path, (CLIP, b"RIFF"), (entry, b"x"))
    with pytest.raises(AsdError, match="leads out of its folder or has"):
        unpack(path, tmp_path / "inside/fan", FAN)
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "inside/fan").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("fan/train/link.wav")
    link.external_attr = (kind | 0o777) << 16
    with pytest.raises(AsdError, match="a link or device and not a file"):
        unpack(archive(tmp_path, (link, b"/etc/passwd")), tmp_path / "fan", FAN)


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, (CLIP, b"RIFF"))
    with zipfile.ZipFile(path) as zipped:
        infos = zipped.infolist()
    infos[0].flag_bits |= 1
    with pytest.raises(AsdError, match="encrypted"):
        judge(path, infos, FAN)


def test_two_files_for_one_place_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, (CLIP, b"1"), (CLIP.removeprefix("fan/"), b"2"))
    with pytest.raises(AsdError, match="twice"):
        unpack(path, tmp_path / "fan", FAN)


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    path = archive(tmp_path, (CLIP, bytes(80 * 2**20)))
    assert path.stat().st_size < 200_000
    with pytest.raises(AsdError, match=r"would unpack its \d+ bytes to 83886080 in 1 files"):
        unpack(path, tmp_path / "fan", FAN)
    assert not (tmp_path / "fan").exists()


def test_a_bomb_that_understates_its_size_does_not_grow(tmp_path: Path) -> None:
    """The declared size is judged, so no more than that is ever written."""
    path = archive(tmp_path, (CLIP, bytes(1_000_000)))
    declared = (1_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(declared, (1000).to_bytes(4, "little")))
    with pytest.raises(AsdError, match="damaged"):
        unpack(path, tmp_path / "fan", FAN)
    assert sum(map(len, contents(tmp_path / "fan").values())) <= 1000


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_FILES", 2)
    path = archive(tmp_path, *[(f"fan/train/{i}.wav", b"x") for i in range(3)])
    with pytest.raises(AsdError, match="in 3 files, more than"):
        unpack(path, tmp_path / "fan", FAN)


def test_an_archive_of_another_machine_is_named(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match="nothing of what is looked for"):
        unpack(archive(tmp_path, ("valve/train/x.wav", b"x")), tmp_path / "fan", FAN)


def test_no_archive_at_all(tmp_path: Path) -> None:
    path = tmp_path / "dev_fan.zip"
    path.write_text("<html>Sorry</html>")
    with pytest.raises(AsdError, match=r"dev_fan.zip is damaged"):
        unpack(path, tmp_path / "fan", FAN)


GOOD = zipped({f"fan/train/{i}.wav": bytes(range(256)) * 8 for i in range(5)})


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_archive_is_a_sentence_or_unpacks_to_the_truth(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    damaged = bytearray(GOOD[:position] if cut else GOOD)
    if not cut:
        damaged[position] ^= change
    path = folder / "dev_fan.zip"
    path.write_bytes(damaged)
    try:
        members = unpack(path, folder / "fan", FAN)
    except AsdError:
        return
    written = contents(folder / "fan")
    assert written.keys() == members.keys()
    assert all(content == bytes(range(256)) * 8 for content in written.values())


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_told_whatever_the_clips_are_packed_with(tmp_path: Path, packing: int) -> None:
    path = tmp_path / "dev_fan.zip"
    with zipfile.ZipFile(path, "w", packing) as zipped:
        zipped.writestr(CLIP, bytes(range(256)) * 100)
    damaged = bytearray(path.read_bytes())
    damaged[150:170] = bytes(20)
    path.write_bytes(damaged)
    with pytest.raises(AsdError, match=r"dev_fan.zip is damaged .*; remove it and run the same command again"):
        unpack(path, tmp_path / "fan", FAN)


def test_a_disk_that_will_be_too_small_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3))
    with pytest.raises(AsdError, match=r"needs 4 bytes to unpack where .* has 3 free; the archive is kept"):
        unpack(archive(tmp_path, (CLIP, b"RIFF")), tmp_path / "fan", FAN)


def test_a_disk_that_fills_up_is_a_sentence_and_the_archive_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: io.BufferedReader, target: io.BufferedWriter, length: int) -> None:
        target.write(source.read(2))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    path = archive(tmp_path, (CLIP, b"RIFF"))
    with pytest.raises(AsdError, match=r"cannot unpack .*No space left on device.*the archive is kept"):
        unpack(path, tmp_path / "fan", FAN)
    assert zipfile.is_zipfile(path)
