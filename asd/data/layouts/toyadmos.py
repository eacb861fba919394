"""ToyADMOS and ToyADMOS2, told by the names of files; what their folders are called does not matter.

    1101010001_ToyCar_case1_ab01_IND_ch1_0001.wav    ToyADMOS: ab01 is a fault, `normal` none; IND: one recording each
    CA001-carA1-speed1-a-damageL_mic1_00001.mp4      ToyADMOS2: CN and TN are normal, CA and TA anomalous

Each microphone has a file of its own. Those of one recording would be on both sides of a check, so the first microphone
of each is taken.

Source: Koizumi et al., "ToyADMOS", WASPAA 2019; Harada et al., "ToyADMOS2", DCASE 2021 workshop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asd.places import is_recording
from asd.types import Clip, Label, Split

_FIRST = re.compile(
    r"\d+_(?P<machine>Toy[A-Za-z]+)_case(?P<case>\d+)_(?P<fault>normal|ab\d+)_(?P<kind>IND|CNT)"
    r"_ch(?P<channel>\d+)_\d+"
)
_SECOND = re.compile(
    r"(?P<toy>[CT])[NA]\d+-(?:car|train)(?P<model>[A-Z]\d+)-speed(?P<speed>\d+)"
    r"(?:-(?P<fault>\w+)-damage(?P<damage>\w+))?_mic(?P<channel>\d+)_\d+"
)
_TOYS = {"C": "ToyCar", "T": "ToyTrain"}


def clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of the first microphone under a folder; None where no file is named so. Others are left out."""
    every = {path: match for path in files if is_recording(path) and (match := _match(path))}
    first = min((int(match["channel"]) for match in every.values()), default=0)
    pieces = {path for path, match in every.items() if match.groupdict().get("kind") == "IND"}
    return [
        _clip(path, match)
        for path, match in every.items()
        if int(match["channel"]) == first and (not pieces or path in pieces)
    ] or None


def left_out(files: Sequence[Path], clips: Sequence[Clip]) -> str:
    """What of the files became no clip, in words: other microphones, and those that are not named so; "" for none."""
    read = {clip.path for clip in clips}
    others = [path for path in files if is_recording(path) and path not in read]
    strange = [path for path in others if not _match(path)]
    microphones = f"{n} of other microphones or kinds" if (n := len(others) - len(strange)) else ""
    unlike = f"{len(strange)} that are not named as in ToyADMOS, such as {strange[0]}" if strange else ""
    return ", ".join(filter(None, (microphones, unlike)))


def _match(path: Path) -> re.Match[str] | None:
    return _FIRST.fullmatch(path.stem) or _SECOND.fullmatch(path.stem)


def _clip(path: Path, match: re.Match[str]) -> Clip:
    found = {key: value for key, value in match.groupdict().items() if value}
    is_normal = found.get("fault", "normal") == "normal"
    keys = ("model", "speed") if is_normal else ("model", "speed", "fault", "damage")
    return Clip(
        path,
        found.get("machine") or _TOYS[found["toy"]],
        found.get("case", "").zfill(2),
        Split.TRAIN if is_normal else Split.TEST,
        None,
        Label.NORMAL if is_normal else Label.ANOMALY,
        {key: found[key] for key in keys if key in found},
    )
