"""A page of results: findings, sections with tables and figures, by one template; and the files beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from asd.core.files import atomic
from asd.evaluation.markdown import signed, table
from asd.runs import write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 118


@dataclass(frozen=True)
class Section:
    """A part of a page, in this order; what is empty is left out.

    Attributes:
        title: heading.
        text: a paragraph.
        points: sentences of a list.
        head, rows: of a table.
        figures: names of files without ".png", which are also their captions.
        note: a paragraph at the end.
        level: of the heading.
    """

    title: str = ""
    text: str = ""
    points: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[str] = ()
    note: str = ""
    level: int = 2


def as_markdown(title: str, findings: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as Markdown; its figures lie beside it."""
    environment = Environment(loader=PackageLoader("asd.evaluation", ""), undefined=StrictUndefined, autoescape=False)
    environment.filters |= {"item": _item, "paragraph": _paragraph}
    page = environment.get_template("page.md.jinja")
    return page.render(title=title, findings=findings, sections=sections, table=table) + "\n"


def write_page(
    folder: Path,
    name: str,
    text: str,
    *,
    numbers: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame] | None = None,
    figures: Mapping[str, Figure] | None = None,
) -> None:
    """Writes a page and what belongs to it, each file whole or not at all.

    Args:
        name: of the page and of its numbers: <name>.md and <name>.json.
        numbers: all of them, unrounded; what is not defined becomes null.
        tables: by file name without ".csv"; one without rows is not written.
        figures: by file name without ".png".

    Raises:
        AsdError: the place cannot be written.
    """
    for stem, figure in (figures or {}).items():
        with atomic(folder / f"{stem}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=100)
    for stem, frame in (tables or {}).items():
        if len(frame):
            named = any(frame.index.names)
            write_text(folder / f"{stem}.csv", frame.to_csv(index=named))
    write_json(folder / f"{name}.json", without_nan(numbers))
    write_text(folder / f"{name}.md", text)


def spread(values: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, float]:
    """{"mean", "std"}: mean and sample standard deviation over seeds, 0 for one."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


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


def _paragraph(text: str) -> str:
    return fill(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)


def _item(sentence: str) -> str:
    return fill(f"- {sentence}", _COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
