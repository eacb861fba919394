from __future__ import annotations

import io
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asd
from asd.data import audio, codecs
from asd.data.recordings import Recordings, in_memory
from asd.detectors.base import Detector
from asd.detectors.statistics import Statistics
from asd.evaluation import explain
from asd.evaluation.explain import Effects, FloatArray, choose_clips
from asd.evaluation.figures import Picture, explanation_figure, save
from asd.runs import score_table
from asd.stages.explaining import Material, Pair, explain_clips
from asd.stages.scored_clips import in_order, predicted_recordings
from asd.types import AsdError, FrontEnd, Split
from tests.command import ONE_VIEW, contents, refuses, succeeds
from tests.machines import recordings, run_context, tone_machine, two_sections, write_clip

Machine = tuple[Detector, Recordings, Recordings, pd.DataFrame]  # fitted, train, test, scores of test

LATE = "section_00_source_test_anomaly_0099_speed_1.wav"  # its tone begins half way through


def score_rows(scores: dict[str, float], labels: str | None = None) -> pd.DataFrame:
    """A score table; labels by the name's first letter where none are given."""
    by_letter = {"n": "normal", "a": "anomaly"}
    table = pd.DataFrame({"file": list(scores), "score": list(scores.values())})
    table["label"] = [by_letter[file[0]] if labels is None else labels for file in scores]
    return table.assign(decision=(table["score"] > 2).astype(int), machine="fan")


def noise(seed: int, n_samples: int) -> FloatArray:
    return 0.1 * np.random.default_rng(seed).normal(size=n_samples)


@settings(max_examples=30)
@given(n_samples=st.integers(2, 3000), n_parts=st.integers(1, 20), sample_rate_hz=st.sampled_from([8000, 16000, 48000]))
def test_parts_add_up_to_the_whole(n_samples: int, n_parts: int, sample_rate_hz: int) -> None:
    wave = noise(0, n_samples)
    bands = explain.split_bands(wave, explain.band_edges(sample_rate_hz, n_parts), sample_rate_hz)
    edges_s = np.linspace(0, n_samples / sample_rate_hz, n_parts + 1)
    for parts in (bands, explain.split_stretches(wave, edges_s, sample_rate_hz)):
        assert parts.shape == (n_parts, n_samples)
        np.testing.assert_allclose(parts.sum(axis=0), wave, atol=1e-12)


def test_a_swapped_band_is_the_neighbours_and_the_rest_the_clips() -> None:
    time_s = np.arange(16000) / 16000
    clip, neighbour = (np.sin(2 * np.pi * 3000 * time_s), np.sin(2 * np.pi * 300 * time_s))
    edges_hz = np.array([0.0, 1000.0, 8000.0])
    parts, others = (explain.split_bands(wave, edges_hz, 16000) for wave in (clip, neighbour))
    low, high = clip - parts + others
    np.testing.assert_allclose(low, clip + neighbour, atol=1e-9)
    np.testing.assert_allclose(high, np.zeros(16000), atol=1e-9)


def test_a_swapped_stretch_changes_nothing_elsewhere() -> None:
    clip, neighbour = noise(1, 16000), noise(2, 16000)
    edges_s = np.linspace(0, 1, 5)
    parts, others = (explain.split_stretches(wave, edges_s, 16000) for wave in (clip, neighbour))
    second = (clip - parts + others)[1]
    np.testing.assert_array_equal(second[:3960], clip[:3960])
    np.testing.assert_array_equal(second[8040:], clip[8040:])
    np.testing.assert_allclose(second[4040:7960], neighbour[4040:7960], atol=1e-12)


@pytest.mark.parametrize("n_samples", [7000, 16000, 40000])
def test_a_neighbour_is_brought_to_length_and_level(n_samples: int) -> None:
    edges_hz = explain.band_edges(16000)
    bands = explain.split_bands(noise(3, 16000), edges_hz, 16000)
    fitted, louder_db = explain.fit_neighbour(bands, 0.25 * noise(4, n_samples), edges_hz, 16000)
    assert fitted.shape == (16000,)
    assert louder_db == pytest.approx(20 * np.log10(4), abs=0.5)
    assert fitted.std() == pytest.approx(0.1, rel=0.1)


