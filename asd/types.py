"""Shared vocabulary of the framework: what a clip and an error are, and what a score table holds.

Conventions used everywhere:
    - waveforms are float32 in [-1, 1], shape (channels, samples) for one clip;
    - a higher score means more anomalous;
    - a section is the two-digit string of the file name ("00"); the machine IDs of 2020 are sections too;
    - `None` for a domain, label or attribute means "not known", never "normal" or "source".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    def __post_init__(self) -> None:
        """Refuses a name that no table could hold."""
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise AsdError(f"{str(self.path)!a} has a name that is no UTF-8; rename it") from error

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
