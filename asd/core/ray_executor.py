"""Tasks on the computers of a Ray cluster, behind the interface of `executors` (extra `ray`).

A cluster needs the package on every computer, and the folders of data and runs under the same paths, or at addresses. A
task that is lost with its computer or its process is begun again elsewhere, three times at most. What a task logs comes
with its result: Ray forwards what a process writes too, but loses the last lines, and all but one of those that differ
in a number.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from asd.core.executors import Finished, LostError, attempt, begin_worker, on_gpu
from asd.core.runtime import imported
from asd.options import Execution
from asd.places import address_of, mirrored
from asd.types import AsdError

T = TypeVar("T")

RETRIES = 3
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # RFC 9113, 3.4: no settings
_MOST_BLOCKS = 1000  # of tasks that Ray Data hands out; of so many or fewer tasks one each


def on_ray(work: Callable[[T], Any], tasks: Sequence[T], where: Execution, device: str) -> Iterator[Finished]:
    """What became of each task, as soon as it is known; a task on a GPU takes a whole one.

    The work is a function that every computer can import; workers=0 does as many tasks at once as there is room for.
    """
    with connected(where.address) as ray:
        remote = ray.remote(num_cpus=1, num_gpus=int(on_gpu(device)), max_retries=RETRIES)(_attempt)
        most, place = where.workers or len(tasks), shared_place(where)
        todo = list(enumerate(tasks))[::-1]
        running: dict[Any, int] = {}
        while todo or running:
            while todo and len(running) < most:
                index, task = todo.pop()
                running[remote.remote(work, task, place)] = index
            (done,), _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done)
            try:
                yield _told(index, *ray.get(done))
            except ray.exceptions.RayError as error:
                yield Finished(index, None, _death(error))


def on_ray_data(work: Callable[[T], Any], tasks: Sequence[T], where: Execution, device: str) -> Iterator[Finished]:
    """The same by Ray Data: processes that stay, and keep what `work` has loaded, take one task after another.

    Tasks and results stream through the cluster, which holds a few of them at a time.
    """
    with connected(where.address) as ray:
        data, pickler = import_module("ray.data"), ray.cloudpickle
        context = data.DataContext.get_current()
        context.enable_progress_bars, context.max_errored_blocks = False, -1  # a lost task is named below
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        pickled = [{"task": pickler.dumps(pair)} for pair in enumerate(tasks)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the last two words have no other name yet
            found = data.from_items(pickled, override_num_blocks=min(len(tasks), _MOST_BLOCKS)).map(
                _Worker,
                fn_constructor_args=(work, shared_place(where)),
                compute=data.ActorPoolStrategy(min_size=1, max_size=where.workers or None),
                num_cpus=1,
                num_gpus=int(on_gpu(device)),
                max_restarts=-1,
                max_task_retries=RETRIES,
            )
        lost = {*range(len(tasks))}
        try:
            for row in found.iter_rows():
                index, *answer = pickler.loads(row["found"])
                lost.remove(index)
                yield _told(index, *answer)
        except ray.exceptions.RayError as error:
            raise _death(error) from error
        for index in lost:
            yield Finished(index, None, _death(None))


class _Worker:
    """A process of `on_ray_data`."""

    def __init__(self, work: Callable[[Any], Any], place: str) -> None:
        self._work, self._place = work, place
        self._pickler: Any = import_module("ray.cloudpickle")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        index, task = self._pickler.loads(row["task"])
        return {"found": self._pickler.dumps((index, *_attempt(self._work, task, self._place)))}


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster within the `with`; one that was started for it ends with it.

    The address is such as ray-head:6379, or auto; None is RAY_ADDRESS, or a cluster on this computer alone. `AsdError`
    where Ray is not installed, or there is no cluster at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # without end by default
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    known = address or os.environ.get("RAY_ADDRESS", "")
    if known and "ray" not in sys.modules and os.path.exists(os.path.expanduser("~/.ray/auth_token")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # `ray start` asks for it, and Ray shows it to no named address
    ray = imported("ray", "executor=ray needs Ray; install asd with the extra ray: pip install 'asd[ray]'")
    if ray.is_initialized():
        yield ray
        return
    try:
        _knock(known)
        # without an address Ray looks for a cluster that `ray start` began here, for 12 minutes where it has gone
        context = ray.init(address=known or "local", include_dashboard=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        first, named = str(error).strip().splitlines()[0], "address" if address or not known else "RAY_ADDRESS"
        raise AsdError(
            f"no Ray cluster can be used at {named}={known or None} ({first}); start one with ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
        if not known:
            shutil.rmtree(context.address_info["session_dir"], ignore_errors=True)  # its logs, which Ray keeps for good


def _knock(address: str) -> None:
    """Refuses within seconds an address without a server, or with one of another kind; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as server:
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            server.sendall(_GREETING)
            if server.makefile("rb").read(4)[3:] != b"\4":  # the type of a frame: settings
                raise ValueError("the server there is not one of Ray, or of its dashboard")


def shared_place(where: Execution) -> str:
    """The folder that every computer needs, the driver's working directory; "" where all places are addresses."""
    named = [getattr(where, name, None) for name in ("data", "normal", "audio", "runs")]
    given = [place for place in named if place is not None]
    is_elsewhere = len(given) > 1 and all(address_of(mirrored(place)) for place in given)
    return "" if is_elsewhere else os.getcwd()


def _attempt(work: Callable[[T], Any], task: T, place: str) -> tuple[Any, Exception | None, list[logging.LogRecord]]:
    """A task in the driver's working directory, where relative paths mean what they do there; and its log."""
    if place and not Path(place).is_dir():
        missing = AsdError(
            f"{os.uname().nodename} has no folder {place}; share it under the same path on all computers, or give "
            f"addresses such as s3://bucket/folder for the recordings and for runs="
        )
        return None, missing, []
    if place:
        os.chdir(place)
    if place and place not in sys.path:
        sys.path.insert(0, place)  # detectors of one's own lie there
    logged: SimpleQueue[logging.LogRecord] = SimpleQueue()
    logging.basicConfig(handlers=[QueueHandler(logged)], format="%(message)s", level=logging.INFO, force=True)
    begin_worker()  # which sets up no other log beside it
    result, error = attempt(work, task)
    return result, error, [logged.get() for _ in range(logged.qsize())]


def _told(index: int, result: Any, error: Exception | None, logged: list[logging.LogRecord]) -> Finished:
    """What became of a task, whose log goes on here as if it were of this process."""
    for record in logged:
        if (logger := logging.getLogger(record.name)).isEnabledFor(record.levelno):
            logger.handle(record)
    return Finished(index, result, error)


def _death(error: Exception | None) -> AsdError:
    """The sentence of a task that a computer could not load, or whose process or computer was lost again and again."""
    if unfit := re.search(r"System error: (.+)", str(error)):
        return AsdError(
            f"a computer of the cluster cannot load it ({unfit[1]}); install the same version of asd on all of them"
        )
    kind = f" ({type(error).__name__})" if error else ""
    return LostError(
        f"its process was lost again and again{kind}, as when memory runs out; give fewer workers= or a computer with "
        f"more memory, and start it again"
    )
