"""Score tables of a run to one evaluation: means over seeds, intervals, and a table a person can read.

The JSON form is that of ARCHITECTURE.md, "The run directory": for each scorer the official score with its
spread over seeds, and per machine and section the metrics of the year's rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from asd.challenge.years import get_year
from asd.evaluation.confidence import bootstrap_official_score
from asd.evaluation.markdown import table as markdown_table
from asd.metrics import aggregate, evaluate_table
from asd.types import AsdError

Tables = Mapping[str, Mapping[int, pd.DataFrame]]  # scorer -> seed -> score table of all machines


def evaluate_tables(tables: Tables, year: int, default: str) -> dict[str, Any]:
    """Evaluation of a run.

    Args:
        tables: score tables with labelled test rows.
        year: whose metric rule holds.
        default: the scorer that stands for the run.

    Returns:
        {"year", "rule", "default", "seeds", "scorers": {scorer: {"official_score", "official_score_std",
        "official_score_bootstrap95": [low, high], "machines": {machine: {section: {metric: mean}}}}}}.
        The spread is the standard deviation over seeds (0 for one); the bootstrap resamples the clips of
        the first seed.

    Raises:
        AsdError: an unknown default scorer, or a metric that cannot be computed.
    """
    if default not in tables:
        raise AsdError(f"scorer={default} is not among the run's scorers: {', '.join(tables)}")
    scorers = {}
    for scorer, by_seed in sorted(tables.items(), key=lambda item: item[0] != default):
        evaluations = [evaluate_table(table, year) for table in by_seed.values()]
        official = np.array([evaluation["official_score"] for evaluation in evaluations])
        interval = bootstrap_official_score(next(iter(by_seed.values())), year)
        scorers[scorer] = {
            "official_score": float(official.mean()),
            "official_score_std": float(official.std(ddof=1)) if len(official) > 1 else 0.0,
            "official_score_bootstrap95": [interval.low, interval.high],
            "machines": _mean([evaluation["machines"] for evaluation in evaluations]),
        }
    seeds = sorted({seed for by_seed in tables.values() for seed in by_seed})
    rule = get_year(year).rule
    return {"year": year, "rule": rule, "default": default, "seeds": seeds, "scorers": scorers}


def development_results(
    evaluation: Mapping[str, Any], scorer: str, keys: Sequence[str]
) -> dict[str, dict[str, float]]:
    """What a meta file tells of the development set: per machine the metrics `keys`, in per cent.

    Sections are averaged as the year does it: arithmetically in 2020, harmonically since. A key is the name
    of a metric, with or without a prefix that says how it was averaged ("harmonic_mean_auc_source").

    Args:
        evaluation: of `evaluate_tables`.
        scorer: whose results.
        keys: names of metrics.
    """
    results: dict[str, dict[str, float]] = {}
    for machine, sections in evaluation["scorers"][scorer]["machines"].items():
        names = sorted(next(iter(sections.values())), key=len)
        results[machine] = {}
        for key in keys:
            metric = [name for name in names if key.endswith(name)][-1]
            values = np.array([metrics[metric] for metrics in sections.values()])
            results[machine][key] = 100.0 * float(aggregate(values, evaluation["rule"]))
    return results


def _mean(trees: list[Any]) -> Any:
    """Element-wise mean of equally shaped trees of dictionaries."""
    if isinstance(trees[0], Mapping):
        return {key: _mean([tree[key] for tree in trees]) for key in trees[0]}
    return float(np.mean(trees))


def as_rows(evaluation: Mapping[str, Any]) -> pd.DataFrame:
    """One row per scorer, machine and section, a column per metric; and one row per scorer for the score."""
    untrained = evaluation.get("untrained_sections", {})
    rows: list[dict[str, Any]] = []
    for scorer, result in evaluation["scorers"].items():
        for machine, sections in result["machines"].items():
            for section, metrics in sections.items():
                trained = section not in untrained.get(machine, ())
                rows.append(
                    {"scorer": scorer, "machine": machine, "section": section, "trained": trained, **metrics}
                )
        rows.append(
            {
                "scorer": scorer,
                "machine": "official score",
                "section": "",
                "official_score": result["official_score"],
                "official_score_std": result["official_score_std"],
            }
        )
    return pd.DataFrame(rows)


def as_markdown(evaluation: Mapping[str, Any], title: str, *, full: bool = True) -> str:
    """Tables for people: AUC and pAUC, and what the decisions are worth, per machine, section and domain.

    Args:
        evaluation: as `evaluate_tables` gives it; "untrained_sections" {machine: [section]} marks sections.
        title: heading.
        full: tables per scorer; else the default scorer's, and a line for each of the others.
    """
    seeds = ", ".join(map(str, evaluation["seeds"]))
    untrained = evaluation.get("untrained_sections", {})
    lines = [
        f"# {title}",
        "",
        f"Rule of {evaluation['year']} ({_RULES[evaluation['rule']]}); seeds {seeds}.",
        "",
    ]
    for machine, sections in untrained.items():
        lines += [f"{machine} was never trained on section {', '.join(sections)} (marked *).", ""]
    if missing := evaluation.get("missing"):
        lines += [f"This is a part of the run: {'; '.join(missing)}.", ""]
    for scorer, result in evaluation["scorers"].items():
        if full or scorer == evaluation["default"]:
            mark = " (default)" if scorer == evaluation["default"] else ""
            lines += [f"## {scorer}{mark}", "", *_tables(result, len(evaluation["seeds"]), untrained), ""]
        else:
            lines.append(f"{scorer}: official score {_percent(result, len(evaluation['seeds']))}")
    return "\n".join(lines)


def _percent(result: Mapping[str, Any], n_seeds: int) -> str:
    score = f"{100 * result['official_score']:.2f}"
    return (
        score if n_seeds == 1 else f"{score} ± {100 * result['official_score_std']:.2f} over {n_seeds} seeds"
    )


def _tables(result: Mapping[str, Any], n_seeds: int, untrained: Mapping[str, Sequence[str]]) -> list[str]:
    """AUC and pAUC of every section, the official score, and what the decisions are worth."""
    first = next(iter(next(iter(result["machines"].values())).values()))
    low, high = result["official_score_bootstrap95"]
    lines = [
        *_table(result["machines"], [name for name in _AREAS if name in first], untrained),
        "",
        f"**official score {_percent(result, n_seeds)}**; "
        f"95 % of bootstrapped clips {100 * low:.2f} to {100 * high:.2f}",
    ]
    if decisions := [name for name in _DECISIONS if name in first]:
        lines += ["", "Decisions at the threshold:", "", *_table(result["machines"], decisions, untrained)]
    return lines


def _table(
    machines: Mapping[str, Any], metrics: Sequence[str], untrained: Mapping[str, Sequence[str]]
) -> list[str]:
    """A row per machine and section, a column per metric, in per cent."""
    rows = [
        [
            machine,
            section + ("*" if section in untrained.get(machine, ()) else ""),
            *(f"{100 * values[name]:.2f}" for name in metrics),
        ]
        for machine, sections in machines.items()
        for section, values in sections.items()
    ]
    return markdown_table(["machine", "section", *((_AREAS | _DECISIONS)[name] for name in metrics)], rows)


_AREAS = {
    "auc": "AUC",
    "auc_source": "AUC source",
    "auc_target": "AUC target",
    "pauc": "pAUC",
    "pauc_source": "pAUC source",
    "pauc_target": "pAUC target",
}
_DECISIONS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "false_alarms": "false alarms",
    "f1_source": "F1 source",
    "precision_source": "precision source",
    "recall_source": "recall source",
    "false_alarms_source": "false alarms source",
    "f1_target": "F1 target",
    "precision_target": "precision target",
    "recall_target": "recall target",
    "false_alarms_target": "false alarms target",
}

_RULES = {
    "per_id": "mean of AUC and pAUC of each machine ID",
    "per_domain": "harmonic mean of AUC and pAUC of each section and domain",
    "mixed": "harmonic mean; a domain's AUC sets its normal clips against the anomalies of both domains",
}
