"""Confidence intervals: the jackknife against brute force, the bootstrap against plain resampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, hmean
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from asd.evaluation.confidence import (
    _counted_pauc,
    bootstrap_official_score,
    ci95_jackknife,
    ci95_official_compat,
    decision_intervals,
    resampled_scores,
)
from asd.metrics import auc, evaluate_table, pauc, precision_recall_f1
from asd.types import SCORE_COLUMNS, AsdError


def labelled_scores(seed: int, n_levels: int | None) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Overlapping classes of unequal size; rounded to `n_levels` steps they are full of ties."""
    rng = np.random.default_rng(seed)
    is_anomaly = rng.random(60) < 0.4
    is_anomaly[:4] = [True, True, False, False]
    scores = rng.normal(size=60) + is_anomaly
    return is_anomaly, scores if n_levels is None else np.round(scores * n_levels)


def left_out(is_anomaly: NDArray[np.bool_], scores: NDArray[np.float64], max_fpr: float | None) -> NDArray[np.float64]:
    """The metric without each clip in turn."""
    kept = ~np.eye(scores.size, dtype=bool)
    return np.array([roc_auc_score(is_anomaly[keep], scores[keep], max_fpr=max_fpr) for keep in kept])


def official_formula(values: NDArray[np.float64]) -> float:
    """The half-width as the evaluators compute it of the values without each clip."""
    n = values.size
    spread = np.sum((values - np.mean(values)) ** 2)
    return float(student.ppf(0.975, n - 1) * np.sqrt(spread / (n * (n - 1))))


def pseudo_value_formula(values: NDArray[np.float64], whole: float) -> float:
    """The half-width as the textbook has it, of the values without each clip and the one with all."""
    n = values.size
    pseudo = n * whole - (n - 1) * values
    return float(student.ppf(0.975, n - 1) * np.std(pseudo, ddof=1) / np.sqrt(n))


