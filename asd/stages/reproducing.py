"""The stage `reproduce`: a year's published data, the methods with published scores, and one page with both."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from asd.challenge.files import list_machines
from asd.challenge.years import get_year
from asd.core.files import read_yaml, write_text
from asd.core.storage import publish_files
from asd.evaluation.markdown import table as markdown_table
from asd.options import SideBySide
from asd.settings.stages import Benchmark, Data, Reproduce
from asd.stages import obtaining
from asd.stages.benchmarking import as_markdown, benchmark, check_methods, read_methods
from asd.types import AsdError

PARTS = {"dev": "Development machines", "eval": "Evaluation machines"}


def reproduce(config: Reproduce) -> str:
    """Fetches a year, measures every method on both sets of machines, and writes runs/reproduce/<year>/reproduce.md.

    What is there already is neither fetched nor trained again.

    Returns:
        The page: a table of each set of machines, and published scores beside ours.

    Raises:
        AsdError: something failed; all else is measured then, and the page is as it was.
    """
    check_methods(config.methods, read_methods(config.methods))
    published = read_published(config.published).get(config.year, [])
    year = get_year(config.year)
    root = config.data or year.folder
    sources = {name: getattr(config, name) for name in ("year", "machine", "data", "archive", "evaluators")}
    obtaining.data(Data(**sources))
    tables, failed = {}, []
    for part in PARTS:
        place = root / (year.dev_root if part == "dev" else year.eval_root).relative_to(year.folder)
        there = list_machines(place) if place.is_dir() else []
        machines = [name for name in there if config.machine == ["all"] or name in config.machine]
        if machines:  # of the evaluation set alone, say
            try:
                tables[part] = benchmark(_one_part(config, part, place, machines))
            except AsdError as error:  # the other set is measured all the same
                failed.append(f"{PARTS[part]}: {error}")
    if failed:
        raise AsdError("; ".join(failed))
    page = _as_page(config.year, tables, published)
    path = config.runs / str(config.year) / "reproduce.md"
    write_text(path, page)
    publish_files(path)
    return page


def summary(config: Reproduce, page: str) -> str:
    """The tables, and where they are."""
    return f"{page}\nwritten to {config.runs / str(config.year)}/reproduce.md"


class Published(BaseModel):
    """An official score as it was published."""

    model_config = ConfigDict(extra="forbid", strict=True)
    system: str
    part: Literal["dev", "eval"]
    score: float  # in per cent
    source: str
    ours: str = ""  # method / scorer


def read_published(path: Path) -> dict[int, list[Published]]:
    """Published official scores by year."""
    try:
        return TypeAdapter(dict[int, list[Published]]).validate_python(read_yaml(path, "published="), strict=True)
    except ValidationError as error:
        raise AsdError(
            f"published={path} is no list of part (dev or eval), score (a number), source, system and ours"
        ) from error


def _as_page(year: int, tables: dict[str, pd.DataFrame], published: list[Published]) -> str:
    """The tables of a year as Markdown."""
    ours = {
        (part, f"{row['method']} / {row['scorer']}"): f"{100 * row['official_score']:.2f}"
        for part, table in tables.items()
        for row in table.to_dict("records")
    }
    head = ["system", "part", "published", "ours", "our method / scorer", "source"]
    rows = [
        [each.system, each.part, f"{each.score:.2f}", ours.get((each.part, each.ours), ""), each.ours, each.source]
        for each in published
    ]
    parts = [f"## {PARTS[part]} of {year}\n\n{as_markdown(table)}" for part, table in tables.items()]
    if rows:
        lines = [f"## Published scores of {year} beside ours\n", *markdown_table(head, rows), ""]
        for part, table in tables.items():
            if left_out := [machine for machine in getattr(get_year(year), part) if machine not in table]:
                lines.append(f"Ours of {part} lack {', '.join(left_out)} and do not compare with what is published.\n")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _one_part(config: Reproduce, part: str, data: Path, machines: list[str]) -> Benchmark:
    """The benchmark of one set of machines."""
    year = get_year(config.year)
    truth = None if config.data is None else config.data / year.truth_root.relative_to(year.folder)
    own = {"data": data, "machine": machines, "part": part, "ground_truth": truth, "scorers": "all"}
    own |= {"runs": config.runs / str(config.year) / part, "year": config.year}
    shared = {name: getattr(config, name) for name in ("methods", "seeds", "overwrite", *SideBySide.model_fields)}
    return Benchmark(**own, **shared)
