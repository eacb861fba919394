"""Device, seeds, threads, hashes, log, progress and the numbers of every epoch.

Nothing here knows about audio, machines or configurations; torch is imported only where it is needed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from asd.core.files import append_text, write_text
from asd.places import spelled
from asd.types import AsdError

if TYPE_CHECKING:
    import torch
    from threadpoolctl import ThreadpoolController


T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger("asd")
_NOT_OWN = {"asd", "torch", *sys.stdlib_module_names}  # packages whose code is no one's own
_INSTALLED = ("site-packages", "dist-packages")  # folders of modules that have nothing to do with each other


def _spell(record: logging.LogRecord) -> bool:
    """Writes addresses in place of their mirrors."""
    record.msg, record.args = spelled(record.getMessage()), ()
    return True


log.addFilter(_spell)


def pick_device(name: str = "auto") -> torch.device:
    """Device by name: "auto" takes the GPU where torch sees one, else the CPU."""
    import torch

    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # under torchrun, "cuda" is each process's own
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise AsdError(f"device={name} is not a device torch knows; use auto, cpu or cuda") from error
    if device.type not in {"cpu", "cuda"}:
        raise AsdError(f"device={name} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AsdError(f"device={name} was asked for but torch sees no GPU; use device=auto or device=cpu")
    return device


def keep_freed_memory() -> bool:
    """Lets the C library keep up to 2 GiB of freed memory in this process; returns whether it does.

    By default it hands every large block back to the kernel, which then has to clear its pages again for the
    next activation of the same size: a fifth of a training step of a convolutional network on a CPU.
    Only glibc has this switch.

    Source: mallopt(3).
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(m_mmap_threshold, 2**30) and mallopt(m_trim_threshold, 2**31 - 1))


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of one epoch: every random draw of a run is a function of (seed, epoch).

    So a resumed run needs no stored generator states to end exactly like an uninterrupted one.
    """
    return (seed * 1_000_003 + epoch) % 2**63


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """`items` behind a tqdm bar on the terminal, silently elsewhere."""
    return tqdm(items, desc=description, total=total, disable=not sys.stderr.isatty(), leave=False, file=sys.stderr)


class MetricsLog:
    """`metrics.jsonl`: one JSON object per epoch, readable while the run goes on.

    Args:
        keep: number of leading lines to keep from an interrupted run, the rest is dropped.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        self.path = path
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)[:keep]
            write_text(path, "".join(lines))

    def append(self, values: dict[str, Any]) -> None:
        """Writes one epoch."""
        append_text(self.path, json.dumps(values) + "\n")

    def read(self) -> Sequence[dict[str, Any]]:
        """All epochs so far."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


class Tracker(ABC):
    """Where parameters, curves and results of one training go."""

    @abstractmethod
    def parameters(self, values: Mapping[str, Any]) -> None:
        """Notes options, {name: value}."""

    @abstractmethod
    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Notes numbers at a step of a curve: an epoch, counted from 1; 0: of the whole training."""

    @abstractmethod
    def artifact(self, path: Path) -> None:
        """Keeps a file."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is left."""


TRACKER: ContextVar[Tracker | None] = ContextVar("tracker", default=None)  # what listens, see `tracking`; None: nothing


def fingerprint(*parts: Any) -> str:
    """Short hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def digest(module: torch.nn.Module, *also: str) -> str:
    """Hash of a module's weights and buffers by name, and of what else decides what it gives."""
    content = hashlib.sha256("".join(also).encode())
    for name, tensor in module.state_dict().items():
        content.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def own_code(classes: Iterable[type]) -> str:
    """Hash of the code outside this package that classes are made of; "" where all of it is inside.

    Args:
        classes: their modules and those of their bases are read, and what these take from modules of the same
            package or folder. Libraries beside, such as torch, do not count.
    """
    bases = {base.__module__ for kind in classes for base in kind.__mro__}
    todo = sorted(name for name in bases if name.partition(".")[0] not in _NOT_OWN)
    packages = {name.partition(".")[0] for name in todo}
    folders = {path.parent for name in todo if (path := _file_of(name)) and path.parent.name not in _INSTALLED}
    texts: dict[str, str] = {}
    while todo:
        name = todo.pop()
        path = None if name in texts else _file_of(name)
        if path is None or not (name.partition(".")[0] in packages or path.parent in folders):
            continue
        texts[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        for value in vars(sys.modules[name]).values():
            used = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            todo += [used] if isinstance(used, str) else []
    return fingerprint(texts) if texts else ""


def _file_of(module: str) -> Path | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    return Path(path).absolute() if path else None


@contextmanager
def stopped_by_termination() -> Iterator[None]:
    """A termination signal, as of a service manager, interrupts as Ctrl-C does; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def on_threads(work: Callable[[T], R], items: Sequence[T], what: str = "", most: int | None = None) -> list[R]:
    """Results of all items, in their order; as many threads as torch may use, each with one thread of its own.

    Two items at once are done sooner than two halves of one: the threads of one calculation wait for each other at
    every step, and where another process has one of the cores they wait for that as well.

    Args:
        work: what is done with an item. Gradients are off in other threads than the first.
        what: is being done, for a progress bar; "": there is none.
        most: threads, 1 for what takes less time than to start others; None: as many as torch may use.
    """
    import torch

    n_threads = min(torch.get_num_threads(), len(items), most or len(items))
    with _linear_algebra().limit(limits=1):
        if n_threads > 1:
            with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(_shown(pool.map(work, items), what, len(items)))
        with _one_thread():
            return list(_shown(map(work, items), what, len(items)))


def _shown(results: Iterator[R], what: str, total: int) -> Iterable[R]:
    return progress(results, what, total) if what else results


@cache
def _linear_algebra() -> ThreadpoolController:
    """The threads of numpy, which belong to the whole process; to look for them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def _one_thread() -> Iterator[None]:
    """The calling thread computes alone meanwhile."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
