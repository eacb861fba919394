"""The options of `data` and `data-check`; those of the other stages are in `config`."""

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
    """Words of `data`."""

    workers: int = Field(4, ge=1, le=32, description="files fetched and unpacked at the same time")
    keep: bool = Field(False, description="keep the zip files in <data>/archives")
    overwrite: bool = Field(False, description="fetch anew, and replace clips that were put there by hand")
    keep_going: bool = Field(False, description="an archive that fails does not stop the others")
    archive: str = Field("https://zenodo.org", description="address of the archive of records")
    evaluators: str = Field("https://codeload.github.com", description="address of the evaluators' host")


class DataCheck(Selection):
    """Words of `data-check`."""

    quick: bool = Field(False, description="compare names and sizes only, open no recording")
