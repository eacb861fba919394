"""Measures of yes-or-no decisions, one per cell of (clips, classes) or (frames, classes).

A cell is predicted where its probability exceeds the threshold, and true where its target exceeds one half,
whatever the threshold; soft labels (the share of listeners who heard it) keep their value for calibration only.

Probabilities and targets are (cells, classes) from 0 to 1, without padding; those of calibration have any shape.
Micro measures count all cells alike, macro measures all classes that have a positive cell.

Calibration: reliability diagram, expected and adaptive calibration error, Brier score. Over all classes together the
many easy negatives near 0 decide, so look at each class as well. Source: Naeini et al., "Obtaining well calibrated
probabilities using Bayesian binning", AAAI 2015; Nixon et al., "Measuring calibration in deep learning", CVPR workshops
2019, for bins of equal mass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score

from asd.core.runtime import log
from asd.evaluation.score_table import FloatArray
from asd.types import AsdError

Threshold = float | Mapping[str, float]

N_BINS = 10  # of calibration errors


def cell_metrics(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, classes: Sequence[str], threshold: Threshold = 0.5
) -> dict[str, Any]:
    """All measures of one model on one set of clips or frames.

    Returns:
        What `overall` gives, "ece", "adaptive_ece" and "brier" over all cells, and "classes": {name: its row}.
    """
    values, truth = _check_cells(probabilities, targets, classes)
    rows = class_rows(values, truth, classes, threshold)
    if absent := list(rows.loc[rows["n_positive"] == 0, "class"]):
        log.warning("no positive example of %s: left out of macro averages and mAP", ", ".join(absent))
    by_class = rows.set_index("class").to_dict("index")
    return {**overall(rows, values.size), **calibration(values, truth), "classes": by_class}


def class_rows(
    probabilities: FloatArray, targets: FloatArray, classes: Sequence[str], threshold: Threshold = 0.5
) -> pd.DataFrame:
    """One row per class: class, n_positive, n_predicted, hits, precision, recall, f1, ap, ece, brier.

    Average precision and recall of a class without a positive cell are NaN; so is the precision of one that
    was never predicted.
    """
    predicted = probabilities > thresholds_of(classes, threshold)
    true = targets > 0.5
    hits, n_predicted, n_positive = (predicted & true).sum(0), predicted.sum(0), true.sum(0)
    rows = pd.DataFrame({"class": list(classes), "n_positive": n_positive, "n_predicted": n_predicted, "hits": hits})
    rows = rows.assign(**precision_recall_f1(hits, n_predicted, n_positive))
    rows["precision"] = rows["precision"].where(n_predicted > 0)
    rows["recall"] = rows["recall"].where(n_positive > 0)
    columns = list(zip(probabilities.T, targets.T, strict=True))
    rows["ap"] = [float(average_precision_score(t > 0.5, p)) if (t > 0.5).any() else np.nan for p, t in columns]
    rows["ece"] = [calibration_error(p, t) for p, t in columns]
    rows["brier"] = [brier_score(p, t) for p, t in columns]
    return rows


def overall(rows: pd.DataFrame, n_cells: int) -> dict[str, float]:
    """Measures over all classes, from the counts of each, as of `class_rows`.

    Returns:
        accuracy, precision, recall, f1 (micro); macro_precision (a class never predicted counts as 0), macro_recall,
        macro_f1; map, the mean of the average precisions; n_positive, n_cells.
    """
    known = rows[rows["n_positive"] > 0]
    if known.empty:
        raise AsdError(
            f"none of the classes {', '.join(rows['class'])} has a positive example here, so that nothing can be "
            f"measured; check the labels and the names in classes="
        )
    hits, n_predicted, n_positive = (int(rows[name].sum()) for name in ("hits", "n_predicted", "n_positive"))
    micro = precision_recall_f1(hits, n_predicted, n_positive)
    macro = precision_recall_f1(known["hits"], known["n_predicted"], known["n_positive"])
    wrong = (n_predicted - hits) + (n_positive - hits)
    return {
        "accuracy": 1.0 - wrong / n_cells,
        **{name: float(value) for name, value in micro.items()},
        **{f"macro_{name}": float(values.mean()) for name, values in macro.items()},
        "map": float(known["ap"].mean()),
        "n_positive": float(n_positive),
        "n_cells": float(n_cells),
    }


def precision_recall_f1(hits: npt.ArrayLike, predicted: npt.ArrayLike, true: npt.ArrayLike) -> dict[str, FloatArray]:
    """The three measures from counts of any shape, 0 where nothing could be counted."""
    hits, predicted, true = (np.asarray(counts, np.float64) for counts in (hits, predicted, true))
    return {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(true, 1),
        "f1": 2 * hits / np.maximum(predicted + true, 1),
    }


def _check_cells(
    probabilities: npt.ArrayLike, targets: npt.ArrayLike, classes: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Both as float64 (cells, classes); `AsdError` where shapes and names do not fit, or a value is not from 0 to 1."""
    values, truth = np.asarray(probabilities, np.float64), np.asarray(targets, np.float64)
    fits = values.ndim == 2 and values.shape == truth.shape and values.shape[-1] == len(classes)
    if not fits or not values.size:
        raise AsdError(
            f"the predictions: probabilities {values.shape}, targets {truth.shape} and {len(classes)} class names do "
            f"not fit; give (clips or frames, classes) of both, and at least one of each"
        )
    for name, array in (("probability", values), ("target", truth)):
        if len(bad := np.argwhere(~((array >= 0) & (array <= 1)))):
            row, column = bad[0]
            raise AsdError(
                f"the predictions: the {name} {array[row, column]} of {classes[column]} in row {row} is not a number "
                f"from 0 to 1; hand over probabilities, not logits, and leave padding out"
            )
    return values, truth


