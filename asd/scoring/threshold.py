"""A common scale of scores and a decision threshold, both from scores of normal clips.

A threshold moves precision, recall and F1 only; AUC, pAUC and the official score never see it.

The gamma distribution and its quantiles are to the digit what `scipy.stats.gamma` gives, in less time. Its likelihood
is maximised as scipy does it for the official baseline: by the simplex of Nelder and Mead, from a start by moments. The
search often ends before the maximum, so another optimiser would give other thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import betaincinv, digamma, gammaincinv, gammaln, xlogy

from asd.core.runtime import log
from asd.scoring.references import FloatArray, IntArray
from asd.types import AsdError, one_of

Method = Literal["gamma", "percentile", "bound"]

PROMISE = 0.03  # share of the fitted scores, or one clip, by which a gamma fit may miss its quantile
CONFIDENCE = 0.95  # of the one-sided bound on false alarms
_OUTSIDE = 100 * np.log(np.finfo(np.float64).max)  # cost of a score where the density of a gamma distribution is 0
_HUGE = 1e150  # a score with a square that is no number
_EQUAL = 1e-9  # of their size: how far scores that only rounding tells apart lie apart


@dataclass(frozen=True, slots=True)
class ScoreNormalizer:
    """Where normal scores lie: what is needed to make scores of different origin comparable.

    Attributes:
        mean, deviation: of the scores of training clips none of which met itself.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, training: FloatArray) -> ScoreNormalizer:
        """Of training scores (clips,); scores equal but for rounding have deviation 1, so they stay what they are."""
        if not np.abs(training).max() < _HUGE:
            raise AsdError(
                f"training scores up to {max(training, key=abs):.3g} have no scale; check the training clips"
            )
        mean, deviation = float(np.mean(training)), float(np.std(training))
        return cls(mean, deviation if deviation > _EQUAL * np.abs(training).max() else 1.0)

    def z(self, scores: FloatArray) -> FloatArray:
        """Scores in deviations above the mean of normal ones."""
        return (scores - self.mean) / self.deviation


@dataclass(frozen=True, slots=True)
class Threshold:
    """A fitted decision threshold.

    Attributes:
        value: a clip whose score is above is called anomalous.
        method: how it was found: "gamma", "percentile", or "bound" for a wanted false-alarm rate.
        quantile: share of normal clips meant to lie below.
        false_alarm_bound: `share_limit` of those above, if new ones score as these do; 1 where all score the same.
        parameters: shape, location and scale of the gamma distribution; empty without one.
        fallback: why something other than what was asked for stands here; empty otherwise.
    """

    value: float
    method: Method
    quantile: float
    false_alarm_bound: float = 1.0
    parameters: tuple[float, ...] = ()
    fallback: str = ""

    def decide(self, scores: FloatArray) -> IntArray:
        """1 where the score is above the threshold, else 0: (clips,) -> (clips,)."""
        return (scores > self.value).astype(np.int64)


def stored_thresholds(
    stored: Mapping[str, Mapping[str, Any]], scorers: Sequence[str], path: Path, remedy: str
) -> dict[str, Threshold]:
    """The thresholds whose fields a file holds.

    Args:
        stored: what it holds, by scorer.
        scorers: those that it has to have.
        path, remedy: the file and what writes it anew, for messages.

    Raises:
        AsdError: a threshold is missing, or none.
    """
    try:
        found = {name: Threshold(**{**each, "parameters": tuple(each["parameters"])}) for name, each in stored.items()}
    except (KeyError, TypeError) as error:
        raise AsdError(f"{path} is damaged ({error}); {remedy}") from error
    if lacking := [name for name in scorers if name not in found]:
        raise AsdError(f"{path} has no threshold of {lacking[0]}; {remedy}")
    return found


