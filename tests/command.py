"""The real command, as a user types it: in this process (fast), or in one of its own."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from asd.__main__ import main
from asd.synthetic import make_machines
from tests.machines import tone_machine

NAME = "name=autoencoder"
SHORT = ("detector=autoencoder", NAME, "training.epochs=1", "device=cpu")
ONE_VIEW = "statistics.views=level_64"  # the default detector in a seventh of the time, where scores do not matter


@dataclass(frozen=True)
class Answer:
    """What a command gives back."""

    code: int
    out: str
    err: str


def asd(*words: object) -> Answer:
    """`python -m asd <words>` without starting a process; stderr holds the log as well."""
    out, err = io.StringIO(), io.StringIO()
    handler, log = logging.StreamHandler(err), logging.getLogger("asd")
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(word) for word in words])
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = True
    return Answer(code, out.getvalue(), err.getvalue())


def start(*words: object) -> subprocess.Popen[str]:
    """The command as a process."""
    command = [sys.executable, "-m", "asd", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def succeeds(*words: object) -> Answer:
    """Runs the command and demands that it succeeds."""
    answer = asd(*words)
    assert answer.code == 0, answer.err
    return answer


def refuses(*words: object, saying: str) -> str:
    """Runs the command and demands one sentence that matches `saying`; returns it."""
    answer = asd(*words)
    *log, sentence = answer.err.strip().splitlines()
    assert answer.code == 2, answer
    assert sentence.startswith("error: "), answer.err
    assert re.search(saying, sentence), sentence
    assert all(re.match("(INFO|WARNING): ", line) for line in log), answer.err
    assert answer.out == ""
    return sentence


def short_training(*words: object) -> tuple[object, ...]:
    """Words of a short training of the machine in the working directory's data/."""
    return ("train", "machine=fan", "data=data", *SHORT, *words)


def a_clip(split: str) -> Path:
    """A normal clip of that machine."""
    return sorted(Path("data/fan", split).glob("*normal*.wav"))[-1]


def tiny_machines(root: Path, *machines: str) -> Path:
    """A data folder of synthetic machines that is fitted in a tenth of a second."""
    make_machines(root, machines, train_source=12, train_target=3, test_per_cell=3, duration_s=1.0)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    paths = [
        os.path.join(where, name) for where, _, names in os.walk(folder) for name in names
    ]  # in half of rglob's time
    above = len(os.path.join(folder, ""))
    return {path[above:]: Path(path).read_bytes() for path in paths if os.path.isfile(path)}


def assert_nothing_done(folder: Path) -> None:
    """No run under the folder counts as complete, and nothing half-written is left."""
    left = [path for path in folder.rglob("*") if path.name == "DONE" or path.suffix == ".tmp"]
    assert left == []


def train_on_tones(root: Path, n_train: int, n_test: int, *words: str) -> None:
    """A folder with the recordings of one machine in data/ and a run of the default detector on them."""
    tone_machine(root / "data", n_train=n_train, n_test=n_test)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        succeeds("train", "machine=fan", "data=data", *words)
