"""Tables of Markdown that are tables in a terminal too, where they stand in a page, and differences with their sign."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from asd.types import AsdError

MISSING = "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; columns of numbers are aligned to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    pads = [str.rjust if _is_numeric(column[1:]) else str.ljust for column in columns]
    lines = [
        "| " + " | ".join(pad(text, width) for text, width, pad in zip(row, widths, pads, strict=True)) + " |"
        for row in (head, *rows)
    ]
    rule = ["-" * (width + 1) + (":" if pad is str.rjust else "-") for width, pad in zip(widths, pads, strict=True)]
    return [lines[0], "|" + "|".join(rule) + "|", *lines[1:]]


def place_in(page: Path, what: str) -> tuple[str, str]:
    """The text of a page up to the line `<!-- what -->`, and from `<!-- end -->` on; a table goes between them.

    Raises:
        AsdError: there is no such page, or it has no such place.
    """
    begin, end = f"<!-- {what} -->", "<!-- end -->"
    try:
        text = page.read_text()
    except OSError as error:
        raise AsdError(f"page={page} cannot be read ({error.strerror})") from error
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise AsdError(f"page={page} has no place for the table; add the lines {begin} and {end}")
    return before + found, closed + after


def plain(value: float, decimals: int = 4) -> str:
    """A number with so many decimals; a dash for one that is not defined."""
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}"


def signed(value: float, decimals: int = 4) -> str:
    """A difference with its sign; one that rounds to zero has none, so that no "-0" is ever printed.

    Subtract first and round here: the difference of two rounded numbers can be off by one in the last place.

    Example:
        >>> signed(0.0123, 3), signed(-0.00001)
        ('+0.012', '0.0000')
    """
    if math.isnan(value):
        return MISSING
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}" if rounded else f"{0:.{decimals}f}"


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, and blanks at most between them."""
    filled = [text for text in cells if text]
    return bool(filled) and all(map(_is_number, filled))


def _is_number(text: str) -> bool:
    is_name = text.isdigit() and text.startswith("0") and len(text) > 1  # a section such as 00
    return text == MISSING or text.endswith("%") or (text[-1:].isdigit() and not is_name)
