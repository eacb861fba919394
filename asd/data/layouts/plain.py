"""Plain folders, in any order: those that say normal or anomalous, training or test, and those of machines and faults.

    pump/normal, pump/leak              normal/pump, abnormal/pump          train/pump, test/pump/leak
    pump/train/good, pump/test/leak     train/good/pump, test/leak/pump     pump/2026/03/01/OK, pump/2026/03/02/NG

`words.meaning` tells what the name of a folder says, and which may be those of machines and faults. The rest is a rule:

- The folders above the first word are the machine of a normal recording; where there are none, those above the last
  word; then the first folder below, unless others lie there directly. Further folders are an attribute.
- Any other recording is of the machine whose folders are all on its path. What is left of the path, and is no folder of
  normal recordings, names a fault, and makes an anomaly of a recording of which nothing else tells what it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asd.data.layouts import words
from asd.data.layouts.words import Parts, machine_names, meaning
from asd.places import is_recording
from asd.types import AsdError, Clip, Domain, Label, Split, named

FAULT, FOLDER = "fault", "folder"  # attributes with the names of folders
_LABELS = frozenset(map(str, Label))
_WORDS = _LABELS | {Split.TRAIN, Split.TEST}


@dataclass(frozen=True)
class _Place:
    """A recording and what the folders above it say."""

    path: Path
    folders: Parts  # from the data folder down
    above: Parts  # those of the machine, where they stand above a word
    names: Parts  # those that may be of a machine, a fault or anything else
    says: Parts  # what the others say, see `words`

    @classmethod
    def of(cls, path: Path, folders: Parts) -> _Place:
        """The place of a recording; a number below a date is part of the date."""
        says = [meaning(folder) for folder in folders]
        for i, word in enumerate(says):
            if word == words.NUMBER and words.DATE in says[:i]:
                says[i] = words.DATE
        at = [i for i, word in enumerate(says) if word in _WORDS]
        may_name = (words.NAME, words.NUMBER, words.NOT_KNOWN)
        runs = [tuple(folders[i] for i in range(end) if says[i] in may_name) for end in (at[0], at[-1])] if at else []
        names = tuple(folder for folder, word in zip(folders, says, strict=True) if word == words.NAME)
        return cls(path, folders, next(filter(None, runs), ()), names, tuple(says))

    @property
    def is_normal(self) -> bool:
        """Whether a word says so, or it is to be learnt from."""
        return Label.NORMAL in self.says or (Split.TRAIN in self.says and Label.ANOMALY not in self.says)


def clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of a folder whose folders, or the names of files in them, tell what is normal; None where none does.

    `AsdError` where that is contradictory, or nothing tells what a recording is or of which machine.
    """
    folders = {path: _folders(path, root) for path in files if is_recording(path)}
    telling = None
    if not _LABELS & {meaning(folder) for parts in folders.values() for folder in parts}:
        telling = next(filter(_label_of_file, folders), None)
        folders = {path: (*parts, *_label_of_file(path)) for path, parts in folders.items()}
    places = {parts: _Place.of(path, parts) for path, parts in reversed(folders.items())}  # by its first recording
    if not any(_WORDS & {*place.says} for place in places.values()):
        return None
    for place in places.values():
        _refuse_contradiction(place)
    known = _machines_of_normal(places.values())
    machines = {parts: _machine(place, known, telling) for parts, place in places.items()}
    learnt: dict[Parts, set[str]] = {}
    for parts, place in places.items():
        if place.is_normal:
            learnt.setdefault(machines[parts], set()).update(place.names)
    names = machine_names(machines.values())
    found = {
        parts: _clip(place, machine := machines[parts], names[machine], learnt.get(machine, set()), telling)
        for parts, place in places.items()
    }
    for path, parts in folders.items():
        if found[parts].label is Label.NORMAL and words.names_fault(path.stem):
            raise _doubtful(path, path.name)
    return [replace(found[parts], path=path) for path, parts in folders.items()]


def industrial_clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of a folder in which train/ holds good/ and everything else lies in test/; None of any other."""
    places = [{meaning(folder) for folder in _folders(path, root)} for path in files if is_recording(path)]
    learnt = [says for says in places if Split.TRAIN in says]
    if not learnt or any(Split.TEST not in says for says in places if says not in learnt):
        return None
    return clips(root, files) if all(Label.NORMAL in says for says in learnt) else None


def mimii_clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of MIMII: `<type>/id_<NN>/{normal,abnormal}/<number>.wav`, of eight channels; None of any other folder.

    MIMII DUE and MIMII DG have the names of the challenge, and are read as such.

    Source: Purohit et al., "MIMII dataset: sound dataset for malfunctioning industrial machine investigation and
    inspection", 2019.
    """
    is_mimii = any(words.section_of(folder) for path in files if is_recording(path) for folder in _folders(path, root))
    return clips(root, files) if is_mimii else None


def _folders(path: Path, root: Path) -> Parts:
    """The folders of a recording; a blank beside a name, which no one sees, makes no other word of it."""
    return tuple(part.strip() for part in path.relative_to(root).parts[:-1])


def _label_of_file(path: Path) -> Parts:
    """("normal",) of `normal_0001.wav`, and its section, too, of `normal_id_02_0001.wav`; () of any other name."""
    match = re.fullmatch(r"(.*?[^\W\d_])(?:_(id_\d\d))?[\d\W_]*", path.stem)
    label = meaning(match[1]) if match else ""
    return (label, *filter(None, [match[2]])) if match and label in _LABELS else ()


