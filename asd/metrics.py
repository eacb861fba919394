"""AUC, pAUC, metrics of decisions, and the official score of each year.

Pure functions of arrays and score tables: no file is read or written, and torch is never imported. What an
official score is worth in the face of chance is told by `asd.evaluation.confidence`.

Conventions:
    - a higher score means more anomalous; `is_anomaly` is boolean, True for anomalous clips;
    - every metric lies in [0, 1]; ties count half, so 0.5 is chance for AUC and pAUC;
    - pAUC is the area up to a false-positive rate of `MAX_FPR` in McClish's standardised form, as in
      scikit-learn: 1 is perfect, 0.5 is chance, and the least possible value is 0.47, not 0;
    - every metric is a function of clips alone, in whatever order.

The official score, by the rule of the year (`challenge.years`):
    - per_id (2020): arithmetic mean of AUC and pAUC over all machine IDs;
    - per_domain (2021): harmonic mean of AUC and pAUC over machines, sections and domains, which never mix;
    - mixed (2022 and later): harmonic mean of `auc_source`, `auc_target`, `pauc` over machines and sections;
      the AUC of a domain sets its normal clips against the anomalies of BOTH domains, pAUC takes all clips.

Source: the organisers' evaluators, which `tests/test_evaluator.py` matches to the last digit.

Args:
    is_anomaly: (n_clips,), True for anomalous clips.
    scores: (n_clips,), finite; higher = more anomalous.
    table: DataFrame with `types.SCORE_COLUMNS`; its test rows alone count.
    sections: the metrics of every section of every machine, by name.
    year: whose rule holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from asd.challenge.years import MAX_FPR, MetricRule, get_year
from asd.evaluation.score_table import METRICS, BoolArray, FloatArray, SectionScores, comparisons, read_sections
from asd.types import AsdError, Domain

SectionMetrics = dict[str, float]

_ROUNDING = 1e-9  # by which a metric may be more than 1
EPSILON = sys.float_info.epsilon  # the official floor under what is averaged harmonically or divided by


class Evaluation(TypedDict):
    """What `evaluate_table` returns: `machines[machine][section][metric]`, and their aggregate."""

    official_score: float
    machines: dict[str, dict[str, SectionMetrics]]


def auc(is_anomaly: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, in [0, 1]: the chance that an anomaly scores above a normal clip.

    Equals scikit-learn's `roc_auc_score` to the last bit, in a small part of its time.

    Args:
        is_anomaly: (n_clips,), True for anomalous clips.
        scores: (n_clips,), finite; higher = more anomalous.

    Raises:
        AsdError: one class only, or a score that is not finite.

    Example:
        >>> auc([False, False, True, True], [0.1, 0.4, 0.3, 0.8])
        0.75
    """
    return pauc(is_anomaly, scores, max_fpr=1.0)


def pauc(is_anomaly: ArrayLike, scores: ArrayLike, max_fpr: float = MAX_FPR) -> float:
    """Area under the ROC curve up to a false-positive rate, standardised so that 0.5 is chance and 1 perfect.

    Equals scikit-learn's `roc_auc_score(..., max_fpr=max_fpr)` to the last bit.

    Args:
        is_anomaly: (n_clips,), True for anomalous clips.
        scores: (n_clips,), finite; higher = more anomalous.
        max_fpr: false-positive rate in (0, 1] at which the area ends; 1 gives the plain AUC.

    Raises:
        AsdError: one class only, a score that is not finite, or `max_fpr` out of its range.

    Source: D. K. McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9 (1989).
    """
    if not 0 < max_fpr <= 1:
        raise AsdError(f"max_fpr must lie in (0, 1], got {max_fpr}")
    fpr, tpr = _roc_curve(*check_labelled_scores(is_anomaly, scores))
    if max_fpr == 1:
        return float(np.trapezoid(tpr, fpr))
    stop = int(np.searchsorted(fpr, max_fpr, side="right"))
    tpr_at_stop = np.interp(max_fpr, fpr[stop - 1 : stop + 1], tpr[stop - 1 : stop + 1])
    area = np.trapezoid(np.append(tpr[:stop], tpr_at_stop), np.append(fpr[:stop], max_fpr))
    return float(standardise_area(area, max_fpr))


