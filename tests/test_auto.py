from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asd.core.files import read_json
from asd.detectors import AutoSettings, StatisticsSettings, detector_class
from asd.types import AsdError
from tests.command import refuses, succeeds
from tests.machines import recordings, run_context, tone_machine


@pytest.mark.slow
def test_it_is_the_weighted_mean_of_both_on_the_scale_of_their_training_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tone_machine(Path("data"))
    words = ["machine=fan", "data=data", "seed=3", "device=cpu", "window_s=9"]  # whole: else a scale is of windows
    succeeds("train", *words, "detector=auto", "auto.copies=2", "auto.weight=0.3")
    succeeds("train", *words, "detector=statistics", "statistics.choose=true")
    mixed = ["embedding.faults.networks=1", "embedding.faults.copies=2", "embedding.backends=knn_relative"]
    succeeds("train", *words, "detector=embedding", *mixed)

    def z(run: str, scorer: str) -> pd.Series:
        place = Path("runs") / run / "fan/seed3"
        training = pd.read_csv(place / "model/training_scores.csv")[scorer]
        scores = pd.read_csv(place / f"scores/{scorer}.csv").set_index("file")["score"]
        return (scores - training.mean()) / training.std(ddof=0)

    expected = 0.7 * z("statistics", "ensemble") + 0.3 * z("embedding", "knn_relative")
    found = pd.read_csv("runs/auto/fan/seed3/scores/auto.csv").set_index("file")["score"]
    pd.testing.assert_series_equal(found, expected[found.index], rtol=1e-5)
    model = Path("runs/auto/fan/seed3/model")
    told = read_json(model / "auto.json")
    assert told["weights"] == {"statistics": pytest.approx(0.7), "embedding": 0.3}
    assert "nothing in normal clips tells" in told["why"]
    assert read_json(model / "statistics/choice.json") == read_json(Path("runs/statistics/fan/seed3/model/choice.json"))
    (model / "statistics/bank.safetensors").write_bytes(b"")
    refuses("score", *words, "name=auto", saying="is missing or damaged")


@pytest.mark.slow
def test_without_weight_it_orders_clips_as_the_default_does(tmp_path: Path) -> None:
    tone_machine(tmp_path / "data", n_train=12, n_target=3, n_test=0)
    learn = recordings(tmp_path / "data")
    both = detector_class("auto")(run_context(tmp_path), AutoSettings(weight=0.0, copies=1))
    default = detector_class("statistics")(run_context(tmp_path), StatisticsSettings(choose=True))
    both.fit(learn)
    default.fit(learn)
    np.testing.assert_array_equal(np.argsort(both.score(learn)["auto"]), np.argsort(default.score(learn)["ensemble"]))


def test_a_model_without_scales_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"auto\.json has no scale of statistics and embedding"):
        detector_class("auto")(run_context(tmp_path)).load(tmp_path)
