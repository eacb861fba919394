"""Alarms by smoothing, minimum duration and hysteresis, held against the rule written out over whole lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.deploy.alarms import Alarms, Rule, below_of

WINDOW, HOP = 20, 10


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
