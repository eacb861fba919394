"""The options of what is done with a trained run day by day: `predict`, `explain`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from asd.addresses import Place, address_of
from asd.core.executors import Execution
from asd.options import Given, Names, Settings


class Predict(Execution):
    """Options of `predict`."""

    leading: ClassVar[tuple[str, ...]] = (
        *("audio", "name", "machine", "out", "fail_on_anomaly", "confirm_normal", "undo"),
    )

    audio: Given | None = Field(None, description="recordings: a file, a folder, a pattern or a table of paths")
    name: str | None = Field(None, description="run that scores them, by default the default detector's")
    machine: Names = Field(["all"], description="whose recordings they are, by default as their folders say")
    section: str | None = Field(None, description="whose section they are, by default as their names say")
    out: Path | None = Field(None, description="folder of the result, by default predictions/<name>/<audio>")
    fail_on_anomaly: bool = Field(False, description="exit code 3 where a recording is called anomalous")
    confirm_normal: bool = Field(False, description="then add all of them to the bank of normal recordings")
    undo: bool = Field(False, description="take back what was added last, instead of scoring anything")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    seed: int | None = Field(None, description="which seed, by default the run's first")
    device: str = Field("auto", description="auto, cpu or cuda")
    runs: Place = Field(Path("runs"), description="folder of all runs")

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.undo and (self.audio is not None or self.confirm_normal):
            raise ValueError("undo= takes back what was added last; leave audio= and confirm_normal= out")
        if self.audio is None and not self.undo:
            raise ValueError("audio= is missing; name a file, a folder, a pattern or a table of recordings")
        if (address := address_of(self.runs)) and (self.undo or self.confirm_normal):
            raise ValueError(f"a bank at runs={address} is not changed; do it in a folder of this computer")
        return self


class Explain(Settings):
    """Options of `explain`."""

    machine: Names = Field(["all"], description="machine, several separated by commas, or all of the run")
    name: str | None = Field(None, description="run to explain, by default the default detector's")
    data: Path | None = Field(None, description="other recordings that were scored, instead of the test clips")
    audio: Given | None = Field(None, description="any recordings instead, which are scored first by predict")
    predictions: Path | None = Field(None, description="predictions.csv of predict instead")
    clip: str | None = Field(None, description="path or file name of a clip; by default the worst ones")
    worst: int = Field(3, ge=1, description="how many highest normal and lowest anomalous clips")
    seed: int | None = Field(None, description="which seed, by default the run's first")
    scorer: str | None = Field(None, description="whose score, by default the run's default")
    runs: Path = Field(Path("runs"), description="folder of all runs")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("data", "audio", "predictions") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]}= and {given[1]}= name different clips; give one of them")
        return self


class Report(Settings):
    """Options of `report`."""

    name: str | None = Field(None, description="run to report on, by default the default detector's")
    members: Names = Field([], description="runs to compare it with, each RUN or RUN:SCORER")
    machine: Names = Field(["all"], description="machine, several separated by commas, or all of the run")
    year: int | None = Field(
        None, description="whose metric rule holds, by default 2025; plain AUC and pAUC of other recordings"
    )
    seed: int | None = Field(None, description="whose clips are shown, by default the run's first seed")
    scorer: str | None = Field(None, description="whose scores are shown, by default the run's default")
    predictions: Path | None = Field(None, description="predictions.csv to show instead of the test clips")
    clips: int = Field(20, ge=0, description="clips of each machine to look at and listen to; 0: none")
    explained: int = Field(3, ge=0, description="how many of them with a picture of what moved the score")
    audio: Literal["flac", "opus"] = Field("opus", description="flac (as recorded) or opus (a quarter of it)")
    megabytes: float = Field(25.0, gt=0, description="most that sounds and pictures take")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    out: Path | None = Field(None, description="the file, by default report.html in the run's folder")
