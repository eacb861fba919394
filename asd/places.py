"""Where recordings and runs lie: paths and addresses, which files are recordings, which names mean the same one.

An address such as s3://bucket/plant is a path like any other to all code: its mirror,
`<cache>/asd-mirror/s3/bucket/plant`. What lies in a mirror and how it gets there is up to `core.storage`; no storage is
touched here.

A recording has one name, however it is spelled: tables are written by hand and by other programs and systems, and what
they call `fan\\train\\Clip 1.WAV ` lies on the disk as `Clip 1.wav`, on a Mac with its accents apart. Everything that
joins rows with recordings joins them by `recording_key`, and says which of both are left over.

Args:
    place: a path or an address.
    path, folder: which may be the mirror of an address.
    names, others: of recordings, spelled in any way.
"""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from asd.types import AsdError, in_utf8

_MARK = "asd-mirror"  # the folder of all mirrors, by which a path in one is known on any computer
_ADDRESS = re.compile(r"[a-z][a-z0-9+.:-]*://", re.IGNORECASE)
_HALF = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]", re.IGNORECASE)  # of an address that pathlib took for a path, or a typo
_SECRET = re.compile(r"(:/{1,2}[^/@:\s[]*):[^/\s]*@")  # of user:password@host, not of a usage with [
_ROOT = {"file": "/", "local": "/"}  # where paths of a protocol begin, if they are not those of a bucket
MOST_NAME_BYTES = 180  # of a machine or a run: file systems have 255, and names of files hold more than it
SUFFIXES = (
    ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc",
    ".caf", ".au", ".snd", ".w64", ".rf64",  # these and those above are read by libsndfile
    ".m4a", ".mp4", ".m4b", ".mov", ".3gp", ".aac", ".webm", ".mka", ".mkv", ".wma", ".amr",  # by the extra media
)  # fmt: skip


def is_address(place: object) -> bool:
    """Whether a place is an address such as s3://bucket/plant, and no path."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def mirrored(place: str | Path) -> Path:
    """The folder or file that stands for an address; a path stands for itself, from ~ on for one of the user's.

    `AsdError` for an address without a place in it, with one slash, with . or .. on the way, or with a password.
    """
    if _HALF.match(str(place)) and not os.path.exists(str(place).partition("/")[0]):
        what = spelled(f"{place} has one slash where an address has two, as s3://bucket/folder")
        raise AsdError(f"{what}; in Python give it as a string, not as a Path")
    if not is_address(place):
        return Path(os.path.expanduser(place))  # which leaves ~ where it is no user, unlike `Path.expanduser`
    protocol, _, rest = str(place).partition("://")
    protocol = protocol.lower()
    if _SECRET.search(str(place)):
        raise AsdError(
            f"{spelled(str(place))} holds a password, which every run would show; leave it out, and give it as its "
            f"library takes it, such as by the variable FSSPEC_{protocol.rpartition(':')[2].upper()}_PASSWORD"
        )
    parts = [part for part in rest.split("/") if part]
    if not parts or {".", ".."} & {*parts}:
        raise AsdError(f"{place} is no address of a folder; write it like s3://bucket/folder")
    return _cache().joinpath(_MARK, protocol, *parts)


def address_of(path: Path) -> str | None:
    """The address that a path stands for; None for a path that stands for itself."""
    _, mark, inner = str(path.absolute()).partition(f"/{_MARK}/")
    protocol, _, rest = inner.partition("/")
    return f"{protocol}://{_ROOT.get(protocol, '')}{rest}" if mark and rest else None


def braced(pattern: str) -> list[str]:
    """The patterns that one with braces stands for, as to a shell.

    Example:
        >>> braced("{may,june}/*.wav")
        ['may/*.wav', 'june/*.wav']
    """
    match = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if not match:
        return [pattern]
    before, behind = pattern[: match.start()], pattern[match.end() :]
    return [whole for part in match[1].split(",") for whole in braced(f"{before}{part}{behind}")]


def written(path: Path) -> str:
    """How a place is written down so that every computer knows it: its address, or the absolute path."""
    return address_of(path) or str(path.resolve())


def spelled(text: str) -> str:
    """A text with addresses in place of their mirrors, in UTF-8 and without passwords."""
    text = _SECRET.sub(r"\1:***@", in_utf8(text))
    mirrors = re.compile(rf"(?:{re.escape(str(_cache()))}|[^\s,;:='\"(]*)/{_MARK}/([a-z0-9+.:-]+)/")
    return mirrors.sub(lambda m: f"{m[1]}://{_ROOT.get(m[1], '')}", text) if _MARK in text else text


def _given(value: Any) -> Any:
    try:
        return mirrored(value) if is_address(value) or _HALF.match(str(value)) else value
    except AsdError as error:
        raise ValueError(str(error)) from error


TO_MIRROR = BeforeValidator(_given)
Place = Annotated[Path, TO_MIRROR, PlainSerializer(lambda path: spelled(str(path)), when_used="json")]


def _cache() -> Path:
    home = os.path.expanduser("~")
    own = tempfile.gettempdir() if home == "~" else f"{home}/.cache"  # the user of a container may have no home
    return Path(os.environ.get("XDG_CACHE_HOME") or own)


def is_recording(path: Path) -> bool:
    """Whether a file of this name is a recording: a suffix of `SUFFIXES` in any case, and not hidden.

    Does not touch the disk. A blank after the name makes no difference: such a file should be named in an error, not
    passed over.
    """
    return not path.name.startswith(".") and path.name.strip().lower().endswith(SUFFIXES)


def is_table(path: Path) -> bool:
    """Whether a file of this name is taken for a table of recordings. Does not touch the disk."""
    return path.suffix.lower() in (".csv", ".tsv", ".parquet")


def names_a_folder(name: str) -> bool:
    """Whether a machine, a run or a detector can be called so: a folder can have this name, and is not hidden."""
    fits = len(name.encode(errors="surrogateescape")) <= MOST_NAME_BYTES
    return fits and not name.startswith(".") and not {"/", "\\", "\0", "\n"} & {*name}


def place_name(root: Path) -> str:
    """What files about the recordings under `root` are called: the folder's name, without blanks."""
    return re.sub(r"[^\w.-]+", "-", root.resolve().name).strip(".-") or "data"