def standardise_area(area: ArrayLike, max_fpr: float) -> FloatArray:
    """McClish's standardisation, by which 0.5 is chance and 1 perfect; identity for `max_fpr=1`."""
    chance, perfect = 0.5 * max_fpr**2, max_fpr
    return np.asarray(0.5 * (1 + (np.asarray(area) - chance) / (perfect - chance)))


def check_labelled_scores(is_anomaly: ArrayLike, scores: ArrayLike) -> tuple[BoolArray, FloatArray]:
    """Labels and scores as arrays, once they are known to be usable.

    Raises:
        AsdError: other shapes, labels that are neither true nor false, one class only, or a score that is not finite.
    """
    truth, values = _flags(is_anomaly, "labels"), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise AsdError(f"labels and scores must be two lists of equal length, got {truth.shape} and {values.shape}")
    if not np.isfinite(values).all():
        raise AsdError(f"{np.count_nonzero(~np.isfinite(values))} of {values.size} scores are NaN or infinite")
    n_anomalies = np.count_nonzero(truth)
    if not 0 < n_anomalies < truth.size:
        raise AsdError(
            f"AUC needs both classes, got {truth.size - n_anomalies} normal and {n_anomalies} anomalous clips"
        )
    return truth, values


def check_decisions(is_anomaly: ArrayLike, decision: ArrayLike) -> tuple[BoolArray, BoolArray]:
    """Labels and decisions as arrays, once they are known to be usable.

    Args:
        is_anomaly: (n_clips,), True for anomalous clips.
        decision: (n_clips,), 1 for clips that were called anomalous.

    Raises:
        AsdError: other shapes, or a label or decision that is neither 0 nor 1.
    """
    truth, called = _flags(is_anomaly, "labels"), _flags(decision, "decisions")
    if truth.shape != called.shape:
        raise AsdError(f"labels and decisions must be two lists of equal length, got {truth.shape} and {called.shape}")
    return truth, called


def _flags(values: ArrayLike, what: str) -> BoolArray:
    """What is 0 or False of normal clips and 1 or True of anomalous ones, as bool."""
    flags = np.asarray(values)
    if flags.dtype != bool and (strange := [flag for flag in flags.ravel().tolist() if flag not in (0, 1)]):
        raise AsdError(
            f"{what} have to be 0 of normal clips and 1 of anomalous ones, or False and True, got {strange[0]}"
        )
    return flags.astype(bool)


def _roc_curve(is_anomaly: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """False- and true-positive rates from (0, 0) to (1, 1), points within straight lines left out.

    Those points carry no area; without them, sums round as scikit-learn's do.
    """
    order = np.argsort(-scores)
    ranked = scores[order]
    last_of_ties = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)
    true_positives = np.cumsum(is_anomaly[order])[last_of_ties]
    false_positives = 1 + last_of_ties - true_positives
    if last_of_ties.size > 2:
        bends = (np.diff(false_positives, 2) != 0) | (np.diff(true_positives, 2) != 0)
        corner = np.concatenate(([True], bends, [True]))
        true_positives, false_positives = true_positives[corner], false_positives[corner]
    tpr = np.append(0.0, true_positives / true_positives[-1])
    fpr = np.append(0.0, false_positives / false_positives[-1])
    return fpr, tpr


