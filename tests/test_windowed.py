from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.recordings import Recordings, in_memory
from asd.detectors.base import Detector, Scores
from asd.detectors.windowed import Windowed, windows_of
from asd.types import AsdError
from tests.command import refuses, succeeds
from tests.machines import tone_machine, workplace


class Loudest(Detector):
    """The highest sample of an item; training scores are those of the other items' mean."""

    scorers = ("loudest",)

    def fit(self, recordings: Recordings) -> None:
        self.n_fitted = len(recordings)

    def score(self, recordings: Recordings) -> Scores:
        scores = np.empty(len(recordings))
        for indices, waveforms in recordings.batches():
            scores[indices] = waveforms.numpy().max(1)
        return {"loudest": scores}

    def embed(self, recordings: Recordings) -> npt.NDArray[np.float64]:
        return self.score(recordings)["loudest"][:, None]

    def save(self, directory: Path) -> None: ...

    def load(self, directory: Path) -> None: ...

    def facts(self) -> dict[str, Any]:
        return {}


def ramps(*lengths: int) -> list[npt.NDArray[np.float32]]:
    return [np.arange(1, length + 1, dtype=np.float32) / 1000 for length in lengths]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=5), st.integers(1, 40))
def test_windows_cover_each_clip_in_order_and_as_few_as_can(lengths: list[int], size: int) -> None:
    clips = ramps(*lengths)
    windows, owner = windows_of(in_memory(clips, 16000), size)
    assert (np.diff(owner) >= 0).all()
    for number, clip in enumerate(clips):
        own = [windows.waveform(int(i)) for i in np.flatnonzero(owner == number)]
        assert len(own) == -(-len(clip) // min(size, len(clip)))
        assert {len(window) for window in own} == {min(size, len(clip))}
        np.testing.assert_array_equal(np.unique(np.concatenate(own)), clip)
        assert own[0][0] == clip[0]


def test_a_subset_and_a_key_know_the_windows() -> None:
    recordings = in_memory(ramps(50, 30), 16000)
    windows, _ = windows_of(recordings, 20)
    part = windows.subset([4, 0])
    np.testing.assert_array_equal(part.waveform(1), ramps(20)[0])
    np.testing.assert_array_equal(part.lengths_samples, [20, 20])
    assert windows_of(recordings, 10)[0].key() != windows.key() != recordings.key()


def test_a_clip_scores_the_mean_of_its_windows(tmp_path: Path) -> None:
    detector = Windowed(Loudest(workplace(tmp_path)), 20 / 16000)
    recordings = in_memory(ramps(60, 10), 16000)
    detector.fit(recordings)
    assert detector.detector.n_fitted == 4  # type: ignore[attr-defined]
    np.testing.assert_allclose(detector.score(recordings)["loudest"], [0.040, 0.010])
    np.testing.assert_allclose(detector.embed(recordings), [[0.040], [0.010]])  # type: ignore[arg-type]


def test_windows_too_short_for_the_detector_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"window_s=0.1 is 1600 samples, fewer than the 2048"):
        Windowed(Loudest(workplace(tmp_path)), 0.1, 2048)


def test_the_command_scores_clips_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tone_machine(Path("data"))
    words = ("machine=fan", "data=data", "device=cpu", "statistics.views=level_64", "statistics.backend=knn_relative")
    succeeds("train", "name=clips", *words)
    succeeds("train", "name=windows", *words, "window_s=0.4")
    clips, windows = (pd.read_csv(f"runs/{name}/fan/seed0/scores/ensemble.csv") for name in ("clips", "windows"))
    assert list(clips["file"]) == list(windows["file"])
    is_anomaly = windows["label"] == "anomaly"
    assert windows["score"][is_anomaly].min() > windows["score"][~is_anomaly].max()
    assert not np.allclose(clips["score"], windows["score"])
    training = pd.read_csv("runs/windows/fan/seed0/model/training_scores.csv")
    assert len(training) == 24
    again = windows["score"].to_numpy()
    succeeds("score", "name=windows", "machine=fan", "data=data", "device=cpu")
    scored = pd.read_csv("runs/windows/fan/seed0/scores/ensemble.csv")["score"]
    np.testing.assert_allclose(scored, again, rtol=1e-9)
    more = ("statistics.neighbours=5", "statistics.index=ivf", "window_s=0.1")
    refuses("train", "name=many", *words, *more, saying="window_s=0.1 is 1600 samples")
    succeeds("train", "name=many", *words, *more[:2], "window_s=0.2")
    refuses("train", "name=clips", *words, "window_s=0.4", saying="another configuration")