def test_silence_has_a_finite_level() -> None:
    edges_hz = explain.band_edges(16000)
    for clip, neighbour in ((np.zeros(1000), noise(0, 1000)), (noise(0, 1000), np.zeros(900))):
        bands = explain.split_bands(clip, edges_hz, 16000)
        fitted, louder_db = explain.fit_neighbour(bands, neighbour, edges_hz, 16000)
        assert np.isfinite(fitted).all()
        assert np.isfinite(louder_db)


def test_mel_scale_is_that_of_the_features() -> None:
    librosa = pytest.importorskip("librosa")
    hz = np.array([0.0, 440.0, 999.0, 1000.0, 3000.0, 8000.0, 20000.0])
    np.testing.assert_allclose(explain.hz_to_mel(hz), librosa.hz_to_mel(hz), rtol=1e-12)
    np.testing.assert_allclose(explain.mel_to_hz(explain.hz_to_mel(hz)), hz, rtol=1e-12)


def test_the_worst_are_the_highest_normals_and_the_lowest_anomalies() -> None:
    table = score_rows({"n1.wav": 1.0, "n2.wav": 3.0, "n3.wav": 0.5, "a1.wav": 0.7, "a2.wav": 4.0, "a3.wav": 2.5})
    chosen = choose_clips(table, None, 2)
    assert chosen["file"].tolist() == ["n2.wav", "n1.wav", "a1.wav", "a3.wav"]
    assert chosen["kind"].tolist() == ["highest normal"] * 2 + ["lowest anomaly"] * 2
    assert chosen["verdict"].tolist() == ["false alarm", "right", "miss", "right"]
    assert chosen["rank"].tolist() == [2, 4, 5, 3]


def test_without_labels_the_highest_scores_are_chosen() -> None:
    chosen = choose_clips(score_rows({"x.wav": 1.0, "y.wav": 3.0, "z.wav": 2.5}, labels=""), None, 2)
    assert chosen["file"].tolist() == ["y.wav", "z.wav"]
    assert chosen["kind"].tolist() == ["highest score"] * 2
    assert chosen["verdict"].tolist() == ["", ""]


@pytest.mark.parametrize("name", ["n2.wav", "n2", "data/fan/test/n2.wav"])
def test_a_clip_is_found_by_its_name(name: str) -> None:
    chosen = choose_clips(score_rows({"n1.wav": 1.0, "n2.wav": 3.0}), name, 0)
    assert chosen[["file", "kind", "rank"]].to_numpy().tolist() == [["n2.wav", "asked for", 1]]


