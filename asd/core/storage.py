"""Folders at addresses such as s3://bucket/plant, which fsspec reaches, and their mirrors on this computer.

Of recordings a mirror holds only names, sizes and times; their content is read from the address each time it is asked
for. Runs are fetched into the mirror, worked there, and published: DONE goes last. Two files are in step when size and
time agree. A path that stands for no address is left alone by everything here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from asd.core.files import BusyError, alone, atomic
from asd.core.runtime import file_hash, imported, progress
from asd.places import address_of, is_recording, is_table
from asd.types import AsdError

_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")  # as storages call it
_SEED = re.compile(r"(?:.*?/)?seed\d+/")  # a path up to a run directory
_LISTED = ".listed"  # holds the command for which the names in a mirror were brought up to date

Stamp = tuple[int, int]  # size in bytes, time of the last change in milliseconds


def read_bytes(path: Path) -> bytes:
    """The content of a recording, here or at its address."""
    if (address := address_of(path)) is None:
        return path.read_bytes()
    with _reached(address) as (storage, file):
        return storage.cat_file(file)


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """Hashes of recordings; "" of those at an address, which are not read for it."""
    return ["" if address_of(path) else file_hash(path) for path in progress(paths, "hashing")]


def is_taken(path: Path) -> bool:
    """Whether a file or folder is there, here or at its address."""
    if (address := address_of(path)) is None:
        return path.exists()
    with _reached(address) as (storage, place):
        return bool(storage.exists(place))


def list_names(folder: Path, command: str = "", *, is_new: bool = False) -> None:
    """Brings the names under an address into its mirror, with tables and manifests; a path is left alone.

    Args:
        command: names that were listed for this command already will do; "": they are listed now.
        is_new: whether an address that holds nothing yet will do.
    """
    if (address := address_of(folder)) is None:
        return
    with alone(folder), _reached(address) as (storage, root):
        listed = folder / _LISTED
        if command and listed.exists() and listed.read_text("utf-8") == command:
            return
        there = _stamps(storage, root)
        if not there and not is_new:
            raise AsdError(f"{address} holds no files; check the address")
        for name, stamp in there.items():
            path = folder / name
            if _stamp(path) == stamp:
                continue
            if is_table(path) or path.suffix == ".json":  # what stands beside recordings is read whole
                _get(storage, _below(root, name), path, stamp)
            else:
                _note(path, stamp)
        if folder.is_dir():
            _remove(folder, {*_files(folder)} - there.keys())
            listed.write_text(command, "utf-8")


def fetch(folder: Path, without: str = "") -> None:
    """Brings run directories at an address, and the files between them, into its mirror; a path is left alone.

    Complete runs there replace what is here, as do tables and pages outside of runs; of other runs comes what is
    missing here, so that work under way goes on. Runs that a process of this computer works on are passed over.

    Args:
        folder: a run directory (which is waited for), or a folder with such at any depth.
        without: a folder of each run that is not needed.
    """
    if (address := address_of(folder)) is None:
        return
    with _reached(address) as (storage, root):
        runs: dict[str, dict[str, Stamp]] = {}
        is_run = _SEED.fullmatch(f"{folder.name}/") is not None
        for name, stamp in _stamps(storage, root).items():
            if without not in name.split("/")[:-1]:
                inner = None if is_run else _SEED.match(name)
                prefix = name[: inner.end()] if inner else ""
                runs.setdefault(prefix, {})[name.removeprefix(prefix)] = stamp
        for prefix, there in runs.items():
            place, is_whole = folder / prefix, "DONE" in there
            with suppress(BusyError), alone(place, busy=None if is_run else "it is passed over"):
                for name in sorted(there, key="DONE".__eq__):
                    is_newer = is_whole or not (is_run or prefix) or not (place / name).exists()
                    if is_newer and _stamp(place / name) != there[name]:
                        _get(storage, _below(root, prefix + name), place / name, there[name])
                if is_whole:
                    here = {name for name in _files(place) if without not in name.split("/")[:-1]}
                    _remove(place, here - there.keys())


def publish(folder: Path, last: str = "DONE") -> None:
    """Brings a complete folder from its mirror to its address, the file `last` at last; a path is left alone."""
    if (address := address_of(folder)) is None:
        return
    if (folder / last).exists():
        with _reached(address) as (storage, root):
            _put_changed(storage, root, folder, last, and_no_others=True)


def publish_recordings(folder: Path) -> None:
    """Makes an address hold what its mirror holds, of whose recordings only the names stay; a path is left alone."""
    if (address := address_of(folder)) is None:
        return
    with _reached(address) as (storage, root):
        _put_changed(storage, root, folder, and_no_others=True)
        for name, stamp in _stamps(storage, root).items():
            if is_recording(folder / name) and _stamp(folder / name) == stamp:
                _note(folder / name, stamp)


def withdraw(folder: Path) -> None:
    """Removes a run directory at its address, DONE first; a path is left alone."""
    if (address := address_of(folder)) is None:
        return
    with _reached(address) as (storage, root):
        for name in sorted(_stamps(storage, root), key="DONE".__ne__):
            storage.rm_file(f"{root}/{name}")


def publish_files(*places: Path) -> None:
    """Brings files, and folders with what is in them, from their mirror to their address; paths are left alone."""
    for place in places:
        if address := address_of(place):
            with _reached(address) as (storage, root):
                _put_changed(storage, root, place)


@contextmanager
def _reached(address: str) -> Iterator[tuple[Any, str]]:
    """The storage of an address, and the path in it."""
    needed = f"{address} needs fsspec; install asd with the extra remote: pip install 'asd[remote]'"
    fsspec = imported("fsspec.core", needed)
    try:
        storage, path = fsspec.url_to_fs(address)
        storage.invalidate_cache()
        yield storage, path.rstrip("/")
    except (AsdError, KeyboardInterrupt):
        raise
    except ImportError as error:
        raise AsdError(f"{address} needs a library that is not installed: {error}") from error
    except FileNotFoundError as error:
        raise AsdError(f"{address} does not exist; check the address") from error
    except Exception as error:  # every storage raises kinds of its own
        reason = (str(error).strip().splitlines() or [""])[0]
        raise AsdError(
            f"{address} cannot be used ({type(error).__name__}: {reason}); check the address, the rights and the space "
            f"there"
        ) from error


def _stamps(storage: Any, root: str) -> dict[str, Stamp]:
    """Size and time of every file under a place, by the path below it; "" for a file itself."""
    found = ((path.removeprefix(root).strip("/"), info) for path, info in storage.find(root, detail=True).items())
    return {
        name: (int(info["size"]), _milliseconds(info))
        for name, info in found
        if not any(part.startswith(".") for part in name.split("/"))
    }


def _milliseconds(info: Mapping[str, Any]) -> int:
    """When a file was written; 0 where the storage does not tell."""
    when = next((info[key] for key in _TIMES if info.get(key)), 0)
    when = datetime.fromisoformat(when) if isinstance(when, str) else when
    return round(1000 * (when.timestamp() if isinstance(when, datetime) else when))


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns // 1_000_000


def _set_time(path: Path, stamp: Stamp) -> None:
    os.utime(path, ns=(stamp[1] * 1_000_000,) * 2)


def _note(path: Path, stamp: Stamp) -> None:
    """A file of this size and time that takes no space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch()
    os.truncate(path, stamp[0])
    _set_time(path, stamp)


