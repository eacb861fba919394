"""Which year's metric rule holds for scores: the one that is asked for, the run's own, or one that the clips allow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from asd.core.runtime import log
from asd.evaluation.completeness import chosen_runs
from asd.metrics import evaluate_table
from asd.runs import score_table, years_of
from asd.types import AsdError, Clip

PLAIN_YEAR = 2020  # whose rule knows no domains: the mean of AUC and pAUC of each section
LATEST_YEAR = 2025  # whose rule holds for the challenge's recordings


def meant_year(
    runs: Path, name: str, machines: Sequence[str], data: Path | None, year: int | None, *, by_names: bool = True
) -> tuple[int, bool]:
    """The year whose rule is meant, and whether it only stands for plain AUC and pAUC.

    Where none is asked for, the recordings tell (those in `data`, or the run's own): the challenge's have the year that
    the run was trained with, or 2020 where its rule cannot be used, see `rule_year`; others have none. Labels that are
    not those of the names allow the rule of their year.

    Raises:
        AsdError: none is asked for, and machines of the run, or members of a fusion, were trained with several.
    """
    if year is not None:
        return year, False
    found = chosen_runs(runs, name, machines)
    scored = [run.scores if data is None else run.scores_of(data) for run in found]
    folders = [folder for folder in scored if folder and folder.scorers]
    if any(folder.is_own_data for folder in folders):
        return PLAIN_YEAR, True
    years = years_of(found) or [LATEST_YEAR]
    if len(years) > 1:
        every = " and ".join(f"year={each}" for each in years)
        what = "members" if any(len(run.years()) > 1 for run in found) else "machines"
        raise AsdError(f"{what} of {runs / name} were trained with {every}; say whose rule holds by year=")
    tables = [folder.table(folder.scorers[0]) for folder in folders] if by_names else []
    taken = (tables and rule_year(pd.concat(tables), years[0])) or years[0]
    if taken != years[0]:
        log.info("%s: a section lacks clips that the rule of %d compares; that of %d holds", name, years[0], taken)
    return taken, False


def check_labels(clips: Sequence[Clip], year: int) -> None:
    """Refuses test clips of which the rule of a year makes no score, before long work."""
    known = [clip for clip in clips if clip.label]
    evaluate_table(score_table(known, np.zeros(len(known)), np.zeros(len(known), np.int64)), year)


def rule_year(table: pd.DataFrame, year: int) -> int | None:
    """The year whose rule makes a score of the labelled clips of a table: this one or, without domains, 2020's.

    None where neither does, as a section lacks normal clips or anomalies.
    """
    known = table[table["label"] != ""].assign(score=0.0, decision=0)
    for candidate in (year, PLAIN_YEAR):
        with suppress(AsdError):
            evaluate_table(known, candidate)
            return candidate
    return None
