"""What a report says in numbers: metrics with intervals per machine, ROC curves, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from asd.challenge.years import get_year
from asd.evaluation.confidence import percentile_interval, resampled_metrics
from asd.evaluation.labelling import PLAIN_YEAR
from asd.evaluation.markdown import spread
from asd.evaluation.score_table import FloatArray
from asd.metrics import aggregate, evaluate_table, score_metrics
from asd.types import Domain, Label

_DECIMALS = 4  # of points of a curve

Key = tuple[str, str, str]  # machine, section, metric
BySeed = Mapping[int, pd.DataFrame]  # seed -> score table of all machines


def rule_year(table: pd.DataFrame, year: int) -> int | None:
    """The year whose rule these clips can be measured by.

    Returns:
        The year, where every section has anomalies and normal clips of both domains; else 2020, whose rule knows
        no domains; None where a section lacks normal clips or anomalies.
    """
    sections = [rows for _, rows in table[table["label"] != ""].groupby(["machine", "section"])]
    if not sections or any(rows["label"].nunique() < len(Label) for rows in sections):
        return None
    pairs = {*product(Domain, Label)}
    is_whole = all(pairs <= {*zip(rows["domain"], rows["label"], strict=True)} for rows in sections)
    return year if get_year(year).rule == "per_id" or is_whole else PLAIN_YEAR


def measured(by_seed: BySeed, year: int) -> dict[str, Any]:
    """The official score of a year and what it averages, each with the interval of 95 % of resampled clips.

    Returns:
        {"score": number, "std": over seeds, "machines": {machine: {"score": number, "sections": {section:
        {metric: number}}}}}; a number is {"value", "low", "high"}, a mean over seeds.
    """
    rule = get_year(year).rule
    evaluations = [evaluate_table(table, year) for table in by_seed.values()]
    draws = [resampled_metrics(table, year) for table in by_seed.values()]
    machines = {}
    for machine in evaluations[0]["machines"]:
        sections: dict[str, dict[str, Any]] = {}
        for of, section, metric in draws[0]:
            if of == machine:
                values = [evaluation["machines"][machine][section][metric] for evaluation in evaluations]
                resampled = [each[machine, section, metric] for each in draws]
                sections.setdefault(section, {})[metric] = _number(values, resampled)
        every = [score_metrics(evaluation["machines"][machine].values(), year) for evaluation in evaluations]
        own = [float(aggregate(metrics, rule)) for metrics in every]
        score = _number(own, [aggregate(_stacked(each, machine), rule) for each in draws])
        machines[machine] = {"score": score, "sections": sections}
    scores = [evaluation["official_score"] for evaluation in evaluations]
    return {
        "score": _number(scores, [aggregate(_stacked(each), rule) for each in draws]),
        "std": spread(scores)["std"],
        "machines": machines,
    }


def _stacked(draws: Mapping[Key, FloatArray], machine: str | None = None) -> FloatArray:
    """Metrics of a machine, or of all, (n_resamples, metrics)."""
    return np.stack([values for key, values in draws.items() if machine in (None, key[0])], axis=-1)


def _number(values: list[float], draws: list[FloatArray]) -> dict[str, float]:
    """A mean over seeds with its interval."""
    interval = percentile_interval(np.mean(draws, axis=0))
    return {"value": float(np.mean(values)), "low": interval.low, "high": interval.high}


def roc_curves(table: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """ROC curves of one machine: all clips, and the normal clips of each domain against all anomalies.

    Returns:
        {name: {"fpr": [...], "tpr": [...]}}, straight parts without inner points; {} where a class is missing.
    """
    is_anomaly = (table["label"] == Label.ANOMALY).to_numpy()
    scores = table["score"].to_numpy(float)
    groups = {"all clips": np.ones_like(is_anomaly)}
    groups |= {domain.value: (table["domain"] == domain).to_numpy() | is_anomaly for domain in Domain}
    curves = {}
    for name, chosen in groups.items():
        if 0 < is_anomaly[chosen].sum() < chosen.sum():
            fpr, tpr, _ = roc_curve(is_anomaly[chosen], scores[chosen])
            curves[name] = {"fpr": fpr.round(_DECIMALS).tolist(), "tpr": tpr.round(_DECIMALS).tolist()}
    return curves
