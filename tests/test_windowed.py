from __future__ import annotations

import gc
import logging
import re
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

import asd
from asd.data import audio
from asd.data.audio import read_sound
from asd.data.codecs import decode
from asd.data.recordings import Recordings, check, in_memory, joined
from asd.data.supplemental import Supplement
from asd.detectors import StatisticsSettings
from asd.detectors.autoencoder import Autoencoder
from asd.detectors.base import Detector, Scores
from asd.detectors.windowed import Windowed, cut_long_recordings
from asd.stages.scored_clips import grown
from asd.types import AsdError, Clip, Split
from tests.command import refuses, succeeds
from tests.machines import run_context, tone_machine, write_clip


class Loudest(Detector):
    """The highest sample of an item; training scores are those of the other items' mean."""

    scorers = ("loudest",)

    def fit(self, recordings: Recordings) -> None:
        self.n_fitted = len(recordings)

    refit = fit

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
    windows, owner = in_memory(clips, 16000).windows(size)
    assert (np.diff(owner) >= 0).all()
    for number, clip in enumerate(clips):
        own = [windows.waveform(int(i)) for i in np.flatnonzero(owner == number)]
        assert len(own) == -(-len(clip) // min(size, len(clip)))
        assert {len(window) for window in own} == {min(size, len(clip))}
        np.testing.assert_array_equal(np.unique(np.concatenate(own)), clip)
        assert own[0][0] == clip[0]


def test_a_subset_and_a_key_know_the_windows() -> None:
    recordings = in_memory(ramps(50, 30), 16000)
    windows, _ = recordings.windows(20)
    part = windows.subset([4, 0])
    np.testing.assert_array_equal(part.waveform(1), ramps(20)[0])
    np.testing.assert_array_equal(part.lengths_samples, [20, 20])
    assert recordings.windows(10)[0].key() != windows.key() != recordings.key()
    assert recordings.windows(50)[0] is recordings
    again, owner = windows.windows(10)  # windows of windows
    np.testing.assert_array_equal(again.waveform(3), windows.waveform(1)[10:])
    assert owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_windows_of_a_file_that_is_not_kept_are_cut_after_resampling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 4000), 8000)
    kept = read_sound(tmp_path / "a.wav", sample_rate_hz=16000)
    monkeypatch.setattr(audio, "KEPT_BYTES", 0)
    sound = read_sound(tmp_path / "a.wav", sample_rate_hz=16000)
    assert sound.kept is None
    assert kept.kept is not None
    for start in (0, 100, 7000):
        window = sound.window(start, 900)
        np.testing.assert_array_equal(window.waveform(1), kept.waveform(1)[:, start : start + 900])
        np.testing.assert_array_equal(window.waveform(1), kept.window(start, 900).waveform(1))
        np.testing.assert_array_equal(window.window(50, 10).waveform(1), kept.waveform(1)[:, start + 50 : start + 60])
    sf.write(tmp_path / "a.wav", np.zeros(4000), 8000)
    other = replace(sound).window(0, 9)  # of a sound of which nothing was read so far
    with pytest.raises(AsdError, match=r"a.wav has changed while it was in use"):
        other.waveform(1)


def test_a_file_is_read_once_for_its_windows_and_let_go_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, (4000, 2)), 8000)
    monkeypatch.setattr(audio, "KEPT_BYTES", 0)
    recordings = check([Clip(tmp_path / "a.wav", "fan", "00", Split.TEST)], sample_rate_hz=8000).windows(100)[0]
    read: list[weakref.ref[Any]] = []

    def slowly(path: Path) -> Any:
        time.sleep(0.1)
        decoded = decode(path)
        read.append(weakref.ref(decoded.samples))
        return decoded

    monkeypatch.setattr(audio, "decode", slowly)
    with ThreadPoolExecutor(4) as pool:
        assert len([*pool.map(recordings.waveform, range(len(recordings)))]) == 40
    gc.collect()
    assert [found() for found in read] == [None]  # one of two channels is kept, and not the other
    one = recordings.recorded(0)
    del recordings
    gc.collect()
    assert one.shape == (1, 100)
    assert not audio._READ_LAST