def precision_recall_f1(is_anomaly: ArrayLike, decision: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F1 score of 0/1 decisions; 0 where the ratio is 0/0.

    With as many anomalies as normal clips, calling everything an anomaly already gives F1 = 2/3.

    Args:
        is_anomaly: (n_clips,), True for anomalous clips.
        decision: (n_clips,), 1 for clips that were called anomalous.

    Raises:
        AsdError: as of `check_decisions`.

    Example:
        >>> precision_recall_f1([False, False, True, True], [0, 1, 1, 1])
        (0.6666666666666666, 1.0, 0.8)
    """
    truth, called = check_decisions(is_anomaly, decision)
    hits = int(np.count_nonzero(truth & called))
    precision = hits / max(int(np.count_nonzero(called)), EPSILON)
    recall = hits / max(int(np.count_nonzero(truth)), EPSILON)
    return precision, recall, 2.0 * precision * recall / max(precision + recall, EPSILON)


def section_metrics(section: SectionScores, year: int) -> SectionMetrics:
    """All metrics of one section.

    Returns:
        The metrics of the official score (`auc_source`, ..., see the module's docstring) and, where decisions
        were made, `precision_source`, `recall_source`, `f1_source`, `false_alarms_source` (share of normal
        clips called anomalous) and the same of the target (2020: without a domain). Unlike the AUC, these never
        mix domains.

    Raises:
        AsdError: a metric cannot be computed; the sentence names machine, section and domain.
    """
    rule = get_year(year).rule
    metrics = {
        name: pauc(section.is_anomaly[clips], section.scores[clips], max_fpr)
        for name, (clips, max_fpr) in comparisons(section, rule).items()
    }
    if section.decisions is None:
        return metrics
    for domain in ("",) if rule == "per_id" else tuple(Domain):
        clips = section.domains == domain
        metrics |= decision_metrics(section.is_anomaly[clips], section.decisions[clips], f"_{domain}" if domain else "")
    return metrics


def decision_metrics(is_anomaly: BoolArray, decisions: FloatArray, suffix: str = "") -> SectionMetrics:
    """`precision`, `recall`, `f1` and `false_alarms`, with a suffix, of clips of both classes."""
    names = ("precision", "recall", "f1", "false_alarms")
    values = (*precision_recall_f1(is_anomaly, decisions), float(np.mean(decisions[~is_anomaly])))
    return {f"{name}{suffix}": value for name, value in zip(names, values, strict=True)}


def official_score(sections: Sequence[Mapping[str, float]], year: int) -> float:
    """The official score of a year, in [0, 1].

    Raises:
        AsdError: no sections, or a metric that is missing or outside [0, 1], such as one in per cent.

    Example:
        >>> round(official_score([{"auc": 0.9, "pauc": 0.7}, {"auc": 0.8, "pauc": 0.6}], 2020), 6)
        0.75
    """
    try:
        values = score_metrics(sections, year)
    except KeyError as error:
        raise AsdError(f"a section has no {error.args[0]}, which the official score of {year} averages") from error
    if not len(values) or not ((values >= 0) & (values <= 1 + _ROUNDING)).all():
        raise AsdError(f"the official score is a mean of metrics in [0, 1] of one section or more, got {values}")
    return float(aggregate(values, get_year(year).rule))


def score_metrics(sections: Iterable[Mapping[str, float]], year: int) -> FloatArray:
    """The metrics that the official score of a year averages, (n_metrics * n_sections,)."""
    every = list(sections)
    return np.array([section[name] for name in METRICS[get_year(year).rule] for section in every])


def aggregate(values: FloatArray, rule: MetricRule) -> FloatArray:
    """Mean over the last axis as the official score takes it: arithmetic in 2020, harmonic ever since."""
    return np.asarray(values.mean(axis=-1)) if rule == "per_id" else harmonic_mean(values)


def harmonic_mean(values: FloatArray) -> FloatArray:
    """Harmonic mean over the last axis of values in [0, 1], each raised to at least `EPSILON`."""
    return np.asarray(1.0 / np.mean(1.0 / np.maximum(values, EPSILON), axis=-1))


def evaluate_table(table: pd.DataFrame, year: int) -> Evaluation:
    """Evaluates the test rows of a score table: the official score, and the metrics of each section by machine, sorted.

    Raises:
        AsdError: no test rows, a bad value, or a metric that cannot be computed; the sentence says where.
    """
    machines: dict[str, dict[str, SectionMetrics]] = {}
    for section in read_sections(table, with_domains=get_year(year).rule != "per_id"):
        machines.setdefault(section.machine, {})[section.section] = section_metrics(section, year)
    every_section = [metrics for sections in machines.values() for metrics in sections.values()]
    return {"official_score": official_score(every_section, year), "machines": machines}
