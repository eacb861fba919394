from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from asd.scoring.threshold import Gamma, ScoreNormalizer, _fit_gamma, fit_threshold, share_limit, stored_thresholds
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]
POINTS = 0.03  # as promised in the documents: three points, or one clip
NORMAL = np.random.default_rng(0).gamma(2.0, size=50)


def test_gamma_equals_the_official_formula() -> None:
    scores = np.random.default_rng(0).gamma(3.0, 2.0, 500) + 5
    fitted = fit_threshold(scores, "gamma", 0.9)
    assert fitted.method == "gamma"
    shape, location, scale = stats.gamma.fit(scores)
    assert fitted.value == stats.gamma.ppf(0.9, shape, location, scale)
    assert np.mean(scores <= fitted.value) == pytest.approx(0.9, abs=0.03)


def knocks(n: int, seed: int, scale: float) -> FloatArray:
    """Ordinary scores with one knock in a hundred clips."""
    scores = np.random.default_rng(seed).gamma(4.0, 1.0, n)
    scores[0] = scale * scores.max()
    return scores


SCORES = {
    "one knock": knocks(100, 0, 30.0),
    "one small knock": knocks(100, 1, 4.0),
    "heavy tails": np.random.default_rng(2).standard_cauchy(200),
    "negative": -np.random.default_rng(3).gamma(2.0, 1.0, 150),
    "two heaps": np.append(np.random.default_rng(4).normal(0, 1, 90), 50 + np.zeros(10)),
    "ties": np.repeat([1.0, 2.0, 3.0], [50, 30, 20]),
    "log distances": np.log(np.random.default_rng(5).gamma(0.5, 1.0, 120)),
    "few": np.array([1.0, 4.0, 2.0]),
    "two": np.array([0.0, 1.0]),
    "one": np.array([7.0]),
}


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", SCORES)
def test_a_threshold_keeps_its_promise_on_the_scores_it_was_fitted_to(name: str, quantile: float) -> None:
    assert_kept(SCORES[name], quantile)


@settings(max_examples=150)
@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=60), st.floats(0.05, 0.95))
@example([0.0] * 9 + [1e6], 0.9)
@example([1e-300] + [1.0] * 20, 0.5)
def test_whatever_the_scores_the_promise_is_kept(values: list[float], quantile: float) -> None:
    assert_kept(np.array(values), quantile)


@settings(max_examples=60)
@given(
    st.sampled_from(["lognorm", "t", "gamma", "weibull_min", "uniform"]),
    st.floats(0.3, 5.0),
    st.integers(5, 400),
    st.integers(0, 999),
)
def test_whatever_the_distribution_the_promise_is_kept(name: str, shape: float, n: int, seed: int) -> None:
    family = getattr(stats, name)
    shapes = () if name == "uniform" else (shape,)
    assert_kept(family.rvs(*shapes, size=n, random_state=seed), 0.9)


def assert_kept(scores: FloatArray, quantile: float) -> None:
    """Within three points or one clip, counted on either side of scores that equal the threshold."""
    fitted = fit_threshold(scores, "gamma", quantile)
    tolerance = max(POINTS, 1 / len(scores)) + 1e-9
    assert fitted.decide(scores).mean() <= 1 - quantile + tolerance
    assert np.mean(scores >= fitted.value) >= 1 - quantile - tolerance


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.05, 0.95))
def test_percentile_lets_the_wanted_share_pass(values: list[float], quantile: float) -> None:
    scores = np.array(values)
    fitted = fit_threshold(scores, "percentile", quantile)
    assert fitted.value == np.percentile(scores, 100 * quantile)
    assert fitted.decide(scores).sum() <= np.ceil((1 - quantile) * len(scores))


def test_a_fit_that_breaks_its_promise_falls_back_and_names_the_scorer(caplog: pytest.LogCaptureFixture) -> None:
    scores = SCORES["two heaps"]
    with caplog.at_level(logging.WARNING, logger="asd"):
        fitted = fit_threshold(scores, "gamma", 0.8, scorer="knn of fan")
    assert fitted.method == "percentile"
    assert fitted.value == np.percentile(scores, 80)
    assert "threshold of knn of fan" in caplog.text
    wanted = r"the gamma fit fails \(\d+% of the clips lie above, not 20%\), the 80 percentile takes its place"
    assert re.fullmatch(wanted, fitted.fallback)