def test_a_long_recording_is_learnt_from_as_clips(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rate_hz = 1000
    seconds = in_memory([np.full(n, 0.1, np.float32) for n in (60_000, 3000)], rate_hz)
    assert cut_long_recordings(seconds, "fan") is seconds
    assert not caplog.records
    minutes = in_memory(ramps(60_001, 130_000), rate_hz)
    found = cut_long_recordings(minutes, "fan")
    assert found.lengths_samples.tolist() == [10_000] * 20
    assert [clip.name for clip in found.clips] == ["000000.wav"] * 7 + ["000001.wav"] * 13
    mixed = cut_long_recordings(joined([minutes, seconds.subset([1]), in_memory(ramps(2000), rate_hz)]), "fan")
    assert mixed.lengths_samples.tolist() == [3000] * (21 + 44) + [3000, 2000]
    said = "%d of %d recordings last more than 60 s and are learnt from in windows of %s s; window_s= sets another"
    assert caplog.messages == [f"fan: {said % numbers}" for numbers in ((2, 2, 10), (2, 4, 3))]
    job: Any = SimpleNamespace(learn=seconds, config=SimpleNamespace(window_s=None))
    assert grown(job, minutes).lengths_samples.tolist() == [60_000, 3000, 60_001] + [60_000] * 3


def test_windows_of_a_few_recordings_promise_nothing(caplog: pytest.LogCaptureFixture) -> None:
    minutes = [np.random.default_rng(seed).normal(0, 0.1, 62 * 4000) for seed in range(2)]
    for normal, said in (
        (minutes[:1], "7 windows of 1 normal recordings promise nothing of new ones"),
        (
            [wave[start : start + 8000] for wave in minutes for start in (0, 9000)],
            "with 4 normal recordings and a confidence of 95%",
        ),
    ):
        asd.fit(normal, 4000, options={"views": "level"}, device="cpu")
        assert said in caplog.text


def test_a_clip_scores_the_mean_of_its_windows(tmp_path: Path) -> None:
    detector = Windowed(Loudest(run_context(tmp_path)), 20 / 16000)
    recordings = in_memory(ramps(60, 10), 16000)
    detector.fit(recordings)
    assert detector.detector.n_fitted == 4  # type: ignore[attr-defined]
    np.testing.assert_allclose(detector.score(recordings)["loudest"], [0.040, 0.010])
    np.testing.assert_allclose(detector.embed(recordings), [[0.040], [0.010]])  # type: ignore[arg-type]


def test_by_default_windows_are_as_long_as_the_shortest_training_clips(tmp_path: Path) -> None:
    detector = Windowed(Loudest(run_context(tmp_path)))
    detector.fit(in_memory(ramps(30, 20, 21), 16000))
    assert detector.detector.n_fitted == 4  # type: ignore[attr-defined]
    longer = in_memory(ramps(20, 21, 22, 60, 5), 16000)
    expected = [0.020, 0.021, (0.020 + 0.022) / 2, 0.040, 0.005]
    np.testing.assert_allclose(detector.score(longer)["loudest"], expected)
    detector.save(tmp_path)
    loaded = Windowed(Loudest(run_context(tmp_path)))
    loaded.load(tmp_path)
    np.testing.assert_allclose(loaded.score(longer)["loudest"], expected)
    loaded.refit(in_memory(ramps(30), 16000))
    np.testing.assert_allclose(loaded.score(longer)["loudest"][2:4], [0.022, 0.045])
    loaded.refit(in_memory(ramps(*[10] * 5, *[40] * 95), 16000))
    assert loaded.n_samples == 10
    loaded.refit(in_memory(ramps(*[9] * 5, *[40] * 95), 16000))  # no less than a quarter of the median
    assert loaded.n_samples == 10
    (tmp_path / "windows.json").unlink()
    with pytest.raises(AsdError, match=r"windows\.json is missing or damaged; train the run again"):
        loaded.load(tmp_path)
    loaded.refit(in_memory(ramps(*[10] * 4, *[40] * 95), 16000))  # a clip in twenty may be shorter
    assert loaded.n_samples == 40
    beside = replace(run_context(tmp_path), supplement=Supplement(extra_normals=longer))
    detector = Windowed(Loudest(beside))
    detector.fit(in_memory(ramps(30, 20, 21), 16000))  # as what lies beside is not cut
    assert detector.n_samples == 30


def test_short_normal_clips_score_as_long_ones_do() -> None:
    rng = np.random.default_rng(0)
    normal = [rng.normal(0, 0.1, n).astype(np.float32) for n in [4000] * 30 + [20_000] * 30]
    new = [rng.normal(0, 0.1, n).astype(np.float32) for n in [4000] * 30 + [20_000] * 30]

    def gap(**options: float) -> float:
        """How much higher short clips score than long ones, in units of the spread of short ones."""
        model = asd.fit(normal, 8000, options={"views": "level", **options}, device="cpu")
        scores = model.detector.score_waveforms(new, 8000)["ensemble"]
        return float((scores[:30].mean() - scores[30:].mean()) / scores[:30].std())

    assert abs(gap()) < 0.5
    assert gap(window_s=3600.0) > 2


def of_sections(peaks: dict[str, list[float]]) -> Recordings:
    """A clip of ten samples for each peak, which is its score by `Loudest`."""
    waves = [np.linspace(0, peak, 10, dtype=np.float32) for values in peaks.values() for peak in values]
    names = [section for section, values in peaks.items() for _ in values]
    clips = [Clip(Path(f"{i}.wav"), "fan", name, Split.TRAIN) for i, name in enumerate(names)]
    return in_memory(waves, 16000, clips)


def test_scores_of_each_section_have_the_mean_and_deviation_of_all_training_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(0.2, 0.01, 40), rng.normal(0.6, 0.03, 8)  # eight clips show a scale, seven do not
    few = rng.normal(0.9, 0.01, 7)
    normal = of_sections({"00": low.tolist(), "01": high.tolist(), "left": few.tolist()})
    detector = Windowed(Loudest(run_context(tmp_path)))
    detector.fit(normal)
    raw, found = (one.score_training(normal)["loudest"] for one in (detector.detector, detector))
    for own in (slice(0, 40), slice(40, 48)):
        assert found[own].mean() == pytest.approx(raw.mean())
        assert found[own].std() == pytest.approx(raw.std())
    np.testing.assert_array_equal(found[48:], raw[48:])
    test = of_sections({"00": [0.2, 0.3], "01": [0.6, 0.7], "left": [0.5], "02": [0.5]})
    expected = [raw.mean() + raw.std() * (x - own.mean()) / own.std() for own, x in ((low, 0.3), (high, 0.7))]
    np.testing.assert_allclose(detector.score(test)["loudest"][[1, 3, 4, 5]], [*expected, 0.5, 0.5], rtol=1e-5)
    detector.save(tmp_path)
    loaded = Windowed(Loudest(run_context(tmp_path)))
    loaded.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(test)["loudest"], detector.score(test)["loudest"])
    loaded.refit(of_sections({"01": high.tolist()}))  # of one section scores stay as they are
    np.testing.assert_allclose(loaded.score(test)["loudest"], [0.2, 0.3, 0.6, 0.7, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("given", [lambda x: (1000 * x).astype(int), list, np.float32])
def test_scores_of_ones_own_detector_may_be_any_numbers_and_more_than_it_names(given: Any, tmp_path: Path) -> None:
    class Own(Loudest):
        def score(self, recordings: Recordings) -> Scores:
            (scores,) = super().score(recordings).values()
            return {"more": scores, "loudest": given(scores)}

    normal = of_sections({"00": np.linspace(0.1, 0.2, 9).tolist(), "01": np.linspace(0.5, 0.9, 9).tolist()})
    detector = Windowed(Own(run_context(tmp_path)))
    detector.fit(normal)
    for found in (detector.score(normal), detector.score_training(normal)):
        assert [*found] == ["loudest"]
        assert found["loudest"][:9].mean() == pytest.approx(found["loudest"][9:].mean(), rel=1e-5)


def test_one_threshold_finds_faults_of_large_and_small_sections_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held out, normal clips of a section of ten score so high that one of sixty lay below whatever it held."""
    monkeypatch.chdir(tmp_path)
    for section, n in (("00", 60), ("01", 10)):
        for i in range(n):
            name = f"section_{section}_source_train_normal_{i:04}.wav"
            write_clip(Path("data/fan/train") / name, 100 * int(section) + i, 0.3)
        for i in range(12):
            for label, tone_hz in (("normal", 0.0), ("anomaly", 2000.0)):
                name = f"section_{section}_source_test_{label}_{i:04}.wav"
                write_clip(Path("data/fan/test") / name, 1000 * (1 + int(section)) + i, 0.3, tone_hz=tone_hz)
    answer = succeeds("train", "machine=fan", "data=data", "device=cpu")
    assert "more often than wanted" not in answer.err
    table = pd.read_csv("runs/statistics/fan/seed0/scores/ensemble.csv")
    shares = table.groupby(["section", "label"])["decision"].mean()
    for section in (0, 1):
        assert shares[section, "anomaly"] == 1.0
        assert shares[section, "normal"] <= 0.25


def test_the_official_autoencoder_takes_clips_whole() -> None:
    normal = [np.random.default_rng(0).normal(0, 0.1, n).astype(np.float32) for n in [8000] * 4 + [16_000] * 4]

    def detector(**options: Any) -> Detector:
        options |= {"training.epochs": 1}
        return asd.fit(normal, 16000, detector="autoencoder", options=options, device="cpu").detector

    assert isinstance(detector(), Windowed)
    assert isinstance(detector(compatible=True), Autoencoder)
    assert isinstance(detector(compatible=True, window_s=0.5), Windowed)


def test_windows_too_short_for_the_detector_are_refused_before_anything_is_read() -> None:
    with pytest.raises(AsdError, match=r"window_s=0.1 is 1600 samples, fewer than the 2048"):
        asd.fit("no such folder", 16000, options={"window_s": 0.1})
    assert StatisticsSettings().window_samples(0.128, 16000) == 2048


def test_whether_windows_are_too_short_is_told_by_the_rate_of_the_files(tmp_path: Path) -> None:
    for i in range(10):
        sf.write(tmp_path / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 9600), 48000)
    model = asd.fit(tmp_path, options={"window_s": 0.1, "views": "level"}, device="cpu")
    assert model.detector.n_samples == 4800  # type: ignore[attr-defined]
    with pytest.raises(AsdError, match=r"window_s=0.04 is 1920 samples, fewer than the 2048"):
        asd.fit(tmp_path, options={"window_s": 0.04}, device="cpu")


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


@pytest.mark.slow
def test_a_few_long_recordings_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of more than a minute: new ones of ten seconds and of a minute and a half are told apart, and explained."""
    monkeypatch.chdir(tmp_path)
    rng, rate_hz = np.random.default_rng(0), 8000

    def record(path: str, duration_s: float, hum: slice | None = None) -> None:
        wave = rng.normal(0, 0.05, round(duration_s * rate_hz))
        if hum:
            wave[hum] += 0.1 * np.sin(2 * np.pi * 1000 / rate_hz * np.arange(len(wave)))[hum]
        Path(path).parent.mkdir(exist_ok=True)
        sf.write(path, wave, rate_hz)

    record("normal/monday.wav", 70)
    record("normal/tuesday.wav", 61)
    for i in range(3):
        record(f"new/good {i}.wav", 10)
    record("new/bad.wav", 10, slice(0, None))
    record("new/long good.wav", 95)
    record("new/long bad.wav", 95, slice(50 * rate_hz, 95 * rate_hz))
    words = ("sample_rate_hz=8000", "views=level,modulation", "device=cpu")
    succeeds("train", "machine=pump", "normal=normal", "held_out=0", "name=pump", *words)
    training = pd.read_csv("runs/pump/pump/seed0/model/training_scores.csv")
    assert training["file"].value_counts().to_dict() == {"monday.wav": 7, "tuesday.wav": 7}
    succeeds("predict", "audio=new", "name=pump", "out=out")
    found = pd.read_csv("out/predictions.csv", index_col="path")
    assert found.index[found["decision"] == 1].tolist() == ["new/bad.wav", "new/long bad.wav"]
    model = asd.load("runs/pump")
    assert model.score_files("new").set_index("path")["score"].to_dict() == pytest.approx(found["score"].to_dict())
    succeeds("explain", "predictions=out/predictions.csv", "name=pump", "worst=2")
    told = pd.read_csv("out/explain/pump/explain.csv", index_col="file")
    start_s, stop_s = map(float, told.loc["new/long bad.wav", "top_stretch"].split(" ")[0].split("-"))
    assert 50 <= start_s < stop_s <= 95
    succeeds("report", "name=pump", "predictions=out/predictions.csv", "out=page.html")
    assert "the part with the highest score is shown" in Path("page.html").read_text()
    said = succeeds("predict", "name=pump", "audio=new/long good.wav", "--confirm-normal").out
    assert re.search(r"bank of pump, which holds 3 now: threshold \S+ -> \S+; python", said)  # ten windows promise less
    training = pd.read_csv("runs/pump/pump/seed0/model/training_scores.csv")
    assert training["file"].nunique() == 3
    assert len(training) == 14 + 10
    succeeds("predict", "name=pump", "--undo")


def test_what_is_asked_of_the_windows_detector_is_asked_of_the_detector_itself(tmp_path: Path) -> None:
    """Where it loads is where it was saved, and its scorers may be known only then."""
    asked: list[tuple[str, Path]] = []

    class Late(Loudest):
        scorers = ("early",)

        def save(self, directory: Path) -> None:
            asked.append(("save", directory))

        def load(self, directory: Path) -> None:
            asked.append(("load", directory))
            self.scorers, self.calibration = ("loudest",), {"loudest": np.ones(3)}

        def load_weights(self, path: Path) -> None:
            asked.append(("weights", path))
            self.scorers = ("heavy",)

    detector = Windowed(Late(run_context(tmp_path)), 20 / 16000)
    assert detector.scorers == ("early",)
    detector.save(tmp_path)
    detector.load(tmp_path)
    assert detector.scorers == ("loudest",)
    assert detector.calibration["loudest"].tolist() == [1.0] * 3
    detector.load_weights(tmp_path / "w")
    assert detector.scorers == ("heavy",)
    assert asked == [("save", tmp_path), ("load", tmp_path), ("weights", tmp_path / "w")]
