"""What a confusion matrix says: precision, recall and F1 of each class, their averages, and the accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.types import AsdError

Counts = npt.NDArray[np.int64]


def confusion_matrix(actual: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> Counts:
    """Counts (classes, classes): row = actual class, column = predicted class.

    Args:
        actual, predicted: (clips,) indices of classes.
        n_classes: how many there are, met or not.
    """
    matrix = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(matrix, (np.asarray(actual, np.int64), np.asarray(predicted, np.int64)), 1)
    return matrix


def accuracy(confusion: npt.ArrayLike) -> float:
    """Share of clips that were called what they are."""
    matrix = _checked(confusion)
    return float(np.trace(matrix) / matrix.sum())


def classification_report(confusion: npt.ArrayLike, classes: Sequence[str] | None = None) -> pd.DataFrame:
    """Precision, recall, F1 and support of each class, and their averages.

    A class that was never predicted has the precision 0, and one without a clip the recall 0, as in
    scikit-learn; the matrix shows which those are.

    Args:
        confusion: (classes, classes) counts, row = actual class, column = predicted class.
        classes: their names; "0", "1", ... where not given.

    Returns:
        One row per class, then "macro average" (all classes count the same) and "weighted average" (all clips
        do); the columns precision, recall, f1, support.

    Raises:
        AsdError: a matrix that is not square, has negative counts or none, or other than one name per class.
    """
    matrix = _checked(confusion)
    names = list(classes) if classes is not None else [str(k) for k in range(len(matrix))]
    if len(names) != len(matrix):
        raise AsdError(
            f"{len(names)} names for a confusion matrix of {len(matrix)} classes; give one for each"
        )
    hits, said, support = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    table = pd.DataFrame(precision_recall_f1(hits, said, support), names).assign(support=support)
    measures = ["precision", "recall", "f1"]
    table.loc["macro average", measures] = table.loc[names, measures].mean()
    table.loc["weighted average", measures] = np.average(
        table.loc[names, measures].to_numpy(), axis=0, weights=support
    )
    table["support"] = table["support"].fillna(matrix.sum()).astype(np.int64)
    return table


def precision_recall_f1(
    hits: npt.ArrayLike, said: npt.ArrayLike, true: npt.ArrayLike
) -> dict[str, npt.NDArray[np.float64]]:
    """The three measures from counts of any shape, 0 where nothing could be counted.

    Args:
        hits: rightly found ones.
        said: all that were called so.
        true: all that are so.
    """
    hits, said, true = (np.asarray(counts, np.float64) for counts in (hits, said, true))
    return {
        "precision": hits / np.maximum(said, 1),
        "recall": hits / np.maximum(true, 1),
        "f1": 2 * hits / np.maximum(said + true, 1),
    }


def _checked(confusion: npt.ArrayLike) -> Counts:
    matrix = np.asarray(confusion, np.int64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise AsdError(f"a confusion matrix of shape {matrix.shape}; it is to be (classes, classes)")
    if matrix.min(initial=0) < 0 or not matrix.sum():
        raise AsdError("a confusion matrix with negative counts or none at all; count clips, at least one")
    return matrix
