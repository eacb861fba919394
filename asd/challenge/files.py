"""File-name grammar <-> Clip, and the clips of a machine's folder. All that is known of a clip is read here.

A machine's folder, in the layouts of the years:

    <root>/<machine>/train/                     normal clips
                    /test/                      labelled (development) or not (evaluation)
                    /source_test/ /target_test/ 2021: the domain is known from the folder
                    /test_rename/               the evaluation clips under names that tell their labels
                    /supplemental/              2025: clean machine sound, or noise without the machine
                    /attributes_00.csv          conditions of each clip: file_name,d1p,d1v,d2p,d2v,...

Names, in the spellings of the years:

    section_00_source_train_normal_0000_vel_4.wav   2022 and later; ..._noAttribute.wav where hidden
    section_03_source_test_0000.wav                 evaluation clip of 2021
    section_00_0001.wav                             evaluation clip, 2022 and later
    section_00_machine_source_0000_noAttribute.wav  supplemental: the words come in several orders
    normal_id_00_00000000.wav                       2020; evaluation clip: id_01_00000000.wav
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from asd.challenge.attributes import HIDDEN, gaps, read_attributes
from asd.types import AsdError, Clip, Domain, Label, Split, doubled, find_recordings, recording_key

CONDITION = "condition"  # the attribute that holds a name's whole ending where it is not in pairs (2021)
CONTENT = "content"  # the attribute of supplemental clips: "machine" (clean) or "noise"

_EXAMPLES = "section_00_source_train_normal_0000_vel_4.wav or normal_id_00_00000000.wav"
_FOLDERS = {
    Split.TRAIN: ("train",),
    Split.TEST: ("test", "source_test", "target_test"),
    Split.SUPPLEMENTAL: ("supplemental",),
}
CLIP_FOLDERS = tuple(name for names in _FOLDERS.values() for name in names)  # as they are published
_RENAMED = "test_rename"
_WITH_CLIPS = (*CLIP_FOLDERS, _RENAMED)
_FOLDER_DOMAIN = {"source_test": Domain.SOURCE, "target_test": Domain.TARGET}

# Machines some of whose published names lack underscores between words or between key and value.
_MISSING_UNDERSCORES = frozenset({"RoboticArm", "BrushlessMotor"})
_GLUED_PAIR = re.compile(r"(weight|Bckg|spd)(?=[0-9A-Z])")
_TWO_WORD_KEYS = re.compile(r"(?<![^_])(mic)_(pos)(?=_)")  # CoffeeGrinder: mic_imp34dt05_mic_pos_B_grind_300

_ID_NAME = re.compile(r"(?:(?P<label>normal|anomaly)_)?id_(?P<section>\d{2})_(?P<number>\d{8})")
_SUPPLEMENTAL_NAME = re.compile(
    r"section_(?P<section>\d{2})(?P<words>(?:_(?:supplemental|train|clean|machine|noise|normal|source|target))+)"
    r"_(?P<number>\d{4,})(?:_(?P<tail>.+))?"
)


def _section_name(separator: str, number: str) -> re.Pattern[str]:
    """The grammar of `section_...` names; all words between section and number may be missing."""
    words = ("(?P<domain>source|target)", "(?P<split>train|test)", "(?P<label>normal|anomaly)")
    optional = "".join(f"(?:{separator}{word})?" for word in words)
    return re.compile(
        rf"section{separator}(?P<section>\d{{2}}){optional}{separator}(?P<number>{number})"
        rf"(?:{separator}(?P<tail>.+))?"
    )


_SECTION_NAME = _section_name("_", r"\d{4,}")
_LOOSE_SECTION_NAME = _section_name("_?", r"\d{4}")


def parse_name(path: Path, machine: str, split: Split) -> Clip:
    """Everything that the name and the folder of a recording say about it. Does not touch the disk.

    Args:
        path: the recording; only its name and its folder's name are read.
        machine: machine type the recording belongs to.
        split: role of the folder it lies in.

    Raises:
        AsdError: the name is outside the grammar, contradicts its folder, or is an anomaly in training data.
    """
    match = _match(path, machine, split)
    found = match.groupdict()
    words = (found.get("words") or "").split("_")
    named_split = found.get("split")
    if named_split is not None and named_split != split:
        raise AsdError(f"{path} is a {named_split} clip by its name and lies in {split} data: move it.")
    label = Label(found["label"]) if found.get("label") else None
    if split is Split.TRAIN:
        if label is Label.ANOMALY:
            raise AsdError(f"{path} is an anomaly in training data, which must be normal: move it to test/.")
        label = Label.NORMAL
    attributes = _parse_tail(found.get("tail") or "", machine)
    if split is Split.SUPPLEMENTAL and {"noise", "machine", "clean"} & {*words}:
        attributes[CONTENT] = "noise" if "noise" in words else "machine"
    return Clip(
        path=path,
        machine=machine,
        section=found["section"],
        split=split,
        domain=_domain(path, found.get("domain"), words),
        label=label,
        attributes=attributes,
    )


def follows_grammar(path: Path, machine: str, split: Split) -> bool:
    """Whether a recording is named as in the challenge. Does not touch the disk.

    Args:
        path: the recording; only its name is read.
        machine: machine type the recording belongs to.
        split: role of the folder it lies in.
    """
    try:
        _match(path, machine, split)
    except AsdError:
        return False
    return True


def has_challenge_names(root: Path) -> bool:
    """Whether a folder of `<machine>/train` and the like holds a recording that is named as in the challenge."""
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    return any(
        follows_grammar(path, folder.name, split)
        for folder in folders
        for split, names in _FOLDERS.items()
        for name in (*names, _RENAMED)
        for path in find_recordings(folder / name)
    )


def format_name(
    section: str,
    number: int,
    *,
    split: Split | None = None,
    domain: Domain | None = None,
    label: Label | None = None,
    attributes: Mapping[str, str] | None = None,
    by_id: bool = False,
) -> str:
    """The file name that `parse_name` reads back as these facts; what is None is left out of it.

    Args:
        section: two digits; the machine ID where `by_id`.
        number: running number of the clip.
        split: train or test.
        domain: source or target.
        label: normal or anomaly.
        attributes: conditions in order; an empty mapping is written as `noAttribute`.
        by_id: the grammar of 2020, which names only label, ID and number.
    """
    if by_id:
        return "_".join(filter(None, (label, "id", section, f"{number:08d}"))) + ".wav"
    tail = None if attributes is None else _format_tail(attributes)
    return "_".join(filter(None, ("section", section, domain, split, label, f"{number:04d}", tail))) + ".wav"


def list_machines(root: Path) -> list[str]:
    """Names of the machines found under `root`, sorted: the folders that hold a train or test folder.

    Raises:
        AsdError: there is no such folder, or no machine in it.
    """
    return sorted(_machine_folders(root))


def machine_folder(root: Path, machine: str) -> Path:
    """The folder of a machine; accents may be written in either form of Unicode, on the disk and in the name.

    Args:
        root: folder of the machines.
        machine: its name.

    Raises:
        AsdError: there is no such machine.
    """
    folders = _machine_folders(root)
    folder = folders.get(unicodedata.normalize("NFC", machine))
    if folder is None:
        raise AsdError(_unknown_machine(root, machine, sorted(folders)))
    return folder


def list_clips(root: Path, machine: str, split: Split, *, original_names: bool = False) -> list[Clip]:
    """The clips of one machine and split, sorted by file name.

    Attributes come from `attributes_NN.csv` for every clip listed there, otherwise from the name.

    Args:
        root: folder that holds `<machine>/train` and so on.
        machine: name of the machine's folder.
        split: which clips; an absent `supplemental/` is an empty list.
        original_names: ignore `test_rename/`, whose names tell the labels: submissions list the names
            under which the clips were published.

    Raises:
        AsdError: an unknown machine, no data folder, no clips, a duplicate, a name outside the grammar,
            an anomaly in training data, or a CSV file that disagrees with the names.
    """
    folder = machine_folder(root, machine)
    paths = _recordings(folder, split, original_names)
    if not paths and split is not Split.SUPPLEMENTAL:
        where = " or ".join(str(folder / name) for name in _FOLDERS[split])
        raise AsdError(f"{machine} has no {split} clips: looked for *.wav in {where}.")
    table = read_attributes(folder)
    return [_with_attributes(parse_name(path, machine, split), table) for path in paths]


def attribute_gaps(root: Path, machine: str) -> list[str]:
    """What the attributes CSVs of a machine and its recordings do not share, in sentences; [] where all is well.

    Args:
        root: folder that holds <machine>/{train,test}.
        machine: its name.

    Raises:
        AsdError: an unknown machine, or a CSV that cannot be used.
    """
    folder = machine_folder(root, machine)
    return gaps(folder, {name: [path.name for path in find_recordings(folder / name)] for name in _WITH_CLIPS})


def _machine_folders(root: Path) -> dict[str, Path]:
    """Machine -> folder. Names are composed Unicode (NFC), whatever the disk's is."""
    if not root.is_dir():
        raise AsdError(f"no data folder {root.absolute()}: download the data, or say data=DIR.")
    found: dict[str, Path] = {}
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(".") or not any((folder / name).is_dir() for name in _WITH_CLIPS):
            continue
        name = unicodedata.normalize("NFC", folder.name)
        if name in found:
            raise AsdError(f"{found[name]} and {folder} are one name in two spellings: rename one of them.")
        found[name] = folder
    if not found:
        raise AsdError(f"{root.absolute()} holds no machine: expected <machine>/train and <machine>/test in it.")
    return found


