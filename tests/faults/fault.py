"""A fault, what is expected of a stage that meets it, and the place in which it is planted."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.command import Answer, asd, contents

# A detector that is fitted in a tenth of a second; which one does not matter to a fault.
QUICK = ("detector=autoencoder", "training.epochs=1", "n_mels=16", "decision.method=percentile", "device=cpu")
LABEL = "Tester_LAB_task2_1"

STAGES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "machine=fan", "data=data", "name=new", *QUICK),
    "train again": ("train", "machine=fan", "data=data", "name=one", *QUICK),
    "train all": ("train", "machine=all", "data=data", "name=new", *QUICK),
    "train own": ("train", "machine=pump", "data=own", "name=own", *QUICK),
    "predict": ("predict", "name=one", "machine=fan", "audio=own", "out=predictions", "device=cpu"),
    "score": ("score", "machine=fan", "data=data", "name=one"),
    "evaluate": ("evaluate", "name=one"),
    "leaderboard": ("leaderboard", "members=one,two"),
    "fuse": ("fuse", "members=one,two", "name=both"),
    "explain": ("explain", "machine=fan", "name=one", "worst=1"),
    "submit": ("submit", "name=one", f"label={LABEL}", "out=packages"),
    "validate": ("validate", f"path=submissions/{LABEL}", "data=data"),
    "bundle": ("bundle", "team=Tester_LAB", "data=data"),
}


@dataclass(frozen=True)
class Refused:
    """One sentence that says `saying`, and every file as it was."""

    saying: str


@dataclass(frozen=True)
class Warned:
    """The stage is done, and a warning says `saying`."""

    saying: str


@dataclass(frozen=True)
class Defect:
    """The stage counts and names a defect on its output: exit code 1."""

    saying: str


@dataclass(frozen=True)
class Same:
    """The stage is done, and what it wrote is what it writes without the fault."""


@dataclass(frozen=True)
class Done:
    """The stage is done; the fault may move its result."""


Expected = Refused | Warned | Defect | Same | Done


@dataclass(frozen=True)
class Words:
    """A word given after those of the stage, and what it needs on the disk."""

    word: str
    also: Callable[[], object] = lambda: None

    def __call__(self) -> None:
        """Plants what the word needs."""
        self.also()


@dataclass(frozen=True)
class Fault:
    """Something wrong in a place.

    `plant` is called in the working directory that `place` describes. `expected` has one entry per stage that is tried.
    """

    name: str
    plant: Callable[[], object]
    expected: Mapping[str, Expected]


def cases(*tables: list[Fault]) -> list[tuple[Fault, str]]:
    """Every fault with every stage that it is tried with."""
    return [(fault, stage) for table in tables for fault in table for stage in fault.expected]


def case_id(case: object) -> str | None:
    """Readable names for pytest."""
    return case.name.replace(" ", "-") if isinstance(case, Fault) else None


def results(where: Path) -> dict[str, bytes]:
    """What stages have written, without what may change from one run to the next."""
    found: dict[str, bytes] = {}
    for folder in ("runs", "submissions", "packages"):
        for name, content in contents(where / folder).items():
            if not name.startswith(".cache"):
                found[f"{folder}/{name}"] = content
    return found


def numbers(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """Score tables, evaluations and packaged results among the files that stages have written."""
    kinds = (".csv", "evaluation.json", "leaderboard.json")
    return {name: content for name, content in found.items() if name.endswith(kinds)}


def written(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> dict[str, bytes]:
    """What a stage wrote, as far as it differs from what lay there."""
    return {name: content for name, content in after.items() if before.get(name) != content}


def left_over(where: Path) -> list[Path]:
    """Half-written files, wherever they lie."""
    walk = [(folder, name) for folder, folders, files in os.walk(where) for name in (*folders, *files)]
    return [Path(folder, name) for folder, name in walk if name.endswith((".tmp", ".part"))]


def meet(fault: Fault, stage: str, undisturbed: Callable[[str], dict[str, bytes]]) -> Answer:
    """Plants a fault in the working directory, runs a stage and checks that it ends as it should.

    Args:
        fault: what to plant.
        stage: a name of STAGES.
        undisturbed: by stage, the numbers that it writes without a fault.
    """
    expected = fault.expected[stage]
    fault.plant()
    before, half = results(Path.cwd()), left_over(Path.cwd())
    answer = asd(*STAGES[stage], *([fault.plant.word] if isinstance(fault.plant, Words) else []))
    after = results(Path.cwd())
    said = answer.err.strip().splitlines()
    assert "Traceback" not in answer.err
    assert {*left_over(Path.cwd())} <= {*half}
    match expected:
        case Refused(saying):
            assert answer.code == 2, (answer.code, answer.out, answer.err)
            assert said[-1].startswith("error: ")
            assert re.search(saying, said[-1]), said[-1]
            assert all(re.match("(INFO|WARNING|ERROR): ", line) for line in said[:-1]), answer.err
            assert sorted(name for name in before | after if before.get(name) != after.get(name)) == []
        case Defect(saying):
            assert answer.code == 1, (answer.code, answer.out, answer.err)
            assert re.search(saying, answer.out), answer.out
        case Warned(saying):
            assert answer.code == 0, answer.err
            warnings = [line for line in said if line.startswith("WARNING: ")]
            assert any(re.search(saying, line) for line in warnings), answer.err
        case Same():
            assert answer.code == 0, answer.err
            assert written(numbers(before), numbers(after)) == undisturbed(stage)
        case Done():
            assert answer.code == 0, answer.err
    new = numbers(written(before, after)).values()
    assert not [content for content in new if re.search(rb"(nan|inf)\b", content)]
    return answer


def copy_place(source: Path, target: Path) -> Path:
    """A place of one's own."""
    shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)
    return target