def test_what_cannot_be_chosen_is_a_sentence() -> None:
    table = score_rows({"normal_0001.wav": 1.0, "anomaly_0007.wav": 3.0})
    with pytest.raises(AsdError, match=r"clip=anomly_7 is not among the 2 .* did you mean anomaly_0007\.wav\?"):
        choose_clips(table, "anomly_7", 1)
    with pytest.raises(AsdError, match="worst=0 explains nothing"):
        choose_clips(table, None, 0)
    with pytest.raises(AsdError, match="no scored test clips"):
        choose_clips(table.head(0), None, 1)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A fitted detector, its training clips, test clips one of which has a late tone, and their scores."""
    root = tone_machine(tmp_path_factory.mktemp("explain"))
    place = root / "fan" / "test" / LATE
    plain, toned = (audio.read_wav(write_clip(place, 999, 2.0, tone_hz))[0] for tone_hz in (0.0, 3000.0))
    half = plain.shape[1] // 2
    codecs.write_wav(place, np.concatenate([plain[:, :half], toned[:, half:]], axis=1), 16000)
    train, test = recordings(root), recordings(root, split=Split.TEST)
    detector = Statistics(run_context(root))
    detector.fit(train)
    scores = detector.score(test)[detector.scorers[0]]
    return detector, train, test, score_table(test.clips, scores, (scores > 3).astype(np.int64))


def test_predicted_recordings_are_read_as_the_training_clips_were(machine: Machine, tmp_path: Path) -> None:
    for name, rate_hz in (("slow.wav", 8000), ("same.wav", 16000)):
        codecs.write_wav(tmp_path / name, noise(0, rate_hz)[None].astype(np.float32), rate_hz)
    files = [str(tmp_path / name) for name in ("slow.wav", "same.wav")]
    rows = pd.DataFrame({"file": files, "machine": "fan", "section": ["3.0", ""]})
    found = predicted_recordings(rows, machine[1])
    assert [clip.path.name for clip in found.clips] == ["slow.wav", "same.wav"]
    assert [clip.section for clip in found.clips] == ["03", "00"]  # as pandas wrote it; as its name tells
    assert (found.sample_rate_hz, found.lengths_samples.tolist()) == (16000, [16000, 16000])


def explained(machine: Machine, folder: Path, clip: str | None) -> pd.DataFrame:
    detector, train, test, table = machine
    rows = choose_clips(table, clip, 1)
    material = Material(detector, detector.scorers[0], rows, in_order(test, rows), train)
    return explain_clips(material, len(table), folder)


def test_a_late_tone_is_found_in_its_band_and_its_half(machine: Machine) -> None:
    detector, train, test, table = machine
    late = next(i for i, clip in enumerate(test.clips) if clip.name == LATE)
    effects = Pair(Material(detector, "ensemble", table, test, train), late, 0, 0.0).effects()
    ((low_hz, high_hz, effect),) = effects.top_bands(1)
    assert low_hz < 3000 < high_hz
    assert effect > 0.5 * table["score"][late]
    assert all(start_s >= 1.0 for start_s, _, _ in effects.top_stretches(4))


def test_a_named_clip_is_told_in_words(machine: Machine, tmp_path: Path) -> None:
    (row,) = explained(machine, tmp_path, LATE).to_dict("records")
    assert row["top_bands"].startswith("2492-3026 Hz +")
    assert 1.0 <= float(row["top_stretch"].split("-")[0]) < 2.0
    assert (row["kind"], row["verdict"]) == ("asked for", "right")


def test_each_chosen_clip_has_a_row_and_a_picture(machine: Machine, tmp_path: Path) -> None:
    rows = explained(machine, tmp_path, None)
    table, training = machine[3], {clip.name for clip in machine[1].clips}
    assert rows["kind"].tolist() == ["highest normal", "lowest anomaly"]
    assert set(rows["nearest"]) <= training
    assert (rows["distance_db"] > 0).all()
    for _, row in rows.iterrows():
        assert row["score"] == table.set_index("file")["score"][row["file"]]
        assert (tmp_path / row["figure"]).read_bytes().startswith(b"\x89PNG")
    written = pd.read_csv(tmp_path / "explain.csv")
    assert written["file"].tolist() == rows["file"].tolist()
    assert {path.name for path in tmp_path.iterdir()} == {"explain.csv", *rows["figure"]}


def test_explaining_leaves_the_detector_as_it_was(machine: Machine, tmp_path: Path) -> None:
    detector, _, test, table = machine
    before = detector.context
    explained(machine, tmp_path, LATE)
    assert detector.context is before
    np.testing.assert_allclose(detector.score(test)[detector.scorers[0]], table["score"], rtol=1e-9)


def test_bad_words_are_sentences(machine: Machine, tmp_path: Path) -> None:
    detector, train, test, table = machine
    rows = choose_clips(table, None, 1)
    with pytest.raises(AsdError, match="scorer=mse is unknown to this run; it has ensemble"):
        explain_clips(Material(detector, "mse", rows, in_order(test, rows), train), len(table), tmp_path)
    with pytest.raises(AsdError, match=r"strange_.* has a score but is not among the test clips"):
        in_order(test, rows.assign(file="strange_" + rows["file"]))


def test_a_front_end_that_gets_windows_one_by_one_makes_no_other_score(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)

    def pair(n_samples: int) -> FloatArray:
        """Near and far microphone; the near one picks up more and more of the far one's noise."""
        far = rng.normal(0, 0.1, n_samples)
        return np.stack([rng.normal(0, 0.05, n_samples) + far * np.linspace(0.2, 1.5, n_samples), far])

    options = {"frontend": "cancel", "views": "level"}
    model = asd.fit([pair(n) for n in (8000, 24_000) * 6], 16000, options=options, device="cpu")
    test = in_memory([pair(24_000).astype(np.float32)], 16000, front_end=FrontEnd("cancel"))
    table = pd.DataFrame({"score": model.detector.score(test)["ensemble"]})
    assert model.learnt is not None
    Pair(Material(model.detector, "ensemble", table, test, model.learnt), 0, 0, 0.0).effects()
    assert "in the table" not in caplog.text
    Pair(Material(model.detector, "ensemble", table + 1, test, model.learnt), 0, 0, 0.0).effects()
    assert "has the score" in caplog.text


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, and a folder of recordings with names of one's own, two of which are alike."""
    monkeypatch.chdir(tmp_path)
    tone_machine(Path("data"), n_train=12, n_test=1)
    succeeds("train", "machine=fan", "data=data", ONE_VIEW)
    for i, day in enumerate(("monday", "tuesday")):
        write_clip(Path("in box") / day / "hum.wav", 50 + i)
    write_clip(Path("in box") / "whistle.wav", 60, 1.0, 3000.0)
    return tmp_path


