"""A common scale of scores and a decision threshold, both from scores of normal clips.

A threshold moves precision, recall and F1 only; AUC, pAUC and the official score never see it.

Args:
    scores: (clips,) of each of several members.
    training: (training clips,) of each, which give it a scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from asd.core.runtime import log
from asd.scoring.gamma import Gamma, fit_gamma
from asd.types import AsdError, one_of

Method = Literal["gamma", "percentile", "bound"]
FloatArray = npt.NDArray[np.float64]

PROMISE = 0.03  # share of the fitted scores, or one clip, by which a gamma fit may miss its quantile
CONFIDENCE = 0.95  # of the one-sided bound on false alarms


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
        """Of training scores (clips,); equal scores have deviation 1, so they stay what they are."""
        deviation = float(np.std(training))
        return cls(float(np.mean(training)), deviation if deviation > 0 else 1.0)

    def z(self, scores: FloatArray) -> FloatArray:
        """Scores in deviations above the mean of normal ones."""
        return (scores - self.mean) / self.deviation


def fuse_z(scores: Sequence[FloatArray], training: Sequence[FloatArray]) -> FloatArray:
    """Mean of z scores, (clips,)."""
    return np.mean([ScoreNormalizer.of(t).z(s) for s, t in zip(scores, training, strict=True)], axis=0)


def fuse_rank(scores: Sequence[FloatArray], training: Sequence[FloatArray]) -> FloatArray:
    """Mean rank among the training scores, in [0, 1]; beyond all of them the z score decides, scaled small.

    Robust to members whose scores have long tails, but coarse: n training clips give n + 1 ranks.
    """
    ranks = [
        np.searchsorted(np.sort(t), s, side="left") / len(t) + 1e-6 * ScoreNormalizer.of(t).z(s)
        for s, t in zip(scores, training, strict=True)
    ]
    return np.mean(ranks, axis=0)


FUSIONS = {"z": fuse_z, "rank": fuse_rank}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A fitted decision threshold.

    Attributes:
        value: a clip whose score is above is called anomalous.
        method: how it was found: "gamma", "percentile", or "bound" for a wanted false-alarm rate.
        quantile: share of normal clips meant to lie below.
        false_alarm_bound: the share of new normal clips above the value is at most this with a confidence of
            `CONFIDENCE`, as far as these clips can tell, and if new normal clips score as they do.
        parameters: shape, location and scale of the gamma distribution; empty without one.
        fallback: why something other than what was asked for stands here; empty otherwise.
    """

    value: float
    method: Method
    quantile: float
    false_alarm_bound: float = 1.0
    parameters: tuple[float, ...] = ()
    fallback: str = ""

    def decide(self, scores: FloatArray) -> npt.NDArray[np.int64]:
        """1 where the score is above the threshold, else 0: (clips,) -> (clips,)."""
        return (scores > self.value).astype(np.int64)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


def fit_threshold(
    normal_scores: FloatArray,
    method: Literal["gamma", "percentile"] = "gamma",
    quantile: float = 0.9,
    false_alarm_rate: float | None = None,
    scorer: str | None = "",
) -> Threshold:
    """Threshold below which a wanted share of normal clips lies.

    Args:
        normal_scores: (clips,) scores of normal clips none of which met itself.
        method: "gamma" fits a gamma distribution, as the official baseline does; "percentile" sorts.
        quantile: share of normal clips below, in (0, 1).
        false_alarm_rate: in (0, 1), instead of method and quantile: the lowest threshold that normal clips
            exceed at most at this rate, with a confidence of `CONFIDENCE`.
        scorer: whose scores these are, for warnings; None: there are none.

    Returns:
        The threshold. A gamma fit is taken only where it keeps its promise on the scores it was fitted to:
        the share above differs from 1 - quantile by at most `PROMISE`, or by one clip. Where the official
        fit does not, a fit with fixed location takes its place, else the percentile; where the clips are too
        few to promise the false-alarm rate, their highest score does. The reason is in `fallback` and in the
        log.

    Raises:
        AsdError: no scores, scores that are not finite, or an unknown method.

    Example:
        >>> round(fit_threshold(np.arange(100.0), "percentile", quantile=0.9).value, 2)
        89.1
    """
    finite = int(np.isfinite(normal_scores).sum())
    if len(normal_scores) == 0 or finite < len(normal_scores):
        raise AsdError(
            f"a decision threshold needs finite scores of normal clips, got {finite} finite of "
            f"{len(normal_scores)}; check the training clips"
        )
    if false_alarm_rate is not None:
        found = _bounded(normal_scores, false_alarm_rate)
    else:
        found = _METHODS[one_of(method, [*_METHODS], "method")](normal_scores, quantile)
    if found.fallback and scorer is not None:
        log.warning("threshold of %s: %s", scorer or "the scores", found.fallback)
    return found


def false_alarm_bound(n_above: int, n: int) -> float:
    """Rate of false alarms that is not exceeded with a confidence of `CONFIDENCE`.

    Args:
        n_above: normal clips above the threshold.
        n: normal clips.

    Returns:
        The upper limit of the rate, in (0, 1].

    Example:
        >>> round(false_alarm_bound(0, 59), 3)
        0.05

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the
    case of the binomial", Biometrika 26 (1934), the upper limit.
    """
    return 1.0 if n_above >= n else float(betaincinv(n_above + 1, n - n_above, CONFIDENCE))


def _threshold(scores: FloatArray, value: float, method: Method, quantile: float, **more: Any) -> Threshold:
    bound = false_alarm_bound(int((scores > value).sum()), len(scores))
    return Threshold(value, method, quantile, bound, **more)


def _percentile(scores: FloatArray, quantile: float, fallback: str = "") -> Threshold:
    value = float(np.percentile(scores, 100 * quantile))
    return _threshold(scores, value, "percentile", quantile, fallback=fallback)


def _bounded(scores: FloatArray, rate: float) -> Threshold:
    """The lowest score with a bound within the rate, or the highest score."""
    values, counts = np.unique(scores, return_counts=True)
    above = len(scores) - np.cumsum(counts)
    promised = [value for value, n in zip(values, above, strict=True) if false_alarm_bound(n, len(scores)) <= rate]
    if promised:
        return _threshold(scores, float(promised[0]), "bound", 1 - rate)
    needed = int(np.ceil(np.log1p(-CONFIDENCE) / np.log1p(-rate)))
    best = false_alarm_bound(0, len(scores))
    reason = (
        f"{len(scores)} normal clips promise a false-alarm rate of {best:.3g} at best, for {rate:g} it takes "
        f"{needed}; their highest score takes its place"
    )
    return _threshold(scores, float(values[-1]), "bound", 1 - rate, fallback=reason)


def _gamma(scores: FloatArray, quantile: float) -> Threshold:
    """As the official baseline does it first; its free location often ends in a corner.

    Then the location is fixed a little below the lowest score, which leaves a fit of two parameters that
    does not; then the percentile.
    """
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
    found = fit_gamma(scores, location)
    value = found.quantile(quantile)
    share = float((scores > value).mean())
    if not abs(share - (1 - quantile)) <= max(PROMISE, 1 / len(scores)):
        raise ValueError(f"{share:.0%} of the clips lie above, not {1 - quantile:.0%}")
    return value, found


_METHODS = {"gamma": _gamma, "percentile": _percentile}
