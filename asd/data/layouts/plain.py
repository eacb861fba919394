"""Plain folders: `<machine>/{normal,good,ok,train}` and `<machine>/{abnormal,bad,ng,<fault>}`, in `test/` or beside.

So is industrial inspection: `<machine>/train/good`, `<machine>/test/good` and `<machine>/test/<defect>`.

Folders are read from the data folder down. The first one whose name is such a word ends the name of the machine; what
is above it is the machine's folder. The words may be nested (`test/normal`, `normal/train`), and folders below them
that say nothing (`normal/2026-03`) are gone through. Any other folder in test/ or beside normal/ names a fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asd.data.layouts.words import ANOMALOUS, NORMAL, TESTING, TRAINING, UNKNOWN, Parts, machine_names
from asd.places import is_recording
from asd.types import AsdError, Clip, Domain, Label, Split

_WORDS = NORMAL | ANOMALOUS | TRAINING | TESTING | UNKNOWN
_NO_FAULT = re.compile(r"[\d\W_]+")  # a date or a number says nothing
FAULT = "fault"  # the attribute with the name of the folder


def clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of a folder whose folders tell what is normal; None where none does.

    Raises:
        AsdError: a folder of training data is one of anomalies, or nothing tells what a recording is.
    """
    places = {path: _folders(path, root) for path in files if is_recording(path)}
    if not {part.lower() for parts in places.values() for part in parts} & (_WORDS - UNKNOWN):
        return None
    starts = {path: _first_word(parts) for path, parts in places.items()}
    machines = {places[path][:start] for path, start in starts.items() if start is not None}
    for path, parts in places.items():
        if starts[path] is None:  # the folder of a fault beside normal/
            starts[path] = max((len(m) for m in machines if parts[: len(m)] == m and len(parts) > len(m)), default=None)
            if starts[path] is None:
                raise AsdError(
                    f"{path} lies in no folder that says whether it is normal; put it into normal/, abnormal/ or "
                    f"test/, or remove it"
                )
    names = machine_names(parts[: starts[path]] for path, parts in places.items())
    found = [_clip(path, names[parts[: starts[path]]], parts[starts[path] :]) for path, parts in places.items()]
    faults = {(clip.machine, clip.attributes[FAULT]) for clip in found if FAULT in clip.attributes}
    for clip in found:
        also = [part for part in places[clip.path] if (clip.machine, part) in faults]
        if clip.split is Split.TRAIN and also:
            raise AsdError(
                f"{clip.path} lies in training data and in a folder of anomalies, {also[0]}; move it to test/, or, "
                f"where {also[0]} is a machine, put that folder above train/ and normal/"
            )
    return found


def industrial_clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of a folder in which train/ holds good/ and everything else lies in test/; None of any other.

    Raises:
        AsdError: as `clips`.
    """
    places = [tuple(map(str.lower, _folders(path, root))) for path in files if is_recording(path)]
    learnt = [parts for parts in places if "train" in parts]
    if not learnt or not all("train" in parts or "test" in parts for parts in places):
        return None
    if not all({*parts[parts.index("train") + 1 :]} & NORMAL for parts in learnt):
        return None
    return clips(root, files)


def _folders(path: Path, root: Path) -> Parts:
    """The folders of a recording; a blank beside a name, which no one sees, makes no other word of it."""
    return tuple(part.strip() for part in path.relative_to(root).parts[:-1])


def _first_word(parts: Parts) -> int | None:
    words = [part.lower() for part in parts]
    places = [i for known in (_WORDS - UNKNOWN, UNKNOWN) for i, word in enumerate(words) if word in known]
    return places[0] if places else None


def _clip(path: Path, machine: str, parts: Parts) -> Clip:
    """A recording by the folders below that of its machine."""
    words = [part.lower() for part in parts]
    is_test, is_train = (bool({*words} & known) for known in (TESTING, TRAINING))
    labels = [label for word in words if (label := _label(word))]
    if {*Label} <= {*labels}:
        raise AsdError(f"{path} lies in a folder of normal recordings and in one of anomalies; move it out of one")
    label = labels[0] if labels else None
    domain = next((Domain(word) for word in words if word in {*Domain}), None)
    others = [part for part in parts if part.lower() not in _WORDS | {*Domain} and not _NO_FAULT.fullmatch(part)]
    if label is None and not is_train and others and not {*words} & UNKNOWN:
        label = Label.ANOMALY
        if {*re.split(r"[^a-z]+", others[0].lower())} & NORMAL:
            raise AsdError(
                f"{path} lies in {others[0]}/, which may be a fault or not; put it into normal/ or into "
                f"abnormal/{others[0]}/"
            )
    if is_train and label is Label.ANOMALY:
        raise _learnt_fault(path)
    if is_train:
        label = Label.NORMAL
    is_learnt = label is Label.NORMAL and not is_test
    faults = {FAULT: others[0]} if label is Label.ANOMALY and others else {}
    return Clip(path, machine, "00", Split.TRAIN if is_learnt else Split.TEST, domain, label, faults)


def _learnt_fault(path: Path) -> AsdError:
    return AsdError(
        f"{path} lies in training data and in a folder of anomalies; a model is fitted on normal recordings, so "
        f"move it to test/"
    )


def _label(word: str) -> Label | None:
    return Label.NORMAL if word in NORMAL else Label.ANOMALY if word in ANOMALOUS else None
