"""Intervals of scores: two jackknife intervals of pooled AUC and pAUC, and a bootstrap of the official score.

Three answers to three questions; take the third unless you compare with published numbers:

    ci95_official_compat        what the organisers' evaluators print since 2022 as "official score ci95".
                                It is too small by the factor n_clips - 1 and is kept to compare with them.
    ci95_jackknife              the same quantity, computed correctly.
    bootstrap_official_score    an interval for the official score itself; `resampled_scores`, what it is made
                                of, also says whether two systems differ by more than the choice of clips.

The first two concern AUC and pAUC of the clips of all machines thrown together, whose scores are seldom on
one scale. That is neither the official score nor one of its parts, so they are no error bar for it.

Why the official one is wrong: the jackknife (B. Efron, 1982) estimates the standard error of a statistic of n
clips from the pseudo-values n x - (n - 1) x_i, where x_i is the statistic without clip i: their standard
deviation over sqrt(n), which is sqrt((n - 1) / n * sum (x_i - mean x)^2). The evaluators put the bare x_i in
the place of the pseudo-values and get sqrt(sum (x_i - mean x)^2 / (n (n - 1))), smaller by n - 1.

How it is fast: an anomaly with `above` normal clips above it, and `reached` normal clips above or level with
it, adds a known piece to the area under the ROC curve: a ramp from `above` to `reached`, then a plateau.
Leaving a clip out, or counting it twice, only shifts these two numbers.

Args:
    is_anomaly: (n_clips,), True for anomalous clips; of all machines and sections together.
    scores: (n_clips,), finite; higher = more anomalous.
    table: DataFrame with `types.SCORE_COLUMNS`; its test rows are used.
    year: of the challenge, which fixes the rule.
    n_resamples: 1000 settle the third decimal place of an interval.
    seed: the same one gives the same draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from asd.challenge.years import MAX_FPR, MetricRule, get_year
from asd.evaluation.score_table import BoolArray, FloatArray, SectionScores, comparisons, read_sections, require_columns
from asd.metrics import aggregate, check_decisions, check_labelled_scores, standardise_area
from asd.scoring.threshold import share_limit
from asd.types import AsdError

IntArray = NDArray[np.int64]

N_RESAMPLES = 2000  # of clips and seeds, in `difference_interval`

Ratio = tuple[FloatArray, FloatArray]
"""Numerators and denominators of a ratio of sums, both (seeds, clips): of a mean the values and ones."""


class Interval(NamedTuple):
    """A confidence interval, in the unit of what it bounds."""

    low: float
    high: float


def ci95_official_compat(is_anomaly: ArrayLike, scores: ArrayLike) -> float:
    """Half-width that the official evaluators print as "official score ci95": n_clips - 1 times too small.

    Use it only beside published values; `ci95_jackknife` is the correct one, and the module tells why.
    """
    return ci95_jackknife(is_anomaly, scores) / (np.size(scores) - 1)


def ci95_jackknife(is_anomaly: ArrayLike, scores: ArrayLike) -> float:
    """Half-width of the 95 % jackknife interval of pooled AUC and pAUC: mean of the two.

    The quantity behind the official "ci95", computed correctly. It is not the interval of the official score.
    `AsdError` for fewer than two clips of a class, or a score that is not finite.
    """
    truth, values = check_labelled_scores(is_anomaly, scores)
    n_anomalies = int(np.count_nonzero(truth))
    if min(n_anomalies, truth.size - n_anomalies) < 2:
        raise AsdError(
            "the jackknife leaves one clip out and needs two of each class, got "
            f"{truth.size - n_anomalies} normal and {n_anomalies} anomalous clips"
        )
    widths = [_jackknife_half_width(_leave_one_out(truth, values, max_fpr)) for max_fpr in (1.0, MAX_FPR)]
    return float(np.mean(widths))


def _jackknife_half_width(left_out: FloatArray) -> float:
    """Of the 95 % Student interval from the leave-one-out values (n_clips,) of a statistic."""
    n = left_out.size
    squares = np.sum((left_out - left_out.mean()) ** 2)
    return float(stdtrit(n - 1, 0.975) * np.sqrt((n - 1) / n * squares))


def _leave_one_out(is_anomaly: BoolArray, scores: FloatArray, max_fpr: float) -> FloatArray:
    """(p)AUC without each clip in turn: first without each anomaly, then without each normal clip."""
    normals, anomalies = np.sort(scores[~is_anomaly]), np.sort(scores[is_anomaly])
    n, m = normals.size, anomalies.size
    above = n - np.searchsorted(normals, anomalies, side="right")
    reached = n - np.searchsorted(normals, anomalies, side="left")
    pieces = _area_pieces(above, reached, max_fpr * n)
    without_anomaly = (pieces.sum() - pieces) / ((m - 1) * n)

    # Without a normal clip, anomalies below it lose it from both counts, those level with it from `reached`.
    width = max_fpr * (n - 1)
    below = _running_sum(_area_pieces(above - 1, reached - 1, width))
    level = _running_sum(_area_pieces(above, np.maximum(reached - 1, above), width))
    over = _running_sum(_area_pieces(above, reached, width))
    first = np.searchsorted(anomalies, normals, side="left")
    last = np.searchsorted(anomalies, normals, side="right")
    area = below[first] + (level[last] - level[first]) + (over[-1] - over[last])
    return standardise_area(np.concatenate([without_anomaly, area / (m * (n - 1))]), max_fpr)


def _area_pieces(above: ArrayLike, reached: ArrayLike, width: float) -> FloatArray:
    """What each anomaly adds to the area under the ROC curve, in clips x clips, up to `width` normal clips.

    Args:
        above: number of normal clips that score higher than the anomaly, any shape.
        reached: the same plus those that score equally, same shape.
        width: number of normal clips, possibly fractional, at which the area ends.
    """
    above, reached = np.asarray(above, np.float64), np.asarray(reached, np.float64)
    climbed = np.minimum(np.maximum(width, above), reached) - above
    plateau = np.maximum(width - reached, 0)
    return climbed**2 / (2 * np.maximum(reached - above, 1)) + plateau


def _running_sum(values: FloatArray | IntArray) -> FloatArray:
    """Sums of the first 0, 1, 2, ... entries along the first axis, which grows by one."""
    start = np.zeros((1, *values.shape[1:]))
    return np.concatenate([start, np.cumsum(values, axis=0)])


def decision_intervals(is_anomaly: ArrayLike, decision: ArrayLike) -> dict[str, Interval]:
    """Exact 95 % intervals of precision, recall, F1 and the false-alarm rate, by name; 0 to 1 where no clip counts.

    Each is a share of clips, or grows with one: F1 = 2 J / (1 + J) for the share J of hits among all clips that are
    anomalous or were called so. An interval of a share is that of Clopper and Pearson, see `threshold.share_limit`.

    Args:
        decision: (n_clips,), 1 for clips that were called anomalous.

    Raises:
        AsdError: as of `metrics.check_decisions`.
    """
    truth, called = check_decisions(is_anomaly, decision)
    hits = int(np.sum(truth & called))
    low, high = _share_interval(hits, int(np.sum(truth | called)))
    return {
        "precision": _share_interval(hits, int(called.sum())),
        "recall": _share_interval(hits, int(truth.sum())),
        "f1": Interval(2 * low / (1 + low), 2 * high / (1 + high)),
        "false_alarms": _share_interval(int(np.sum(called & ~truth)), int(np.sum(~truth))),
    }


def _share_interval(count: int, n: int) -> Interval:
    """Of 95 % for the share of which `count` in `n` clips were found."""
    return Interval(1 - share_limit(n - count, n, 0.975), share_limit(count, n, 0.975))


def bootstrap_official_score(table: pd.DataFrame, year: int, *, n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the official score of `year`, of 95 %.

    It tells how far the score would move with other test clips of the same machines, not with other machines
    or another training.
    """
    return percentile_interval(resampled_scores(table, year, n_resamples=n_resamples, seed=seed))


