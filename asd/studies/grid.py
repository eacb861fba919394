"""A grid of experiments: each cell runs once, in a process of its own thread, and leaves a result to read.

    folder/<key>/result.json    {"settings": {...}, "result": {...}}; whatever else the cell writes lies beside

A cell whose result with the same settings is there is not run again, so an interrupted study goes on where
it was. Cells do not know each other: how many run at once changes no result.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from asd.core.runtime import log, pick_device, progress
from asd.runs import read_json, write_json

Result = dict[str, Any]
Work = Callable[[dict[str, Any], Path], Result]
"""(settings of the cell, its folder) -> its result, both plain JSON values; a function that can be imported."""


def run_grid(
    cells: Mapping[str, Mapping[str, Any]],
    work: Work,
    folder: Path,
    *,
    workers: int = 0,
    device: str = "auto",
    label: str = "study",
) -> dict[str, Result]:
    """Results of all cells in the order given, computing those that are missing.

    Args:
        cells: settings by key; the key is a relative path.
        work: what is done with them. It resumes by itself in its folder, where that is worth it.
        folder: of the study.
        workers: processes at once; 0 is one per core, or one where the device is a GPU.
        device: name of the device on which the cells compute.
        label: what the progress bar says.

    Raises:
        AsdError: what a cell raised; the results of the others are kept.
    """
    wanted = {key: json.loads(json.dumps(dict(settings))) for key, settings in cells.items()}
    missing = [key for key in wanted if _known(folder / key).get("settings") != wanted[key]]
    if len(missing) < len(wanted):
        log.info("%s: %d of %d cells are done already", label, len(wanted) - len(missing), len(wanted))
    n_workers = min(workers or _default_workers(device), max(len(missing), 1))
    with ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), _begin_worker) as pool:
        futures = [pool.submit(_run, work, wanted[key], folder / key) for key in missing]
        try:
            for done in progress(as_completed(futures), label, total=len(futures)):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {key: _known(folder / key)["result"] for key in wanted}


def _run(work: Work, settings: dict[str, Any], folder: Path) -> None:
    """In the cell's own process, so that what is done is kept whatever becomes of the others."""
    write_json(folder / "result.json", {"settings": settings, "result": work(settings, folder)})


def _known(folder: Path) -> dict[str, Any]:
    return read_json(folder / "result.json")


def _default_workers(device: str) -> int:
    return 1 if pick_device(device).type == "cuda" else len(os.sched_getaffinity(0))


def _begin_worker() -> None:
    """One thread each: two such processes get more done on two cores than one process of two threads."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A study that was killed must not go on writing into its folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
