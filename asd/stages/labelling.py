"""Score tables of a run with the labels of their clips: as their names tell, or as the organisers publish them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from asd.challenge.ground_truth import GroundTruth, TrueClip, read_ground_truth
from asd.challenge.years import Unit, Year, get_year
from asd.core.runtime import log
from asd.runs import RunDirectory, find_runs, tables_of
from asd.types import AsdError, Split

EvaluatedPart = Literal["dev", "eval"]
Tables = dict[str, dict[int, pd.DataFrame]]  # scorer -> seed -> score table of all machines


def evaluation_name(part: EvaluatedPart) -> str:
    """Name of the files of an evaluation: one on the evaluation set does not replace that of the development."""
    return "evaluation" if part == "dev" else "evaluation_eval"


def labelled_tables(
    runs: Path, name: str, year: int, part: EvaluatedPart, ground_truth: Path | None
) -> tuple[list[RunDirectory], Tables]:
    """The runs that can be evaluated, and their labelled score tables.

    Args:
        runs: folder of all runs.
        name: which of them.
        year: of the challenge.
        part: dev takes the machines whose clips have names that tell their labels; eval takes those of the
            ground truth, and its labels and domains in place of the names'.
        ground_truth: its folder, by default where `data` puts it.

    Raises:
        AsdError: there is nothing to evaluate, or a clip is missing or not in the ground truth.
    """
    found = find_runs(runs, name)
    if part == "dev":
        labelled = [run for run in found if run.is_labelled()]
        if not labelled:
            raise AsdError(
                f"no machine of {runs / name} has labelled test clips: say part=eval if they are those of an "
                f"evaluation set, otherwise there is nothing to evaluate"
            )
        return labelled, tables_of(labelled)
    rules = get_year(year)
    place = ground_truth or rules.truth_root
    if not place.is_dir():
        raise AsdError(
            f"no ground truth in {place}: make data year={year} part=eval fetches it, once published"
        )
    truth = read_ground_truth(place, rules)
    machines = {unit.machine for unit in truth}
    scored = [run for run in found if run.machine in machines and run.tables()]
    if not scored:
        raise AsdError(
            f"{runs / name} has no scores of {', '.join(sorted(machines))}, which {place} is about"
        )
    _warn_of_missing(scored, truth, year)
    tables = tables_of(scored)
    return scored, {
        scorer: {seed: with_truth(table, truth, rules) for seed, table in by_seed.items()}
        for scorer, by_seed in tables.items()
    }


def with_truth(table: pd.DataFrame, truth: GroundTruth, year: Year) -> pd.DataFrame:
    """The rows of a score table that belong to the evaluation set, with the labels and domains of the truth.

    A clip may be listed under its published name or under the one that tells its label.

    Raises:
        AsdError: a clip of a section is missing, is listed twice, or is not in the ground truth.
    """
    table = table[table["split"] == Split.TEST]
    parts = [
        _joined(rows, unit, clips)
        for unit, clips in truth.items()
        if not (rows := table[_is_of(table, unit)]).empty
    ]
    if not parts:
        sections = ", ".join(sorted({*(table["machine"] + " " + table["section"])}))
        raise AsdError(f"the run has scores of {sections}, none of them in the evaluation set of {year.year}")
    return pd.concat(parts, ignore_index=True)


def _is_of(table: pd.DataFrame, unit: Unit) -> pd.Series[bool]:
    is_own = (table["machine"] == unit.machine) & (table["section"] == unit.section)
    return is_own if unit.domain is None else is_own & (table["domain"] == unit.domain)


def _joined(rows: pd.DataFrame, unit: Unit, clips: Sequence[TrueClip]) -> pd.DataFrame:
    published = {clip.other_name: clip.file for clip in clips if clip.other_name}
    rows = rows.assign(file=[published.get(file, file) for file in rows["file"]])
    known = {clip.file: clip for clip in clips}
    what = f"{unit.machine} section {unit.section} has {len(rows)} scores for {len(clips)} evaluation clips"
    if not rows["file"].is_unique:
        raise AsdError(f"{what}: {rows['file'][rows['file'].duplicated()].iloc[0]} is there twice")
    if strange := {*rows["file"]} - known.keys():
        raise AsdError(f"{what}: {min(strange)} is not one of them; is it the data of that year?")
    if missing := known.keys() - {*rows["file"]}:
        raise AsdError(f"{what}: {min(missing)} is missing; put it into test/ and make score")
    of_rows = [known[file] for file in rows["file"]]
    return rows.assign(
        label=[clip.label.value for clip in of_rows],
        domain=[clip.domain.value if clip.domain else "" for clip in of_rows],
    )


def _warn_of_missing(runs: Sequence[RunDirectory], truth: GroundTruth, year: int) -> None:
    """An official score of fewer machines is another number."""
    missing = sorted({unit.machine for unit in truth} - {run.machine for run in runs})
    if missing:
        log.warning("the official score of %d also counts %s, which the run lacks", year, ", ".join(missing))
