"""The commands of docs/scale.md, one after another, as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.command import succeeds
from tests.machines import tone_machine

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_page_is_a_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for machine in ("fan", "pump"):
        tone_machine(Path("plant"), machine, n_train=16, n_target=4, n_test=3)
    shutil.copytree(ROOT / "configs", "configs")
    Path("configs/sweep.yaml").write_text("statistics.backend: [knn_relative, knn]\n")  # the page's has nine
    page = (ROOT / "docs/scale.md").read_text()
    commands = re.findall(r"^    python -m asd (.*)$", page, re.MULTILINE)
    assert len(commands) == 10
    shutil.copytree("plant", "bucket/plant")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for command in commands:
        command = command.replace("FILE", "runs/sweeps/options/best.yaml")
        command = command.replace("s3://bucket", (tmp_path / "bucket").as_uri())
        # tests/test_ray_executor.py has a cluster
        command = re.sub(r" executor=ray address=\S+", "", command)
        on = [] if command.startswith(("evaluate", "report")) else ["device=cpu"]
        succeeds(*shlex.split(command), *on)
    assert len([*Path("runs/fleet").rglob("DONE")]) == 2
    assert len(pd.read_csv("predictions/fleet/test/predictions.csv")) == 12
    assert len(pd.read_csv("runs/sweeps/options/sweep.csv")) == 2
    assert len([*Path("bucket/runs/statistics").rglob("DONE")]) == 2
    assert Path("bucket/runs/statistics/evaluation.json").exists()
    assert Path("bucket/runs/statistics/report.html").stat().st_size > 100_000  # with sounds
    assert len(pd.read_csv("predictions/statistics/test/predictions.csv")) == 12
    assert Path("runs/best/fan/seed0/DONE").exists()
