"""Alarms by the rule written out over whole lists; drift seldom seen where there is none, soon where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from asd.deploy.alarms import DAY_S, Alarms, Drift, Evidence, Rule, below_of

WINDOW, HOP = 20, 10
TRAINING = np.random.default_rng(0).gamma(4.0, size=200)


def changes(scores: list[float], rule: Rule) -> list[tuple[int, str]]:
    """Index of the window and what happened."""
    alarms = Alarms(rule)
    found = [(i, alarms.step(score, i * HOP, i * HOP + WINDOW)) for i, score in enumerate(scores)]
    return [(i, change) for i, change in found if change]


def by_the_rule(scores: list[float], rule: Rule) -> list[tuple[int, str]]:
    """The same, looked up in the whole list of smoothed scores."""
    smoothed = [float(np.mean(scores[max(0, i + 1 - rule.n_smooth) : i + 1])) for i in range(len(scores))]
    n_least = -(-rule.least_samples // HOP)  # hops from the first suspicious window on
    found, i, is_on = [], 0, False
    while i < len(smoothed):
        if is_on and smoothed[i] < rule.below:
            found.append((i, "cleared"))
            is_on = False
        elif not is_on:
            stretch = smoothed[max(0, i - n_least) : i + 1]
            begun = max((j for j, what in found if what == "cleared"), default=-1)
            if i - n_least > begun and len(stretch) == n_least + 1 and min(stretch) > rule.above:
                found.append((i, "alarm"))
                is_on = True
        i += 1
    return found


scores = st.lists(st.integers(0, 8).map(float), max_size=60)


@given(scores, st.integers(1, 4), st.integers(0, 45), st.integers(0, 4))
def test_alarms_are_those_of_the_rule(values: list[float], n_smooth: int, least: int, width: int) -> None:
    rule = Rule(4.5, 4.5 - width, n_smooth, least)
    assert changes(values, rule) == by_the_rule(values, rule)


def test_the_onset_is_where_suspicion_began_and_the_peak_is_the_highest_since() -> None:
    alarms = Alarms(Rule(4.5, 3.0, least_samples=2 * HOP))
    for i, score in enumerate([9.0, 1.0, 5.0, 8.0, 6.0]):
        change = alarms.step(score, i * HOP, i * HOP + WINDOW)
    assert (change, alarms.onset, alarms.peak) == ("alarm", 2 * HOP, 8.0)
    assert alarms.step(4.0, 50, 70) is None  # above the lower threshold it stays
    assert alarms.step(2.0, 60, 80) == "cleared"


def test_after_missing_samples_a_suspicion_begins_anew_and_an_alarm_stays() -> None:
    alarms = Alarms(Rule(4.5, 3.0, n_smooth=2, least_samples=HOP))
    alarms.step(9.0, 0, 20)
    alarms.cut()
    assert alarms.step(5.0, 100, 120) is None
    assert alarms.smoothed == 5.0
    assert alarms.step(5.0, 110, 130) == "alarm"
    assert alarms.onset == 100
    alarms.cut()
    assert alarms.is_on
    assert alarms.step(1.0, 200, 220) == "cleared"


def test_an_alarm_clears_on_the_way_to_the_median_and_never_above_the_threshold() -> None:
    training = np.array([1.0, 2.0, 30.0])
    assert below_of(10.0, training, 0.25) == pytest.approx(8.0)
    assert below_of(10.0, training, 0.0) == 10.0
    assert below_of(1.0, training, 0.5) == 1.0


def looks(drift: Drift, scores: np.ndarray) -> list[Evidence]:
    return [found for score in scores if (found := drift.step(float(score)))]


def test_a_look_is_the_librarys_test_on_disjoint_windows() -> None:
    scores = np.random.default_rng(1).gamma(6.0, size=170)
    found = looks(Drift(TRAINING, 50, 10.0, 0.01), scores)
    assert len(found) == 3
    for i, evidence in enumerate(found):
        part = scores[50 * i : 50 * (i + 1)]
        expected = ks_2samp(part, TRAINING)
        assert evidence.p_value == pytest.approx(expected.pvalue)
        assert evidence.distance == pytest.approx(expected.statistic)
        assert (evidence.median, evidence.training_median) == (np.median(part), np.median(TRAINING))
        assert (evidence.direction, evidence.n_windows, evidence.n_training) == ("higher", 50, 200)


def test_the_level_spends_the_days_false_warnings_on_its_looks() -> None:
    drift = Drift(TRAINING, 50, 10.0, 0.01)
    assert drift.level * DAY_S / (50 * 10.0) == pytest.approx(0.01)


def test_without_drift_false_warnings_are_as_rare_as_promised() -> None:
    rng, per_day, n_days = np.random.default_rng(2), 0.5, 40
    drift = Drift(rng.gamma(4.0, size=2000), 50, 60.0, per_day)  # 28.8 looks a day
    found = looks(drift, rng.gamma(4.0, size=n_days * 1440))
    n_false = sum(evidence.is_drift for evidence in found)
    assert n_false <= 35  # 20 expected at most; more than 35 has a probability below 0.001 by Poisson's law


def test_a_drift_of_one_spread_is_seen_in_the_first_look() -> None:
    drift = Drift(TRAINING, 50, 10.0, 0.01)
    (found,) = looks(drift, np.random.default_rng(3).gamma(4.0, size=50) + TRAINING.std())
    assert found.is_drift
    assert found.direction == "higher"
    (found,) = looks(drift, np.random.default_rng(3).gamma(4.0, size=50) - TRAINING.std())
    assert found.is_drift
    assert found.direction == "lower"
