"""Results in Markdown: numbers and tables that are tables in a terminal too, pages with figures, and the files beside.

A page has sections with sentences, tables and figures, by one template.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asd.core.files import atomic, write_json, write_text
from asd.core.storage import publish_files
from asd.types import AsdError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING = "–"
_COLUMNS = 118
_STARTS = re.compile(r"[-+±<>~(]?\.?\d")  # a number, which `pump 3` is not


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; columns of numbers are aligned to the right."""
    every = [[text.replace("|", r"\|") for text in row] for row in (head, *rows)]  # else it would part two cells
    columns = list(zip(*every, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    pads = [str.rjust if _is_numeric(column[1:]) else str.ljust for column in columns]
    lines = [
        "| " + " | ".join(pad(text, width) for text, width, pad in zip(row, widths, pads, strict=True)) + " |"
        for row in every
    ]
    rule = ["-" * (width + 1) + (":" if pad is str.rjust else "-") for width, pad in zip(widths, pads, strict=True)]
    return [lines[0], "|" + "|".join(rule) + "|", *lines[1:]]


def check_columns(machines: Sequence[str], columns: Iterable[str]) -> None:
    """Refuses a machine whose column of a table would have the name of another column."""
    if taken := sorted({*machines} & {*columns}):
        raise AsdError(
            f"the machine {taken[0]} has the name of another column of the table; rename its folder, or leave it out "
            f"with machine="
        )


def place_in(page: Path, what: str) -> tuple[str, str]:
    """The text of a page up to the line `<!-- what -->`, and from `<!-- end -->` on; a table goes between them."""
    begin, end = f"<!-- {what} -->", "<!-- end -->"
    try:
        text = page.read_text("utf-8")
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
    is_named = any(text.isdigit() and text.startswith("0") and len(text) > 1 for text in filled)  # a section such as 00
    are_numbers = all(text == MISSING or (text[-1] in "%0123456789" and _STARTS.match(text)) for text in filled)
    return bool(filled) and are_numbers and not is_named


@dataclass(frozen=True)
class Section:
    """A part of a page, in this order; what is empty is left out."""

    title: str = ""
    text: str = ""  # a paragraph
    points: Sequence[str] = ()  # sentences of a list
    head: Sequence[str] = ()  # of a table
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[str] = ()  # names of files without ".png", which are also their captions
    note: str = ""  # a paragraph at the end
    level: int = 2  # of the heading


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """The page as Markdown; its figures lie beside it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("asd.evaluation", ""), undefined=StrictUndefined, autoescape=False)
    paragraph = partial(fill, width=_COLUMNS, break_long_words=False, break_on_hyphens=False)
    item = partial(paragraph, initial_indent="- ", subsequent_indent="  ")
    environment.filters |= {"item": item, "paragraph": paragraph}
    return environment.get_template("page.md.jinja").render(title=title, sections=sections, table=table) + "\n"


def write_page(
    folder: Path,
    name: str,
    title: str,
    sections: Sequence[Section],
    *,
    numbers: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame] | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> str:
    """Writes a page and what belongs to it, and sends the folder to where an address lies; returns the page.

    Args:
        name: of the page and of its numbers: <name>.md and <name>.json.
        numbers: all of them, unrounded; what is not defined becomes null.
        tables: by file name without ".csv"; one without rows is not written.
        figures: by file name without ".png".
    """
    for stem, figure in (figures or {}).items():
        with atomic(folder / f"{stem}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=100)
    for stem, frame in (tables or {}).items():
        if len(frame):
            write_text(folder / f"{stem}.csv", frame.to_csv(index=any(frame.index.names)))
    write_json(folder / f"{name}.json", without_nan(numbers))
    text = as_markdown(title, sections)
    write_text(folder / f"{name}.md", text)
    publish_files(folder)
    return text


def write_results(stem: Path, numbers: Mapping[str, Any], table: pd.DataFrame, text: str) -> None:
    """Writes <stem>.json, .csv and .md, and sends them to where an address lies."""
    write_json(stem.with_suffix(".json"), numbers)
    write_text(stem.with_suffix(".csv"), table.to_csv(index=False))
    write_text(stem.with_suffix(".md"), text)
    publish_files(*(stem.with_suffix(suffix) for suffix in (".json", ".csv", ".md")))


def spread(values: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, float]:
    """{"mean", "std"}: mean and sample standard deviation over seeds, exactly 0 for one and for equal ones."""
    differ = len(values) > 1 and np.ptp(values) != 0
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if differ else 0.0}


def plus_minus(found: Mapping[str, float], decimals: int, *, sign: bool = False, factor: float = 1) -> str:
    """Mean ± standard deviation as text, times a factor; with `sign` for a difference."""
    mean, std = factor * found["mean"], factor * found["std"]
    return f"{signed(mean, decimals) if sign else f'{mean:.{decimals}f}'} ± {std:.{decimals}f}"


def without_nan(value: Any) -> Any:
    """The same with null for what is not defined: NaN is no JSON."""
    if isinstance(value, Mapping):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
