"""What a run stands on: one seed, one device, one log, whole files, one line of JSON per epoch.

Nothing here knows about audio, machines or configurations; torch is imported only where it is needed.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from asd.types import AsdError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

log = logging.getLogger("asd")


def pick_device(name: str = "auto") -> torch.device:
    """Device by name: "auto" takes the GPU where torch sees one, else the CPU.

    Raises:
        AsdError: a device that torch does not know or that is not there.
    """
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
    """Lets the C library keep up to 2 GiB of freed memory in this process; whether it took the advice.

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
    return tqdm(
        items, desc=description, total=total, disable=not sys.stderr.isatty(), leave=False, file=sys.stderr
    )


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary sibling of `path`; renames it into place on success, removes it on failure.

    Works for files and for directories; an existing directory at `path` is replaced. A device or a pipe
    (/dev/stdout) is written as it is, and a link is followed. What a killed process left for the same
    `path` is removed.

    Raises:
        AsdError: the place cannot be written (missing permission, full disk).
    """
    try:
        given, path = path, path.resolve()
    except RuntimeError as error:  # Python before 3.13 raises it for links in a loop
        raise AsdError(f"cannot write {path}: its links lead in a loop; choose another place") from error
    if given.exists() and not given.is_file() and not given.is_dir():
        temporary = path = given  # renaming a file onto /dev/full would do away with the device
    else:
        temporary = path.with_name(f".{path.name}.{os.uname().nodename}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        yield temporary
        if temporary == path:
            return
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    except OSError as error:
        raise AsdError(
            f"cannot write {given}: {error.strerror or error}; free some space or choose another place"
        ) from error
    finally:
        if temporary != path:
            _remove(temporary)


@contextmanager
def alone(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Keeps other processes from working on `path` at the same time; a killed one holds nothing.

    The processes that torchrun starts are one: they work on the same things by design.

    Args:
        path: a file or folder, existing or not; `.<name>.lock` beside it is what is locked.
        busy: what to raise while another process works on it; None: wait until it is done.

    Raises:
        AsdError: the place cannot be written, or is busy.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    with _locked(lock, busy) as file:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_UN)  # for children, too, that were forked meanwhile


def _locked(lock: Path, busy: str | None) -> IO[str]:
    """The lock file, open and locked."""
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = lock.open("w")
        except OSError as error:
            raise AsdError(f"cannot write {lock}: {error.strerror}; choose another place") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            file.close()
            raise AsdError(busy or "") from error
        with suppress(FileNotFoundError):  # who had it before has removed it: it is nobody's lock any more
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        file.close()


def _remove_abandoned(path: Path) -> None:
    """Removes temporary siblings of `path` whose process, on this machine, is no more: it was killed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{os.uname().nodename}-*.tmp"):
        try:
            os.kill(int(left.name.rsplit("-", 1)[-1].removesuffix(".tmp")), 0)
        except ProcessLookupError:
            _remove(left)
        except (PermissionError, ValueError):  # somebody else's living process; a name not of ours
            pass


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


class MetricsLog:
    """`metrics.jsonl`: one JSON object per epoch, readable while the run goes on.

    Args:
        path: the file; created on the first line.
        keep: number of leading lines to keep from an interrupted run, the rest is dropped.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        self.path = path
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)[:keep]
            with atomic(path) as temporary:
                temporary.write_text("".join(lines))

    def append(self, values: dict[str, Any]) -> None:
        """Writes one epoch.

        Raises:
            AsdError: the file cannot be written.
        """
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise AsdError(
                f"cannot write {self.path}: {error.strerror}; free some space, the same command resumes"
            ) from error

    def read(self) -> Sequence[dict[str, Any]]:
        """All epochs so far."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


def fingerprint(*parts: Any) -> str:
    """Short hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
