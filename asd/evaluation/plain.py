"""Evaluation without the rule of a challenge's year: plain AUC and pAUC, and per condition where domains are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from asd.evaluation.completeness import chosen_runs
from asd.evaluation.score_table import read_sections
from asd.metrics import SectionMetrics, pauc, precision_recall_f1
from asd.types import Domain

PLAIN_YEAR = 2020  # whose rule knows no domains: the mean of AUC and pAUC of each section
LATEST_YEAR = 2025  # whose rule holds for the challenge's recordings


def meant_year(runs: Path, name: str, machines: Sequence[str], data: Path | None, year: int | None) -> tuple[int, bool]:
    """The year whose rule is meant, and whether it only stands for plain AUC and pAUC.

    Args:
        runs: folder of all runs.
        name: of the run.
        machines: which machines count.
        data: folder of other recordings that were scored; None: the run's own test clips.
        year: that was asked for; None: by the recordings, as only the challenge's have a rule of a year.

    Raises:
        AsdError: there is no such run or machine.
    """
    if year is not None:
        return year, False
    found = chosen_runs(runs, name, machines)
    folders = [run.scores if data is None else run.scores_of(data) for run in found]
    is_own = any(folder.is_own for folder in folders if folder)
    return (PLAIN_YEAR, True) if is_own else (LATEST_YEAR, False)


def condition_metrics(table: pd.DataFrame) -> dict[tuple[str, str], SectionMetrics]:
    """AUC, pAUC and what the decisions are worth within each domain, where all clips tell theirs.

    Args:
        table: labelled score table.

    Returns:
        By machine and section; only of domains with clips of both labels, and none where there is one domain.
    """
    test = table[table["label"] != ""]
    if test.empty or not test["domain"].isin([*Domain]).all() or test["domain"].nunique() < len(Domain):
        return {}
    found: dict[tuple[str, str], SectionMetrics] = {}
    for section in read_sections(test, with_domains=True):
        metrics = found.setdefault((section.machine, section.section), {})
        for domain in Domain:
            clips = section.domains == domain
            truth = section.is_anomaly[clips]
            if not 0 < truth.sum() < truth.size:
                continue
            metrics[f"auc_{domain}"] = pauc(truth, section.scores[clips], max_fpr=1.0)
            metrics[f"pauc_{domain}"] = pauc(truth, section.scores[clips])
            if section.decisions is not None:
                decided = section.decisions[clips]
                values = (*precision_recall_f1(truth, decided), float(decided[~truth].mean()))
                names = ("precision", "recall", "f1", "false_alarms")
                metrics |= {f"{name}_{domain}": value for name, value in zip(names, values, strict=True)}
    return found
