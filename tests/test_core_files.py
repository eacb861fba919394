from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from asd.core.files import (
    MOST_VALUES,
    atomic,
    check_file_place,
    load_tensors,
    load_yaml,
    of_kind,
    read_json,
    read_yaml,
    write_json,
    write_text,
)
from asd.types import AsdError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=9,
)


@given(VALUES)
def test_what_was_written_is_read(value: object) -> None:
    assert load_yaml(yaml.safe_dump(value)) == value


def bomb(levels: int) -> str:
    lines = ["a0: &a0 x"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def test_aliases_are_read_as_long_as_they_stand_for_little() -> None:
    assert load_yaml("a: &a [1, 2]\nb: *a")["b"] == [1, 2]
    assert len(load_yaml(bomb(4))) == 4
    for levels in (7, 30):
        with pytest.raises(yaml.YAMLError, match=rf"unfold to more than {MOST_VALUES} values"):
            load_yaml(bomb(levels))
    with pytest.raises(yaml.YAMLError, match="unfold"):
        load_yaml("a: &a {b: *a}")


@pytest.mark.parametrize(
    "text", ["a: 2025-02-30", b"\xff\xff", "[" * 5000, "a: [b", "{a: b", "a: !!python/name:os.system"]
)
def test_whatever_is_wrong_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_what_is_nested_without_end_is_refused_before_it_is_composed(brackets: str) -> None:
    opened, closed = brackets
    assert load_yaml(f"{'[' * 50}{']' * 50}")
    inner = "x: " if opened == "{" else ""
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        load_yaml(f"{f'{opened}{inner}' * 150}1{closed * 150}")


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 1", "a: {b: 1, c: 2, b: 3}", "- a: 1\n  a: 2"])
def test_a_key_that_is_there_twice_is_named(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"line 1 begins a part that has [ab] twice"):
        load_yaml(text)
    merged = load_yaml("base: &base {a: 1, b: 2}\nin: {mine: &mine {<<: *base, a: 3}}\nyours: {<<: *mine, b: 4}")
    assert (merged["in"]["mine"], merged["yours"]) == ({"a": 3, "b": 2}, {"a": 3, "b": 4})
    several = load_yaml("one: &one {views: 1}\ntwo: &two {views: 2, k: 3}\nboth: {<<: [*one, *two]}")
    assert several["both"] == {"views": 1, "k": 3}  # the first counts


def test_files_are_in_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    """As in a script of one's own under LANG=en_US, whose encoding is Latin-1."""
    place = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code = (
        "from pathlib import Path; from asd.core.files import append_text, write_text; "
        "write_text(Path('a'), '\\xfc'); append_text(Path('a'), '\\xe9')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, **place})
    assert (tmp_path / "a").read_bytes() == "üé".encode()


def test_a_place_that_cannot_be_written_is_refused_before_long_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    check_file_place(tmp_path / "new/deep/a.csv")
    check_file_place(tmp_path / "file")
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "file/a.csv", "Not a directory")):
        with pytest.raises(AsdError, match=f"cannot write {path}: {reason}; choose another place"):
            check_file_place(path)
    monkeypatch.setattr(os, "access", lambda place, mode: (place, mode) != (tmp_path, os.W_OK))
    for flag, reason in ((0, "Permission denied"), (os.ST_RDONLY | 4, "Read-only file system")):
        monkeypatch.setattr(os, "statvfs", {tmp_path: SimpleNamespace(f_flag=flag)}.get)
        with pytest.raises(AsdError, match=f"a.csv: {reason}; choose another place"):
            check_file_place(tmp_path / "new/a.csv")


def test_values_of_numpy_and_what_json_lacks_are_written_as_what_comes_next_to_them(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"one": np.float64(0.5), "more": np.arange(2), "place": Path("runs/a")})
    assert read_json(tmp_path / "a.json") == {"one": 0.5, "more": [0, 1], "place": "runs/a"}


def test_what_is_no_json_object_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path) == read_json(tmp_path / "a.json/b.json") == {}
    write_json(path, {"a": [1, None]})
    assert read_json(path) == {"a": [1, None]}
    for text in ("[1]", "{"):
        path.write_text(text)
        with pytest.raises(AsdError, match=r"a\.json is damaged \(.+\); remove it and run the same command again$"):
            read_json(path)
        with pytest.raises(AsdError, match=r"\); train again$"):
            read_json(path, "train again")


def test_what_is_no_yaml_mapping_is_named_with_its_option_and_the_way_out(tmp_path: Path) -> None:
    path, words = tmp_path / "a.yaml", ("config=", "; copy it again")
    with pytest.raises(AsdError, match=rf"^config={path} does not exist; copy it again$"):
        read_yaml(path, *words)
    for text, reason in (("- 1", "it holds no key: value lines"), ("a: 1\na: 2", "line 1 .* has a twice; keep one")):
        path.write_text(text)
        with pytest.raises(AsdError, match=rf"^config={path} is not a readable YAML file \({reason}\); copy it again$"):
            read_yaml(path, *words)
    path.write_text("a: 1")
    assert read_yaml(path, *words) == {"a": 1}


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = os.uname().nodename
    left = [f".a.{here}-{ended.pid}.tmp", f".b.{here}-{ended.pid}.tmp", f".a.{here}-{os.getppid()}.tmp"]
    left += [f".a.elsewhere-{ended.pid}.tmp", f".a.{here}-mine.tmp"]
    for name in left:
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "a", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a", *left[1:]}


def test_tensors_that_others_wrote_have_no_facts(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "w")
    tensors, facts = load_tensors(tmp_path / "w")
    assert (tensors["w"].tolist(), facts) == ([1.0, 1.0], {})


@pytest.mark.parametrize("computer", ["first", "first.plant-2.example"])
def test_an_error_names_the_place_and_not_the_folder_that_is_written_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computer: str
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename=computer))

    def full(path: Path) -> None:
        with atomic(path / "run") as folder, atomic(folder / "model") as model:
            model.mkdir(parents=True)
            with atomic(model / "a.json"):
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AsdError, match=f"^cannot write {tmp_path}/run/model/a.json: No space left"):
        full(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_number_is_one_that_can_be_computed_with() -> None:
    assert of_kind([1, -2.5, None], [])
    assert not any(of_kind(value, None) for value in (10**400, float("inf"), float("nan"), True, "1"))


def test_a_folder_that_cannot_be_copied_is_one_reason(tmp_path: Path) -> None:
    error = shutil.Error([(f"a{i}", f"b{i}", "[Errno 28] No space left on device: 'b'") for i in range(9)])
    with (
        pytest.raises(AsdError, match=r"^cannot write .*before: No space left on device; free some space or choose"),
        atomic(tmp_path / "before"),
    ):
        raise error
