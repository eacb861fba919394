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
        fallback: why the percentile had to stand in for a gamma fit that failed; empty otherwise.
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
        The threshold. Where the gamma fit fails, that of the percentile, with the reason in `fallback`
        and in the log: never silently.

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
    try:
        if np.ptp(normal_scores) == 0:
            raise ValueError("all scores are equal")
        shape, location, scale = (float(value) for value in gamma.fit(normal_scores))
        value = float(gamma.ppf(quantile, shape, loc=location, scale=scale))
        # scipy's free-location fit can end in a corner: then it does not describe the scores at all.
        if not (normal_scores.min() <= value <= normal_scores.max()):
            raise ValueError(f"its {quantile:g} quantile {value:g} lies outside the scores")
    except (ValueError, RuntimeError, FloatingPointError) as error:  # scipy's FitError is a RuntimeError
        reason = f"gamma fit failed ({error})"
        log.warning("%s; using the %g percentile %g instead", reason, 100 * quantile, percentile)
        return Threshold(percentile, "percentile", quantile, fallback=reason)
    return Threshold(value, "gamma", quantile, (shape, location, scale))
