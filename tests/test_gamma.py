"""The gamma distribution of asd.scoring.threshold against scipy.stats."""

from __future__ import annotations

import warnings
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from asd.scoring.threshold import _OUTSIDE, Gamma, _cost, _fit_gamma

SCALES = st.sampled_from([1e-150, 1e-9, 1.0, 1e6, 1e150])


@settings(max_examples=40)
@given(st.floats(0.2, 30.0), st.integers(2, 300), SCALES, st.sampled_from([-1e3, 0.0, 7.0]), st.integers(0, 999))
@example(3.0, 50, 1e300, 0.0, 0)  # moments overflow
@example(3.0, 50, 1e-300, 0.0, 0)  # and underflow
@pytest.mark.slow
def test_any_location_is_what_scipy_fits(shape: float, n: int, scale: float, location: float, seed: int) -> None:
    scores = np.random.default_rng(seed).gamma(shape, scale, n) + location * scale
    with np.errstate(all="ignore"):
        try:
            expected = stats.gamma.fit(scores)
        except RuntimeError:  # scipy's FitError
            with pytest.raises(ValueError, match="no gamma distribution"):
                _fit_gamma(scores)
            return
    assert _fit_gamma(scores) == pytest.approx(expected, rel=1e-9, abs=0)


@settings(max_examples=40)
@given(st.floats(0.2, 30.0), st.integers(2, 300), SCALES, st.floats(1e-3, 10.0), st.integers(0, 999))
def test_a_fixed_location_is_what_scipy_fits(shape: float, n: int, scale: float, below: float, seed: int) -> None:
    scores = np.random.default_rng(seed).gamma(shape, scale, n)
    location = float(scores.min() - below * scale)
    assert _fit_gamma(scores, location) == pytest.approx(stats.gamma.fit(scores, floc=location), rel=1e-9)


def test_no_score_may_lie_at_the_fixed_location() -> None:
    with pytest.raises(ValueError, match="nan"):
        _fit_gamma(np.array([1.0, 2.0, 3.0]), 1.0)


@given(st.floats(1e-3, 1e3), st.floats(-10.0, 10.0), st.floats(1e-6, 1e6), st.floats(1e-3, 1 - 1e-3))
def test_quantiles_are_those_of_scipy(shape: float, location: float, scale: float, share: float) -> None:
    expected = stats.gamma.ppf(share, shape, location, scale)
    assert Gamma(shape, location, scale).quantile(share) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e300])
def test_a_fit_neither_prints_nor_warns(scale: float, capsys: pytest.CaptureFixture[str]) -> None:
    scores = np.random.default_rng(0).gamma(3.0, scale, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(ValueError):  # that none describes them
            _fit_gamma(scores)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("shape", "location", "scale", "expected"),
    [(1.0, 1.0, 1.0, 3.0), (1.0, 0.0, 2.0, 3.0 + 3 * np.log(2)), (2.0, 1.0, 1.0, _OUTSIDE + 3 - np.log(2)),
     (0.5, 1.0, 1.0, _OUTSIDE + 3 + np.log(np.pi) + np.log(2) / 2), (1.0, 2.5, 1.0, 2 * _OUTSIDE + 0.5),
     (0.0, 0.0, 1.0, np.inf), (1.0, 0.0, 0.0, np.inf)],
)  # fmt: skip
def test_what_is_minimised_is_the_likelihood_and_a_constant_for_each_score_that_cannot_be(
    shape: float, location: float, scale: float, expected: float
) -> None:
    scores = np.array([1.0, 2.0, 3.0])
    assert _cost(np.array([shape, location, scale]), scores) == pytest.approx(expected, rel=1e-12)
    if np.isfinite(expected):
        assert stats.gamma._penalized_nnlf((shape, location, scale), scores) == pytest.approx(expected, rel=1e-12)