def forbidden(path: Path) -> AsdError:
    """The error for a file or folder that exists and may not be read."""
    return AsdError(f"{path} may not be read; change its permissions")


def unreadable(path: Path, error: Exception, sentence: str) -> AsdError:
    """The `AsdError` for what reading a file raised: for want of permission, or for another reason the sentence."""
    return forbidden(path) if isinstance(error, PermissionError) else AsdError(sentence)


def table_text(content: bytes) -> str:
    """Text of a table in UTF-8, or as spreadsheets write it: in UTF-16 with a mark, or the 8-bit characters of Windows.

    `UnicodeDecodeError` where it is none of these.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def check_listed(folder: Path) -> None:
    """Refuses a folder that may not be looked into: to `Path.glob` it is an empty one."""
    try:
        is_closed = folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)
    except PermissionError:  # one that it lies in
        is_closed = True
    if is_closed:
        raise forbidden(folder)


def find_recordings(folder: Path, pattern: str = "*") -> list[Path]:
    """The recordings in a folder, sorted by path; none where there is no such folder, `AsdError` for a closed one."""
    check_listed(folder)
    return sorted(path for path in folder.glob(pattern) if is_recording(path))


def find_in_tree(folder: Path) -> list[Path]:
    """The recordings under a folder at any depth, sorted by path, outside hidden folders; empty where there is none.

    Links to folders are followed, as recordings often lie on another disk, except back to a folder around them.
    """
    return sorted(filter(is_recording, walk_tree(folder))) if folder.is_dir() else []


def walk_tree(folder: Path, around: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files under a folder, hidden ones left out; `around` are the folders gone through to get here."""
    real = folder.resolve()
    if real in around:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                yield from walk_tree(Path(entry.path), around | {real})
            else:
                yield Path(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder; a link to itself is none, and is named when it is read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def recording_key(name: str) -> str:
    """What all spellings of a recording's name have in common.

    That is the name without folders (behind / or \\), without a suffix of `SUFFIXES` in any case and without blanks
    around, in composed Unicode (NFC). Otherwise letters count as they are: `A.wav` and `a.wav` are two recordings.

    Example:
        >>> recording_key("fan/train/Clip 1.WAV ")
        'Clip 1'
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2].strip()
    stem, dot, suffix = last.rpartition(".")
    return stem.strip() if (dot + suffix).lower() in SUFFIXES else last


def unmatched(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those names that denote none of the recordings `others`, sorted and each once, as they are spelled."""
    known = {recording_key(other) for other in others}
    return sorted({name for name in names if recording_key(name) not in known})


def doubled(names: Iterable[str]) -> list[str]:
    """Keys of the recordings that are named more than once, sorted."""
    return sorted(key for key, count in Counter(map(recording_key, names)).items() if count > 1)
