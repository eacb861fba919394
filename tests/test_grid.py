"""A grid of experiments: done once, in order, resumed, with what is done kept when a cell fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from asd.studies.config import Study
from asd.studies.grid import run_grid
from asd.types import AsdError

ROOT = Path(__file__).parents[1]


def work(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    if settings.get("fails"):
        raise AsdError("the bearing of cell 1 is broken; mend it")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "calls").open("a") as file:
        file.write("x")
    return {"double": 2 * settings["x"], "process": os.getpid()}


def calls(folder: Path, key: str) -> int:
    path = folder / key / "seed0" / "calls"
    return len(path.read_text()) if path.exists() else 0


def test_results_come_in_the_order_asked_for_and_are_computed_once(tmp_path: Path) -> None:
    cells = {f"net/{x}": {"x": x} for x in (3, 1, 2)}
    first = run_grid(cells, work, tmp_path, Study(workers=2, seeds=[0]))
    assert list(first) == list(cells)
    assert [result["double"] for (result,) in first.values()] == [6, 2, 4]
    assert os.getpid() not in {result["process"] for (result,) in first.values()}
    again = run_grid({**cells, "net/4": {"x": 4}}, work, tmp_path, Study(workers=1, seeds=[0]))
    assert {key: again[key] for key in cells} == first
    assert [calls(tmp_path, key) for key in again] == [1, 1, 1, 1]


def test_a_cell_with_other_settings_runs_again(tmp_path: Path) -> None:
    run_grid({"a": {"x": 1}}, work, tmp_path, Study(workers=1, seeds=[0]))
    assert run_grid({"a": {"x": 5}}, work, tmp_path, Study(workers=1, seeds=[0]))["a"][0]["double"] == 10
    assert calls(tmp_path, "a") == 2


def test_a_failing_cell_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    cells = {"good": {"x": 1}, "bad": {"x": 2, "fails": True}}
    with pytest.raises(AsdError, match="bearing of cell 1"):
        run_grid(cells, work, tmp_path, Study(workers=1, seeds=[0]))
    kept = json.loads((tmp_path / "good/seed0/result.json").read_text())
    assert kept["settings"] == {"x": 1, "seed": 0}
    assert not (tmp_path / "bad/seed0/result.json").exists()


def slow_work(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    time.sleep(0.5)
    return work(settings, folder)


def test_two_commands_at_once_do_a_cell_once(tmp_path: Path) -> None:
    config = Study(executor="here", seeds=[0])
    with ThreadPoolExecutor() as pool:
        first, second = [pool.submit(run_grid, {"a": {"x": 1}}, slow_work, tmp_path, config) for _ in range(2)]
    assert first.result() == second.result()
    assert calls(tmp_path, "a") == 1


def wait_long(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "process").write_text(str(os.getpid()))
    time.sleep(60)
    return {}


def test_workers_end_with_a_study_that_is_killed(tmp_path: Path) -> None:
    call = f"run_grid({{'a': {{}}}}, wait_long, Path({str(tmp_path)!r}), Study(workers=1, seeds=[0]))"
    code = f"from tests.test_grid import *; {call}"
    study = subprocess.Popen([sys.executable, "-c", f"if __name__ == '__main__':\n {code}"], cwd=ROOT)
    process = tmp_path / "a/seed0/process"
    for _ in range(300):
        if process.exists() and process.read_text():
            break
        time.sleep(0.1)
    worker = int(process.read_text())
    study.kill()
    study.wait()
    for _ in range(100):
        if not alive(worker):
            return
        time.sleep(0.1)
    raise AssertionError("the worker outlives its study")


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rsplit(")", 1)[1].split()[0] != "Z"
