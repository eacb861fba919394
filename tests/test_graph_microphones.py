"""Front ends in a graph, beside those of detectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import asd as library
from asd.data.frontends import apply_front_end, fit_activity, magnitude_profile
from asd.deploy.export import graph_score, session_of
from asd.deploy.graph.microphones import one_waveform
from asd.types import FrontEnd
from tests.command import succeeds
from tests.exported import assert_close, run_graph, spread_of

EXAMPLE = Path(__file__).resolve().parents[1] / "docs/examples/score_onnx.py"
NOISE = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (4, 16000)).astype(np.float32))
PROFILE = tuple(magnitude_profile(0.3 * NOISE[:1])[0].tolist())
ACTIVITY = tuple(fit_activity(NOISE, torch.linspace(0, 1, 33).expand(4, 33)).tolist())


@pytest.mark.parametrize(
    "front_end",
    [
        *(FrontEnd(name) for name in ("near", "far", "mean", "cancel", "subtract")),
        FrontEnd(profile=PROFILE),
        FrontEnd("subtract", profile=PROFILE, activity=ACTIVITY),
    ],
    ids=lambda front_end: front_end.description() or "near",
)
def test_what_is_heard_is_what_the_detector_hears(front_end: FrontEnd) -> None:
    for n_samples in (2048, 3001, 16000):
        pairs = np.random.default_rng(n_samples).normal(0, 0.1, (3, 2, n_samples)).astype(np.float32)
        pairs[1, :, n_samples // 2 :] *= 0.1
        pairs[2] = 0  # silence
        (found,) = run_graph(pairs, lambda g, given: [one_waveform(g, front_end, given)])
        np.testing.assert_allclose(found, apply_front_end(front_end, torch.from_numpy(pairs)), rtol=1e-4, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["frontend=cancel", "statistics.views=level", "window_s=0.4"],
        ["frontend=near", "residual=0.5", "statistics.views=level,flux"],
        ["detector=embedding", "residual=0.5", "embedding.faults.epochs=1"],
        ["detector=autoencoder", "frontend=subtract", "training.epochs=1"],
    ],
)
def test_a_model_of_two_microphones(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(12):
        soundfile.write(f"{i}.wav", rng.normal(0, 0.1, (8000, 2)), 16000)
    succeeds("train", "machine=fan", "normal=.", "held_out=0.2", "name=pair", *words)
    succeeds("export", "name=pair", "out=fan.onnx")
    session, model = session_of(Path("fan.onnx")), library.load("runs/pair", device="cpu")
    assert session.get_modelmeta().custom_metadata_map["microphones"] == "2"
    pair = rng.normal(0, 0.2, (2, 9001)).astype(np.float32)
    expected = model.score(pair, 16000).score
    assert_close(graph_score(session, pair), expected, spread_of(model, model.scorers[0]))
    soundfile.write("new.wav", pair.T, 16000, subtype="FLOAT")
    done = subprocess.run([sys.executable, EXAMPLE, "fan.onnx", "new.wav"], capture_output=True, text=True)
    assert float(done.stdout.split("\t")[1]) == pytest.approx(expected, rel=1e-3)
