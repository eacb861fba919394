"""Every registered detector through the same suite: a new one is tested by being registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asd.core.files import load_tensors
from asd.data.recordings import check
from asd.detectors import REGISTRY, detector_class
from asd.detectors.base import Detector, Scores
from asd.metrics import auc
from asd.types import AsdError, Label, Split
from tests.machines import recordings, run_context, tone_machine, write_clip

# What keeps the suite short on two cores; everything else is the default configuration.
QUICK: dict[str, dict[str, Any]] = {
    "autoencoder": {"n_mels": 64, "training": {"epochs": 10, "batch_size": 32, "learning_rate": 1e-2}},
    "embedding": {"faults": {"networks": 1}},
    "auto": {"copies": 2},
}


def build(name: str, folder: Path, seed: int = 0) -> Detector:
    kind = detector_class(name)
    return kind(run_context(folder, seed), kind.settings_type.model_validate(QUICK.get(name, {})))


@pytest.fixture(scope="module", params=sorted(REGISTRY))
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Detector]:
    root = tmp_path_factory.mktemp(request.param)
    tone_machine(root / "data")
    detector = build(request.param, root)
    detector.fit(recordings(root / "data"))
    return request.param, root, detector


def assert_close(a: Scores, b: Scores) -> None:
    assert a.keys() == b.keys()
    for scorer in a:
        np.testing.assert_allclose(a[scorer], b[scorer], rtol=1e-4, err_msg=scorer)


def test_scores_are_finite_and_named(fitted: tuple[str, Path, Detector]) -> None:
    _, root, detector = fitted
    for clips, scores in (
        (recordings(root / "data", split=Split.TEST), detector.score),
        (recordings(root / "data"), detector.score_training),
    ):
        result = scores(clips)
        assert tuple(result) == detector.scorers
        for values in result.values():
            assert values.shape == (len(clips),)
            assert values.dtype == np.float64
            assert np.isfinite(values).all()


def test_vectors_are_near_for_clips_that_are_alike(fitted: tuple[str, Path, Detector]) -> None:
    name, root, detector = fitted
    clips = recordings(root / "data", split=Split.TEST)
    vectors = detector.embed(clips)
    assert (vectors is None) == (name in ("autoencoder", "auto"))
    if vectors is None:
        return
    order = np.random.default_rng(0).permutation(len(clips))
    again = detector.embed(clips.subset(order[:5]))
    assert again is not None
    np.testing.assert_allclose(again, vectors[order[:5]], rtol=1e-4, atol=1e-5)
    normal = detector.embed(recordings(root / "data"))
    assert normal is not None
    nearest = np.linalg.norm(vectors[:, None] - normal[None], axis=2).min(1)
    assert auc(np.array([clip.label is Label.ANOMALY for clip in clips.clips]), nearest) >= 0.9


def test_an_added_tone_is_heard(fitted: tuple[str, Path, Detector]) -> None:
    _, root, detector = fitted
    clips = recordings(root / "data", split=Split.TEST)
    anomalous = np.array([clip.label is Label.ANOMALY for clip in clips.clips])
    for scorer, values in detector.score(clips).items():
        assert auc(anomalous, values) >= (0.9 if scorer == detector.scorers[0] else 0.8), scorer


def test_waveforms_score_as_their_files_do(fitted: tuple[str, Path, Detector]) -> None:
    _, root, detector = fitted
    clips = recordings(root / "data", split=Split.TEST)
    waveforms = [clips.waveform(i) for i in range(len(clips))]
    before = {*root.rglob("*")}
    assert_close(detector.score_waveforms(waveforms, 16000, clips.clips), detector.score(clips))
    assert_close(detector.score_waveforms(waveforms, 16000), detector.score(clips))
    assert {*root.rglob("*")} == before  # nobody will ask for their features again
    with pytest.raises(AsdError, match="sample_rate_hz=8000 is not the 16000 Hz"):
        detector.score_waveforms(waveforms, 8000)
    with pytest.raises(AsdError, match="a waveform in memory holds NaN"):
        detector.score_waveforms([np.full(16000, np.nan, np.float32)], 16000)


def test_saved_and_loaded_gives_identical_scores(fitted: tuple[str, Path, Detector], tmp_path: Path) -> None:
    name, root, detector = fitted
    detector.save(tmp_path)
    loaded = build(name, root, seed=7)
    loaded.load(tmp_path)
    clips = recordings(root / "data", split=Split.TEST)
    before, after = detector.score(clips), loaded.score(clips)
    for scorer in detector.scorers:
        np.testing.assert_array_equal(before[scorer], after[scorer])
    assert all(load_tensors(path) for path in tmp_path.glob("*.safetensors"))


def test_order_and_company_of_clips_change_nothing(fitted: tuple[str, Path, Detector]) -> None:
    _, root, detector = fitted
    clips = recordings(root / "data", split=Split.TEST)
    scores = detector.score(clips)
    order = np.random.default_rng(0).permutation(len(clips))
    shuffled = detector.score(check([clips.clips[i] for i in order], sample_rate_hz=16000))
    alone = detector.score(check([clips.clips[3]], sample_rate_hz=16000))
    assert_close(shuffled, {scorer: values[order] for scorer, values in scores.items()})
    assert_close(alone, {scorer: values[3:4] for scorer, values in scores.items()})


def test_one_seed_gives_one_result(fitted: tuple[str, Path, Detector], tmp_path: Path) -> None:
    name, root, detector = fitted
    again = build(name, tmp_path)
    again.fit(recordings(root / "data"))
    clips = recordings(root / "data", split=Split.TEST)
    assert_close(detector.score(clips), again.score(clips))


def test_short_and_long_clips_work(fitted: tuple[str, Path, Detector], tmp_path: Path) -> None:
    _, _, detector = fitted
    for i, duration_s in enumerate((1.0, 16.0, 2.5)):
        write_clip(tmp_path / "fan/test" / f"section_00_{i:04d}.wav", i, duration_s)
    scores = detector.score(recordings(tmp_path, split=Split.TEST))
    assert all(np.isfinite(values).all() for values in scores.values())


def test_facts_fit_the_meta_file(fitted: tuple[str, Path, Detector]) -> None:
    from asd.challenge.system_meta import SystemFacts

    facts = SystemFacts(name="x", abbreviation="x", sampling_rate_hz=16000, **fitted[2].facts())
    assert facts.total_parameters >= 0
    assert facts.machine_learning_method
