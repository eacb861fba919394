"""Processes of one thread each that work through a list of tasks; how many there are changes no result."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from asd.core.runtime import pick_device, progress

T = TypeVar("T")
R = TypeVar("R")


def run_tasks(
    work: Callable[[T], R], tasks: Sequence[T], *, workers: int = 0, device: str = "auto", label: str = ""
) -> list[R]:
    """Results of all tasks, in their order.

    Args:
        work: what is done with a task; a function that can be imported, with a result that can be sent.
        tasks: what can be sent to another process.
        workers: processes at once; 0 is one per core, or one where the device is a GPU.
        device: name of the device on which the tasks compute.
        label: what the progress bar says.

    Raises:
        Exception: the first that a task raised; tasks that were not begun are dropped.
    """
    n_workers = min(workers or _default_workers(device), max(len(tasks), 1))
    with ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), _begin_worker) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for done in progress(as_completed(futures), label, total=len(futures)):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _default_workers(device: str) -> int:
    return 1 if pick_device(device).type == "cuda" else len(os.sched_getaffinity(0))


def _begin_worker() -> None:
    """One thread each: two such processes get more done on two cores than one process of two threads."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