@pytest.mark.slow
def test_any_recordings_are_explained_and_the_run_stays_as_it_is(run: Path) -> None:
    before = contents(Path("runs"))
    answer = succeeds("explain", "audio=in box", "worst=3")
    folder = Path("predictions/statistics/in-box/explain/fan")
    rows = pd.read_csv(folder / "explain.csv")
    assert rows["file"].iloc[0] == "in box/whistle.wav"
    assert {*rows["figure"]} == {"whistle.png", "in box_monday_hum.png", "in box_tuesday_hum.png"}
    assert all((folder / name).is_file() for name in rows["figure"])
    assert str(folder) in answer.out
    assert contents(Path("runs")) == before
    predictions = "predictions/statistics/in-box/predictions.csv"
    succeeds("explain", f"predictions={predictions}", "clip=in box/monday/hum.wav")
    assert pd.read_csv(folder / "explain.csv")["file"].tolist() == ["in box/monday/hum.wav"]
    refuses("explain", f"predictions={predictions}", "clip=hum", saying="clip=hum may be .* or .*hum.wav")
    refuses("explain", f"predictions={predictions}", "audio=in box", saying="audio= and predictions=")


@pytest.mark.slow
def test_a_recording_is_explained_as_of_the_section_that_it_was_scored_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    two_sections(Path("data"))
    succeeds("train", "machine=fan", "data=data", "statistics.views=level")
    write_clip(Path("x.wav"), 7)
    scores = []
    for section in ("00", "03"):
        succeeds("predict", "audio=x.wav", f"section={section}", f"out={section}")
        scores.append(pd.read_csv(f"{section}/predictions.csv")["score"][0])
        for stage in ("explain", "report"):
            assert "in the table, and" not in succeeds(stage, f"predictions={section}/predictions.csv").err
    assert scores[0] != scores[1]
    saved = pd.read_csv("03/predictions.csv")  # as a spreadsheet does, which makes 3 of 03
    saved.to_csv("saved.csv", index=False)
    assert saved["section"][0] == 3
    assert "in the table, and" not in succeeds("explain", "predictions=saved.csv").err


