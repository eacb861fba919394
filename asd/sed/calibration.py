"""Calibration of probabilities: reliability diagram, expected and adaptive calibration error, Brier score.

Probabilities are those of the positive class, one per clip (or frame) and class, thrown together by the caller
or not. Over all classes together the many easy negatives near 0 decide, so look at each class as well.

Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; Nixon et al.,
"Measuring calibration in deep learning", CVPR workshops 2019, for bins of equal mass.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

N_BINS = 10

FloatArray = npt.NDArray[np.float64]


def reliability(probabilities: npt.ArrayLike, targets: npt.ArrayLike, n_bins: int = N_BINS) -> pd.DataFrame:
    """The bins of a reliability diagram, of equal width.

    Args:
        probabilities: in [0, 1], any shape.
        targets: 0 or 1, or the share of listeners who heard it; same shape.
        n_bins: [0, 1/n), ..., and 1 in the last of them.

    Returns:
        A row per bin: low, high, n (how many fell into it), confidence (their mean probability) and frequency
        (their mean target), both NaN in an empty bin.
    """
    values, truth = _flat(probabilities), _flat(targets)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    bins = np.minimum(np.searchsorted(edges, values, side="right") - 1, n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, values, n_bins) / n
        frequency = np.bincount(bins, truth, n_bins) / n
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "n": n, "confidence": confidence, "frequency": frequency}
    )


def calibration_error(probabilities: npt.ArrayLike, targets: npt.ArrayLike, n_bins: int = N_BINS) -> float:
    """Expected calibration error: mean distance of confidence and frequency over the bins, weighted by `n`.

    Equal to `BinaryCalibrationError(n_bins=10)` of torchmetrics.

    Args:
        probabilities: in [0, 1], any shape.
        targets: in [0, 1], same shape.
        n_bins: of equal width.

    Example:
        >>> round(calibration_error([0.2, 0.2, 0.8], [0, 0, 1]), 3)
        0.2
    """
    bins = reliability(probabilities, targets, n_bins)
    gap = (bins["confidence"] - bins["frequency"]).abs().fillna(0.0)
    return float((gap * bins["n"]).sum() / bins["n"].sum())


def adaptive_calibration_error(probabilities: npt.ArrayLike, targets: npt.ArrayLike, n_bins: int = N_BINS) -> float:
    """The same over bins that hold equally many, so that the many values near 0 do not fill a single bin.

    Args:
        probabilities: in [0, 1], any shape.
        targets: in [0, 1], same shape.
        n_bins: that hold equally many.
    """
    values, truth = _flat(probabilities), _flat(targets)
    order = np.argsort(values, kind="stable")
    gaps = [
        abs(values[part].mean() - truth[part].mean()) * part.size for part in np.array_split(order, n_bins) if part.size
    ]
    return float(sum(gaps) / values.size)


def brier_score(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Mean squared distance of probability and target.

    Args:
        probabilities: in [0, 1], any shape.
        targets: in [0, 1], same shape.
    """
    return float(np.mean((_flat(probabilities) - _flat(targets)) ** 2))


def _flat(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, np.float64).ravel()
