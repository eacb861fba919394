"""File-name grammar <-> Clip: all that the name and the folder of a recording say. Does not touch the disk.

Names, in the spellings of the years:

    section_00_source_train_normal_0000_vel_4.wav   2022 and later; ..._noAttribute.wav where hidden
    section_03_source_test_0000.wav                 evaluation clip of 2021
    section_00_0001.wav                             evaluation clip, 2022 and later
    section_00_machine_source_0000_noAttribute.wav  supplemental: the words come in several orders
    normal_id_00_00000000.wav                       2020; evaluation clip: id_01_00000000.wav
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from asd.types import AsdError, Clip, Domain, Label, Split

HIDDEN = "noAttribute"  # what names and tables say where attributes are not published
CONDITION = "condition"  # the attribute that holds a name's whole ending where it is not in pairs (2021)
CONTENT = "content"  # the attribute of supplemental clips: "machine" (clean) or "noise"

_EXAMPLES = "section_00_source_train_normal_0000_vel_4.wav or normal_id_00_00000000.wav"
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

    `AsdError` where the name is outside the grammar, contradicts its folder, or is an anomaly in training data.
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
    return Clip(path, machine, found["section"], split, _domain(path, found.get("domain"), words), label, attributes)


def follows_grammar(path: Path, machine: str, split: Split) -> bool:
    """Whether a recording is named as in the challenge. Does not touch the disk."""
    try:
        _match(path, machine, split)
    except AsdError:
        return False
    return True


def format_name(
    section: str,
    number: int,
    *,
    split: Split | None = None,
    domain: Domain | None = None,
    label: Label | None = None,
    attributes: Mapping[str, str] | None = None,
) -> str:
    """The file name since 2021 that `parse_name` reads back as these facts; what is None is left out of it.

    No conditions at all are written as `noAttribute`.
    """
    tail = None if attributes is None else _format_tail(attributes)
    return "_".join(filter(None, ("section", section, domain, split, label, f"{number:04d}", tail))) + ".wav"


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