def _refuse_contradiction(place: _Place) -> None:
    """An anomaly is never learnt from: whatever names one beside a word for normal or training is refused."""
    path, says = place.path, {*place.says}
    if says >= _LABELS:
        raise AsdError(f"{path} lies in a folder of normal recordings and in one of anomalies; move it out of one")
    if says >= {Split.TRAIN, Label.ANOMALY}:
        raise AsdError(
            f"{path} lies in training data and in a folder of anomalies; a model is fitted on normal recordings, so "
            f"move it to test/"
        )
    start = max((i for i, word in enumerate(place.says) if word == Label.NORMAL), default=0)
    if place.is_normal and (doubtful := [*filter(words.names_fault, place.folders[start:])]):
        raise _doubtful(path, doubtful[0])


def _doubtful(path: Path, name: str) -> AsdError:
    return AsdError(
        f"{path} lies where normal recordings do, and {name} names a fault; move it to abnormal/, or rename it"
    )


def _machines_of_normal(places: Collection[_Place]) -> set[Parts]:
    """The machines of which there are normal recordings, each by its folders."""
    normal = [place for place in places if place.is_normal]
    known = {place.above for place in normal if place.above}
    below = [place for place in normal if not place.above and not _on_path(place, known)]
    first = {place.names[:1] for place in below}
    direct = next((place.path for place in below if not place.names), None)
    elsewhere = {name for place in places if not place.is_normal for name in place.names}
    others = [machine[-1] for machine in known] or [name for (name,) in filter(None, first) if name in elsewhere]
    if direct and others:
        raise AsdError(
            f"{direct} lies in no folder of a machine, as others do ({min(others)}); put it into that of its machine"
        )
    return known | ({()} if direct else first)


def _on_path(place: _Place, machines: Collection[Parts]) -> list[Parts]:
    """Those machines whose folders are all above a recording, but for those that others of them lie in."""
    found = [machine for machine in machines if {*machine} <= {*place.folders}]
    return [machine for machine in found if not any({*machine} < {*other} for other in found)]


def _machine(place: _Place, known: Collection[Parts], telling: Path | None) -> Parts:
    """The folders of the machine of a recording; `known` are those with normal ones, `telling` as in `_unsaid`."""
    if place.above in known and _WORDS & {*place.says}:
        return place.above
    found = [machine for machine in _on_path(place, known) if machine or not place.above]
    if len(found) == 1:
        return found[0]
    if not _WORDS & {*place.says}:
        raise _unsaid(place, telling)
    if place.above or not known:
        return place.above
    which = "no folder of a machine with" if not found else "folders of several machines with"
    raise AsdError(
        f"{place.path} lies in {which} normal recordings ({named(sorted(m[-1] for m in found or known))}); put it "
        f"into that of its machine, or, where these are no machines, put all into one folder with the machine's name"
    )


def _clip(place: _Place, machine: Parts, name: str, learnt: Collection[str], telling: Path | None) -> Clip:
    """A recording of a machine by its other folders; in those that are `learnt` lie normal recordings of it, too."""
    names = [folder for folder in place.names if folder not in machine]
    new = [folder for folder in names if folder not in learnt]
    label = Label.NORMAL if place.is_normal else Label.ANOMALY if Label.ANOMALY in place.says else None
    if label is None and words.NOT_KNOWN not in place.says:
        if not _WORDS & {*place.says} and len(place.folders) == len(machine):
            raise _unsaid(place, telling)
        label = _label_of_fault(place, names, new) if names else None
    faults = {FAULT: new[0]} if label is Label.ANOMALY and new else {}
    others = "/".join(folder for folder in names if folder not in faults.values())
    return Clip(
        place.path,
        name,
        words.section_by(place.folders),
        Split.TRAIN if label is Label.NORMAL and Split.TEST not in place.says else Split.TEST,
        next((Domain(word) for word in place.says if word in {*Domain}), None),
        label,
        faults | ({FOLDER: others} if others else {}),
    )


def _label_of_fault(place: _Place, names: Sequence[str], new: Sequence[str]) -> Label:
    """An anomaly, where nothing but the name of a folder tells that it is one."""
    if not new:
        raise AsdError(
            f"{place.path} lies in {names[0]}/, as normal recordings do, and nothing says what it is; put it into "
            f"normal/ or abnormal/, or, where {names[0]} is a machine, put that folder above train/ and test/"
        )
    if words.may_be_normal(new[0]):
        raise AsdError(
            f"{place.path} lies in {new[0]}/, which may be a fault or not; put it into normal/ or into "
            f"abnormal/{new[0]}/"
        )
    return Label.ANOMALY


def _unsaid(place: _Place, telling: Path | None) -> AsdError:
    """The refusal of a recording of which nothing says what it is; `telling` is one whose file name says so, if any."""
    if telling:
        return AsdError(
            f"{telling} is {_label_of_file(telling)[0]} by its name, and nothing says what {place.path} is; put both "
            f"into normal/, abnormal/ or test/, or rename {telling.name}"
        )
    return AsdError(
        f"{place.path} lies in no folder that says whether it is normal; put it into normal/, abnormal/ or test/, or "
        f"remove it"
    )
