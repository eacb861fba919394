"""The summary of the digits study from results that are made up: means, spreads, findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from asd.studies.config import Digits
from asd.studies.digits.page import classification, confusions, findings, headline, summarise

GOLDEN = Path(__file__).parent / "golden"
CLASSES = ("one", "two")


def made_run(confusion: list[list[int]]) -> dict[str, Any]:
    n_test = int(np.sum(confusion))
    return {
        "confusion": confusion, "n_train": 50, "n_test": n_test, "parameters": 7, "seconds": 2.0,
        "classifiers": {"32": {"SVM": n_test}},
    }  # fmt: skip


RUNS = {
    "known": [made_run([[10, 0], [0, 10]]), made_run([[10, 0], [2, 8]])],
    "ann": [made_run([[5, 5], [0, 10]]), made_run([[6, 4], [1, 9]])],
    "bob": [made_run([[8, 2], [0, 10]]), made_run([[9, 1], [0, 10]])],
}


def summary(chosen_on: tuple[str, ...] = ("ann",)) -> dict[str, Any]:
    return summarise(RUNS, Digits(seeds=[0, 1], chosen_on=list(chosen_on) or ["none"]), CLASSES)


def test_accuracies_are_means_over_seeds_of_all_that_was_tested() -> None:
    found = summary()
    assert found["known"]["accuracy"] == pytest.approx({"mean": 0.95, "std": np.std([1.0, 0.9], ddof=1)})
    assert found["unseen"]["accuracy"] == pytest.approx(
        {"mean": (33 + 34) / 80, "std": np.std([33 / 40, 34 / 40], ddof=1)}
    )
    assert found["speakers"]["ann"]["mean"] == pytest.approx(0.75)
    assert found["untouched"] == found["speakers"]["bob"]
    assert found["unseen"]["confusion"] == [[28, 12], [1, 39]]
    assert found["unseen"]["n_test"] == 40
    assert found["unseen"]["classifiers"][0]["accuracy"] == {"mean": 1.0, "std": 0.0}
    assert summary(("ann", "bob"))["untouched"] is None


def test_findings_follow_from_the_numbers() -> None:
    known, unseen, untouched, hardest, confused, classifiers = findings(summary())
    assert known == "Known speakers: 95.0 ± 7.1 %; the target of 95 % is met."
    assert unseen.endswith("the target of 85 % is missed.")
    assert "on whom no setting was chosen: 92.5 ± 3.5 %" in untouched
    assert hardest == "Hardest to recognise when unseen: ann, 75.0 ± 0.0 %."
    assert "30.0 % of *one* are called *two*" in confused
    assert "SVM on 32 features, reaches 100.0 ± 0.0 %, +16." in classifiers
    assert headline(summary()).splitlines()[0] == "known speakers   95.0 ± 7.1 %"


def test_errors_come_most_frequent_first_and_only_where_there_are_any() -> None:
    assert confusions([[28, 12], [1, 39]], CLASSES) == [("one", "two", 0.3), ("two", "one", 0.025)]
    assert confusions([[3, 0], [0, 3]], CLASSES) == []


def test_the_published_matrix_of_sixteen_words() -> None:
    """Numbers of the slides "Classification Report", which report a 1D-CNN on Speech Commands."""
    confusion = pd.read_csv(GOLDEN / "speech_commands_confusion.csv", index_col="actual")
    published = pd.read_csv(GOLDEN / "speech_commands_report.csv", index_col="class")
    published = published.rename({"macro average": "macro avg", "weighted average": "weighted avg"})
    report = classification(confusion, list(confusion.columns))
    assert report.loc["weighted avg", "support"] == 4815
    assert round(np.trace(confusion) / confusion.to_numpy().sum(), 4) == 0.9533
    ours, printed = report.loc[published.index].to_numpy(float), published.to_numpy()
    legible = ~np.isnan(printed)
    assert legible[:, :3].sum() == 44  # of 51; the rest is lost or garbled in the scan
    np.testing.assert_allclose(ours[legible], printed[legible], rtol=0, atol=0.00501)
    means = report.loc["weighted avg", ["precision", "recall", "f1-score"]].to_numpy(float)
    np.testing.assert_allclose(means, [0.9535, 0.9533, 0.9532], atol=5e-5)
