"""Score tables of a run to one evaluation: means over seeds, intervals, and a table a person can read.

The JSON form is that of ARCHITECTURE.md, "The run directory": for each scorer the official score with its
spread over seeds, and per machine and section the metrics of the year's rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from asd.challenge.years import MetricRule, get_year
from asd.evaluation.confidence import bootstrap_official_score, decision_intervals
from asd.evaluation.markdown import spread
from asd.evaluation.markdown import table as markdown_table
from asd.evaluation.score_table import read_sections
from asd.metrics import SectionMetrics, aggregate, decision_metrics, evaluate_table, pauc
from asd.types import AsdError, Domain

Tables = Mapping[str, Mapping[int, pd.DataFrame]]  # scorer -> seed -> score table of all machines


def evaluate_tables(tables: Tables, year: int, default: str, *, plain: bool = False) -> dict[str, Any]:
    """Evaluation of a run: "year", "rule", "default" (the scorer that stands for it), "seeds", and "scorers" by name.

    Where the clips are not the challenge's, the rule of `year` only stands for `plain` AUC and pAUC: the year is None,
    the rule "plain", the score their mean, and known domains have metrics of their own. The spread is the standard
    deviation over seeds (0 for one); the bootstrap resamples the clips of the first seed.
    """
    if default not in tables:
        raise AsdError(f"scorer={default} is not among the run's scorers: {', '.join(tables)}")
    scorers = {}
    for scorer, by_seed in sorted(tables.items(), key=lambda item: item[0] != default):
        evaluations = [evaluate_table(table, year) for table in by_seed.values()]
        if plain:
            for evaluation, table in zip(evaluations, by_seed.values(), strict=True):
                _add_conditions(evaluation["machines"], table)
        official = spread([evaluation["official_score"] for evaluation in evaluations])
        first = next(iter(by_seed.values()))
        scorers[scorer] = {
            "official_score": official["mean"],
            "official_score_std": official["std"],
            "official_score_bootstrap95": [*bootstrap_official_score(first, year)],
            "machines": _mean([evaluation["machines"] for evaluation in evaluations]),
            "decisions95": _decisions95(first, get_year(year).rule),
        }
    seeds = sorted({seed for by_seed in tables.values() for seed in by_seed})
    rule = {"year": None if plain else year, "rule": rule_name(year, plain=plain)}
    return {**rule, "default": default, "seeds": seeds, "scorers": scorers}


def _add_conditions(machines: Mapping[str, Mapping[str, SectionMetrics]], table: pd.DataFrame) -> None:
    """Adds AUC, pAUC and what the decisions are worth within each domain, where all clips tell theirs.

    Only domains with clips of both labels get any, and none where there is one domain.
    """
    test = table[table["label"] != ""]
    if not test["domain"].isin([*Domain]).all() or test["domain"].nunique() < len(Domain):
        return
    for section in read_sections(test, with_domains=True):
        metrics = machines[section.machine][section.section]
        for domain in Domain:
            clips = section.domains == domain
            truth = section.is_anomaly[clips]
            if not 0 < truth.sum() < truth.size:
                continue
            metrics[f"auc_{domain}"] = pauc(truth, section.scores[clips], max_fpr=1.0)
            metrics[f"pauc_{domain}"] = pauc(truth, section.scores[clips])
            if section.decisions is not None:
                metrics |= decision_metrics(truth, section.decisions[clips], f"_{domain}")


def _decisions95(table: pd.DataFrame, rule: MetricRule) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Intervals of what the decisions of one seed are worth, under the names of the metrics."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for section in read_sections(table, with_domains=rule != "per_id"):
        if section.decisions is None:
            continue
        metrics = found.setdefault(section.machine, {}).setdefault(section.section, {})
        for domain in ("",) if rule == "per_id" else tuple(Domain):
            clips = section.domains == domain
            intervals = decision_intervals(section.is_anomaly[clips], section.decisions[clips])
            metrics |= {f"{name}_{domain}".strip("_"): list(x) for name, x in intervals.items()}
    return found


def development_results(evaluation: Mapping[str, Any], scorer: str, keys: Sequence[str]) -> dict[str, dict[str, float]]:
    """What a meta file tells of the development set: per machine the metrics `keys`, in per cent.

    Sections are averaged as the year does it: arithmetically in 2020, harmonically since. A key is the name
    of a metric, with or without a prefix that says how it was averaged ("harmonic_mean_auc_source"); `AsdError`
    where it names none.
    """
    results: dict[str, dict[str, float]] = {}
    for machine, sections in evaluation["scorers"][scorer]["machines"].items():
        names = sorted(next(iter(sections.values())), key=len)
        results[machine] = {}
        for key in keys:
            if not (meant := [name for name in names if key.endswith(name)]):
                have = ", ".join(sorted(names))
                raise AsdError(f"the meta template asks for {key} of {machine}; results are {have}: leave it out there")
            values = np.array([metrics[meant[-1]] for metrics in sections.values()])
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
                rows.append({"scorer": scorer, "machine": machine, "section": section, "trained": trained, **metrics})
        score = {key: result[key] for key in ("official_score", "official_score_std")}
        rows.append({"scorer": scorer, "machine": _score_name(evaluation), "section": "", **score})
    return pd.DataFrame(rows)


def as_markdown(evaluation: Mapping[str, Any], title: str, *, full: bool = True) -> str:
    """Tables for people: AUC and pAUC, and what the decisions are worth, per machine, section and domain.

    The evaluation is as `evaluate_tables` gives it; its "untrained_sections" {machine: [section]} are marked. Where the
    tables are not in `full`, the default scorer has some, and each of the others a line.
    """
    seeds = ", ".join(map(str, evaluation["seeds"]))
    untrained = evaluation.get("untrained_sections", {})
    rule = rule_sentence(evaluation["rule"], [evaluation["year"]])
    lines = [f"# {title}", "", f"{rule}; seeds {seeds}.", ""]
    for machine, sections in untrained.items():
        lines += [f"{machine} was never trained on section {', '.join(sections)} (marked *).", ""]
    if missing := evaluation.get("missing"):
        lines += [f"This is a part of the run: {'; '.join(missing)}.", ""]
    for scorer in evaluation["scorers"]:
        if full or scorer == evaluation["default"]:
            mark = " (default)" if scorer == evaluation["default"] else ""
            lines += [f"## {scorer}{mark}", "", *_lines_of_scorer(evaluation, scorer), ""]
        else:
            lines.append(f"{scorer}: {_score_name(evaluation)} {_official(evaluation, scorer)}")
    return "\n".join(lines)


def decisions_as_markdown(evaluation: Mapping[str, Any]) -> str:
    """False alarms and recall of the default scorer per machine, in per cent, with the mean over machines."""
    result = evaluation["scorers"][evaluation["default"]]
    names = [f"{what}_{domain}" for what in ("false_alarms", "recall") for domain in Domain]
    sections = [values for machine in result["machines"].values() for values in machine.values()]
    if not all(name in values for values in sections for name in names):
        raise AsdError("a page of decisions needs those of both domains; the test clips of some machine have none")
    machines = {**result["machines"], "mean": {"": {name: np.mean([v[name] for v in sections]) for name in names}}}
    return "\n".join(_section_table(machines, names, {}, result["decisions95"]))


def rule_name(year: int, *, plain: bool) -> str:
    """The rule of a year, or "plain" where the year only stands for plain AUC and pAUC."""
    return "plain" if plain else get_year(year).rule


def rule_sentence(rule: str, years: Iterable[int | None]) -> str:
    """A rule in words, without a full stop: whose it is, and what it averages."""
    return _RULES[rule].format(year=" and ".join(map(str, sorted({*years}, key=str))))


def measure_name(rules: Collection[str]) -> str:
    """What the scores of a table are called that are by these rules, see `rule_name`."""
    return "AUC and pAUC" if "plain" in rules else "official score"


def _score_name(evaluation: Mapping[str, Any]) -> str:
    return "mean of AUC and pAUC" if evaluation["rule"] == "plain" else "official score"


def _official(evaluation: Mapping[str, Any], scorer: str) -> str:
    result = evaluation["scorers"][scorer]
    return score_over_seeds(result["official_score"], result["official_score_std"], len(evaluation["seeds"]))


def score_over_seeds(score: float, std: float, n_seeds: int) -> str:
    """A score in per cent, with its spread where there are several seeds."""
    return f"{100 * score:.2f}" + (f" ± {100 * std:.2f} over {n_seeds} seeds" if n_seeds > 1 else "")


def _lines_of_scorer(evaluation: Mapping[str, Any], scorer: str) -> list[str]:
    """AUC and pAUC of every section, the score, and what the decisions are worth."""
    result, untrained = evaluation["scorers"][scorer], evaluation.get("untrained_sections", {})
    machines: Mapping[str, Any] = result["machines"]
    named = {name for sections in machines.values() for values in sections.values() for name in values}
    low, high = result["official_score_bootstrap95"]
    lines = [
        *_section_table(machines, [name for name in _AREAS if name in named], untrained, {}),
        "",
        f"**{_score_name(evaluation)} {_official(evaluation, scorer)}**; "
        f"95 % of bootstrapped clips {100 * low:.2f} to {100 * high:.2f}",
    ]
    metrics = (f"{name}{domain}" for domain in ("", "_source", "_target") for name in _DECIDED)
    if decisions := [name for name in metrics if name in named]:
        title = "Decisions at the threshold (in brackets, exact intervals of 95 %):"
        lines += ["", title, "", *_section_table(machines, decisions, untrained, result.get("decisions95", {}))]
    return lines


def _section_table(
    machines: Mapping[str, Any], metrics: Sequence[str], untrained: Mapping[str, Any], intervals: Mapping[str, Any]
) -> list[str]:
    """A row per machine and section, a column per metric, in per cent; with an interval where there is one."""
    rows = [
        [
            machine,
            section + ("*" if section in untrained.get(machine, ()) else ""),
            *(_cell(values, intervals.get(machine, {}).get(section, {}), name) for name in metrics),
        ]
        for machine, sections in machines.items()
        for section, values in sections.items()
    ]
    return markdown_table(["machine", "section", *map(_title, metrics)], rows)


def _cell(values: Mapping[str, float], intervals: Mapping[str, Sequence[float]], name: str) -> str:
    if name not in values:
        return ""
    low_high = " ({:.0f} to {:.0f})".format(*(100 * x for x in intervals[name])) if name in intervals else ""
    return f"{100 * values[name]:.2f}{low_high}"


def _title(metric: str) -> str:
    """A metric as the head of a column: "AUC source", "false alarms"."""
    kind, *rest = metric.split("_")
    return " ".join([{"auc": "AUC", "pauc": "pAUC", "f1": "F1"}.get(kind, kind), *rest])


_AREAS = ("auc", "auc_source", "auc_target", "pauc", "pauc_source", "pauc_target")
_DECIDED = ("f1", "precision", "recall", "false_alarms")
_RULES = {
    "per_id": "Rule of {year} (mean of AUC and pAUC of each machine ID)",
    "per_domain": "Rule of {year} (harmonic mean of AUC and pAUC of each section and domain)",
    "mixed": "Rule of {year} (harmonic mean; a domain's AUC sets its normal clips against the anomalies of both "
    "domains)",
    "plain": "Plain AUC and pAUC of all clips, and of each domain where it is known; year= takes the rule of a year",
}
