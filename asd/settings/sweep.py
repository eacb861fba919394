"""The options of `sweep`; those of the other stages are in `config`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from asd.core.executors import SideBySide
from asd.options import Names, Seeds


class Sweep(SideBySide):
    """Options of `sweep`."""

    data: Path = Field(description="folder that holds <machine>/train, and test for judge=labels or others")
    space: Path = Field(description="YAML file of options of train: a list, or low and high, of values each")
    method: Literal["grid", "random", "optuna"] = Field(
        "grid", description="grid: all combinations; random; optuna: guided, and bad trials end early"
    )
    trials: int = Field(20, ge=1, description="configurations to try, with random and optuna")
    judge: Literal["faults", "others", "labels"] = Field(
        "faults",
        description="faults: normal clips with planted faults; labels: those of the test clips; others: for each "
        "machine those of the other machines",
    )
    machine: Names = Field(["all"], description="machines to try them on")
    year: int = Field(2025, description="challenge year, whose metric rule holds")
    seeds: Seeds = Field([0], description="seeds of every training")
    seed: int = Field(0, ge=0, description="of the planted faults and of the draws of configurations")
    device: str = Field("auto", description="auto, cpu or cuda")
    name: str = Field("sweep", description="name of the sweep")
    runs: Path = Field(Path("runs/sweeps"), description="folder of all sweeps")

    @property
    def folder(self) -> Path:
        """Where everything of the sweep lies."""
        return self.runs / self.name
