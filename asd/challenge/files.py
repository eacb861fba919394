"""The clips of a machine's folder, with the attributes that names and tables give them.

A machine's folder, in the layouts of the years:

    <root>/<machine>/train/                     normal clips
                    /test/                      labelled (development) or not (evaluation)
                    /source_test/ /target_test/ 2021: the domain is known from the folder
                    /test_rename/               the evaluation clips under names that tell their labels
                    /supplemental/              2025: clean machine sound, or noise without the machine
                    /attributes_00.csv          conditions of each clip: file_name,d1p,d1v,d2p,d2v,...

Rows of an attributes table name a recording as `bearing/train/x.wav`, `x.wav` or `x`; see `places`.

Args:
    root: folder of the machines.
    machine: name of its folder; accents may be written in either form of Unicode, on the disk and in the name.
    split: which clips.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from asd.challenge.names import CONTENT, HIDDEN, follows_grammar, parse_name
from asd.places import doubled, find_in_tree, find_recordings, is_table, recording_key, table_text, unmatched
from asd.types import AsdError, Clip, Split, count_and_first, plain_number

FOLDERS = {
    Split.TRAIN: ("train",),
    Split.TEST: ("test", "source_test", "target_test"),
    Split.SUPPLEMENTAL: ("supplemental",),
}
CLIP_FOLDERS = tuple(name for names in FOLDERS.values() for name in names)  # as they are published
_RENAMED = "test_rename"
_WITH_CLIPS = (*CLIP_FOLDERS, _RENAMED)

Table = dict[str, dict[str, str]]  # key of a recording -> attributes


def has_challenge_names(root: Path) -> bool:
    """Whether a folder of `<machine>/train` and the like holds a recording that is named as in the challenge."""
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    for folder in folders:
        for split, names in FOLDERS.items():
            paths = [path for name in (*names, _RENAMED) for path in find_recordings(folder / name)]
            if any(follows_grammar(path, folder.name, split) for path in paths):
                return True
    return False


def list_machines(root: Path) -> list[str]:
    """Names of the machines, sorted: the folders that hold a train or test folder; `AsdError` where there is none."""
    return list(_machine_folders(root))


def machine_folder(root: Path, machine: str) -> Path:
    """The folder of a machine; `AsdError` where there is none."""
    folders = _machine_folders(root)
    folder = folders.get(unicodedata.normalize("NFC", machine))
    if folder is None:
        near = difflib.get_close_matches(machine.lower(), [name.lower() for name in folders], n=1, cutoff=0.5)
        guess = "".join(f" did you mean {name}?" for name in folders if near == [name.lower()])
        raise AsdError(f"machine={machine!r} is not under {root.absolute()}:{guess} It holds {', '.join(folders)}.")
    return folder


def list_clips(root: Path, machine: str, split: Split, *, original_names: bool = False) -> list[Clip]:
    """The clips of one machine and split, sorted by file name; an absent `supplemental/` is an empty list.

    Attributes come from `attributes_NN.csv` for every clip listed there, otherwise from the name.

    Args:
        original_names: ignore `test_rename/`, whose names tell the labels: submissions list the names
            under which the clips were published.

    Raises:
        AsdError: an unknown machine, no data folder, one that is half filled, no clips, a duplicate, a name outside
            the grammar, an anomaly in training data, or a CSV file that disagrees with the names.
    """
    folder = machine_folder(root, machine)
    if begun := sorted(folder.glob(".manifest_*.json")):  # see `installed`
        raise AsdError(
            f"{folder} is only half there, as `data` was broken off while it filled it: run the same `data` "
            f"again, or remove {begun[0]} if all is there."
        )
    paths = _recordings(folder, split, original_names)
    if not paths and split is not Split.SUPPLEMENTAL:
        where = " or ".join(str(folder / name) for name in FOLDERS[split])
        raise AsdError(f"{machine} has no {split} clips: looked for *.wav in {where}.")
    table = read_attributes(folder)
    return [_with_attributes(parse_name(path, machine, split), table) for path in paths]


def attribute_gaps(root: Path, machine: str) -> list[str]:
    """What of a machine's folder is not read, and what its attributes CSVs and recordings do not share, in sentences.

    Recordings in folders below, tables under other names, rows for recordings that are not there, training clips
    without a row, and test clips without one where others have one: those of an evaluation set have none. `AsdError`
    for an unknown machine, or a CSV that cannot be used.
    """
    folder = machine_folder(root, machine)
    files = {name: [path.name for path in find_recordings(folder / name)] for name in _WITH_CLIPS}
    rows = read_attributes(folder)
    sentences = []
    for place in (folder / name for name in files):
        if below := [str(path) for path in find_in_tree(place) if path.parent != place]:
            sentences.append(f"{place} holds recordings in folders below, which are not read: {count_and_first(below)}")
    others = [p for p in folder.glob("[aA][tT][tT][rR]*.*") if is_table(p) and p not in _attribute_tables(folder)]
    sentences += [f"{path} is not read: tables of attributes are called attributes_00.csv" for path in others]
    if strange := unmatched(rows, itertools.chain(*files.values())):
        sentences.append(
            f"{folder}/attributes_*.csv has rows for recordings that are not there: {count_and_first(strange)}"
        )
    for name, own in files.items():
        without = unmatched(own, rows)
        if rows and without and (name == "train" or len(without) < len(own)):
            sentences.append(
                f"{folder}/attributes_*.csv has no row for some recordings of {name}/: {count_and_first(without)}; "
                f"of them only what their names say is known"
            )
    return sentences


def _machine_folders(root: Path) -> dict[str, Path]:
    """Machine -> folder, sorted. Names are composed Unicode (NFC), whatever the disk's is."""
    if not root.is_dir():
        what = ", which is a file and no table of recordings (.csv, .tsv, .parquet)" if root.is_file() else ""
        raise AsdError(
            f"no data folder {root.absolute()}{what}: fetch a year's by python -m asd data, or say data=DIR; train "
            f"takes normal=DIR as well, recordings of a machine in good order"
        )
    found: dict[str, Path] = {}
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(".") or not _is_machine(folder):
            continue
        name = unicodedata.normalize("NFC", folder.name)
        if name in found:
            raise AsdError(f"{found[name]} and {folder} are one name in two spellings: rename one of them.")
        found[name] = folder
    if not found:
        raise _no_machine(root.absolute())
    return dict(sorted(found.items()))


