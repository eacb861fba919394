"""A table that names recordings, `recordings.csv`, `.tsv` or `.parquet`: one row each, its columns in any order.

path      of the recording, relative to the table, or its address
machine   which machine it is; without this column all are of one
split     train or test; where it is empty, what the label leaves open is decided as for folders
label     normal or anomaly; empty where it is not known
domain    source or target; empty where it is not known
section   which unit or condition of the machine, such as 00; each is evaluated by itself
any other column is an attribute
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from os.path import isfile
from pathlib import Path

import pandas as pd

from asd.core.runtime import imported
from asd.data.layouts.words import meaning, names_fault, read_cell
from asd.places import MOST_NAME_BYTES, address_of, is_address, is_table, mirrored, names_a_folder, table_text
from asd.types import AsdError, Clip, Domain, Label, Split, plain_number, section_name

_PATH_COLUMNS = ("path", "file", "filename", "file_name")
_KNOWN = ("machine", "split", "label", "domain", "section")
_NO, _NOTHING = {"0", "0.0", "false", "f", "no", "n"}, {"none", "nan", "n/a", "-"}  # in a column that tells a fault
_ONE = {"1", "1.0", "true"}  # in a column of labels, which `iso_class`, `target_rpm` and `mic_y` are not
_LABELS = re.compile(r"(?<![a-z])(labels?|truth|gt)(?![a-z])|^(class|target|y)([ _-]?(id|true))?$")


def read_table(path: Path, unsaid: Split = Split.TEST, *, some: bool = False) -> list[Clip]:
    """The recordings of a table; `machine` is empty where the table does not name one.

    Rows without a split are training clips where they are normal, and test clips otherwise. Where no row has a split or
    a label, all are `unsaid`. `AsdError` where it is no such table, a row names no recording or one that is not there,
    or a cell means nothing. With `some`, one recording that is there is enough: others are named when they are read.
    """
    table = _cells(path)
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise AsdError(f"{path} has the column {twice} twice; rename or remove one")
    named = [column for column in _PATH_COLUMNS if column in table.columns]
    if not named:
        raise AsdError(f"{path} has the columns {', '.join(table.columns)} and none is called path; rename one")
    if any(str(cell).strip() for column in {"split", "label"} & {*table.columns} for cell in table[column]):
        unsaid = Split.TEST
    rows = [{str(column): str(value).strip() for column, value in row.items()} for row in table.to_dict("records")]
    clips = [_clip(cells, named[0], path, n, unsaid, some) for n, cells in enumerate(rows, 2) if any(cells.values())]
    if some and not any(map(_is_there, (clip.path for clip in clips))):
        return read_table(path, unsaid)  # which says so
    if not clips:
        raise AsdError(f"{path} lists no recordings; add a row for each")
    return clips


def _cells(path: Path) -> pd.DataFrame:
    """All cells as text."""
    if not path.exists():
        raise AsdError(f"{path} does not exist; name a table of recordings, or a folder")
    try:
        if path.suffix.lower() == ".parquet":
            imported("pyarrow", f"{path} is read by the extra parquet; pip install 'asd[parquet]', or write it as CSV")
            table = pd.read_parquet(path, dtype_backend="numpy_nullable").astype("string").fillna("")
            return table.rename(columns=_column)
        text = table_text(path.read_bytes()).lstrip("\r\n")
        header, _, rest = text.partition("\n")
        if header.lower().startswith("sep="):  # Excel
            text, header = rest, rest.partition("\n")[0]
        separator = max(",;\t", key=header.count)
        cells = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, header=None, skip_blank_lines=False
        )
        table = cells.fillna("")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AsdError(f"{path} is not a readable table of recordings ({reason}); correct or remove it") from error
    columns = [_column(cell) for cell in table.iloc[0]]
    rows = table.iloc[1:].set_axis(columns, axis=1)
    return rows.loc[:, [bool(name) for name in columns]]  # a column without a name counts the rows


def _column(name: object) -> str:
    return str(name).strip().lower()


def _clip(cells: Mapping[str, str], path_column: str, table: Path, number: int, unsaid: Split, some: bool) -> Clip:
    where = f"{table}, row {number}"
    name = cells[path_column].replace("\\", "/")
    if not name:
        raise AsdError(f"{where} names no recording; fill in {path_column}, or remove the row")
    path = mirrored(name) if is_address(name) else _file(table.parent, name)
    if not some and not _is_there(path):
        raise AsdError(f"{where} names {name}, and there is no file {path}; paths are relative to the table")
    label = read_cell(cells.get("label", ""), Label, where)
    domain = read_cell(cells.get("domain", ""), Domain, where)
    split = read_cell(cells.get("split", ""), Split, where)
    known = {*_PATH_COLUMNS, *_KNOWN}
    attributes = {key: plain_number(value) for key, value in cells.items() if key not in known and value}
    split = split or (Split.TRAIN if label is Label.NORMAL else unsaid)
    told = {key: value for key, value in attributes.items() if key != "y" or "x" not in cells}  # beside x, a coordinate
    told[path_column] = path.stem
    if split is Split.TRAIN and label is None and (faulty := [*filter(_tells_of_fault, told.items())]):
        column, cell = faulty[0]
        raise AsdError(
            f"{where} would be learnt from as normal, and its column {column} says {cell!r}; call the column label, or "
            f"fill in the column label"
        )
    machine = unicodedata.normalize("NFC", cells.get("machine", ""))
    if machine and not names_a_folder(machine):
        raise AsdError(
            f"{where} has the machine {machine!r}; write a name without slashes and without a dot before it, of "
            f"{MOST_NAME_BYTES} bytes at most"
        )
    section = section_name(cells.get("section", "")) or "00"
    return Clip(path, machine, section, split, domain, label, attributes, name)


def _is_there(path: Path) -> bool:
    return address_of(path) is not None or isfile(path)


def _file(folder: Path, name: str) -> Path:
    """Where a file of this name lies, whose accents may be written in either form of Unicode, as on a Mac."""
    spellings = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    return folder / next((spelling for spelling in spellings if isfile(folder / spelling)), name)


def _tells_of_fault(attribute: tuple[str, str]) -> bool:
    """Whether a cell is a word for an anomaly, or says yes in a column called so, 1 in one of labels, no in normal."""
    column, cell = attribute
    denies, says_no = cell.lower() in _NO, cell.lower() in _NO | _NOTHING or meaning(cell) == Label.NORMAL
    names_one = names_fault(column) and not says_no
    is_one = cell.lower() in _ONE and _LABELS.search(column) is not None
    is_denied = denies and meaning(column.removeprefix("is_")) == Label.NORMAL
    return names_fault(cell) or names_one or is_one or is_denied


def clips(root: Path, files: Sequence[Path]) -> list[Clip] | None:
    """The clips of the table `recordings` in a folder; None where there is none, `AsdError` where there are two."""
    tables = sorted(path for path in files if path.parent == root and path.stem == "recordings" and is_table(path))
    if len(tables) > 1:
        raise AsdError(f"{root} holds {tables[0].name} and {tables[1].name}; remove one, or name it with data=")
    return read_table(tables[0]) if tables else None
