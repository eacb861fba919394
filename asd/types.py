"""Shared vocabulary of the framework: what a clip, a front end and an error are, and what a score table holds.

Conventions used everywhere:
    - waveforms are float32 in [-1, 1], shape (channels, samples) for one clip;
    - a higher score means more anomalous;
    - a section is the two-digit string of the file name ("00"); the machine IDs of 2020 are sections too;
    - `None` for a domain, label or attribute means "not known", never "normal" or "source".

Args:
    value, choices, what: what was given, all that it may be, and the name of the option.
    names: such as those of recordings, in the order wanted.
    written, given: a section or a number as a person or a spreadsheet writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal


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
        return in_utf8(self.file or self.path.name)


FrontEndName = Literal["near", "far", "mean", "cancel", "subtract"]
Channel = int | Literal["mean"]  # of a file, counted from 0, or the mean of all


@dataclass(frozen=True)
class FrontEnd:
    """From all microphones of a recording to one waveform.

    Attributes:
        name: one of `data.frontends.FRONT_ENDS`.
        residual: detectors that know a clip as a vector take this much of the far microphone's vector off.
        channel: of the file that is the near microphone; None: the first.
        profile: (bins,) magnitudes of a known noise that is subtracted; none where empty.
        activity: (bands + 1,) weights by which frames without the machine are turned down; none where empty.
    """

    name: FrontEndName = "near"
    residual: float = 0.0
    channel: Channel | None = None
    profile: tuple[float, ...] = ()
    activity: tuple[float, ...] = ()

    @property
    def n_microphones(self) -> int:
        """How many channels a file must have."""
        return 1 if self.name == "near" and not self.residual else 2

    @property
    def is_plain(self) -> bool:
        """Whether the waveform is what the near microphone recorded."""
        return (self.name, self.profile, self.activity) == ("near", (), ())

    def key(self) -> list[Any]:
        """What decides the waveform: plain values, for a hash."""
        own = [self.name, self.profile, self.activity]
        return own if self.channel is None else [*own, self.channel]

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> FrontEnd:
        """A front end by its plain values."""
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
        return cls(**fields)

    def description(self) -> str | None:
        """Words for a submission; None where there is nothing to say."""
        parts = (
            _WORDS[self.name],
            "" if self.channel is None else f"channel {self.channel}",
            f"minus {self.residual:g} times the far microphone's vector" if self.residual else "",
            "spectral subtraction of a noise profile" if self.profile else "",
            "frames weighted by machine activity" if self.activity else "",
        )
        return ", ".join(part for part in parts if part) or None


NEAR = FrontEnd()

_WORDS = {
    "near": "",
    "mean": "mean of both microphones",
    "far": "far microphone",
    "cancel": "least-squares cancellation of the far microphone",
    "subtract": "spectral subtraction of the far microphone",
}

# Columns of `scores/<scorer>.csv`, in order. `decision` is 0/1; unknown domain and label are empty cells.
SCORE_COLUMNS = ("machine", "section", "domain", "split", "label", "file", "score", "decision")


def in_utf8(text: str) -> str:
    """A text that any file can hold: bytes of a file name that are no UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode()


def one_of(value: str, choices: Sequence[str], what: str) -> str:
    """The value itself; `AsdError` where it is none of the choices."""
    if value not in choices:
        raise AsdError(f"{what}={value} is unknown; there are {', '.join(choices)}")
    return value


def count_and_first(names: Iterable[str]) -> str:
    """How many names, and the first of them, for a sentence: "3 (the first a.wav)"; "1 (a.wav)"."""
    every = sorted(names)
    return f"1 ({every[0]})" if len(every) == 1 else f"{len(every)} (the first {every[0]})"


MOST_NAMED = 5  # names in a sentence


def named(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Names for a sentence: "a.wav, b.wav", or `most` of them and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def failures(every: Sequence[object], more: str) -> str:
    """The message of an error about several failures, each in a line from three on: "1 failed: fan (why); done: pump".

    `every` is what failed, with the reason, and `more` what is said behind them.
    """
    head, told = f"{len(every)} failed:", [str(each) for each in every]
    if len(told) < 3:
        return f"{head} {'; '.join([*told, more])}"
    return "\n  ".join([head, *told]) + f"\n{more}"


def section_name(written: str) -> str:
    """The name of a section as spreadsheets and pandas may write it: 3 and 3.0 are 03."""
    number = re.fullmatch(r"(\d+)(\.0+)?", written)
    return number[1].zfill(2) if number else written


def plain_number(written: str) -> str:
    """A whole number without the `.0` that spreadsheets and pandas add to it; anything else as it is."""
    number = re.fullmatch(r"(-?\d+)\.0+", written)
    return number[1] if number else written


def section_among(known: Sequence[str], given: str, machine: str) -> str:
    """A section, such as "03", among those `known` to the model of a machine; `AsdError` where it is none of them."""
    section = section_name(given)
    if not given or section not in known:
        raise AsdError(f"section={given} is none that the model of {machine} was trained on; it has {', '.join(known)}")
    return section
