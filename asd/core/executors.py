"""Where jobs run: in this process, in processes of one thread each, or on the computers of a Ray cluster.

One interface serves all of them: `finished(work, tasks, where)` yields what became of each task as soon as it is known.
How many run at once and where they run changes no result.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar, cast

from tqdm import tqdm

from asd.core.runtime import log, pick_device, progress
from asd.options import Execution
from asd.types import AsdError

T = TypeVar("T")
R = TypeVar("R")

LOG_FORMAT = "%(levelname)s: %(message)s"


class LostError(AsdError):
    """The process of a task was lost; another might do it."""


class ForeignError(Exception):
    """The words of an error that cannot go from one process to another."""


class Finished(NamedTuple):
    """What became of a task."""

    task: int  # its place among the tasks
    result: Any  # what the work returned; None where it failed
    error: Exception | None  # what it raised, or a `LostError` that says how its process died


def finished(
    work: Callable[[T], Any],
    tasks: Sequence[T],
    where: Execution,
    *,
    device: str = "auto",
    label: str = "",
    keeps: bool = False,
) -> Iterator[Finished]:
    """Does all tasks and yields each as soon as it is done, in any order.

    Args:
        work: what is done with a task; a function that can be imported, with a result that can be pickled.
        tasks: what can be pickled.
        label: what the progress bar says.
        keeps: `work` loads what it needs again, such as a model, so processes should stay: Ray Data keeps them.

    Raises:
        AsdError: Ray is asked for and is not installed, or its cluster cannot be reached.
    """
    if where.executor == "ray":
        from asd.core.ray_executor import on_ray, on_ray_data

        found = (on_ray_data if keeps and tasks else on_ray)(work, tasks, where, device)
    elif where.executor == "local":
        most = where.workers or (1 if on_gpu(device) else len(os.sched_getaffinity(0)))
        found = _locally(work, tasks, min(most, len(tasks)))
    else:
        found = (Finished(i, *attempt(work, task)) for i, task in enumerate(tasks))
    yield from progress(found, label, total=len(tasks))


def attempt(work: Callable[[T], R], task: T) -> tuple[R | None, Exception | None]:
    """Result and error of one task, of which one is None; what is no `AsdError` keeps its traceback as a note."""
    try:
        return work(task), None
    except Exception as error:
        if isinstance(error, AsdError):
            return None, error
        told = _portable(error)
        told.add_note(traceback.format_exc())
        return None, told


def _portable(error: Exception) -> Exception:
    """An error as another process can have it: not of a class in a function, or one that takes more than a message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ForeignError(_reason(error))
    return error


def _reason(error: Exception) -> str:
    """What an error says, and of which kind it is where that is not written for the user."""
    if isinstance(error, (AsdError, ForeignError)):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def log_failure(what: object, error: Exception) -> str:
    """Says at once that something failed, with the traceback that `attempt` noted; returns why, in one line."""
    log.error("%s", "\n".join([f"{what}: {_reason(error)}", *getattr(error, "__notes__", ())]))
    return " ".join(_reason(error).split())


def _locally(work: Callable[[T], Any], tasks: Sequence[T], n_workers: int) -> Iterator[Finished]:
    """Processes that live until all tasks are done; one that dies costs its task and is replaced."""
    todo = deque(range(len(tasks)))
    processes: dict[Connection, multiprocessing.process.BaseProcess] = {}
    busy: dict[Connection, int] = {}
    try:
        while todo or busy:
            idle = [pipe for pipe in processes if pipe not in busy]
            while todo and (idle or len(processes) < n_workers):
                is_new = not idle
                pipe = _start(processes) if is_new else idle.pop()
                try:
                    pipe.send((work, tasks[todo[0]]))
                    busy[pipe] = todo.popleft()
                except OSError:  # it died while it had nothing to do; a new one would die for ever
                    death = _death(processes.pop(pipe))
                    if is_new:
                        yield Finished(todo.popleft(), None, death)
            for pipe in cast(list[Connection], wait(list(busy)) if busy else []):  # of none it would wait for ever
                index = busy.pop(pipe)
                try:
                    yield Finished(index, *pipe.recv())
                except (EOFError, OSError):  # it died, perhaps in the middle of its answer
                    yield Finished(index, None, _death(processes.pop(pipe)))
    finally:
        for process in [processes[pipe] for pipe in busy]:
            process.terminate()  # its result is not needed any more
        for pipe in processes:
            pipe.close()  # the end for those that are idle
        for process in processes.values():
            process.join()


def _start(processes: dict[Connection, multiprocessing.process.BaseProcess]) -> Connection:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    processes[pipe] = context.Process(target=_serve, args=(theirs,))
    processes[pipe].start()
    theirs.close()
    return pipe


def _serve(pipe: Connection) -> None:
    """The inside of a process: tasks in, results out, until the other side closes the pipe."""
    begin_worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            work, task = pipe.recv()
            pipe.send(attempt(work, task))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # the process that started it reports


def begin_worker() -> None:
    """One thread each: two such processes get more done on two cores than one process of two threads."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by numpy and torch when they are imported
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a process that is killed would leave behind
    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO, stream=sys.stderr)


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on writing."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _death(process: multiprocessing.process.BaseProcess) -> LostError:
    process.join()
    code = process.exitcode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    log.error("a worker %s", how)
    return LostError(f"its process {how}, as when memory runs out; give fewer workers= and start it again")


def on_gpu(device: str) -> bool:
    """Whether a device is a GPU."""
    return pick_device(device).type == "cuda"