def _is_machine(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _WITH_CLIPS)


def _no_machine(root: Path) -> AsdError:
    """The error for a folder without a machine; it names one that lies above or below."""
    near = (root, root.parent, *sorted(root.glob("*/*")), *sorted(root.glob("*/*/*")))
    machine = next(filter(_is_machine, near), None)
    hint = f"; for the machine {machine.name}, say data={machine.parent} machine={machine.name}" if machine else "."
    if machine and root in machine.parents:
        hint += ", or put the folders of all machines into one"
    return AsdError(f"{root} holds no machine: expected <machine>/train and <machine>/test in it{hint}")


def _recordings(folder: Path, split: Split, original_names: bool) -> list[Path]:
    """Recordings of one machine and split, sorted by name."""
    names = FOLDERS[split]
    if split is Split.TEST and not original_names and (folder / _RENAMED).is_dir():
        names = (_RENAMED,)
    found = [path for name in names for path in find_recordings(folder / name)]
    if twice := doubled(path.name for path in found):
        first, second = [path for path in found if recording_key(path.name) == twice[0]][:2]
        raise AsdError(f"{second} has the same name as {first}: remove one of them.")
    return sorted(found, key=lambda path: path.stem)


def _with_attributes(clip: Clip, table: Mapping[str, Mapping[str, str]]) -> Clip:
    """The clip with the CSV's attributes in place of the name's, where the CSV lists it."""
    listed = table.get(recording_key(clip.name))
    if listed is None:
        return clip
    for key in listed.keys() & clip.attributes.keys():
        if listed[key] != plain_number(clip.attributes[key]):
            raise AsdError(
                f"{clip.path} says {key}={clip.attributes[key]!r} by its name and {listed[key]!r} in "
                f"{clip.machine}/attributes_{clip.section}.csv: correct one of them."
            )
    content = {key: value for key, value in clip.attributes.items() if key == CONTENT}
    return replace(clip, attributes={**listed, **content})


def read_attributes(folder: Path) -> Table:
    """Recording (see `recording_key`) -> attributes, of all `attributes_NN.csv` of a machine; {} where absent.

    Raises:
        AsdError: a file that is no such table, a recording listed twice, or cells that contradict each other.
    """
    table: Table = {}
    for path in _attribute_tables(folder):
        try:
            header, *rows = csv.reader(table_text(path.read_bytes()).splitlines() or [""], strict=True)
        except UnicodeDecodeError as error:
            raise AsdError(f"{path} is no text ({error}): write it in UTF-8.") from error
        except csv.Error as error:  # a quotation mark that is not closed, and would take the rows behind it
            raise AsdError(f"{path} is not a readable CSV file ({error}): correct its quotation marks.") from error
        if header[:1] != ["file_name"]:
            raise AsdError(f"{path} begins with {','.join(header)!r}: expected file_name,d1p,d1v,...")
        for line, row in enumerate(rows, start=2):
            if not any(cell.strip() for cell in row):
                continue
            key = recording_key(row[0])
            if key in table:
                raise AsdError(f"{path} lists {key} twice (line {line}): remove one row.")
            table[key] = _attributes_of(row[1:], f"{path}, line {line}")
    return table


def _attribute_tables(folder: Path) -> list[Path]:
    """Tables of attributes in a machine's folder, sorted; capitals in their names make no difference."""
    return sorted(path for path in folder.iterdir() if fnmatch(path.name.lower(), "attributes_*.csv"))


def _attributes_of(cells: Iterable[str], where: str) -> dict[str, str]:
    """Cells key, value, key, value, ... -> attributes. What is hidden or left empty is not known, and left out."""
    filled = [plain_number(cell.strip()) for cell in cells]
    attributes: dict[str, str] = {}
    for key, value in itertools.zip_longest(filled[::2], filled[1::2], fillvalue=""):
        if not value or key == HIDDEN:
            continue
        if not key:
            raise AsdError(f"{where}, has the value {value!r} without a name before it: fill in the name.")
        if attributes.setdefault(key, value) != value:
            raise AsdError(f"{where}, says both {key}={attributes[key]} and {key}={value}: keep one of them.")
    return attributes
