"""`export`: the graph gives the scores of the model it was made of, and keeps the threshold."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import onnx
import pandas as pd
import pytest
import scipy.fft
import soundfile
import torch

import asd as library
from asd.data.audio import read_wav
from asd.deploy import export as exporting
from asd.deploy.export import as_onnx, graph_score, session_of
from asd.deploy.graph.features import clip_statistics
from asd.deploy.graph.formula import Graph
from asd.deploy.graph.scoring import back_end
from asd.features import spectral_statistics
from asd.features.clip_statistics import POOLED_VIEWS, VIEWS, ClipStatistics
from asd.runs import RunDirectory
from asd.scoring.backends import backend_named
from asd.types import Clip, Split
from tests.command import refuses, succeeds, train_on_tones
from tests.exported import assert_close, check_scorers, graph_of, run_graph, spread_of
from tests.machines import references, two_sections, write_clip

EXAMPLE = Path(__file__).resolve().parents[1] / "docs/examples/score_onnx.py"
RUN = Path("runs/statistics/fan/seed0")
BACKENDS = (
    *("knn_relative", "knn", "knn_cosine", "knn_whitened", "knn_density", "knn_varmin", "knn_domain_median"),
    *("knn_domain_z", "knn_smote", "knn_memmixup", "gaussian", "mahalanobis", "mahalanobis_within"),
    *("mahalanobis_selective", "gmm", "kmeans", "bandwise"),
)
REAL = ("bearing", "compressor", "endurance", "room", "spindle", "toycar_a")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the default detector, and its graph."""
    root = tmp_path_factory.mktemp("exporting")
    train_on_tones(root, n_train=14, n_test=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        succeeds("export", "out=fan.onnx")
    return root


@pytest.fixture
def place(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture(scope="module")
def session(trained: Path) -> Any:
    return session_of(trained / "fan.onnx")


@pytest.fixture(scope="module")
def model(trained: Path) -> library.Model:
    return library.load(trained / "runs/statistics", device="cpu")


def test_scores_and_decisions_are_those_of_the_run(place: Path, session: Any, model: library.Model) -> None:
    table = pd.read_csv(RUN / "scores/ensemble.csv")
    threshold = float(session.get_modelmeta().custom_metadata_map["threshold"])
    for row in table.itertuples():
        waveform, _ = read_wav(Path("data/fan/test", row.file))
        score = graph_score(session, waveform[0])
        assert_close(score, row.score, spread_of(model))
        assert int(score > threshold) == row.decision


@pytest.mark.slow
def test_the_threshold_of_each_scorer_stays_to_the_last_digit(place: Path) -> None:
    thresholds = json.loads((RUN / "scores/thresholds.json").read_text())
    for scorer in ("skewness", "kurtosis"):
        answer = succeeds("export", f"scorer={scorer}", f"out={scorer}.onnx")
        assert "initializer" not in answer.err  # what the simplifier does is nobody's concern
        about = {each.key: each.value for each in onnx.load(f"{scorer}.onnx").metadata_props}
        assert float(about["threshold"]) == thresholds[scorer]["value"]
        assert f"threshold: {about['threshold']}" in answer.out


def test_the_graph_says_what_it_is(place: Path) -> None:
    model = onnx.load("fan.onnx")
    onnx.checker.check_model(model, full_check=True)
    about = {each.key: each.value for each in model.metadata_props}
    assert about["machine"], about["scorer"] == ("fan", "ensemble")
    assert (about["sample_rate_hz"], about["least_samples"], about["sections"]) == ("16000", "2048", "00")
    assert about["channel"] == "0"
    assert about["fingerprint"] == RunDirectory(RUN).held_fingerprint()
    (given,) = model.graph.input
    assert [axis.dim_param for axis in given.type.tensor_type.shape.dim] == ["clips", "samples"]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def sounds(n_samples: int) -> dict[str, np.ndarray]:
    """Noise at several levels, and what is odd: silence, a click, a tone in noise, noise that begins late."""
    noise = np.random.default_rng(n_samples).normal(0, 0.2, n_samples)
    late = np.where(np.arange(n_samples) < n_samples // 2, 0.0, noise)
    tone = 0.5 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(n_samples))
    found = {f"noise of level {level}": level * noise for level in (1e-3, 0.1, 1.0)}
    found |= {"silence": 0 * noise, "click": np.eye(1, n_samples, n_samples // 3)[0]}
    found |= {"late": late, "tone and noise": tone + 0.01 * noise}
    return {name: sound.astype(np.float32) for name, sound in found.items()}


@pytest.mark.parametrize("n_samples", [2048, 2049, 4097, 16000, 31999, 48000])
def test_lengths_levels_and_silence(session: Any, model: library.Model, n_samples: int) -> None:
    for name, sound in sounds(n_samples).items():
        assert_close(graph_score(session, sound), model.score(sound, 16000).score, spread_of(model), name)


def test_clips_of_a_batch_do_not_meet(session: Any) -> None:
    waveforms = np.random.default_rng(0).normal(0, 0.1, (3, 9000)).astype(np.float32)
    together = session.run(None, {"waveform": waveforms})[0]
    np.testing.assert_allclose(together, [graph_score(session, w) for w in waveforms], rtol=1e-6)


def test_the_example_needs_nothing_of_this_package(place: Path, model: library.Model) -> None:
    normal, odd = (sorted(Path("data/fan/test").glob(f"*{kind}*.wav"))[0] for kind in ("normal", "anomaly"))
    code = f"import runpy, sys; sys.argv[1:] = {['fan.onnx', str(normal), str(odd)]!r}\n"
    code += f"try: runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
    code += "finally: print({'asd', 'torch', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "set()", done
    own = pd.read_csv(RUN / "scores/ensemble.csv").set_index("file")
    for line, path in zip(lines, (normal, odd), strict=False):
        named, score, decision = line.split("\t")
        assert named == str(path)
        assert_close(float(score), own.loc[path.name, "score"], spread_of(model))
        assert decision == ("anomalous" if own.loc[path.name, "decision"] else "normal")
    assert done.returncode == 1
    soundfile.write("nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    done = subprocess.run([sys.executable, EXAMPLE, "fan.onnx", "nan.wav"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nan.wav holds samples that are no numbers" in done.stderr
    assert len(EXAMPLE.read_text().splitlines()) <= 40


@pytest.mark.slow
def test_a_graph_that_differs_from_its_model_is_not_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faster(levels: torch.Tensor) -> torch.Tensor:
        return levels.diff(dim=1).abs().mean(1) * 1.1

    monkeypatch.setattr(spectral_statistics, "mean_step", faster)
    refuses("export", "out=new.onnx", saying="differs from its model by")
    assert not Path("new.onnx").exists()


def test_what_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses("export", "out=runs", saying="cannot write runs: Is a directory; choose another place")
    refuses("export", f"out={'x' * 250}", saying="cannot write x+: File name too long; choose another place")
    refuses("export", "out=/dev/null/x.onnx", saying="cannot write /dev/null/x.onnx: Not a directory")
    refuses("export", "out=x.onnx", "scorer=loudest", saying="scorer=loudest is unknown; there are ensemble")
    refuses("export", "out=x.onnx", "machine=valve", saying="has no machine valve; it has fan")
    refuses("export", "out=x.onnx", "name=gone", saying="runs/gone does not exist")
    succeeds("train", "machine=fan", "data=data", "detector=tests.loudness:Loudness", "name=own")
    refuses("export", "out=x.onnx", "name=own", saying="a Loudness detector cannot be exported")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refuses("export", "out=x.onnx", saying=r"pip install 'asd\[export\]'")
    assert not Path("x.onnx").exists()


def test_a_lost_note_of_the_fit_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(RUN, tmp_path / "lost/fan/seed0")
    (tmp_path / "lost/fan/seed0/model/fit.json").unlink()
    refuses("export", "out=x.onnx", "name=lost", f"runs={tmp_path}", saying="fit.json is missing; start the same train")


def test_a_lost_threshold_is_named(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds("train", "machine=fan", "data=data", f"runs={tmp_path}", "name=lost", "statistics.views=kurtosis")
    (tmp_path / "lost/fan/seed0/scores/thresholds.json").write_text("{}")
    refuses("export", "out=x.onnx", "name=lost", f"runs={tmp_path}", saying="has no threshold of ensemble; `score`")


@pytest.mark.parametrize("channel", [1, pytest.param("mean", marks=pytest.mark.slow)])
def test_a_chosen_channel_is_named(channel: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(10):
        soundfile.write(f"{i}.wav", rng.normal(0, 0.1, (8000, 2)), 16000)
    succeeds("train", "machine=fan", "normal=.", f"channel={channel}", "statistics.views=level", "held_out=0.2")
    succeeds("export", "out=fan.onnx")
    succeeds("predict", "audio=0.wav", "out=found")
    done = subprocess.run([sys.executable, EXAMPLE, "fan.onnx", "0.wav"], capture_output=True, text=True)
    score = float(done.stdout.split("\t")[1])
    predicted = pd.read_csv("found/predictions.csv")["score"][0]
    assert_close(score, predicted, spread_of(library.load("runs/statistics", device="cpu")))
    succeeds("listen", "input=0.wav", "out=heard")
    assert pd.read_json("heard/scores.jsonl", lines=True)["score"][0] == pytest.approx(predicted)


def test_several_sections_are_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    two_sections(Path("data"))
    succeeds("train", "machine=fan", "data=data", "statistics.views=level")
    succeeds("export", "out=fan.onnx")
    session, model = session_of(Path("fan.onnx")), library.load("runs/statistics", device="cpu")
    assert [each.name for each in session.get_inputs()] == ["waveform", "section"]
    assert session.get_modelmeta().custom_metadata_map["sections"] == "00,03"
    waveform = np.random.default_rng(5).normal(0, 0.1, 16000).astype(np.float32)
    found = {}
    for section in (0, 3, 7):  # the last one was never trained on
        clip = Clip(Path("x.wav"), "fan", f"{section:02d}", Split.TEST)
        expected = model.detector.score_waveforms([waveform], 16000, [clip])["ensemble"][0]
        found[section] = graph_score(session, waveform, section)
        assert_close(found[section], expected, spread_of(model))
    assert found[0] != found[3]
    succeeds("train", "machine=fan", "data=data", "detector=autoencoder", "training.epochs=1")
    succeeds("export", "name=autoencoder", "scorer=mse", "out=mse.onnx")  # one network, and a scale for each section
    session, model = session_of(Path("mse.onnx")), library.load("runs/autoencoder", device="cpu")
    for section in (0, 3):
        clip = Clip(Path("x.wav"), "fan", f"{section:02d}", Split.TEST)
        expected = model.detector.score_waveforms([waveform], 16000, [clip])["mse"][0]
        assert_close(graph_score(session, waveform, section), expected, spread_of(model, "mse"))


def test_sections_too_small_to_stand_alone_are_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        write_clip(tmp_path / f"section_0{number % 2}_source_train_normal_{number:04}.wav", number, 0.2)
    model = library.fit(tmp_path, options={"views": "level"}, device="cpu")
    assert model.sections == ("00", "01")
    graph = session_of(as_onnx(model.detector, "ensemble", {}))
    assert [each.name for each in graph.get_inputs()] == ["waveform"]


def test_sections_may_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"{side}{i}.wav", "normal", side) for side in ("left", "to, right") for i in range(9)]
    for number, (name, *_) in enumerate(rows):
        write_clip(tmp_path / name, number)
    pd.DataFrame(rows, columns=["path", "label", "section"]).to_csv("recordings.csv", index=False)
    succeeds("train", "machine=pump", "data=recordings.csv", "statistics.views=level", "held_out=0", "device=cpu")
    succeeds("export", "out=pump.onnx")
    about = session_of(Path("pump.onnx")).get_modelmeta().custom_metadata_map
    assert about["sections"] == 'left,"to, right"'
    assert about["section_numbers"] == f"{crc32(b'left')},{crc32(b'to, right')}"
    done = subprocess.run([sys.executable, EXAMPLE, "pump.onnx", "left0.wav"], capture_output=True, text=True)
    expected = library.load("runs/statistics", device="cpu").score_files("recordings.csv")["score"][0]
    assert float(done.stdout.split("\t")[1]) == pytest.approx(expected, abs=1e-4), done


@pytest.mark.parametrize("compatible", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_autoencoder(compatible: bool) -> None:
    options = {"training.epochs": 1, "compatible": compatible}
    check_scorers("autoencoder", options, (2048, 16000, 16001, 40000))


@pytest.mark.slow
def test_the_embedding_of_synthetic_faults() -> None:
    check_scorers("embedding", {"faults.epochs": 1, "faults.copies": 1}, (2048, 16000, 40000))


@pytest.mark.slow
def test_statistics_and_networks_together() -> None:
    check_scorers("auto", {"copies": 1}, (2048, 16000, 40000))


@pytest.mark.slow
def test_windows_of_clips() -> None:
    check_scorers("statistics", {"window_s": 0.3, "views": "level,modulation"}, (2048, 16000, 40001))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dims", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_every_back_end(backend: str, dims: int) -> None:
    known = references(n=40, dims=dims)
    fitted = backend_named(backend).fit(known)
    rng = np.random.default_rng(1)
    queries = np.concatenate([known.vectors[:3], rng.normal(0, 3, (20, dims)), rng.normal(100, 3, (5, dims))])
    (found,) = run_graph(queries, lambda g, x: [back_end(g, fitted, x)])
    np.testing.assert_allclose(found, fitted.score(queries), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("sample_rate_hz", [8000, *(pytest.param(r, marks=pytest.mark.slow) for r in (16000, 44100))])
def test_every_view_is_that_of_the_detector(sample_rate_hz: int) -> None:
    views = (*VIEWS, *POOLED_VIEWS)
    extract = ClipStatistics(views, sample_rate_hz, overlap=4 if sample_rate_hz == 8000 else 8)
    names: list[str] = []

    def make(g: Graph, waveforms: Any) -> list[Any]:
        found = clip_statistics(g, extract, waveforms)
        names.extend(found)
        return [*found.values()]

    run, exact = graph_of(np.float32, 2, make), extract.double()
    for n_samples in (2048, 3000, 8192, 20001):
        noise = np.random.default_rng(n_samples).normal(0, 0.05, (2, n_samples))
        waveforms = np.cumsum(noise, axis=1).astype(np.float32)
        found = run(waveforms)
        expected = exact(torch.from_numpy(waveforms).double())
        assert [*expected] == names
        for view, vectors in zip(names, found, strict=True):
            np.testing.assert_allclose(vectors, expected[view], rtol=1e-4, atol=1e-4, err_msg=view)


@pytest.mark.parametrize("n_samples", [2048, 44100])
def test_silence_and_a_stuck_sample_have_no_envelope(n_samples: int) -> None:
    view = "envelope_spectrum"
    extract = ClipStatistics((view, "level_64"), 44100)
    waveforms = np.stack([np.full(n_samples, level, np.float32) for level in (0.0, 0.3, -0.99)])
    expected = extract(torch.from_numpy(waveforms))
    found = graph_of(np.float32, 2, lambda g, x: [*clip_statistics(g, extract, x).values()])(waveforms)
    assert (expected[view] == -40.0).all()
    for vectors, own in zip(found, expected.values(), strict=True):
        np.testing.assert_allclose(vectors, own, atol=1e-4)
        np.testing.assert_allclose(own, own[:1].expand_as(own))  # offsets change nothing


@pytest.fixture(scope="module", params=REAL)
def real(shared: Path, request: pytest.FixtureRequest) -> tuple[Path, library.Model, Any]:
    """Recordings of a real machine, a model of it, and its graph."""
    folder = shared / "data/machines" / request.param
    model = library.fit(folder / "train", machine=request.param, device="cpu")
    return folder / "test", model, session_of(exporting.as_onnx(model.detector, "ensemble", {}))


@pytest.mark.slow
def test_real_machines(real: tuple[Path, library.Model, Any]) -> None:
    folder, model, session = real
    table = model.score_files(sorted(folder.glob("*.wav")))
    found = np.array([graph_score(session, read_wav(Path(path))[0][0]) for path in table["path"]])
    spread = exporting.spread_of(model, "ensemble")
    assert exporting.difference(found, table["score"], spread) < 1e-4
    apart = np.abs(found - table["score"])  # nearly always of the score alone as well, however near to 0
    assert (apart > 1e-4 * table["score"].abs()).mean() <= 0.01
    decisions = found > model.thresholds["ensemble"].value
    assert decisions.tolist() == table["decision"].astype(bool).tolist()


@pytest.mark.slow
def test_lengths_levels_and_silence_of_real_machines(real: tuple[Path, library.Model, Any]) -> None:
    folder, model, session = real
    sound = np.concatenate([read_wav(path)[0][0] for path in sorted(folder.glob("*.wav"))[:10]])
    clip = Clip(Path("x.wav"), "any", "00", Split.TEST)
    for n_samples in (2048, 3001, 16000, 16001, 31999, min(len(sound), 160000)):
        part = sound[:n_samples]
        odd = {"clipped": np.clip(50 * part, -1, 1), "half": part * (np.arange(n_samples) > n_samples // 2)}
        for name, waveform in {**{f"{gain}": gain * part for gain in (1e-4, 1e-2, 1.0, 0.0)}, **odd}.items():
            waveform = waveform.astype(np.float32)
            expected = model.detector.score_waveforms([waveform], 16000, [clip])["ensemble"][0]
            assert graph_score(session, waveform) == pytest.approx(expected, rel=1e-4), f"{name}, {n_samples}"


def test_a_difference_is_relative_to_the_score_or_the_spread() -> None:
    assert exporting.difference([2.002, 0.001], [2.0, 0.0], 0.5) == pytest.approx(0.002)
    assert exporting.difference([1.0, -3.3], [1.0, -3.0], 0.5) == pytest.approx(0.1)
    assert np.isnan(exporting.difference([np.nan], [1.0], 0.5))


@pytest.mark.parametrize("n_samples", [2053, 16001, 48017])
def test_a_prime_number_of_samples_is_transformed(n_samples: int) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (2, n_samples)).astype(np.float32)
    real, imaginary = run_graph(noise, lambda g, x: g.chirp_transform(g.op.Unsqueeze(x, [1])))
    expected = scipy.fft.rfft(noise.astype(np.float64))
    apart = np.abs(real[:, 0] + 1j * imaginary[:, 0] - expected)
    assert apart.max() < 1e-5 * np.sqrt((np.abs(expected) ** 2).mean())