def _get(storage: Any, file: str, path: Path, stamp: Stamp) -> None:
    content = storage.cat_file(file)
    with atomic(path) as temporary:
        temporary.write_bytes(content)
        _set_time(temporary, stamp)


def _put_changed(storage: Any, root: str, folder: Path, last: str = "DONE", *, and_no_others: bool = False) -> None:
    """Brings the files that are not in step to a storage; with `and_no_others` those that are not here go there.

    The file `last` goes first and comes last: what changes is incomplete meanwhile.
    """
    there, here = _stamps(storage, root), {*_files(folder)}
    changed = {name for name in here if there.get(name) != _stamp(folder / name)}
    gone = there.keys() - here if and_no_others else set()
    done = {last} & there.keys() & here if changed or gone else set()
    for name in sorted(gone | done, key=last.__ne__):
        storage.rm_file(_below(root, name))
    for name in sorted(changed | done, key=last.__eq__):
        file = _below(root, name)
        storage.makedirs(file.rpartition("/")[0], exist_ok=True)
        storage.put_file(str(folder / name), file)
    stamps = _stamps(storage, root) if changed else {}
    for name in (changed | done) & stamps.keys():
        _set_time(folder / name, stamps[name])


def _below(root: str, name: str) -> str:
    return f"{root}/{name}".rstrip("/")


def _files(folder: Path) -> list[str]:
    """The files under a folder, hidden ones left out, by the path below it; "" for a file itself."""
    if folder.is_file():
        return [""]
    every = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in every if not any(part.startswith(".") for part in path.parts)]


def _remove(folder: Path, names: set[str]) -> None:
    """Removes files, and the folders that are empty without them."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
        for above in (folder / name).relative_to(folder).parents:
            if above.parts and not any((folder / above).iterdir()):
                (folder / above).rmdir()
