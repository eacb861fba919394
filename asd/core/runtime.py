"""Device, seeds, threads, hashes, log and progress.

Nothing here knows about audio, machines or configurations; torch is imported only where it is needed.
"""

from __future__ import annotations

import ast
import ctypes
import getpass
import hashlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from asd.places import spelled
from asd.types import MOST_NAMED, AsdError

if TYPE_CHECKING:
    import torch
    from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")
Name = tuple[str, ...]  # of a module: the packages around it, and its own
log = logging.getLogger("asd")
_NOT_OWN = {"asd", "torch", *sys.stdlib_module_names}  # packages whose code is no one's own
_INSTALLED = ("site-packages", "dist-packages")  # folders of packages that have nothing to do with each other


def _spell(record: logging.LogRecord) -> bool:
    """Writes addresses in place of their mirrors."""
    record.msg, record.args = spelled(record.getMessage()), ()
    return True


log.addFilter(_spell)


def log_unnamed(sentences: Sequence[object], n_all: int) -> None:
    """Warns of each where they are more than an error's sentence names (see `named`), unless they are most of all."""
    if MOST_NAMED < len(sentences) < n_all / 2:
        for sentence in sentences:
            log.warning("%s", sentence)


def imported(module: str, otherwise: str) -> Any:
    """A module of a library that an extra brings; where it cannot be imported, an `AsdError` of that sentence."""
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library that it needs is missing
        raise AsdError(otherwise) from error


def pick_device(name: str = "auto") -> torch.device:
    """Device by name: "auto" takes the GPU where torch sees one, else the CPU."""
    import torch

    try:
        getpass.getuser()
    except (KeyError, OSError):  # torch asks for it to name a folder, and the user of a container may have none
        os.environ["LOGNAME"] = str(os.getuid())
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
    """`items` behind a tqdm bar on the terminal, silently elsewhere and without a description."""
    is_silent = not description or not sys.stderr.isatty()
    return tqdm(items, desc=description, total=total, disable=is_silent, leave=False, file=sys.stderr)


def fingerprint(*parts: Any) -> str:
    """Short hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_hash(module: torch.nn.Module, *also: str) -> str:
    """Hash of a module's weights and buffers by name, and of what else decides what it gives."""
    content = hashlib.sha256("".join(also).encode())
    for name, tensor in module.state_dict().items():
        content.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def own_code(classes: Iterable[type]) -> str:
    """Hash of the code outside this package that classes are made of; "" where all of it is inside.

    That is the modules of the classes and of their bases, and what these import from the same folder and the folders in
    it, or from the same package where it is installed. Other libraries do not count.
    """
    modules = {base.__module__ for kind in classes for base in kind.__mro__}
    found: dict[Name, str] = {}
    for module in sorted(tuple(module.split(".")) for module in modules):
        if module[0] not in _NOT_OWN and (file := getattr(sys.modules.get(".".join(module)), "__file__", None)):
            _read_code(Path(file).absolute(), module, found)
    return fingerprint(sorted(found.items())) if found else ""


def _read_code(path: Path, module: Name, found: dict[Name, str]) -> None:
    """Adds the hashes of a module and of those in its folder or package that it imports; nothing is executed."""
    levels = len(module) if path.stem == "__init__" else len(module) - 1
    root = path.parents[levels]
    todo = [(path, module)]
    while todo:
        file, name = todo.pop()
        if name in found:
            continue
        content = file.read_bytes()
        found[name] = hashlib.sha256(content).hexdigest()
        if file.suffix != ".py":  # compiled
            continue
        for used in _imports(content, package=name if file.stem == "__init__" else name[:-1]):
            if used[0] in _NOT_OWN or (root.name in _INSTALLED and used[0] != module[0]):
                continue
            parts = [(root.joinpath(*used[:n]), used[:n]) for n in range(1, len(used) + 1)]
            todo += [(place / "__init__.py", part) for place, part in parts if (place / "__init__.py").is_file()]
            todo += [(place.with_suffix(".py"), part) for place, part in parts if place.with_suffix(".py").is_file()]


@cache
def _imports(code: bytes, package: Name) -> tuple[Name, ...]:
    """Names of modules, and of what is taken from them, in the import statements of a module of a package."""
    found: list[Name] = []
    try:
        todo: list[ast.AST] = [ast.parse(code)]
    except (SyntaxError, ValueError):
        return ()  # another Python's: what cannot be imported here decides nothing
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = (*above, *(node.module.split(".") if node.module else ()))
            found += [(*base, alias.name) for alias in node.names]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo += node.orelse  # what is for the type checker decides nothing
        elif isinstance(node, ast.Module | ast.stmt | ast.ExceptHandler | ast.match_case):
            todo += ast.iter_child_nodes(node)
    return tuple(found)


@contextmanager
def stopped_by_termination(*more: signal.Signals) -> Iterator[None]:
    """A termination signal, as of a service manager, interrupts as Ctrl-C does, and so do more signals.

    In the main thread only; a signal that is ignored, as by nohup, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [kind for kind in (signal.SIGTERM, *more) if signal.getsignal(kind) != signal.SIG_IGN]
    before = {kind: signal.signal(kind, signal.default_int_handler) for kind in heeded}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def on_threads(work: Callable[[T], R], items: Sequence[T], what: str = "", most: int | None = None) -> list[R]:
    """Results of all items, in their order; as many threads as torch may use, each with one thread of its own.

    Two items at once are done sooner than two halves of one: the threads of one calculation wait for each other at
    every step, and where another process has one of the cores they wait for that as well.

    Args:
        work: what is done with an item. Gradients are off in other threads than the first.
        what: text of a progress bar; "": there is none.
        most: threads, 1 for what takes less time than to start others; None: as many as torch may use.
    """
    import torch

    n_before = torch.get_num_threads()
    n_threads = min(n_before, len(items), most or len(items))
    with _linear_algebra().limit(limits=1):
        if n_threads > 1:
            with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(progress(pool.map(work, items), what, len(items)))
        torch.set_num_threads(1)
        try:
            return list(progress(map(work, items), what, len(items)))
        finally:
            torch.set_num_threads(n_before)


def _after_fork() -> None:
    """One thread for torch: those of OpenMP do not come along into a forked process, which waits for them for ever."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


os.register_at_fork(after_in_child=_after_fork)


@cache
def _linear_algebra() -> ThreadpoolController:
    """The threads of numpy, which belong to the whole process; to look for them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def interrupt_noted(defer: bool = True) -> Iterator[threading.Event]:
    """Within its `with`, the first Ctrl-C only sets the event; a second one interrupts at once.

    A step of the optimiser that is interrupted in the middle leaves weights and moments that belong to
    different steps, and nothing to resume from. At the end of the `with`, a request that was not acted on
    becomes a `KeyboardInterrupt`. Nothing is changed outside the main thread, where SIGINT has another
    handler already, or with `defer=False`.
    """
    requested, is_main = threading.Event(), threading.current_thread() is threading.main_thread()
    if not defer or not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield requested
        return

    def note(number: int, frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if requested.is_set():
        raise KeyboardInterrupt
