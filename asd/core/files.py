"""Files written whole or not at all, by one process at a time, and read back: text, JSON, YAML and tensors.

No pickle anywhere: a model directory can be opened by anybody without running its code.

Args:
    path: of the file.
    values, text, tensors, facts: what it is to hold, tensors by name, facts as plain values beside them.
    device: where tensors go.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml

from asd.core.runtime import interrupt_noted
from asd.places import forbidden, unreadable
from asd.types import AsdError

if TYPE_CHECKING:
    import torch

MOST_VALUES, _MOST_LEVELS = 100_000, 100  # a file written by hand has hundreds, and ten
Reader = Callable[[Path], bytes]  # the content of a file
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # that of libyaml takes a tenth of the time


class BusyError(AsdError):
    """Another process works on the same file or folder."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary sibling of `path`; renames it into place on success, removes it on failure.

    Works for files and for directories; an existing directory at `path` is replaced. A device or a pipe
    (/dev/stdout) is written as it is, and a link is followed. What a killed process left for the same
    `path` is removed. `AsdError` where the place cannot be written (missing permission, full disk).
    """
    mark = f".{os.uname().nodename}-{os.getpid()}.tmp"
    try:
        given, path = path, path.resolve()
    except RuntimeError as error:  # Python before 3.13 raises it for links in a loop
        raise AsdError(f"cannot write {path}: its links lead in a loop; choose another place") from error
    if given.exists() and not given.is_file() and not given.is_dir():
        temporary = path = given  # renaming a file onto /dev/full would do away with the device
    else:
        temporary = path.with_name(f".{path.name}{mark}")
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
        aside = rf"(?<=/)\.([^/]+){re.escape(mark)}(?=/)"  # the name of a folder that is itself written aside
        where = re.sub(aside, r"\1", str(given))
        raise AsdError(f"cannot write {where}: {_reason(error)} another place") from error
    finally:
        if temporary != path:
            remove(temporary)


def _reason(error: OSError) -> str:
    """Why something cannot be written, and the beginning of the way out; a copied folder names every file."""
    number = int(found[1]) if (found := re.search(r"\[Errno (\d+)\]", str(error))) else error.errno
    way = "free some space or choose" if number in (errno.ENOSPC, errno.EDQUOT) else "choose"
    return f"{os.strerror(number) if number else error}; {way}"


def check_file_place(path: Path) -> None:
    """`AsdError` for a place that is a folder or lies in none that can be written, before long work for it."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir():
        number = errno.EISDIR if path.is_dir() else errno.ENOTDIR
        raise AsdError(f"cannot write {path}: {os.strerror(number)}; choose another place")
    if not os.access(folder, os.W_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise AsdError(f"cannot write {path}: {os.strerror(number)}; choose another place")


@contextmanager
def alone(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Keeps other processes from working on `path` at the same time; a killed one holds nothing.

    The processes that torchrun starts are one: they work on the same things by design. `AsdError` where the place
    cannot be written, `BusyError` where it is busy.

    Args:
        path: a file or folder, existing or not; `.<name>.lock` beside it is what is locked.
        busy: what to raise while another process works on it; None: wait until it is done.
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
            raise BusyError(busy) from error
        with suppress(FileNotFoundError):  # the process that held it has removed it since
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        file.close()


def _remove_abandoned(path: Path) -> None:
    """Removes temporary siblings of `path` whose process, on this machine, is no more: it was killed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{os.uname().nodename}-*.tmp"):
        with suppress(PermissionError, ValueError):  # a living process of another user; a name of another form
            try:
                os.kill(int(left.name.rsplit("-", 1)[-1].removesuffix(".tmp")), 0)
            except ProcessLookupError:
                remove(left)


def remove(path: Path) -> None:
    """Removes a file or a folder with all in it, as far as it can be."""
    if os.path.isdir(path):  # `Path.is_dir` raises where a name is too long
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str, before: Callable[[], object] = lambda: None) -> None:
    """Writes a text file, whole or not at all; `before` is called when nothing but renaming is left to fail."""
    with atomic(path) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if temporary.is_file():  # devices and pipes cannot be told to
                os.fsync(file.fileno())
        before()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file, whole or not at all; numbers may be those of numpy, and what JSON lacks is text."""
    write_text(path, json.dumps(values, indent=1, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def read_json(
    path: Path, remedy: str = "remove it and run the same command again", read: Reader = Path.read_bytes
) -> dict[str, Any]:
    """Reads a JSON object; {} where there is no file, `AsdError` with the remedy where it is damaged."""
    try:
        content = json.loads(read(path))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return content
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise unreadable(path, error, f"{path} is damaged ({error}); {remedy}") from error


def of_kind(value: Any, like: Any) -> bool:
    """Whether what a file holds has the type of another value; None, and what an empty one holds, stand for numbers."""
    if like is None:
        return value is None or (type(value) in (int, float) and abs(value) <= sys.float_info.max)
    inner = () if like or not isinstance(value, (list, dict)) else value.values() if isinstance(value, dict) else value
    return type(value) is type(like) and all(of_kind(each, None) for each in inner)


def load_yaml(text: str | bytes) -> Any:
    """Plain values of a YAML document; bytes are read as UTF-8, or as UTF-16 where a byte order mark says so.

    Raises:
        yaml.YAMLError: no YAML, a key that is there twice, nested too deeply, a date or number that there is not, or
            aliases that unfold to more than MOST_VALUES values (a few lines can stand for billions).
    """
    try:
        _refuse_traps(text)
        return yaml.load(text, _LOADER)
    except (ValueError, OverflowError) as error:  # "2025-02-30", bytes that are no text
        raise yaml.YAMLError(str(error)) from error


def _refuse_traps(text: str | bytes) -> None:
    """YAMLError for what `load_yaml` refuses and YAML allows; libyaml crashes where too much is nested.

    Walks through the document without building it. Of the items of an open mapping or list it keeps the text, which may
    be a key, and how many values each stands for once aliases are unfolded.
    """
    opened: list[tuple[Any, list[tuple[str | None, float]]]] = [(None, [])]  # event that began it, and its items
    sizes: dict[str | None, float] = {}  # by anchor
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event, []))
            sizes[event.anchor] = math.inf  # of one that holds itself
            if len(opened) > _MOST_LEVELS:
                raise yaml.YAMLError("it is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            first, items = opened.pop()
            keys = [name for name, _ in items[::2]] if isinstance(event, yaml.MappingEndEvent) else []
            for name, n in Counter(keys).items():
                if name is not None and n > 1:
                    line = first.start_mark.line + 1
                    raise yaml.YAMLError(f"line {line} begins a part that has {name} twice; keep one")
            sizes[first.anchor] = 1 + sum(size for _, size in items)
            opened[-1][1].append((None, sizes[first.anchor]))
        elif isinstance(event, yaml.AliasEvent):
            opened[-1][1].append((None, sizes.get(event.anchor, 1)))
        elif isinstance(event, yaml.ScalarEvent):
            opened[-1][1].append((event.value, 1))
    if sum(size for _, size in opened[0][1]) > MOST_VALUES:
        raise yaml.YAMLError(f"its aliases unfold to more than {MOST_VALUES} values: write them out")


def append_text(path: Path, text: str) -> None:
    """Adds text to a file, which may be a new one; `AsdError` where it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        way = "free some space, the same command resumes"
        raise AsdError(f"cannot write {path}: {error.strerror or error}; {way}") from error


def read_yaml(path: Path, option: str = "", advice: str = "", read: Reader = Path.read_bytes) -> dict[Any, Any]:
    """The mapping that a YAML file holds; `AsdError` where it cannot be read, or holds something else.

    Args:
        option: the option that names the file, such as "config=", for messages.
        advice: the end of the sentence where it is none, such as "; train again".
    """
    try:
        content = load_yaml(read(path))
        if not isinstance(content, dict):
            raise yaml.YAMLError("it holds no key: value lines")
    except FileNotFoundError as error:
        raise AsdError(f"{option}{path} does not exist{advice}") from error
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise unreadable(path, error, f"{option}{path} is not a readable YAML file ({reason}){advice}") from error
    return content


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Writes named tensors and JSON-able facts to one safetensors file, as `atomic` does."""
    from safetensors.torch import save  # which imports torch

    # safetensors wants no two names on one memory, as two domains that share a covariance have
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic(path) as temporary:  # save_file has a temporary file of its own, which a killed process leaves for good
        temporary.write_bytes(save(plain, metadata={"facts": json.dumps(dict(facts or {}))}))


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `save_tensors` wrote: (tensors, facts); `AsdError` where it is missing, truncated or not safetensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with interrupt_noted(), safe_open(path, framework="pt", device=str(device)) as file:  # it hides Ctrl-C
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise (forbidden(path) if path.exists() else AsdError(f"{path} does not exist")) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise AsdError(f"{path} is damaged or no safetensors file ({error})") from error
