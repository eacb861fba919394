"""Drift of normal scores: seldom seen where there is none, soon where there is one, by the library's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from asd.deploy.drift import DAY_S, Drift, Evidence

TRAINING = np.random.default_rng(0).gamma(4.0, size=200)


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