def percentile_interval(resampled: FloatArray) -> Interval:
    """The middle part of resampled values (n_resamples,) that holds 95 % of them."""
    low, high = np.quantile(resampled, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return Interval(float(low), float(high))


def difference_interval(a: Ratio, b: Ratio, *, same_seeds: bool = False) -> Interval:
    """Where a ratio of a minus that of b, each a mean over seeds, lies in 95 % of resampled sets of clips and seeds.

    Args:
        a, b: of the same clips, which are resampled together.
        same_seeds: whether the seeds are too, as those of a student and its teacher, or each on their own.
    """
    rng = np.random.default_rng(0)

    def drawn(n: int) -> FloatArray:
        return rng.multinomial(n, np.full(n, 1 / n), N_RESAMPLES).astype(float)

    clips = drawn(a[0].shape[1])
    of_a, of_b = (drawn(len(numerators)) / len(numerators) for numerators, _ in (a, b))
    resampled = [
        (seeds * (clips @ numerators.T) / np.maximum(clips @ denominators.T, 1)).sum(1)
        for (numerators, denominators), seeds in ((a, of_a), (b, of_a if same_seeds else of_b))
    ]
    return percentile_interval(resampled[0] - resampled[1])


def resampled_scores(table: pd.DataFrame, year: int, *, n_resamples: int = 1000, seed: int = 0) -> FloatArray:
    """Official score of `year` on resampled clips, (n_resamples,).

    Clips are drawn with replacement within machine x section x domain x label, so that every resample has the
    make-up of the test set and every metric can be computed. Tables of the same clips get the same draws,
    whatever the order of their rows: the difference of two systems is their difference on each resample. `AsdError` as
    of `metrics.evaluate_table`, or for no resamples.

    Example:
        >>> a = pd.DataFrame({"file": [f"{i}.wav" for i in range(40)], "label": ["normal", "anomaly"] * 20})
        >>> a = a.assign(machine="fan", section="00", domain="", split="test", score=[*range(20), *range(20)])
        >>> b = a.assign(score=a["score"] + 30 * (a["label"] == "anomaly"))
        >>> interval = percentile_interval(resampled_scores(b, 2020) - resampled_scores(a, 2020))  # 2020: no domains
        >>> bool(interval.low > 0)  # these clips tell that b is better
        True
    """
    values = resampled_metrics(table, year, n_resamples=n_resamples, seed=seed).values()
    return aggregate(np.stack([*values], axis=-1), get_year(year).rule)


def resampled_metrics(
    table: pd.DataFrame, year: int, *, n_resamples: int = 1000, seed: int = 0
) -> dict[tuple[str, str, str], FloatArray]:
    """What the official score averages, on the same resampled clips: {(machine, section, metric): (n_resamples,)}.

    `AsdError` as of `resampled_scores`.
    """
    if n_resamples < 1:
        raise AsdError(f"n_resamples must be positive, got {n_resamples}")
    rule, rng = get_year(year).rule, np.random.default_rng(seed)
    order = ["machine", "section", "domain", "file"]
    require_columns(table, *order)
    table = table.sort_values(order)
    return {
        (section.machine, section.section, metric): values
        for section in read_sections(table, with_domains=rule != "per_id")
        for metric, values in _resampled(section, rule, n_resamples, rng).items()
    }


def _resampled(
    section: SectionScores, rule: MetricRule, n_resamples: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """The metrics of one section on clips resampled within domain x label: {metric: (n_resamples,)}."""
    counts = _resample_counts(section, n_resamples, rng)
    return {
        name: _counted_pauc(section.is_anomaly[clips], section.scores[clips], counts[clips], max_fpr)
        for name, (clips, max_fpr) in comparisons(section, rule).items()
    }


def _resample_counts(section: SectionScores, n_resamples: int, rng: np.random.Generator) -> IntArray:
    """How often each clip occurs in each resample, (n_clips, n_resamples); strata are domain x label."""
    counts = np.empty((section.scores.size, n_resamples), np.int64)
    strata = np.char.add(section.domains, section.is_anomaly.astype(np.str_))
    for stratum in np.unique(strata):
        members = strata == stratum
        size = int(np.count_nonzero(members))
        # One histogram for all resamples: clip c of resample r falls into bin c * n_resamples + r.
        bins = rng.integers(size, size=(size, n_resamples)) * n_resamples + np.arange(n_resamples)
        histogram = np.bincount(bins.ravel(), minlength=size * n_resamples)
        counts[members] = histogram.reshape(size, n_resamples)
    return counts


def _counted_pauc(is_anomaly: BoolArray, scores: FloatArray, counts: IntArray, max_fpr: float) -> FloatArray:
    """(p)AUC of each resample, from how often each clip occurs in it, (n_clips, n_resamples)."""
    falling = np.argsort(-scores[~is_anomaly], kind="stable")
    normals = scores[~is_anomaly][falling]
    seen = _running_sum(counts[~is_anomaly][falling])  # occurrences of the k highest normal clips
    above = seen[np.searchsorted(-normals, -scores[is_anomaly], side="left")]
    reached = seen[np.searchsorted(-normals, -scores[is_anomaly], side="right")]
    n_normal, n_anomalous = np.count_nonzero(~is_anomaly), np.count_nonzero(is_anomaly)
    pieces = _area_pieces(above, reached, max_fpr * n_normal)
    area = np.einsum("ij,ij->j", counts[is_anomaly], pieces)
    return standardise_area(area / (n_normal * n_anomalous), max_fpr)
