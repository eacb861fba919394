"""A gamma distribution fitted to scores and its quantiles: to the digit what `scipy.stats.gamma` gives, in less time.

The likelihood is climbed by the simplex of Nelder and Mead from a start by moments, as the official baseline has it
done by scipy. It often ends before the highest point, so another way up would give other thresholds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, gammaincinv, gammaln, xlogy

FloatArray = npt.NDArray[np.float64]

_OUTSIDE = 100 * np.log(np.finfo(np.float64).max)  # cost of a score where the density is 0


class Gamma(NamedTuple):
    """A gamma distribution by its shape, location and scale."""

    shape: float
    location: float
    scale: float

    def quantile(self, share: float) -> float:
        """The value below which a share in (0, 1) lies."""
        return float(gammaincinv(self.shape, share) * self.scale + self.location)


def fit_gamma(scores: FloatArray, location: float | None = None) -> Gamma:
    """The distribution that makes scores likeliest.

    Args:
        scores: (n,).
        location: where the distribution begins, below all scores; None: anywhere.

    Raises:
        ValueError: there is none.
    """
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
    units = units[units > 0]
    logarithms = xlogy(shape - 1, units) - units - gammaln(shape)
    held = logarithms[np.isfinite(logarithms)]
    outside = (len(scores) - len(held)) * _OUTSIDE
    return float(outside - held.sum() + len(scores) * np.log(scale))