def fit_threshold(
    normal_scores: FloatArray,
    method: Literal["gamma", "percentile"] = "gamma",
    quantile: float = 0.9,
    false_alarm_rate: float | None = None,
    scorer: str | None = "",
) -> Threshold:
    """Threshold below which a wanted share of normal clips lies.

    A gamma fit is taken only where it keeps its promise on the scores it was fitted to: the share above differs from
    1 - quantile by at most `PROMISE`, or by one clip. Else a fit with fixed location takes its place, else the
    percentile; where the clips are too few to promise the false-alarm rate, their highest score does. The reason is in
    `fallback` and in the log.

    Args:
        normal_scores: (clips,) scores of normal clips none of which met itself.
        method: "gamma" fits a gamma distribution, as the official baseline does; "percentile" sorts.
        quantile: share of normal clips below, in (0, 1).
        false_alarm_rate: in (0, 1), instead of method and quantile: the lowest threshold that normal clips
            exceed at most at this rate, with a confidence of `CONFIDENCE`.
        scorer: whose scores these are, for warnings; None: there are none.

    Raises:
        AsdError: no scores, scores that are not finite or beyond all use, a share outside (0, 1), or an unknown method.

    Example:
        >>> round(fit_threshold(np.arange(100.0), "percentile", quantile=0.9).value, 2)
        89.1
    """
    normal_scores = np.asarray(normal_scores, np.float64)
    finite = int((np.abs(normal_scores) < _HUGE).sum())
    if len(normal_scores) == 0 or finite < len(normal_scores):
        what = f"needs finite scores of normal clips (below {_HUGE:g}), got {finite} finite of {len(normal_scores)}"
        raise AsdError(f"a decision threshold {what}; check the training clips")
    name, share = ("quantile", quantile) if false_alarm_rate is None else ("false_alarm_rate", false_alarm_rate)
    if not 0 < share < 1:
        raise AsdError(f"{name}={share} is no share of normal clips; give a number between 0 and 1")
    if false_alarm_rate is not None:
        found = _bounded(normal_scores, false_alarm_rate)
    else:
        found = _METHODS[one_of(method, [*_METHODS], "method")](normal_scores, quantile)
    if found.fallback and scorer is not None:
        log.warning("threshold of %s: %s", scorer or "the scores", found.fallback)
    return found


