"""When is a clip called anomalous: a threshold fitted on scores of normal clips.

A threshold moves precision, recall and F1 only; AUC, pAUC and the official score never see it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import gamma

from asd.core.runtime import log
from asd.types import AsdError

Method = Literal["gamma", "percentile"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A fitted decision threshold.

    Attributes:
        value: a clip whose score is above is called anomalous.
        method: how it was found, "gamma" or "percentile".
        quantile: share of normal clips meant to lie below.
        parameters: shape, location and scale of the gamma distribution; empty for a percentile.
        fallback: why a fit with fixed location, or the percentile, had to stand in for the official gamma
            fit; empty otherwise.
    """

    value: float
    method: Method
    quantile: float
    parameters: tuple[float, ...] = ()
    fallback: str = ""

    def decide(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """1 where the score is above the threshold, else 0: (clips,) -> (clips,)."""
        return (scores > self.value).astype(np.int64)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)


def fit_threshold(
    normal_scores: npt.NDArray[np.float64], method: Method = "gamma", quantile: float = 0.9
) -> Threshold:
    """Threshold below which `quantile` of normal clips lie.

    Args:
        normal_scores: (clips,) scores of normal clips none of which met itself.
        method: "gamma" fits a gamma distribution, as the official baseline does; "percentile" sorts.
        quantile: in (0, 1).

    Returns:
        The threshold. Where the official gamma fit fails, that of a fit with fixed location, else of the
        percentile, with the reason in `fallback` and in the log: never silently.

    Raises:
        AsdError: no scores, or scores that are not finite.
    """
    finite = int(np.isfinite(normal_scores).sum())
    if len(normal_scores) == 0 or finite < len(normal_scores):
        raise AsdError(
            f"a decision threshold needs finite scores of normal clips, got {finite} finite of "
            f"{len(normal_scores)}; check the training clips"
        )
    percentile = float(np.percentile(normal_scores, 100 * quantile))
    if method == "percentile":
        return Threshold(percentile, "percentile", quantile)
    reasons = []
    # As the official baseline does it first; its free location often ends in a corner. Then the location is
    # fixed a little below the lowest score, which leaves a fit of two parameters that does not.
    below = float(normal_scores.min() - 0.01 * np.ptp(normal_scores))
    for label, fixed in (("free location", {}), ("location fixed below the scores", {"floc": below})):
        try:
            value, parameters = _gamma_quantile(normal_scores, quantile, fixed)
        except (ValueError, RuntimeError, FloatingPointError) as error:  # scipy's FitError is a RuntimeError
            reasons.append(f"gamma fit with {label} failed ({error})")
            continue
        if reasons:
            log.warning("%s; using the fit with %s: %g", reasons[0], label, value)
        return Threshold(value, "gamma", quantile, parameters, "; ".join(reasons))
    log.warning("%s; using the %g percentile %g", "; ".join(reasons), 100 * quantile, percentile)
    return Threshold(percentile, "percentile", quantile, fallback="; ".join(reasons))


def _gamma_quantile(
    scores: npt.NDArray[np.float64], quantile: float, fixed: dict[str, float]
) -> tuple[float, tuple[float, ...]]:
    """Quantile and parameters of a fitted gamma distribution; ValueError where it does not describe the scores."""
    if np.ptp(scores) == 0:
        raise ValueError("all scores are equal")
    parameters = tuple(float(value) for value in gamma.fit(scores, **fixed))
    value = float(gamma.ppf(quantile, parameters[0], loc=parameters[1], scale=parameters[2]))
    if not (scores.min() <= value <= scores.max()):
        raise ValueError(f"its {quantile:g} quantile {value:g} lies outside the scores")
    return value, parameters
