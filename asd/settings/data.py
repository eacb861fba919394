"""The options of what the challenge asks for: `data`, `data-check`, `submit`, `bundle` and `validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from asd.options import Names, Settings


class Selection(Settings):
    """Which of a year's data is meant, and where it lies."""

    year: int = Field(2025, description="challenge year")
    machine: Names = Field(["all"], description="machine, several separated by commas, or all")
    part: Literal["dev", "train", "eval", "all"] = Field(
        "all", description="dev, train (of the evaluation machines), eval (their test clips, labels), all"
    )
    data: Path | None = Field(None, description="folder of the year, by default data/dcase<year>t2")


class Data(Selection):
    """Options of `data`."""

    workers: int = Field(4, ge=1, le=32, description="files fetched and unpacked at the same time")
    keep: bool = Field(False, description="keep the zip files in <data>/archives")
    overwrite: bool = Field(False, description="fetch anew, and replace clips that were put there by hand")
    keep_going: bool = Field(False, description="an archive that fails does not stop the others")
    archive: str = Field("https://zenodo.org", description="address of the archive of records")
    evaluators: str = Field("https://codeload.github.com", description="address of the evaluators' host")


class DataCheck(Selection):
    """Options of `data-check`."""

    quick: bool = Field(False, description="compare names and sizes only, open no recording")


class Submit(Settings):
    """Options of `submit`."""

    label: str = Field(description="<LastName>_<Institute>_task2_<1-4>, such as Nishida_HIT_task2_1")
    name: str | None = Field(None, description="run to package, by default the default detector's")
    year: int = Field(2025, description="challenge year")
    machine: Names = Field(["auto"], description="machines to package, by default the year's evaluation set")
    scorer: str | None = Field(None, description="which scores to submit, by default the run's default")
    seed: int | None = Field(None, description="which seed to submit, by default the run's first")
    development: str | None = Field(
        None, description="run on the development machines, for the meta file; by default the same"
    )
    authors: Path | None = Field(None, description="YAML file that fills in authors and the like")
    template: Path | None = Field(None, description="the official meta template, instead of ours")
    runs: Path = Field(Path("runs"), description="folder of all runs")
    out: Path = Field(Path("submissions"), description="folder of all packages")
    dry_run: bool = Field(False, description="show what would be packaged, write nothing")


class Bundle(Settings):
    """Options of `bundle`."""

    team: str = Field(description="<LastName>_<Institute>, with which the labels of the systems begin")
    year: int = Field(2025, description="challenge year")
    report: Path | None = Field(None, description="technical report, a PDF")
    data: Path | None = Field(None, description="data folder whose test clips must all be scored")
    template: Path | None = Field(None, description="the official meta template, instead of ours")
    out: Path = Field(Path("submissions"), description="folder of all packages, and of the archive")
    dry_run: bool = Field(False, description="show what would be archived, write nothing")


class Validate(Settings):
    """Options of `validate`."""

    path: Path = Field(description="package folder, its zip, or a folder of up to four systems")
    year: int = Field(2025, description="challenge year")
    data: Path | None = Field(None, description="data folder whose test clips must all be scored")
    template: Path | None = Field(None, description="the official meta template, instead of ours")
