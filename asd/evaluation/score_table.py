"""Score table -> checked arrays per section, and which of its clips each metric compares.

A score table is a DataFrame with `types.SCORE_COLUMNS`, one row per clip. Here its test rows are checked,
value by value, so that what follows is free of case distinctions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asd.challenge.years import MAX_FPR, MetricRule
from asd.types import AsdError, Domain, Label, Split

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

METRICS: dict[MetricRule, tuple[str, ...]] = {
    "per_id": ("auc", "pauc"),
    "per_domain": ("auc_source", "auc_target", "pauc_source", "pauc_target"),
    "mixed": ("auc_source", "auc_target", "pauc"),
}


@dataclass(frozen=True, slots=True)
class SectionScores:
    """The test clips of one section (2020: one machine ID) as arrays, all (n_clips,)."""

    machine: str
    section: str
    domains: NDArray[np.str_]  # "source" or "target"; "" throughout where the year has no domains
    is_anomaly: BoolArray
    scores: FloatArray  # finite
    decisions: FloatArray | None  # each 0 or 1; None where none were made

    def __str__(self) -> str:
        return f"{self.machine} section {self.section}"


def read_sections(table: pd.DataFrame, *, with_domains: bool) -> list[SectionScores]:
    """The test rows of a score table, section by section, sorted by machine and section.

    `AsdError` for no test rows, a missing label or domain, a score that is not finite, a decision not 0 or 1.

    Args:
        with_domains: whether every row must tell its domain; if not, the column is ignored.
    """
    require_columns(table, "machine", "section", "split", "label", "score", *(["domain"] if with_domains else []))
    test = table[table["split"] == Split.TEST]
    if test.empty:
        raise AsdError(f"the score table has {len(table)} rows and none of them is of the test split")
    found = []
    for (machine, section), rows in test.groupby(["machine", "section"], sort=True):
        domains = _strings(rows, "domain", tuple(Domain)) if with_domains else np.full(len(rows), "")
        is_anomaly = _strings(rows, "label", tuple(Label)) == Label.ANOMALY
        scores, decisions = _numbers(rows, "score"), _decisions(rows)
        found.append(SectionScores(str(machine), str(section), domains, is_anomaly, scores, decisions))
    return found


def require_columns(table: pd.DataFrame, *names: str) -> None:
    """Raises AsdError where a score table lacks columns."""
    if absent := [name for name in names if name not in table]:
        raise AsdError(f"the score table has no column {', '.join(absent)}; it needs {', '.join(names)}")


def comparisons(section: SectionScores, rule: MetricRule) -> dict[str, tuple[BoolArray, float]]:
    """Which clips each metric of a rule compares: for each, in order, a mask (n_clips,) and its `max_fpr`.

    `AsdError` where a metric lacks normal clips or anomalies; the sentence names machine, section and domain.
    """
    compared = {"": np.ones_like(section.is_anomaly)}
    for domain in Domain:
        of_domain = section.domains == domain
        compared[domain.value] = of_domain | section.is_anomaly if rule == "mixed" else of_domain
    result = {}
    for name in METRICS[rule]:
        kind, _, domain_name = name.partition("_")
        clips = compared[domain_name]
        _require_both_classes(section, name, clips)
        result[name] = (clips, MAX_FPR if kind == "pauc" else 1.0)
    return result


def _require_both_classes(section: SectionScores, metric: str, clips: BoolArray) -> None:
    """Refuses a metric that compares clips of one class only, and names what would help."""
    truth, domain = section.is_anomaly[clips], metric.partition("_")[2]
    if truth.any() and not truth.all():
        return
    label, where = Label.NORMAL if truth.all() else Label.ANOMALY, f" of the {domain} domain" if domain else ""
    way = "add such clips (predict and report do without), or leave the machine out with machine="
    if domain and section.is_anomaly.any() and not section.is_anomaly.all():
        way += ", or take the rule that knows no domains with year=2020"
    raise AsdError(f"{section} has no test clips labelled {label}{where}, so {metric} cannot be computed: {way}")


def _strings(rows: pd.DataFrame, column: str, allowed: tuple[str, ...]) -> NDArray[np.str_]:
    """The column as strings (n_rows,), all of them among `allowed`."""
    is_allowed = rows[column].isin(allowed)
    way = f"give one of {', '.join(allowed)}"
    if column == "domain" and (rows[column].fillna("") == "")[~is_allowed].head(1).any():
        way = "name source or target, or take the rule that knows no domains with year=2020"
    _require(rows, column, is_allowed, way)
    return rows[column].to_numpy(dtype=np.str_)


def _numbers(rows: pd.DataFrame, column: str) -> FloatArray:
    """The column as finite numbers (n_rows,)."""
    numbers = pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)
    _require(rows, column, np.isfinite(numbers), "give a finite number")
    return numbers


def _decisions(rows: pd.DataFrame) -> FloatArray | None:
    """The decisions (n_rows,), each 0 or 1; None where the column is absent or empty."""
    if "decision" not in rows or rows["decision"].isna().all():
        return None
    decisions = _numbers(rows, "decision")
    _require(rows, "decision", np.isin(decisions, (0, 1)), "give 0 or 1")
    return decisions


def _require(rows: pd.DataFrame, column: str, is_good: pd.Series | BoolArray, way: str) -> None:
    """Refuses a table with a value that is not good, and names the first one and the way out."""
    if not is_good.all():
        machine, section, file, value = rows[~is_good][["machine", "section", "file", column]].iloc[0]
        raise AsdError(f"{machine} section {section}, {file}, has {column} {value!r}: {way}")
