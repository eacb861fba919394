"""CSV files of the challenge: no header, a fixed number of columns, blank lines at most at the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from asd.places import is_recording
from asd.types import AsdError


def parse_rows(text: str) -> list[list[str]]:
    """The lines of a CSV text as cells; blank lines at the end, as editors leave them, are none."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    return rows


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, a line each."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue()


def is_header(cells: list[str]) -> bool:
    """Whether a first line names columns: neither a recording nor a number in it."""
    return bool(cells) and not is_recording(Path(cells[0])) and parse_number(cells[-1]) is None


def parse_number(text: str) -> float | None:
    """The number that is written there, NaN and infinity included; None for anything else, such as 1_000."""
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def read_rows(path: Path, n_columns: tuple[int, ...]) -> list[list[str]]:
    """The lines of a CSV file without a header, each with one of the given numbers of columns."""
    try:
        rows = parse_rows(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise AsdError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AsdError(f"{path} is not a readable CSV file: {error}") from error
    if not rows:
        raise AsdError(f"{path} is empty")
    for number, row in enumerate(rows, start=1):
        if len(row) not in n_columns:
            wanted = " or ".join(map(str, n_columns))
            raise AsdError(f"{path} has {len(row)} columns in line {number} where {wanted} belong, with commas between")
    return rows


def read_numbers(path: Path) -> dict[str, float]:
    """File name -> number of a CSV file with two columns and no header."""
    numbers: dict[str, float] = {}
    for line, (name, value) in enumerate(read_rows(path, (2,)), start=1):
        number = parse_number(value)
        if number is None:
            if line == 1 and is_header([name, value]):
                raise AsdError(f"{path} starts with a header line '{name},{value}': delete it")
            raise AsdError(f"{path} has {value!r} in line {line} where a number belongs")
        if name in numbers:
            raise AsdError(f"{path} lists {name} twice, the second time in line {line}: delete one")
        numbers[name] = number
    return numbers
