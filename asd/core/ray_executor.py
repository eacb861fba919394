"""Tasks on the computers of a Ray cluster, behind the interface of `executors` (extra `ray`).

A cluster needs the package on every computer, and the folders of data and runs under the same paths. A task that is
lost with its computer or its process is begun again elsewhere, three times at most.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from asd.core.executors import Execution, Finished, attempt, begin_worker, on_gpu
from asd.types import AsdError

T = TypeVar("T")

RETRIES = 3


def on_ray(work: Callable[[T], Any], tasks: Sequence[T], where: Execution, device: str) -> Iterator[Finished]:
    """What became of each task, as soon as it is known.

    Args:
        work: what is done with a task; a function that every computer can import.
        tasks: what can be pickled.
        where: the cluster, and how many tasks at once; 0: as many as it has room for.
        device: a task on a GPU takes a whole one.

    Raises:
        AsdError: Ray is not installed, or there is no cluster at that address.
    """
    with connected(where.address) as ray:
        n_gpus = int(on_gpu(device))
        remote = ray.remote(num_cpus=1, num_gpus=n_gpus, max_retries=RETRIES)(_attempt)
        most = where.workers or len(tasks)
        todo = list(enumerate(tasks))[::-1]
        running: dict[Any, int] = {}
        while todo or running:
            while todo and len(running) < most:
                index, task = todo.pop()
                running[remote.remote(work, task, os.getcwd())] = index
            (done,), _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done)
            try:
                yield Finished(index, *ray.get(done))
            except ray.exceptions.RayError as error:
                yield Finished(index, None, _death(error))


@contextmanager
def connected(address: str | None) -> Iterator[ModuleType]:
    """Ray, connected to a cluster within the `with`; one that was started for it ends with it.

    Args:
        address: such as ray-head:6379 or auto; None: RAY_ADDRESS, or a cluster on this computer alone.

    Raises:
        AsdError: Ray is not installed, or there is no cluster at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise AsdError(
            "executor=ray needs Ray; install asd with the extra ray: pip install 'asd[ray]'"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    try:
        _knock(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise AsdError(
            f"no Ray cluster can be used at address={address} ({first}); start one with ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Refuses within seconds an address without a server; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _attempt(work: Callable[[T], Any], task: T, place: str) -> tuple[Any, Exception | None]:
    """A task in the driver's working directory, so that relative paths mean what they mean there."""
    if not Path(place).is_dir():
        raise AsdError(
            f"{os.uname().nodename} has no folder {place}; share it under the same path on all computers"
        )
    os.chdir(place)
    if place not in sys.path:
        sys.path.insert(0, place)  # detectors of one's own lie there
    begin_worker()
    return attempt(work, task)


def _death(error: Exception) -> AsdError:
    """The sentence of a task whose process or computer was lost again and again."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, AsdError):
        return cause
    return AsdError(
        f"its process was lost {RETRIES + 1} times ({type(error).__name__}), as when memory runs out; give fewer "
        f"workers= or a computer with more memory, and start it again"
    )
