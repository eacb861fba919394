"""The options of `report`; those of the other stages are in `config`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from asd.options import Names, Settings


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
