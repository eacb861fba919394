"""Tests of asd.sed.cell_metrics: a published table (seed 000), scikit-learn, and what cannot be measured."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from asd.sed.cell_metrics import cell_metrics, overall
from asd.types import AsdError

GOLDEN = Path(__file__).parent / "golden"
CLASSES = ["speech", "dog", "cat"]


def some_clips(n_clips: int = 60, seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((n_clips, 3)) < [0.5, 0.3, 0.1]).astype(float)
    return np.clip(0.6 * targets + rng.normal(0.2, 0.25, targets.shape), 0, 1), targets


def test_the_published_classes_give_the_published_measures() -> None:
    rows = pd.read_csv(GOLDEN / "desed_baseline_classes.csv")
    rows["hits"] = (rows["recall"] * rows["n_positive"]).round()
    rows["n_predicted"] = (rows["hits"] / rows["precision"]).round()
    table = pd.read_csv(GOLDEN / "cmt_overall.csv", index_col=["network", "model", "dataset"])
    published = table.loc[("student", "baseline", "desed_validation")]
    assert (rows["n_positive"].sum(), rows["hits"].sum()) == (3067, 2320)
    assert rows["n_predicted"].sum() - rows["hits"].sum() == 79
    found = overall(rows, n_cells=1330 * 27)
    for name in ("precision", "recall", "f1", "map"):
        assert round(found[name], 4) == published[name], name
    assert found["accuracy"] == pytest.approx(published["accuracy"], abs=1e-4)
    np.testing.assert_allclose(2 * rows["hits"] / (rows["n_predicted"] + rows["n_positive"]), rows["f1"], atol=1e-6)


def test_it_agrees_with_scikit_learn() -> None:
    probabilities, targets = some_clips()
    found = cell_metrics(probabilities, targets, CLASSES, 0.4)
    said = probabilities > 0.4
    for average, prefix in (("micro", ""), ("macro", "macro_")):
        expected = precision_recall_fscore_support(targets, said, average=average)[:3]
        ours = [found[f"{prefix}{name}"] for name in ("precision", "recall", "f1")]
        np.testing.assert_allclose(ours, expected)
    assert found["accuracy"] == pytest.approx(np.mean(said == targets))
    assert found["map"] == pytest.approx(average_precision_score(targets, probabilities, average="macro"))
    assert found["classes"]["dog"]["n_positive"] == targets[:, 1].sum()


def test_each_class_has_its_own_threshold() -> None:
    probabilities, targets = some_clips()
    one = cell_metrics(probabilities, targets, CLASSES, 0.3)["classes"]["dog"]
    each = cell_metrics(probabilities, targets, CLASSES, {"speech": 0.9, "dog": 0.3, "cat": 0.1})
    assert each["classes"]["dog"] == one
    assert each["classes"]["speech"]["n_predicted"] < each["classes"]["cat"]["n_predicted"] + 30


def test_soft_labels_are_decided_at_one_half_whatever_the_threshold() -> None:
    probabilities, _ = some_clips()
    soft = np.random.default_rng(1).random(probabilities.shape)
    for threshold in (0.1, 0.9):
        rows = cell_metrics(probabilities, soft, CLASSES, threshold)["classes"]
        assert rows["cat"]["n_positive"] == (soft[:, 2] > 0.5).sum()


def test_a_class_without_a_positive_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    probabilities, targets = some_clips()
    targets[:, 2] = 0
    with caplog.at_level(logging.WARNING, "asd"):
        found = cell_metrics(probabilities, targets, CLASSES)
    assert "no positive example of cat" in caplog.text
    assert np.isnan(found["classes"]["cat"]["ap"])
    two = cell_metrics(probabilities[:, :2], targets[:, :2], CLASSES[:2])
    assert (found["map"], found["macro_f1"]) == (two["map"], two["macro_f1"])
    assert found["precision"] < two["precision"]  # what was wrongly said of it counts all the same


def test_a_class_never_said_has_no_precision() -> None:
    probabilities, targets = some_clips()
    probabilities[:, 1] /= 10
    row = cell_metrics(probabilities, targets, CLASSES)["classes"]["dog"]
    assert np.isnan(row["precision"])
    assert (row["recall"], row["f1"]) == (0, 0)


BAD = [
    (np.zeros((4, 3)), np.zeros((4, 3)), "none of the classes speech, dog, cat has a positive example"),
    (np.zeros((0, 3)), np.zeros((0, 3)), "at least one"),
    (np.zeros((4, 2)), np.zeros((4, 2)), "3 class names do not fit"),
    (np.zeros((4, 3)), np.zeros((5, 3)), r"targets \(5, 3\)"),
    (np.full((4, 3), np.nan), np.ones((4, 3)), "probability nan of speech in row 0"),
    (np.full((4, 3), 2.5), np.ones((4, 3)), "probabilities, not logits"),
    (np.ones((4, 3)), np.full((4, 3), -1.0), "the target -1.0 of speech"),
]


@pytest.mark.parametrize(("probabilities", "targets", "what"), BAD)
def test_what_cannot_be_measured_is_said(
    probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], what: str
) -> None:
    with pytest.raises(AsdError, match=what):
        cell_metrics(probabilities, targets, CLASSES)


def test_a_missing_threshold_is_named() -> None:
    with pytest.raises(AsdError, match="no threshold for cat; there are those of speech, dog"):
        cell_metrics(*some_clips(), CLASSES, {"speech": 0.5, "dog": 0.5})
