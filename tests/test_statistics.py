from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asd.challenge.files import list_clips
from asd.data.audio import write_wav
from asd.data.microphones import FrontEnd
from asd.data.recordings import check
from asd.data.supplemental import Supplement
from asd.detectors.options import StatisticsSettings
from asd.detectors.statistics import CANDIDATES, Statistics
from asd.types import AsdError, Split
from tests.machines import recordings, tone_machine, workplace


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_machine(tmp_path_factory.mktemp("statistics"))


def fitted(data: Path, folder: Path, **arguments: object) -> Statistics:
    detector = Statistics(workplace(folder), StatisticsSettings(**arguments))  # type: ignore[arg-type]
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
    again = Statistics(workplace(tmp_path), StatisticsSettings(views=["mel32"], backend="auto"))
    again.load(tmp_path)
    assert again.backend == detector.backend
    test = recordings(data, split=Split.TEST)
    np.testing.assert_array_equal(again.score(test)["mel32"], detector.score(test)["mel32"])


def test_a_bank_of_other_views_is_refused(data: Path, tmp_path: Path) -> None:
    fitted(data, tmp_path, views=["mel32"]).save(tmp_path)
    with pytest.raises(AsdError, match=r"has no kurtosis; it is the bank of another configuration"):
        Statistics(workplace(tmp_path), StatisticsSettings(views=["mel32", "kurtosis"])).load(tmp_path)


def test_unknown_views_and_back_ends_are_named(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"statistics.views=mel33 is unknown; there are mel32_level"):
        Statistics(workplace(tmp_path), StatisticsSettings(views=["mel33"]))
    with pytest.raises(AsdError, match="backend=magic is unknown"):
        Statistics(workplace(tmp_path), StatisticsSettings(backend="magic"))


def test_the_residual_view_is_near_minus_a_share_of_far(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(10):
        name = f"section_00_source_train_normal_{i:04d}.wav"
        (tmp_path / "data/fan/train").mkdir(parents=True, exist_ok=True)
        wave = (0.1 * rng.normal(size=(2, 4000))).astype(np.float32)
        write_wav(tmp_path / "data/fan/train" / name, wave, 16000)
    clips = list_clips(tmp_path / "data", "fan", Split.TRAIN)
    near, far, residual = (
        Statistics(workplace(tmp_path), StatisticsSettings(views=["mel32"])).vectors(
            check(clips, sample_rate_hz=16000, front_end=front_end)
        )["mel32"]
        for front_end in (FrontEnd(), FrontEnd("far"), FrontEnd(residual=0.5))
    )
    np.testing.assert_allclose(residual, near - 0.5 * far, atol=1e-9)


def test_directions_of_the_noise_are_left_out_and_kept_with_the_model(data: Path, tmp_path: Path) -> None:
    clips = recordings(data)
    context = replace(workplace(tmp_path), supplement=Supplement(noise_only=clips.subset(range(8))))
    learnt = Statistics(context, StatisticsSettings(views=["mel32", "log64"]))
    learnt.fit(clips)
    for view, directions in learnt.nuisances.items():
        np.testing.assert_allclose(learnt.vectors(clips)[view] @ directions.T, 0.0, atol=1e-9)
    learnt.save(tmp_path)
    loaded = Statistics(workplace(tmp_path), StatisticsSettings(views=["mel32", "log64"]))
    loaded.load(tmp_path)
    for view, scores in learnt.score(clips).items():
        np.testing.assert_array_equal(loaded.score(clips)[view], scores)
