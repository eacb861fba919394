from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asd.detectors.statistics import CANDIDATES, Statistics
from asd.types import AsdError, Split
from tests.machines import recordings, tone_machine, workplace


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_machine(tmp_path_factory.mktemp("statistics"))


def fitted(data: Path, folder: Path, **arguments: object) -> Statistics:
    detector = Statistics(workplace(folder), **arguments)  # type: ignore[arg-type]
    detector.fit(recordings(data))
    return detector


@pytest.mark.parametrize(
    ("backend", "method"),
    [("gaussian", "Mahalanobis distance"), ("knn_density", "k-NN"), ("gmm", "GMM"), ("kmeans", "k-means")],
)
def test_the_meta_file_names_the_method_that_was_used(
    data: Path, tmp_path: Path, backend: str, method: str
) -> None:
    facts = fitted(data, tmp_path, views=["mel32"], backend=backend).facts()
    assert facts["machine_learning_method"] == method
    # Two speeds of the source and, with two clips of each, the target as a whole: 3 means beside a covariance
    # and a scale; or all 24 references.
    expected = 32 * (32 + 3 + 1) if method == "Mahalanobis distance" else 24 * 32
    assert facts["total_parameters"] == expected


def test_a_chosen_back_end_is_remembered(data: Path, tmp_path: Path) -> None:
    detector = fitted(data, tmp_path, views=["mel32"], backend="auto")
    assert detector.backend in CANDIDATES
    detector.save(tmp_path)
    again = Statistics(workplace(tmp_path), views=["mel32"], backend="auto")
    again.load(tmp_path)
    assert again.backend == detector.backend
    test = recordings(data, split=Split.TEST)
    np.testing.assert_array_equal(again.score(test)["mel32"], detector.score(test)["mel32"])


def test_a_bank_of_other_views_is_refused(data: Path, tmp_path: Path) -> None:
    fitted(data, tmp_path, views=["mel32"]).save(tmp_path)
    with pytest.raises(AsdError, match=r"has no kurtosis; it is the bank of another configuration"):
        Statistics(workplace(tmp_path), views=["mel32", "kurtosis"]).load(tmp_path)


def test_unknown_views_and_back_ends_are_named(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"statistics.views=mel33 is unknown; there are mel32_level"):
        Statistics(workplace(tmp_path), views=["mel33"])
    with pytest.raises(AsdError, match="backend=magic is unknown"):
        Statistics(workplace(tmp_path), backend="magic")