@pytest.mark.slow
def test_each_recording_has_a_picture_of_its_own_however_it_is_called(run: Path) -> None:
    shutil.rmtree("in box")
    for i, name in enumerate(("a.wav", "a.aiff", "é" * 120 + ".wav", "b/c.wav", "b_c.wav")):
        write_clip(Path("in box/x.wav"), i).rename(Path("in box") / Path(name).name)
        if "/" in name:
            Path("in box/b").mkdir()
            Path("in box/c.wav").rename(Path("in box") / name)
    rows = pd.read_csv(
        Path(succeeds("explain", "audio=in box", "worst=9").out.split("explain.csv: ")[1].strip()) / "explain.csv"
    )
    assert len({*rows["figure"]}) == len(rows) == 5
    assert all((Path("predictions/statistics/in-box/explain/fan") / name).is_file() for name in rows["figure"])


@pytest.mark.slow
def test_a_score_that_is_of_another_recording_model_or_scorer_is_told(run: Path) -> None:
    table = "predictions=predictions/statistics/in-box/predictions.csv"
    succeeds("predict", "audio=in box")
    assert "WARNING" not in succeeds("explain", table, "worst=1").err
    told = r"in box/whistle\.wav has the score [\d.]+ in the table, and ensemble of the model as it is gives -?[\d.]+: "
    write_clip(Path("in box/whistle.wav"), 61, 1.0, 1000.0)
    for stage in ("explain", "report"):
        assert re.search(told, succeeds(stage, table).err)


@pytest.mark.slow
def test_recordings_that_were_moved_are_found_where_they_were_scored_again(run: Path) -> None:
    Path("data").rename("moved")
    refuses("explain", "worst=1", saying="no data folder .*data")
    succeeds("score", "machine=fan", "data=moved")
    succeeds("explain", "worst=1")


@pytest.mark.slow
def test_clips_of_other_data_are_explained(run: Path) -> None:
    refuses("explain", "data=other", saying="no scores of other")
    tone_machine(Path("other"), n_train=0, n_target=0, n_test=2)
    succeeds("score", "machine=fan", "data=other")
    succeeds("explain", "data=other", "worst=1")
    (written,) = Path("runs/statistics/fan/seed0/other").glob("*/explain/explain.csv")
    assert pd.read_csv(written)["kind"].tolist() == ["highest normal", "lowest anomaly"]


def test_the_figure_has_its_axes_and_bars_in_place() -> None:
    effects = Effects(
        bands_hz=explain.band_edges(16000),
        by_band=np.linspace(-1, 2, explain.N_BANDS),
        stretches_s=np.linspace(0, 2, explain.N_STRETCHES + 1),
        by_stretch=np.linspace(1, -1, explain.N_STRETCHES),
        louder_db=-1.0,
        by_level=0.1,
    )
    loud = Picture("$a 100% #1 $x", np.full((128, 50), 10.0), 2.0)
    quiet = Picture("neighbour", np.full((128, 30), -40.0), 1.2)
    figure = explanation_figure("$a 100% #1 $x", "score 3, $HOME 5% #1 $x", loud, quiet, effects)
    figure.draw_without_rendering()  # names are no formulas
    figure.text(0, 0, "ポンプ 🔧")
    with warnings.catch_warnings(record=True) as told:
        save(figure, io.BytesIO(), format="png", dpi=20)
    assert told == []
    axes = {one.get_label(): one for one in figure.axes}
    assert set(axes) == {"clip", "bands", "neighbour", "stretches", "words", "colours"}
    assert axes["clip"].images[0].get_clim() == axes["neighbour"].images[0].get_clim() == (-40.0, 10.0)
    assert axes["bands"].get_ylim() == axes["clip"].get_ylim() == axes["neighbour"].get_ylim()
    assert axes["stretches"].get_xlim() == axes["clip"].get_xlim() == (0.0, 2.0)
    assert axes["neighbour"].get_xlim() == (0.0, 1.2)
    bars = axes["bands"].patches
    assert [bar.get_width() for bar in bars] == effects.by_band.tolist()
    assert len({bar.get_facecolor() for bar in bars}) == 2
    assert len(axes["stretches"].patches) == explain.N_STRETCHES
