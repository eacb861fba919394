"""A grid of experiments: each cell runs once with every seed, in a process of its own thread, and leaves a result.

    folder/<key>/seed<k>/result.json    {"settings": {...}, "result": {...}}; whatever else it writes lies beside

What has left a result with the same settings is not run again, so an interrupted study goes on where
it was. Cells do not know each other: how many run at once changes no result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asd.core.executors import finished
from asd.core.files import alone, read_json, write_json
from asd.core.runtime import log
from asd.core.storage import fetch, publish_files
from asd.places import mirrored, spelled
from asd.studies.config import Study
from asd.types import one_of

Result = dict[str, Any]
Work = Callable[[dict[str, Any], Path], Result]
"""(settings of a cell and "seed", its folder) -> its result, both plain JSON values; it can be imported by its name."""


def run_grid(
    cells: Mapping[str, Mapping[str, Any]], work: Work, folder: Path, config: Study, label: str = "study"
) -> dict[str, list[Result]]:
    """Results of all cells in the order given, one of each seed, computing those that are missing.

    Cells are settings by a relative path; the work resumes by itself in its folder, where that is worth it.
    """
    wanted = {
        f"{key}/seed{seed}": json.loads(json.dumps({**settings, "seed": seed}))
        for key, settings in cells.items()
        for seed in config.seeds
    }
    fetch(folder)
    missing = [key for key in wanted if _known(folder / key).get("settings") != wanted[key]]
    if len(missing) < len(wanted):
        log.info("%s: %d of %d cells are done already", label, len(wanted) - len(missing), len(wanted))
    tasks = [(work, wanted[key], spelled(str(folder / key))) for key in missing]
    for _, _, error in finished(_run, tasks, config, device=config.device, label=label):
        if error is not None:
            raise error
    return {key: [_known(folder / f"{key}/seed{seed}")["result"] for seed in config.seeds] for key in cells}


def chosen(names: Sequence[str], known: Iterable[str], option: str) -> list[str]:
    """What an option asks for of all that there is; none: all of it."""
    return [one_of(name, tuple(known), option) for name in names] or list(known)


def _run(task: tuple[Work, dict[str, Any], str]) -> None:
    """In the cell's own process, so that what is done is kept whatever becomes of the others."""
    work, settings, folder = task[0], task[1], mirrored(task[2])
    with alone(folder.with_name(f"cell-{folder.name}")):  # another command of the study may be at it
        if _known(folder).get("settings") != settings:
            write_json(folder / "result.json", {"settings": settings, "result": work(settings, folder)})
            publish_files(folder)


def _known(folder: Path) -> dict[str, Any]:
    return read_json(folder / "result.json")
