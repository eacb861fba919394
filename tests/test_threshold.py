from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asd.scoring.threshold import fit_threshold
from asd.types import AsdError


def test_gamma_equals_the_official_formula() -> None:
    scores = np.random.default_rng(0).gamma(3.0, 2.0, 500) + 5
    fitted = fit_threshold(scores, "gamma", 0.9)
    assert fitted.method == "gamma"
    assert fitted.value == stats.gamma.ppf(0.9, *_unpacked(stats.gamma.fit(scores)))
    assert np.mean(scores <= fitted.value) == pytest.approx(0.9, abs=0.03)


def _unpacked(fit: tuple[float, float, float]) -> tuple[float, float, float]:
    shape, location, scale = fit
    return shape, location, scale


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.05, 0.95))
def test_percentile_lets_the_wanted_share_pass(values: list[float], quantile: float) -> None:
    scores = np.array(values)
    fitted = fit_threshold(scores, "percentile", quantile)
    assert fitted.value == np.percentile(scores, 100 * quantile)
    assert fitted.decide(scores).sum() <= np.ceil((1 - quantile) * len(scores))


def test_a_failed_fit_falls_back_loudly(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="asd"):
        fitted = fit_threshold(np.full(20, 1.5), "gamma", 0.9)
    assert fitted.method == "percentile"
    assert fitted.value == 1.5
    assert "all scores are equal" in fitted.fallback
    assert "gamma fit with free location failed" in caplog.text


def test_a_corner_solution_is_fitted_again_with_fixed_location(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.random.default_rng(1).gamma(2.0, 1.0, 300) + 8.0
    official = stats.gamma.fit

    def cornered(values: np.ndarray, **fixed: float) -> tuple[float, ...]:
        return official(values, **fixed) if fixed else (0.01, 8.0, 1e6)

    monkeypatch.setattr("asd.scoring.threshold.gamma.fit", cornered)
    with caplog.at_level(logging.WARNING, logger="asd"):
        fitted = fit_threshold(scores, "gamma", 0.9)
    assert fitted.method == "gamma"
    assert fitted.parameters[1] < scores.min()
    assert np.mean(scores <= fitted.value) == pytest.approx(0.9, abs=0.03)
    assert "free location failed" in fitted.fallback
    assert "location fixed below the scores" in caplog.text


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [np.inf, 1.0]])
def test_scores_that_are_not_finite_are_refused(scores: list[float]) -> None:
    with pytest.raises(AsdError, match="needs finite scores of normal clips"):
        fit_threshold(np.array(scores))


def test_only_scores_above_are_anomalous() -> None:
    assert fit_threshold(np.array([1.0, 2.0]), "percentile", 0.5).decide(
        np.array([1.4, 1.5, 1.6])
    ).tolist() == [0, 0, 1]
