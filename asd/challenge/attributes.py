"""The attributes CSVs of a machine: conditions of each recording, `file_name,d1p,d1v,d2p,d2v,...`.

Rows name the recording as `bearing/train/x.wav`, as `x.wav` or as `x`; see `types.recording_key`.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asd.types import AsdError, count_and_first, recording_key, unmatched

HIDDEN = "noAttribute"  # what names and tables say where attributes are not published

Table = dict[str, dict[str, str]]  # key of a recording -> attributes


def read_attributes(folder: Path) -> Table:
    """Recording (see `recording_key`) -> attributes, of all `attributes_NN.csv` of a machine; {} where absent.

    Args:
        folder: of the machine.

    Raises:
        AsdError: a file that is no such table, a recording listed twice, or cells that contradict each other.
    """
    table: Table = {}
    for path in sorted(folder.glob("attributes_*.csv")):
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        header, *rows = csv.reader(text.splitlines() or [""])
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


def _attributes_of(cells: Iterable[str], where: str) -> dict[str, str]:
    """Cells key, value, key, value, ... -> attributes. What is hidden or left empty is not known, and left out."""
    filled = [cell.strip() for cell in cells]
    attributes: dict[str, str] = {}
    for key, value in itertools.zip_longest(filled[::2], filled[1::2], fillvalue=""):
        if not value or key == HIDDEN:
            continue
        if not key:
            raise AsdError(f"{where}, has the value {value!r} without a name before it: fill in the name.")
        if attributes.setdefault(key, value) != value:
            raise AsdError(f"{where}, says both {key}={attributes[key]} and {key}={value}: keep one of them.")
    return attributes


def gaps(folder: Path, files: Mapping[str, Sequence[str]]) -> list[str]:
    """What the CSVs of a machine and its recordings do not share, in sentences; [] where all is well.

    Rows for recordings that are not there, training clips without a row, and test clips without one where others
    have one: those of an evaluation set have none.

    Args:
        folder: of the machine.
        files: names of the recordings by their folder, such as "train".

    Raises:
        AsdError: as `read_attributes`.
    """
    rows = read_attributes(folder)
    sentences = []
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
