"""Files of recordings: which files are such or tables of them, where they lie, which spellings name the same one.

A recording has one name, however it is spelled: tables are written by hand and by other programs and systems, and what
they call `fan\\train\\Clip 1.WAV ` lies on the disk as `Clip 1.wav`, on a Mac with its accents apart. Everything that
joins rows with recordings joins them by `recording_key`, and says which of both are left over.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"),
    *(".caf", ".au", ".snd", ".w64", ".rf64"),  # these and those above are read by libsndfile
    *(".m4a", ".mp4", ".m4b", ".mov", ".3gp", ".aac", ".webm", ".mka", ".mkv", ".wma", ".amr"),  # by the extra media
)


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
    """Whether a machine, a run or a detector can be called so: a folder of this name is one, and not hidden."""
    return not name.startswith(".") and not {"/", "\\", "\0", "\n"} & {*name}


def find_recordings(folder: Path, pattern: str = "*") -> list[Path]:
    """The recordings in a folder, sorted by path; empty where there is no such folder.

    Args:
        folder: where to look.
        pattern: as in `Path.glob`.
    """
    return sorted(path for path in folder.glob(pattern) if is_recording(path))


def find_in_tree(folder: Path) -> list[Path]:
    """The recordings under a folder at any depth, sorted by path, outside hidden folders; empty where there is none.

    Links to folders are followed, as recordings often lie on another disk, except back to a folder around them.
    """
    return sorted(filter(is_recording, walk_tree(folder))) if folder.is_dir() else []


def walk_tree(folder: Path, around: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files under a folder, hidden ones left out.

    Args:
        folder: where to look.
        around: folders that were gone through to get here, without links.
    """
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
    """Those names that denote none of the recordings `others`, sorted and each once, as they are spelled.

    Args:
        names: spelled in any way.
        others: names of recordings.
    """
    known = {recording_key(other) for other in others}
    return sorted({name for name in names if recording_key(name) not in known})


def doubled(names: Iterable[str]) -> list[str]:
    """Keys of the recordings that are named more than once, sorted."""
    return sorted(key for key, count in Counter(map(recording_key, names)).items() if count > 1)
