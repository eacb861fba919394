"""Words of the studies: `python -m asd study <name> key=value ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from asd.knobs import Section, Seeds


class Study(Section):
    """Words that every study knows."""

    seeds: Seeds = Field([0, 1, 2], description="seeds of every cell")
    runs: Path = Field(Path("runs/studies"), description="folder of the studies' results")
    workers: int = Field(0, ge=0, description="processes of one thread each; 0: one per core, on a GPU one")
    device: str = Field("auto", description="auto, cpu or cuda")

    def settings(self) -> dict[str, Any]:
        """What decides a result apart from the seed: plain values."""
        return self.model_dump(mode="json", exclude={"seeds", "runs", "workers"})


STAGES: dict[str, type[Section]] = {}

MEANINGS: dict[str, str] = {}