def test_equal_scores_fall_back_loudly(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="asd"):
        fitted = fit_threshold(np.full(20, 1.5), "gamma", 0.9)
    assert fitted.method == "percentile"
    assert fitted.value == 1.5
    assert fitted.false_alarm_bound == fit_threshold(np.ones(99), false_alarm_rate=0.1).false_alarm_bound == 1.0
    assert "all scores are equal" in fitted.fallback
    assert "the gamma fit fails" in caplog.text


def test_a_corner_solution_is_fitted_again_with_fixed_location(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.random.default_rng(1).gamma(2.0, 1.0, 300) + 8.0

    def cornered(values: FloatArray, location: float | None = None) -> Gamma:
        return Gamma(0.01, 8.0, 1e6) if location is None else _fit_gamma(values, location)

    monkeypatch.setattr("asd.scoring.threshold._fit_gamma", cornered)
    with caplog.at_level(logging.WARNING, logger="asd"):
        fitted = fit_threshold(scores, "gamma", 0.9)
    assert fitted.method == "gamma"
    assert fitted.parameters[1] < scores.min()
    assert np.mean(scores <= fitted.value) == pytest.approx(0.9, abs=0.03)
    assert fitted.fallback.endswith("the one with fixed location takes its place")
    assert fitted.fallback in caplog.text


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [np.inf, 1.0]])
def test_scores_that_are_not_finite_are_refused(scores: list[float]) -> None:
    with pytest.raises(AsdError, match="needs finite scores of normal clips"):
        fit_threshold(np.array(scores))


def test_only_scores_above_are_anomalous() -> None:
    assert fit_threshold(np.array([1.0, 2.0]), "percentile", 0.5).decide(np.array([1.4, 1.5, 1.6])).tolist() == [
        0,
        0,
        1,
    ]


@pytest.mark.parametrize(("n_above", "n"), [(0, 1), (0, 59), (3, 100), (50, 60)])
def test_the_bound_is_the_rate_at_which_so_few_alarms_have_five_percent(n_above: int, n: int) -> None:
    assert stats.binom.cdf(n_above, n, share_limit(n_above, n)) == pytest.approx(0.05)


def test_everything_above_promises_nothing() -> None:
    assert share_limit(5, 5) == 1.0
    assert fit_threshold([1.0, 2.0, 3.0], "percentile").value == pytest.approx(2.8)


@pytest.mark.parametrize(("n", "above"), [(59, 0), (200, 4), (500, 16)])
def test_a_false_alarm_rate_is_the_lowest_score_that_can_promise_it(n: int, above: int) -> None:
    """59 clips are the fewest for 5 %: 0.95^59 < 0.05; the others are from tables of tolerance limits."""
    scores = np.random.default_rng(n).normal(size=n)
    fitted = fit_threshold(scores, false_alarm_rate=0.05)
    assert fitted.method == "bound"
    assert fitted.value == np.sort(scores)[-1 - above]
    assert fitted.decide(scores).sum() == above
    assert fitted.false_alarm_bound <= 0.05 < share_limit(above + 1, n)
    assert not fitted.fallback


def test_the_promised_rate_holds_for_new_clips_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    rates = [
        stats.gamma.sf(fit_threshold(rng.gamma(2.0, 1.0, 100), false_alarm_rate=0.1).value, 2.0) for _ in range(400)
    ]
    assert np.mean(np.array(rates) <= 0.1) >= 0.93
    assert np.mean(rates) > 0.04  # and the threshold is not needlessly high


def test_too_few_clips_to_promise_say_what_they_can(caplog: pytest.LogCaptureFixture) -> None:
    scores = np.arange(58.0)
    with caplog.at_level(logging.WARNING, logger="asd"):
        fitted = fit_threshold(scores, false_alarm_rate=0.05, scorer="mse of pump")
    assert fitted.value == 57.0
    assert "threshold of mse of pump: 58 normal clips promise a false-alarm rate of 0.0503" in caplog.text
    assert "for 0.05 it takes 59" in fitted.fallback


def test_ties_at_the_highest_score_count_as_above_only_if_they_are() -> None:
    scores = np.repeat([1.0, 2.0], [10, 90])
    assert fit_threshold(scores, false_alarm_rate=0.05).value == 2.0
    assert fit_threshold(scores, false_alarm_rate=0.97).value == 1.0