def _match(path: Path, machine: str, split: Split) -> re.Match[str]:
    section_name = _LOOSE_SECTION_NAME if machine in _MISSING_UNDERSCORES else _SECTION_NAME
    patterns = [section_name, _ID_NAME]
    if split is Split.SUPPLEMENTAL:
        patterns.append(_SUPPLEMENTAL_NAME)
    if not path.name.isprintable():  # a line break, or bytes that are no text
        raise AsdError(f"the name {path.name!a} in {path.parent} holds characters that cannot be shown: rename it.")
    if path.suffix.lower() == ".wav":
        for pattern in patterns:
            if match := pattern.fullmatch(path.stem):
                return match
    raise AsdError(f"{path} is outside the file-name grammar: name it like {_EXAMPLES}.")


def _domain(path: Path, named: str | None, words: Iterable[str]) -> Domain | None:
    """Domain by the name, by the words of a supplemental name, or by 2021's folder."""
    named = named or next((word for word in words if word in {"source", "target"}), None)
    by_folder = _FOLDER_DOMAIN.get(path.parent.name)
    if named is None:
        return by_folder
    if by_folder is not None and by_folder != named:
        raise AsdError(f"{path} is of the {named} domain by its name and lies in {path.parent.name}/: move it.")
    return Domain(named)


