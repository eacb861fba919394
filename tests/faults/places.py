"""Places that are full, read-only, links or held by another command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.faults.fault import LABEL, Done, Fault, Refused, Same

RUN = Path("runs/one/fan/seed0")


def without_write_permission(path: Path) -> None:
    """A folder and everything in it may be read only."""
    for found in [path, *path.rglob("*")]:
        found.chmod(0o555 if found.is_dir() else 0o444)


def full(path: Path) -> None:
    """Whatever is written here goes to a full device."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.unlink()
    path.symlink_to("/dev/full")


def a_file(path: Path) -> None:
    """A file where a folder belongs."""
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def a_loop(path: Path) -> None:
    """A link to itself where a folder belongs."""
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.name)


def moved(path: Path) -> None:
    """A link to where the folder now lies."""
    shutil.move(path, "far")
    path.symlink_to(Path("far").resolve())


def left_by_a_killed_process(path: Path) -> None:
    """A temporary file of a process that is no more."""
    path.with_name(f".{path.name}.{os.uname().nodename}-999999.tmp").write_text("half")


NEW = Path("runs/new")
FAULTS = [
    Fault("the runs are a file", lambda: a_file(Path("runs")), {"train": Refused("runs"), "evaluate": Refused("runs"), "score": Refused("runs"), "submit": Refused("runs")}),
    Fault("the runs are a link to themselves", lambda: a_loop(Path("runs")), {"train": Refused("runs"), "evaluate": Refused("runs"), "score": Refused("runs"), "submit": Refused("runs")}),
    Fault("the runs are a link to nowhere", lambda: (shutil.rmtree("runs"), Path("runs").symlink_to("gone")), {"evaluate": Refused("runs"), "score": Refused("runs")}),
    Fault("the runs are a link", lambda: moved(Path("runs")), {"train": Done(), "evaluate": Same(), "score": Done()}),
    Fault("the new run is a file", lambda: a_file(NEW), {"train": Refused("runs/new")}),
    Fault("the new run is a link to itself", lambda: a_loop(NEW), {"train": Refused("runs/new")}),
    Fault("a machine of the new run is a file", lambda: a_file(NEW / "fan"), {"train": Refused("runs/new/fan")}),
    Fault("a seed of the new run is a file", lambda: a_file(NEW / "fan/seed0"), {"train": Refused("runs/new/fan")}),
    Fault("the cache is a file", lambda: a_file(Path("runs/.cache")), {"score": Refused("cache")}),
    Fault("the evaluation goes to a full disk", lambda: full(Path("runs/one/evaluation.json")), {"evaluate": Refused("No space left")}),
    Fault("the leaderboard goes to a full disk", lambda: full(Path("runs/leaderboard.json")), {"leaderboard": Refused("No space left")}),
    Fault("the fused run is a file", lambda: a_file(Path("runs/both")), {"fuse": Refused("runs/both")}),
    Fault("the package is a file", lambda: a_file(Path("packages")), {"submit": Refused("packages")}),
    Fault("the package's folder is a file", lambda: a_file(Path("packages/Tester_LAB_task2_1")), {"submit": Refused("packages|Tester_LAB")}),
    Fault("a file of somebody else lies in the package", lambda: (Path(f"packages/{LABEL}").mkdir(parents=True), Path(f"packages/{LABEL}/notes.txt").write_text("x")), {"submit": Refused("notes.txt is no file of a package")}),
    Fault("the package's archive is another file", lambda: (Path("packages").mkdir(), Path(f"packages/{LABEL}.zip").write_text("x")), {"submit": Refused(f"{LABEL}.zip is no file of a package")}),
    Fault("an earlier package is replaced", lambda: shutil.copytree("submissions", "packages"), {"submit": Done()}),
    Fault("the package is a link to itself", lambda: a_loop(Path("packages")), {"submit": Refused("packages")}),
    Fault("the explanation is a file", lambda: a_file(RUN / "explain"), {"explain": Refused("explain")}),
    Fault("the scores are a file", lambda: a_file(RUN / "scores"), {"score": Refused("scores"), "evaluate": Refused("scores|fan")}),
    Fault("the model is a file", lambda: a_file(RUN / "model"), {"score": Refused("model")}),
    Fault("the archive is a folder", lambda: Path("submissions/Tester_LAB_task2.zip").mkdir(), {"bundle": Refused("Tester_LAB_task2.zip")}),
    Fault("the data may only be read", lambda: without_write_permission(Path("data")), {"train": Same(), "score": Same()}),
    Fault("a killed process left half an evaluation", lambda: left_by_a_killed_process(Path("runs/one/evaluation.json")), {"evaluate": Same()}),
    Fault("a killed process left half a package", lambda: (Path("packages").mkdir(), left_by_a_killed_process(Path("packages/Tester_LAB_task2_1.zip"))), {"submit": Same()}),
    Fault("a killed process left half a score table", lambda: left_by_a_killed_process(RUN / "scores/mse.csv"), {"score": Same(), "evaluate": Same()}),
]  # fmt: skip
