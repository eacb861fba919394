"""The options of what is done with a trained run day by day: `predict`, `explain`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from asd.core.executors import Execution
from asd.options import Names, Settings


class Predict(Execution):
    """Options of `predict`."""

    leading: ClassVar[tuple[str, ...]] = ("audio", "name", "machine", "out", "fail_on_anomaly")

    audio: str = Field(description="recordings: a file, a folder, a pattern or a table of paths")
    name: str | None = Field(None, description="run that scores them, by default the default detector's")
    machine: Names = Field(["all"], description="whose recordings they are, by default as their folders say")
    out: Path | None = Field(None, description="folder of the result, by default predictions/<name>/<audio>")
    fail_on_anomaly: bool = Field(False, description="exit code 3 where a recording is called anomalous")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    seed: int | None = Field(None, description="which seed, by default the run's first")
    device: str = Field("auto", description="auto, cpu or cuda")
    runs: Path = Field(Path("runs"), description="folder of all runs")


class Explain(Settings):
    """Options of `explain`."""

    machine: Names = Field(["all"], description="machine, several separated by commas, or all of the run")
    name: str | None = Field(None, description="run to explain, by default the default detector's")
    clip: str | None = Field(None, description="file name of a test clip; by default the worst ones")
    worst: int = Field(3, ge=1, description="how many highest normal and lowest anomalous clips")
    seed: int | None = Field(None, description="which seed, by default the run's first")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    runs: Path = Field(Path("runs"), description="folder of all runs")


class Report(Settings):
    """Options of `report`."""

    name: str | None = Field(None, description="run to report on, by default the default detector's")
    members: Names = Field([], description="runs to compare it with, each RUN or RUN:SCORER")
    machine: Names = Field(["all"], description="machine, several separated by commas, or all of the run")
    year: int = Field(2025, description="challenge year, whose metric rule holds")
    seed: int | None = Field(None, description="whose clips are shown, by default the run's first seed")
    scorer: str | None = Field(None, description="whose scores are shown, by default the run's default")
    predictions: Path | None = Field(None, description="predictions.csv to show instead of the test clips")
    clips: int = Field(20, ge=0, description="clips of each machine to look at and listen to; 0: none")
    explained: int = Field(3, ge=0, description="how many of them with a picture of what moved the score")
    audio: Literal["flac", "opus"] = Field("opus", description="flac (as recorded) or opus (a quarter of it)")
    megabytes: float = Field(25.0, gt=0, description="most that sounds and pictures take")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    out: Path | None = Field(None, description="the file, by default report.html in the run's folder")