def _parse_tail(tail: str, machine: str) -> dict[str, str]:
    """The attributes at the end of a name: pairs, or the whole ending as one condition."""
    if tail in {"", HIDDEN}:
        return {}
    text = _TWO_WORD_KEYS.sub(r"\1 \2", tail)
    if machine in _MISSING_UNDERSCORES:
        text = _GLUED_PAIR.sub(r"\1_", text)
    tokens = [token.replace(" ", "_") for token in text.split("_")]
    keys, values = tokens[::2], tokens[1::2]
    in_pairs = len(keys) == len(values) == len({*keys}) and all(key[:1].isalpha() for key in keys)
    return dict(zip(keys, values, strict=True)) if in_pairs and all(values) else {CONDITION: tail}


def _format_tail(attributes: Mapping[str, str]) -> str:
    if {*attributes} == {CONDITION}:
        return attributes[CONDITION]
    return "_".join(f"{key}_{value}" for key, value in attributes.items()) or HIDDEN


def _recordings(folder: Path, split: Split, original_names: bool) -> list[Path]:
    """Recordings of one machine and split, sorted by name."""
    names = _FOLDERS[split]
    if split is Split.TEST and not original_names and (folder / _RENAMED).is_dir():
        names = (_RENAMED,)
    found = [path for name in names for path in find_recordings(folder / name)]
    if twice := doubled(path.name for path in found):
        first, second = [path for path in found if recording_key(path.name) == twice[0]][:2]
        raise AsdError(f"{second} has the same name as {first}: remove one of them.")
    return sorted(found, key=lambda path: path.stem)


def _unknown_machine(root: Path, machine: str, machines: list[str]) -> str:
    near = difflib.get_close_matches(machine.lower(), [name.lower() for name in machines], n=1, cutoff=0.5)
    guess = "".join(f" did you mean {name}?" for name in machines if near == [name.lower()])
    return f"machine={machine!r} is not under {root.absolute()}:{guess} It holds {', '.join(machines)}."


def _with_attributes(clip: Clip, table: Mapping[str, Mapping[str, str]]) -> Clip:
    """The clip with the CSV's attributes in place of the name's, where the CSV lists it."""
    listed = table.get(recording_key(clip.name))
    if listed is None:
        return clip
    for key in listed.keys() & clip.attributes.keys():
        if listed[key] != clip.attributes[key]:
            raise AsdError(
                f"{clip.path} says {key}={clip.attributes[key]!r} by its name and {listed[key]!r} in "
                f"{clip.machine}/attributes_{clip.section}.csv: correct one of them."
            )
    content = {key: value for key, value in clip.attributes.items() if key == CONTENT}
    return replace(clip, attributes={**listed, **content})
