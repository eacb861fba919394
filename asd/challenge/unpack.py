"""Unpack a zip file that is not trusted: nothing outside the folder, nothing but files, no more than is declared.

The whole list of contents is judged before the first byte is written.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from asd.challenge.files import CLIP_FOLDERS
from asd.challenge.years import revision
from asd.places import is_recording
from asd.types import AsdError

# A machine has at most some 5,000 clips of at most 1.2 MB (18 s, 16 kHz, 16 bit, two channels), and
# recordings do not shrink to a hundredth. An archive that fits into memory may: its clips may be silent.
MOST_FILES = 100_000
MOST_BYTES = 16 * 2**30
MOST_RATIO = 100
HARMLESS_BYTES = 64 * 2**20

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, UnicodeError)
"""What reading a damaged zip file may raise; bz2 adds an OSError without a number."""

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""Where a file of an archive goes, by its name there; None where it is not wanted."""


class Member(NamedTuple):
    """What is known of an unpacked file."""

    size_bytes: int
    crc32: int


def unpack(path: Path, folder: Path, place: Place) -> dict[str, Member]:
    """Unpack the wanted files of an archive into `folder`, which the caller renames when it is whole: {path: member}.

    `AsdError` where the archive is damaged or encrypted, holds more than it declares or nothing that is wanted, or the
    disk is full. What has been written by then is the caller's to remove; the archive stays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = judge(path, archive.infolist(), place)
            _check_space(path, folder, sum(info.file_size for info in wanted.values()))
            for name, info in wanted.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except (*DAMAGED, OSError) as error:
        if not isinstance(error, OSError) or error.errno is None:
            raise AsdError(f"{path} is damaged ({error}); remove it and run the same command again") from error
        raise AsdError(
            f"cannot unpack {path} into {folder.parent} ({error.strerror or error}); the archive is kept: "
            f"free some space or choose another data=DIR, then run the same command again"
        ) from error
    return {name: Member(info.file_size, info.CRC) for name, info in wanted.items()}


def judge(path: Path, infos: Iterable[zipfile.ZipInfo], place: Place) -> dict[str, zipfile.ZipInfo]:
    """The wanted files of an archive by their place, in the order of the archive.

    `AsdError` for a name that leads out of the folder, something that is not a file, two files for one place, an
    encrypted file, more files or bytes than a machine can have, or nothing wanted.
    """
    wanted: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = honest_name(path, info)
        target = None if info.is_dir() else place(name)
        if target is None:
            continue
        if str(target) in wanted:
            raise AsdError(f"{path} holds {target} twice: it is not the published archive")
        wanted[str(target)] = info
    _check_bomb(path, list(wanted.values()))
    if not wanted:
        raise AsdError(f"{path} holds nothing of what is looked for: is it the archive of another machine?")
    return wanted


def machine_place(machine: str) -> Place:
    """Clips and attributes of a machine, whatever folders are wrapped around them.

    `ToyCar/train/x.wav`, `dev_data/ToyCar/train/x.wav` and `train/x.wav` become `train/x.wav`. Files of
    another machine, of the operating system (`__MACOSX`, hidden ones) and documents are not wanted. The
    folder of a replacement may be called after it (`ToyCar_r2`), and capitals do not matter.
    """

    def is_own(folders: list[str]) -> bool:
        return not folders or any(revision(name)[0].lower() == machine.lower() for name in folders)

    def place(name: PurePosixPath) -> PurePosixPath | None:
        *folders, last = name.parts
        if last.startswith(".") or "__MACOSX" in folders:
            return None
        if is_recording(Path(last)):
            inside = PurePosixPath(folders[-1], last) if folders and folders[-1] in CLIP_FOLDERS else None
            folders = folders[:-1]
        else:
            inside = PurePosixPath(last) if last.startswith("attributes_") and last.endswith(".csv") else None
        return inside if is_own(folders) else None

    return place


def truth_place(name: PurePosixPath) -> PurePosixPath | None:
    """The ground truth in a repository of the organisers' evaluator: CSVs of the `ground_truth_...` folders."""
    for i, folder in enumerate(name.parts[:-1]):
        if folder.startswith("ground_truth_") and name.suffix == ".csv":
            return PurePosixPath(*name.parts[i:])
    return None


def honest_name(path: Path, info: zipfile.ZipInfo) -> PurePosixPath:
    """The name of a file in an archive, if it is one that leads into the folder."""
    name = PurePosixPath(info.orig_filename)
    is_out = name.is_absolute() or ".." in name.parts or name.parts[:1] == ("~",)
    if is_out or not name.parts or any(character in info.orig_filename for character in "\\:\0"):
        raise AsdError(
            f"{path} holds {info.orig_filename!r}, which leads out of its folder or has \\ or : in it, and is refused"
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise AsdError(f"{path} holds {info.orig_filename!r}, a link or device and not a file: it is refused")
    if info.flag_bits & 0x1:
        raise AsdError(f"{path} holds {info.orig_filename!r}, which is encrypted: it is refused")
    return name


def _check_bomb(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    n_bytes = sum(info.file_size for info in infos)
    packed = min(path.stat().st_size, sum(info.compress_size for info in infos))
    is_bloated = n_bytes > max(HARMLESS_BYTES, MOST_RATIO * packed)
    if len(infos) > MOST_FILES or n_bytes > MOST_BYTES or is_bloated:
        raise AsdError(
            f"{path} would unpack its {packed} bytes to {n_bytes} in {len(infos)} files, more than recordings "
            f"of a machine can be: it is refused"
        )


def _check_space(path: Path, folder: Path, n_bytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if n_bytes > free_bytes:
        raise AsdError(
            f"{path} needs {n_bytes} bytes to unpack where {folder.parent} has {free_bytes} free; the archive "
            f"is kept: free some space, then run the same command again"
        )