def share_limit(count: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The share, in (0, 1], that is not exceeded with this confidence: of false alarms, for example.

    Args:
        count, n: clips of the kind, such as normal ones above the threshold, and all of them.
        confidence: in (0, 1).

    Example:
        >>> round(share_limit(0, 59), 3)
        0.05

    Source: C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).
    """
    return 1.0 if count >= n else float(betaincinv(count + 1, n - count, confidence))


def how_sure(n_normal: int, bound: float) -> str:
    """What normal recordings can promise: a clause without an end.

    Args:
        n_normal: recordings that a threshold was fitted to.
        bound: its `false_alarm_bound`.
    """
    return (
        f"with {n_normal} normal recordings and a confidence of {CONFIDENCE:.0%}, at most {bound:.0%} of normal "
        f"recordings are called anomalous"
    )


def _threshold(scores: FloatArray, value: float, method: Method, quantile: float, **more: Any) -> Threshold:
    n_above = int((scores > value).sum()) if np.ptp(scores) else len(scores)  # equal scores promise nothing
    bound = share_limit(n_above, len(scores))
    return Threshold(value, method, quantile, bound, **more)


def _percentile(scores: FloatArray, quantile: float, fallback: str = "") -> Threshold:
    value = float(np.percentile(scores, 100 * quantile))
    return _threshold(scores, value, "percentile", quantile, fallback=fallback)


def _bounded(scores: FloatArray, rate: float) -> Threshold:
    """The lowest score with a bound within the rate, or the highest score."""
    values, counts = np.unique(scores, return_counts=True)
    above = len(scores) - np.cumsum(counts)
    promised = [value for value, n in zip(values, above, strict=True) if share_limit(n, len(scores)) <= rate]
    if promised:
        return _threshold(scores, float(promised[0]), "bound", 1 - rate)
    needed = int(np.ceil(np.log1p(-CONFIDENCE) / np.log1p(-rate)))
    best = share_limit(0, len(scores))
    reason = (
        f"{len(scores)} normal clips promise a false-alarm rate of {best:.3g} at best, for {rate:g} it takes "
        f"{needed}; their highest score takes its place"
    )
    return _threshold(scores, float(values[-1]), "bound", 1 - rate, fallback=reason)


def _gamma(scores: FloatArray, quantile: float) -> Threshold:
    """As the official baseline does it first; its free location often ends in a corner, a fixed one does not."""
    reasons = []
    below = float(scores.min() - 0.01 * np.ptp(scores))
    for label, location in (("", None), (" with fixed location", below)):
        try:
            value, parameters = _gamma_quantile(scores, quantile, location)
        except ValueError as error:
            reasons.append(f"the gamma fit fails ({error})")
            continue
        fallback = f"{reasons[0]}, the one{label} takes its place" if reasons else ""
        return _threshold(scores, value, "gamma", quantile, parameters=parameters, fallback=fallback)
    return _percentile(scores, quantile, f"{reasons[0]}, the {100 * quantile:g} percentile takes its place")


def _gamma_quantile(scores: FloatArray, quantile: float, location: float | None) -> tuple[float, Gamma]:
    """Quantile of a fitted gamma distribution, and itself; ValueError where it does not describe the scores."""
    if np.ptp(scores) == 0:
        raise ValueError("all scores are equal")
    found = _fit_gamma(scores, location)
    value = found.quantile(quantile)
    share = float((scores > value).mean())
    if not abs(share - (1 - quantile)) <= max(PROMISE, 1 / len(scores)):
        raise ValueError(f"{share:.0%} of the clips lie above, not {1 - quantile:.0%}")
    return value, found


class Gamma(NamedTuple):
    """A gamma distribution by its shape, location and scale."""

    shape: float
    location: float
    scale: float

    def quantile(self, share: float) -> float:
        """The value below which a share in (0, 1) lies."""
        return float(gammaincinv(self.shape, share) * self.scale + self.location)


def _fit_gamma(scores: FloatArray, location: float | None = None) -> Gamma:
    """The likeliest distribution of scores, from a location below all of them or, None, anywhere; ValueError: none."""
    from scipy.optimize import brentq, fmin  # takes a tenth of a second to import

    with np.errstate(all="ignore"):  # moments of extreme scores overflow; the check below sees it
        if location is None:
            found = Gamma(*map(float, fmin(_cost, _by_moments(scores), args=(scores,), disp=False)))
        else:
            above = scores - location
            excess = np.log(above.mean()) - np.log(above).mean()  # log shape - digamma(shape)
            near = (3 - excess + np.sqrt((excess - 3) ** 2 + 24 * excess)) / (12 * excess)
            shape = brentq(lambda a: np.log(a) - digamma(a) - excess, 0.6 * near, 1.4 * near, disp=False)
            found = Gamma(float(shape), location, float(above.mean() / shape))
    if not (found.shape > 0 and found.scale > 0):
        raise ValueError("no gamma distribution describes them")
    return found


def _by_moments(scores: FloatArray) -> Gamma:
    """The distribution with the mean, variance and skewness of scores, or one that begins below all of them."""
    deviations = scores - scores.mean()
    # not **, which rounds otherwise than scipy does: the simplex would end elsewhere by more than that
    skewness = (deviations**3).mean() / np.power((deviations**2).mean(), 1.5)
    shape = 4 / (1e-8 + skewness**2)
    scale = np.sqrt(scores.var() / shape)
    location = scores.mean() - scale * shape
    if location < scores.min():
        return Gamma(shape, location, scale)
    return Gamma(shape, scores.min() - 0.1 * np.ptp(scores), 1.0)


def _cost(parameters: FloatArray, scores: FloatArray) -> float:
    """Negative log-likelihood of scores, with a constant for each that cannot be."""
    shape, location, scale = parameters
    if not (shape > 0 and scale > 0):
        return np.inf
    units = (scores - location) / scale
    units = units[units >= 0]
    logarithms = xlogy(shape - 1, units) - units - gammaln(shape)
    held = logarithms[np.isfinite(logarithms)]
    outside = (len(scores) - len(held)) * _OUTSIDE
    return float(outside - held.sum() + len(scores) * np.log(scale))


_METHODS = {"gamma": _gamma, "percentile": _percentile}
