"""What a run stands on: one process at a time works on a place."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asd.core.files import alone
from asd.core.runtime import fingerprint, own_code, stopped_by_termination
from asd.types import AsdError


def test_own_code_is_that_of_a_class_and_of_what_its_modules_take_from_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    texts = {
        "code_of_mine": "import numpy as np\nfrom code_beside import half\nclass Mine:\n    f = half\n",
        "code_beside": "from code_further import two\ndef half(x):\n    from code_of.late import one\n    return one\n",
        "code_further": "two = 2\n",
        "code_of/late": "from . import deep\none = 1\n",
        "code_of/deep": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import code_elsewhere\n",
        "code_elsewhere": "three = 3\n",
    }

    def hashed() -> str:
        for name, text in texts.items():
            (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.py").write_text(text)
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return own_code([importlib.import_module("code_of_mine").Mine])

    first = hashed()
    assert hashed() == first != ""
    texts["code_elsewhere"] += "four = 4\n"
    assert hashed() == first
    for name in ("code_further", "code_of/late", "code_of/deep"):
        before = hashed()
        texts[name] += "five = 5\n"
        assert hashed() != before
    assert own_code([Path, AsdError]) == ""


def test_own_code_that_is_installed_is_that_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [name for name in sys.modules if name.startswith("package_")]:  # of an earlier time
        monkeypatch.delitem(sys.modules, name)
    (place / "package_of_mine/deeper").mkdir(parents=True)
    (place / "package_of_mine/__init__.py").write_text(
        "from .deep import one\nfrom .deeper import three\nimport package_beside\nclass Mine: ...\n"
    )
    (place / "package_of_mine/deep.py").write_text("one = 1\n")
    (place / "package_of_mine/deeper/__init__.py").write_text("three = 3\n")
    (place / "package_beside.py").write_text("two = 2\n")
    mine = importlib.import_module("package_of_mine").Mine
    first = own_code([mine])
    (place / "package_beside.py").write_text("two = 3\n")
    assert own_code([mine]) == first
    (place / "package_of_mine/deep.py").write_text("one = 4\n")
    second = own_code([mine])
    (place / "package_of_mine/deeper/__init__.py").write_text("three = 4\n")
    assert len({first, second, own_code([mine])}) == 3


def test_the_hash_of_plain_values_is_the_same_in_whatever_order_they_are_named() -> None:
    assert (
        fingerprint({"a": 1, "b": [2, 3]}) == fingerprint({"b": [2, 3], "a": 1}) != fingerprint({"a": 1, "b": [3, 2]})
    )
    assert fingerprint(Path("a/b"), 1) == fingerprint("a/b", 1) != fingerprint(1, "a/b")


def in_child(work: Callable[[], object]) -> int:
    """Starts a process that does the work; its number."""
    if child := os.fork():
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_second_process_is_told_or_waits(tmp_path: Path) -> None:
    place, seen = tmp_path / "place", tmp_path / "seen"

    def wait() -> None:
        with alone(place):
            seen.touch()

    with alone(place):
        child = in_child(wait)
        with pytest.raises(AsdError, match="wait for the other"), alone(place, busy="wait for the other"):
            pass
        time.sleep(0.05)
        assert not seen.exists()
    assert ended_well(child)
    assert seen.exists()
    assert not list(tmp_path.glob(".*.lock"))
    with alone(place, busy="nobody is there"):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    def die() -> None:
        with alone(tmp_path / "place"):
            os._exit(0)

    assert ended_well(in_child(die))
    assert list(tmp_path.glob(".*.lock"))
    with alone(tmp_path / "place", busy="held by the dead"):
        pass
    assert not list(tmp_path.glob(".*.lock"))


def test_many_processes_take_turns(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")

    def add() -> None:
        for _ in range(20):
            with alone(count):
                value = int(count.read_text())
                count.write_text(str(value + 1))

    assert all(map(ended_well, [in_child(add) for _ in range(5)]))
    assert count.read_text() == "100"


def test_the_processes_of_torchrun_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone(tmp_path / "place"):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with alone(tmp_path / "place", busy="never"):
            pass


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AsdError, match=r"cannot write \S+/file/\.place\.lock"), alone(tmp_path / "file/place"):
        pass


def test_a_signal_interrupts_unless_it_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_termination(signal.SIGHUP):
            signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGHUP):
            with pytest.raises(KeyboardInterrupt), stopped_by_termination(signal.SIGHUP):
                signal.raise_signal(number)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
