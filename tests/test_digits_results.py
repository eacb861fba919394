"""The summary of the digits study from results that are made up: means, spreads, findings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asd.studies.digits.results import confusions, findings, headline, summarise

CLASSES = ("one", "two")


def made_run(split: str, seed: int, confusion: list[list[int]]) -> dict[str, Any]:
    n_test = int(np.sum(confusion))
    return {
        "split": split, "seed": seed, "confusion": confusion, "n_train": 50, "n_test": n_test, "parameters": 7,
        "seconds": 2.0, "classifiers": {"32": {"SVM": n_test}},
    }  # fmt: skip


RUNS = [
    made_run("known", 0, [[10, 0], [0, 10]]),
    made_run("known", 1, [[10, 0], [2, 8]]),
    made_run("ann", 0, [[5, 5], [0, 10]]),
    made_run("ann", 1, [[6, 4], [1, 9]]),
    made_run("bob", 0, [[8, 2], [0, 10]]),
    made_run("bob", 1, [[9, 1], [0, 10]]),
]


def summary(chosen_on: tuple[str, ...] = ("ann",)) -> dict[str, Any]:
    return summarise(RUNS, "known", {"network": "small"}, CLASSES, chosen_on)


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
    assert hardest == "Hardest to understand when unseen: ann, 75.0 ± 0.0 %."
    assert "30.0 % of *one* are called *two*" in confused
    assert "SVM on 32 features, reaches 100.0 ± 0.0 %, +16." in classifiers
    assert headline(summary()).splitlines()[0] == "known speakers   95.0 ± 7.1 %"


def test_errors_come_most_frequent_first_and_only_where_there_are_any() -> None:
    assert confusions([[28, 12], [1, 39]], CLASSES) == [("one", "two", 0.3), ("two", "one", 0.025)]
    assert confusions([[3, 0], [0, 3]], CLASSES) == []