def test_equal_training_scores_do_not_divide_by_zero() -> None:
    assert ScoreNormalizer.of(np.full(5, 3.0)) == ScoreNormalizer(3.0, 1.0)
    assert ScoreNormalizer.of(np.zeros(5)) == ScoreNormalizer(0.0, 1.0)
    assert ScoreNormalizer.of(3.0 + np.arange(5) * 1e-15).deviation == 1.0  # rounding alone tells them apart


@pytest.mark.parametrize("scores", [[-1.7e308, 1.7e308], [0.5, 1e308], [0.1, 0.2, 0.3, 1e155]])
def test_scores_that_overflow_have_no_threshold_and_no_scale(scores: list[float]) -> None:
    with pytest.raises(AsdError, match=r"needs finite scores of normal clips \(below 1e\+150\)"):
        fit_threshold(np.array(scores), quantile=0.99)
    with pytest.raises(AsdError, match=r"^training scores up to -?1.* have no scale; check"):
        ScoreNormalizer.of(np.array(scores))


@pytest.mark.parametrize(
    "wanted", [{"quantile": 90}, {"quantile": float("nan")}, {"false_alarm_rate": 0}, {"false_alarm_rate": -1}]
)
def test_a_share_that_is_none_is_refused(wanted: dict[str, float]) -> None:
    ((name, value),) = wanted.items()
    with pytest.raises(AsdError, match=f"^{name}={value} is no share of normal clips; give a number between 0 and 1$"):
        fit_threshold(NORMAL, **wanted)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(AsdError, match="method=otsu is unknown; there are gamma, percentile"):
        fit_threshold(np.arange(9.0), "otsu")  # type: ignore[arg-type]


def test_a_threshold_knows_which_share_was_meant() -> None:
    assert fit_threshold(NORMAL, "gamma", 0.8).quantile == 0.8
    assert fit_threshold(NORMAL, "percentile", 0.7).quantile == 0.7
    promised, few = (fit_threshold(NORMAL, false_alarm_rate=rate) for rate in (0.25, 0.01))
    assert (promised.quantile, few.quantile) == (0.75, 0.99)
    assert few.fallback
    assert not promised.fallback


def test_the_usual_method_is_the_gamma_fit() -> None:
    scores = np.random.default_rng(0).gamma(2.0, size=200)
    assert fit_threshold(scores) == fit_threshold(scores, method="gamma")


def test_z_scores_are_deviations_above_the_mean() -> None:
    scores = np.random.default_rng(0).gamma(2.0, 3.0, 40)
    np.testing.assert_allclose(ScoreNormalizer.of(scores).z(scores), stats.zscore(scores))
    assert ScoreNormalizer(2.0, 4.0).z(np.array([2.0, 10.0, 0.0])).tolist() == [0.0, 2.0, -0.5]


def test_decisions_are_whole_numbers_and_a_percentile_that_was_asked_for_needs_no_excuse() -> None:
    fitted = fit_threshold(NORMAL, "percentile")
    assert fitted.decide(NORMAL).dtype == np.int64
    assert fitted.fallback == ""
    assert fitted.parameters == ()


def test_thresholds_are_the_same_after_a_file_of_json() -> None:
    fitted = {"mse": fit_threshold(NORMAL), "knn": fit_threshold(np.ones(9))}
    stored = json.loads(json.dumps({name: asdict(threshold) for name, threshold in fitted.items()}))
    assert stored_thresholds(stored, ["knn", "mse"], Path("thresholds.json"), "train again") == fitted
    assert len(fitted["mse"].parameters) == 3
    with pytest.raises(AsdError, match=r"^thresholds.json has no threshold of z; train again$"):
        stored_thresholds(stored, ["mse", "z"], Path("thresholds.json"), "train again")


@pytest.mark.parametrize("damaged", [{}, {"value": 1.0, "method": "gamma", "quantile": 0.9}, {"parameters": []}])
def test_a_threshold_that_lacks_a_field_is_damaged(damaged: dict[str, Any]) -> None:
    with pytest.raises(AsdError, match=r"^t.json is damaged \(.*\); train again$"):
        stored_thresholds({"mse": damaged}, ["mse"], Path("t.json"), "train again")
