"""Which files are recordings, and which spellings name the same one."""

from __future__ import annotations

import getpass
import os
import tempfile
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.core.runtime import pick_device
from asd.places import (
    check_listed,
    doubled,
    find_in_tree,
    find_recordings,
    is_recording,
    mirrored,
    names_a_folder,
    place_name,
    recording_key,
    spelled,
    unmatched,
    walk_tree,
    written,
)
from asd.types import AsdError
from tests.command import refuses

STEMS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\."), min_size=1, max_size=9)
FOLDERS = st.lists(STEMS, max_size=3)


@given(
    stem=STEMS, folders=FOLDERS, end=st.sampled_from(["", ".wav", ".WAV", ".Wav"]), form=st.sampled_from(["NFC", "NFD"])
)
def test_all_spellings_of_a_recording_have_one_key(stem: str, folders: list[str], end: str, form: str) -> None:
    wanted = unicodedata.normalize("NFC", stem)
    for path in (PurePosixPath(*folders, stem + end), PureWindowsPath(*folders, stem + end)):
        for spelling in (str(path), f" {path}", f"{path} ", f"{path}\t"):
            assert recording_key(unicodedata.normalize(form, spelling)) == wanted  # type: ignore[arg-type]


@given(STEMS, STEMS)
def test_other_names_are_other_recordings(one: str, other: str) -> None:
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert (recording_key(f"{one}.wav") == recording_key(f"x/{other}.WAV")) == same


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.flac", True), ("a.M4A", True), ("a.wav", True), ("a.WAV", True),
     ("a.wav ", True), ("._a.wav", False), (".a.wav", False), ("a.txt", False),
     ("wav", False), ("a.wav.part", False)],
)  # fmt: skip
def test_recordings_are_known_by_their_names(name: str, is_one: bool) -> None:
    assert is_recording(Path("folder", name)) == is_one


def test_recordings_are_found_outside_hidden_folders_only(tmp_path: Path) -> None:
    wanted = ["a.WAV", "b.wav", "deep/er/c.wav"]
    for name in [*wanted, ".hidden.wav", "._b.wav", ".trash/d.wav", "deep/.thumbs/e.wav", "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_in_tree(tmp_path) == [tmp_path / name for name in wanted]
    assert find_in_tree(tmp_path / "nowhere") == []
    assert find_recordings(tmp_path) == [tmp_path / name for name in wanted[:2]]
    assert find_recordings(tmp_path / ".trash") == [tmp_path / ".trash/d.wav"]  # it was asked for
    assert find_recordings(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "can"),
    [("pump 3", True), ("pümp.b", True), ("a" * 180, True), ("ü" * 90, True), ("a" * 181, False), ("ü" * 91, False),
     (".pump", False), ("a/b", False), ("a\\b", False), ("a\0b", False), ("a\nb", False)],
)  # fmt: skip
def test_what_a_folder_can_be_called(name: str, can: bool) -> None:
    assert names_a_folder(name) == can


def test_an_address_may_hold_what_begins_one() -> None:
    assert mirrored("s3://plant/x://y").parts[-4:] == ("s3", "plant", "x:", "y")


def test_a_folder_that_may_not_be_listed_or_entered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in (os.R_OK, os.X_OK):
        monkeypatch.setattr(os, "access", lambda _, mode, missing=missing: not mode & missing)
        with pytest.raises(AsdError, match=str(tmp_path)):
            check_listed(tmp_path)
        check_listed(tmp_path / "nowhere")


def test_what_is_left_over_on_either_side_and_what_is_there_twice() -> None:
    rows, files = ["train\\a.WAV", "c", "c"], ["a.wav", "b.wav"]
    assert unmatched(rows, files) == ["c"]
    assert unmatched(files, rows) == ["b.wav"]
    assert doubled(rows) == ["c"]
    assert doubled(["a.wav", "x/a.WAV", "b"]) == ["a"]


def test_files_about_a_place_are_called_as_its_folder_without_blanks(tmp_path: Path) -> None:
    assert place_name(tmp_path / "hall 2, north") == "hall-2-north"
    assert place_name(tmp_path / "a" / "..") == place_name(tmp_path)
    assert place_name(tmp_path / ".-x.y_z-.") == "x.y_z"
    assert place_name(Path("/")) == "data"


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a.wav").touch()
    assert sorted(walk_tree(tmp_path)) == [tmp_path / "a.wav", tmp_path / "loop"]


def test_the_user_of_a_container_may_have_no_name_and_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    mirror = mirrored("s3://bucket/plant")
    assert mirror == Path(tempfile.gettempdir(), "asd-mirror/s3/bucket/plant")
    assert spelled(f"{mirror}/fan is empty") == "s3://bucket/plant/fan is empty"
    pick_device("cpu")
    assert getpass.getuser() == str(os.getuid())  # which torch asks for before it trains


def test_an_address_that_lost_a_slash_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path("s3://bucket/plant"), "s3:/bucket/plant"):
        with pytest.raises(AsdError, match=r"^s3:/bucket/plant has one slash where an address has two"):
            mirrored(place)
    with pytest.raises(AsdError, match=r"^ftp:/anna:\*\*\*@host has one slash .*; in Python give it as a string"):
        mirrored(Path("ftp://anna:secret@host"))
    refuses("train", "data=data", "runs=s3:/bucket/runs", saying="runs=s3:/bucket/runs does not fit: .* has one slash")
    Path("s3:/bucket").mkdir(parents=True)  # who has such a folder may use it
    assert mirrored("s3:/bucket/plant") == Path("s3:/bucket/plant")
    assert mirrored("C:/plant") == Path("C:/plant")  # refused where there is none, with its name


def test_an_address_has_its_protocol_in_any_case_and_no_password() -> None:
    assert written(mirrored("S3://Bucket/Plant")) == "s3://Bucket/Plant"
    assert written(mirrored("sftp://anna@host:22/plant")) == "sftp://anna@host:22/plant"
    with pytest.raises(AsdError, match=r"^ftp://anna:\*\*\*@host/plant holds a password.*FSSPEC_FTP_PASSWORD$"):
        mirrored("ftp://anna:secret@host/plant")
    assert spelled("data=ftp://anna:p:w@host/plant: no") == "data=ftp://anna:***@host/plant: no"
    assert spelled("ftp://anna:p@w@host/plant") == "ftp://anna:***@host/plant"
    assert spelled("http://host:80/a@b and x@y") == "http://host:80/a@b and x@y"
