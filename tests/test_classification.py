"""Tests of asd.evaluation.classification, by scikit-learn and by a published report (seed 004)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some
from sklearn.metrics import precision_recall_fscore_support

from asd.evaluation.classification import accuracy, classification_report, confusion_matrix
from asd.types import AsdError

GOLDEN = Path(__file__).parent / "golden"
MEASURES = ["precision", "recall", "f1"]


def test_the_published_matrix_of_sixteen_words() -> None:
    confusion = pd.read_csv(GOLDEN / "speech_commands_confusion.csv", index_col="actual")
    published = pd.read_csv(GOLDEN / "speech_commands_report.csv", index_col="class")
    report = classification_report(confusion, list(confusion.columns))
    assert np.trace(confusion) == 4590
    assert report.loc["weighted average", "support"] == 4815
    assert round(accuracy(confusion), 4) == 0.9533
    ours = report.loc[published.index].to_numpy()
    printed = published.to_numpy()
    legible = ~np.isnan(printed)
    assert legible[:, :3].sum() == 44  # of 51; the rest is lost or garbled in the scan
    np.testing.assert_allclose(ours[legible], printed[legible], rtol=0, atol=0.00501)
    np.testing.assert_allclose(report.loc["weighted average", MEASURES], [0.9535, 0.9533, 0.9532], atol=5e-5)


@given(
    st.integers(2, 6).flatmap(
        lambda n: some.arrays(
            np.int64, st.tuples(st.just(2), st.integers(1, 40)), elements=st.integers(0, n - 1)
        )
    )
)
def test_it_agrees_with_scikit_learn(clips: npt.NDArray[np.int64]) -> None:
    actual, predicted = clips
    n_classes = int(clips.max()) + 1
    confusion = confusion_matrix(actual, predicted, n_classes)
    report = classification_report(confusion)
    labels = list(range(n_classes))
    for row, average in (
        (slice(0, n_classes), None),
        ("macro average", "macro"),
        ("weighted average", "weighted"),
    ):
        expected = precision_recall_fscore_support(
            actual, predicted, labels=labels, average=average, zero_division=0
        )
        rows = report.iloc[row] if isinstance(row, slice) else report.loc[row]
        np.testing.assert_allclose(rows[MEASURES].to_numpy().T, np.array(expected[:3]), atol=1e-12)
    assert accuracy(confusion) == pytest.approx(np.mean(actual == predicted))


@pytest.mark.parametrize(
    ("confusion", "classes", "what"),
    [
        (np.ones((2, 3)), None, r"shape \(2, 3\)"),
        (np.zeros((2, 2)), None, "none at all"),
        (-np.eye(2), None, "negative"),
        (np.eye(2), ["a"], "1 names for a confusion matrix of 2 classes"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(
    confusion: npt.NDArray[np.float64], classes: list[str] | None, what: str
) -> None:
    with pytest.raises(AsdError, match=what):
        classification_report(confusion, classes)