@pytest.mark.parametrize("n_levels", [None, 5, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_jackknife_equals_brute_force(seed: int, n_levels: int | None) -> None:
    data = labelled_scores(seed, n_levels)
    without = [left_out(*data, max_fpr) for max_fpr in (None, 0.1)]
    whole = [roc_auc_score(*data, max_fpr=max_fpr) for max_fpr in (None, 0.1)]
    correct = np.mean([pseudo_value_formula(*each) for each in zip(without, whole, strict=True)])
    official = np.mean([official_formula(each) for each in without])
    assert ci95_jackknife(*data) == pytest.approx(correct, rel=1e-9, abs=1e-12)
    assert ci95_official_compat(*data) == pytest.approx(official, rel=1e-9, abs=1e-12)


def test_official_interval_is_too_small_by_n_minus_1() -> None:
    data = labelled_scores(0, None)
    assert ci95_jackknife(*data) / ci95_official_compat(*data) == pytest.approx(59)


def test_jackknife_covers_the_truth() -> None:
    """Of many small test sets, about 95 % have the true value within the interval (the mean of both metrics)."""
    rng = np.random.default_rng(0)
    is_anomaly = np.repeat([False, True], 100)
    big = np.repeat([False, True], 100_000)
    big_scores = rng.normal(size=big.size) + big
    truth = (auc(big, big_scores) + pauc(big, big_scores)) / 2
    covered = []
    for _ in range(200):
        scores = rng.normal(size=200) + is_anomaly
        estimate = (auc(is_anomaly, scores) + pauc(is_anomaly, scores)) / 2
        covered.append(abs(estimate - truth) < ci95_jackknife(is_anomaly, scores))
    assert 0.9 < np.mean(covered) <= 1.0


@pytest.mark.parametrize("is_anomaly", [[True, False, False], [True, True, False]])
def test_jackknife_needs_two_of_each(is_anomaly: list[bool]) -> None:
    with pytest.raises(AsdError, match="needs two of each class"):
        ci95_jackknife(is_anomaly, [1, 2, 3])
    two_of_each = np.array([False, True, True, False]), np.array([1.0, 2.0, 3.0, 2.5])
    correct = np.mean(
        [pseudo_value_formula(left_out(*two_of_each, f), roc_auc_score(*two_of_each, max_fpr=f)) for f in (None, 0.1)]
    )
    assert ci95_jackknife(*two_of_each) == pytest.approx(correct, rel=1e-9)


def test_one_resampling_is_an_interval_of_one_value() -> None:
    low, high = bootstrap_official_score(make_table(n=5), 2024, n_resamples=1)
    assert 0 < low == high < 1


def test_a_year_without_domains_needs_none() -> None:
    table = make_table(n=5)
    assert bootstrap_official_score(table.assign(domain=None), 2020) == bootstrap_official_score(table, 2020)


def make_table(seed: int = 0, n: int = 50, machines: str = "fan valve", digits: int = 9) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (m, "00", d, "test", label, f"{d}_{label}_{i}", round(rng.normal() + (label == "anomaly"), digits), 0)
        for m in machines.split()
        for d in ("source", "target")
        for label in ("normal", "anomaly")
        for i in range(n)
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


@pytest.mark.parametrize("year", [*(pytest.param(year, marks=pytest.mark.slow) for year in (2020, 2021)), 2024])
def test_bootstrap_agrees_with_plain_resampling(year: int) -> None:
    """The interval equals, up to chance, that of tables whose rows are drawn within the strata one by one."""
    table = make_table(n=20, digits=1)  # with ties
    strata = table.groupby(["machine", "domain", "label"])
    plain = [
        evaluate_table(strata.sample(frac=1, replace=True, random_state=seed), year)["official_score"]
        for seed in range(300)
    ]
    fast = bootstrap_official_score(table, year, n_resamples=4000)
    spread = fast.high - fast.low
    assert np.quantile(plain, [0.025, 0.975]) == pytest.approx(list(fast), abs=0.15 * spread)


def test_bootstrap_is_fixed_by_its_seed_and_blind_to_row_order_of_machines() -> None:
    table = make_table()
    first = bootstrap_official_score(table, 2024, seed=3)
    assert first == bootstrap_official_score(table, 2024, seed=3)
    assert first != bootstrap_official_score(table, 2024, seed=4)
    assert first == bootstrap_official_score(table.sort_values("machine", ascending=False, kind="stable"), 2024, seed=3)


def test_bootstrap_covers_the_official_score() -> None:
    table = make_table()
    low, high = bootstrap_official_score(table, 2024)
    assert low < evaluate_table(table, 2024)["official_score"] < high
    scores = resampled_scores(table, 2024)
    assert 0.94 <= np.mean((scores >= low) & (scores <= high)) <= 0.96
    few_low, few_high = bootstrap_official_score(make_table(n=10), 2024)
    assert few_high - few_low > high - low


@pytest.mark.parametrize("max_fpr", [1.0, 0.1])
def test_counted_clips_weigh_as_repeated_clips(max_fpr: float) -> None:
    is_anomaly, scores = labelled_scores(0, 2)
    rng = np.random.default_rng(0)
    counts = np.empty((60, 50), np.int64)
    for label in (False, True):
        size = np.count_nonzero(is_anomaly == label)
        counts[is_anomaly == label] = rng.multinomial(size, np.full(size, 1 / size), size=50).T
    expected = [pauc(np.repeat(is_anomaly, c), np.repeat(scores, c), max_fpr) for c in counts.T]
    assert _counted_pauc(is_anomaly, scores, counts, max_fpr) == pytest.approx(expected, abs=1e-12)


def test_bootstrap_of_constant_scores_is_chance() -> None:
    assert bootstrap_official_score(make_table().assign(score=7.0), 2024) == pytest.approx((0.5, 0.5))


def test_bootstrap_of_perfect_scores_has_no_width() -> None:
    table = make_table()
    table["score"] = (table["label"] == "anomaly").astype(float)
    assert bootstrap_official_score(table, 2024) == pytest.approx((1.0, 1.0), abs=1e-12)


def test_a_bootstrap_of_no_resamples_is_refused() -> None:
    with pytest.raises(AsdError, match="must be positive"):
        bootstrap_official_score(make_table(), 2024, n_resamples=0)


@pytest.mark.parametrize("seed", range(5))
def test_intervals_of_decisions_are_those_of_the_binomial_distribution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, decided = rng.random(40) < 0.4, rng.random(40) < 0.5
    found = decision_intervals(truth, decided)
    hits, called, anomalous = (int(np.sum(x)) for x in (truth & decided, decided, truth))
    for name, count, n in (
        ("precision", hits, called),
        ("recall", hits, anomalous),
        ("false_alarms", called - hits, 40 - anomalous),
    ):
        np.testing.assert_allclose(found[name], binomtest(count, n).proportion_ci(0.95, method="exact"), rtol=1e-9)
    low, high = found["f1"]
    assert low < precision_recall_f1(truth, decided)[2] < high
    assert decision_intervals([True], [0])["false_alarms"] == (0.0, 1.0)


@pytest.mark.slow
def test_the_interval_of_f1_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    wanted = 2 * 0.4 * 0.8 / (0.4 + 0.4 * 0.8 + 0.6 * 0.2)  # of clips without end
    inside = 0
    for _ in range(400):
        truth = rng.random(60) < 0.4
        decided = rng.random(60) < np.where(truth, 0.8, 0.2)
        low, high = decision_intervals(truth, decided)["f1"]
        inside += low <= wanted <= high
    assert inside >= 0.95 * 400 - 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_f1_is_that_of_its_share_of_hits(seed: int) -> None:
    """F1 is the harmonic mean of 1 and the share of hits among clips that are anomalous or called so."""
    rng = np.random.default_rng(seed)
    truth, decided = rng.random(40) < 0.4, rng.random(40) < 0.5
    share = binomtest(int(np.sum(truth & decided)), int(np.sum(truth | decided))).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(decision_intervals(truth, decided)["f1"], [hmean([1.0, j]) for j in share], rtol=1e-9)