def thresholds_of(classes: Sequence[str], threshold: Threshold) -> FloatArray:
    """Thresholds (classes,) from one for all, or from one for each."""
    if not isinstance(threshold, Mapping):
        return np.full(len(classes), threshold, np.float64)
    if missing := [name for name in classes if name not in threshold]:
        raise AsdError(f"no threshold for {', '.join(missing)}; there are those of {', '.join(threshold)}")
    return np.array([threshold[name] for name in classes], np.float64)


def reliability(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> pd.DataFrame:
    """The bins of a reliability diagram, of equal width; 1 is in the last of them.

    Returns:
        A row per bin: low, high, n (how many fell into it), confidence (their mean probability) and frequency
        (their mean target), both NaN in an empty bin.
    """
    values, truth = _flat(probabilities), _flat(targets)
    edges = np.linspace(0.0, 1.0, N_BINS + 1)
    bins = np.minimum(np.searchsorted(edges, values, side="right") - 1, N_BINS - 1)
    n = np.bincount(bins, minlength=N_BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, values, N_BINS) / n
        frequency = np.bincount(bins, truth, N_BINS) / n
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "n": n, "confidence": confidence, "frequency": frequency}
    )


def calibration_error(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Expected calibration error: mean distance of confidence and frequency over the bins, weighted by `n`.

    Equal to `BinaryCalibrationError(n_bins=10)` of torchmetrics.

    Example:
        >>> round(calibration_error([0.2, 0.2, 0.8], [0, 0, 1]), 3)
        0.2
    """
    bins = reliability(probabilities, targets)
    gap = (bins["confidence"] - bins["frequency"]).abs().fillna(0.0)
    return float((gap * bins["n"]).sum() / bins["n"].sum())


def calibration(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> dict[str, float]:
    """All measures of calibration: "ece", "adaptive_ece" and "brier"."""
    return {
        "ece": calibration_error(probabilities, targets),
        "adaptive_ece": adaptive_calibration_error(probabilities, targets),
        "brier": brier_score(probabilities, targets),
    }


def adaptive_calibration_error(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The same over bins that hold equally many, so that the many values near 0 do not fill a single bin."""
    values, truth = _flat(probabilities), _flat(targets)
    order = np.argsort(values, kind="stable")
    gaps = [
        abs(values[part].mean() - truth[part].mean()) * part.size for part in np.array_split(order, N_BINS) if part.size
    ]
    return float(sum(gaps) / values.size)


def brier_score(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Mean squared distance of probability and target."""
    return float(np.mean((_flat(probabilities) - _flat(targets)) ** 2))


def _flat(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, np.float64).ravel()
