"""Shared vocabulary of the framework: what a clip, a recording's name and an error are, what a score table holds.

Conventions used everywhere:
    - waveforms are float32 in [-1, 1], shape (channels, samples) for one clip;
    - a higher score means more anomalous;
    - a section is the two-digit string of the file name ("00"); the machine IDs of 2020 are sections too;
    - `None` for a domain, label or attribute means "not known", never "normal" or "source";
    - a recording has one name, however it is spelled: tables are written by hand and by other programs and systems,
      and what they call `fan\\train\\Clip 1.WAV ` lies on the disk as `Clip 1.wav`, on a Mac with its accents apart.
      Everything that joins rows with recordings joins them by `recording_key`, and says which of both are left over.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class AsdError(Exception):
    """An error the user can act on: one sentence with the value, the file and the way out."""


class Domain(StrEnum):
    """Acoustic condition of a clip: the abundant one or the shifted, rare one."""

    SOURCE = "source"
    TARGET = "target"


class Label(StrEnum):
    """Ground truth of a clip; training clips are always normal."""

    NORMAL = "normal"
    ANOMALY = "anomaly"


class Split(StrEnum):
    """Folder role of a clip."""

    TRAIN = "train"
    TEST = "test"
    SUPPLEMENTAL = "supplemental"


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and everything its name and attributes file say about it."""

    path: Path
    machine: str
    section: str  # "00"; for 2020 the machine ID
    split: Split
    domain: Domain | None = None  # None: 2020, or hidden in an evaluation set
    label: Label | None = None  # None: hidden in an evaluation set
    attributes: dict[str, str] = field(default_factory=dict, hash=False)  # {} where hidden or absent
    file: str = ""  # its name in tables, where that of the file is not enough

    @property
    def name(self) -> str:
        """What tables call it: file name without folders, as submissions list it; with them where names repeat."""
        return self.file or self.path.name


# Columns of `scores/<scorer>.csv`, in order. `decision` is 0/1; unknown domain and label are empty cells.
SCORE_COLUMNS = ("machine", "section", "domain", "split", "label", "file", "score", "decision")


def one_of(value: str, choices: Sequence[str], what: str) -> str:
    """The value itself, where it is one of the choices.

    Args:
        value: that was given.
        choices: names that there are.
        what: the option, as messages call it.

    Raises:
        AsdError: it is none of them.
    """
    if value not in choices:
        raise AsdError(f"{what}={value} is unknown; there are {', '.join(choices)}")
    return value


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
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1].strip()
    for suffix in SUFFIXES:
        if last.lower().endswith(suffix):
            return last[: -len(suffix)].strip()
    return last


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


def count_and_first(names: Iterable[str]) -> str:
    """How many names, and the first of them, for a sentence: "3 (the first a.wav)"; "1 (a.wav)"."""
    every = sorted(names)
    return f"{len(every)} ({'the first ' * (len(every) > 1)}{every[0]})"


def named(names: Sequence[str], most: int = 20) -> str:
    """Names for a sentence: "a.wav, b.wav", or the first of them and how many more there are.

    Args:
        names: of recordings, in the order wanted.
        most: that are spelled out.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
