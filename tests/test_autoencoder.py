"""The autoencoder against the official baseline's own output on a real machine."""

from __future__ import annotations

import csv
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import gamma

from asd.challenge.names import parse_name
from asd.core.files import load_tensors
from asd.core.networks.autoencoder import (
    MLPAutoencoder,
    covariances_around_batches,
    mean_frame_distance,
    mean_residual_distance,
)
from asd.data.given import from_arrays
from asd.detectors import AutoencoderSettings
from asd.detectors.autoencoder import Autoencoder
from asd.metrics import auc, pauc
from asd.options import TrainSettings
from asd.pipeline import train
from asd.scoring.backends import backend_named
from asd.scoring.references import references_of
from asd.scoring.threshold import fit_threshold
from asd.settings.config import Run
from asd.settings.parsing import parse
from asd.types import NEAR, AsdError, Domain, Label, Split
from tests.machines import recordings, run_context, tone_machine

SMALL: dict[str, Any] = {"n_mels": 32, "training": TrainSettings(epochs=3, batch_size=64)}


def test_parameter_count_is_the_official_one() -> None:
    assert sum(p.numel() for p in MLPAutoencoder().parameters()) == 267_928


def test_batches_are_normalised_as_by_keras() -> None:
    norms = [layer for layer in MLPAutoencoder().modules() if isinstance(layer, torch.nn.BatchNorm1d)]
    assert [(norm.num_features, norm.momentum, norm.eps) for norm in norms] == [
        (width, 0.01, 1e-3) for width in (128, 128, 128, 128, 8, 128, 128, 128, 128)
    ]


def official(path: Path) -> dict[str, float]:
    with path.open() as lines:
        return {name: float(value) for name, value in csv.reader(lines)}


@pytest.mark.parametrize(("scorer", "file", "error"), [("mse", "mse", 1e-4), ("mahalanobis", "mahala", 1e-3)])
def test_compatible_scores_equal_the_official_ones(
    shared: Path, tmp_path: Path, scorer: str, file: str, error: float
) -> None:
    reference = shared / "reference/baseline_ae/bearing"
    detector = Autoencoder(run_context(tmp_path), AutoencoderSettings(compatible=True))
    detector.load_weights(reference / "weights.safetensors")
    test = recordings(shared / "data/machines", "bearing", Split.TEST)
    scores = detector.score(test)[scorer]
    expected = official(reference / f"anomaly_score_{file}.csv")
    assert {clip.name for clip in test.clips} == expected.keys()
    np.testing.assert_allclose(scores, [expected[clip.name] for clip in test.clips], rtol=error)


@pytest.mark.parametrize("file", ["mse", "mahala"])
def test_official_scores_give_the_official_aucs(golden: Path, file: str) -> None:
    reference = golden / "baseline_ae/bearing"
    expected = official(reference / f"anomaly_score_{file}.csv")
    clips = [parse_name(Path(name), "bearing", Split.TEST) for name in expected]
    scores = np.array(list(expected.values()))
    with (reference / f"result_{file}.csv").open() as lines:
        result = next(csv.DictReader(lines))
    anomalous = np.array([clip.label is Label.ANOMALY for clip in clips])
    for domain in Domain:
        compared = anomalous | np.array([clip.domain is domain for clip in clips])
        assert auc(anomalous[compared], scores[compared]) == pytest.approx(float(result[f"AUC ({domain})"]))
    assert pauc(anomalous, scores) == pytest.approx(float(result["pAUC"]))


def test_official_thresholds_and_decisions_follow(golden: Path) -> None:
    """The official decisions are those of its gamma fit's 0.9 quantile, with `>`."""
    reference = golden / "baseline_ae/bearing"
    thresholds = json.loads((reference / "thresholds.json").read_text())
    for file in ("mse", "mahala"):
        shape, location, scale = thresholds[file]["gamma_shape_loc_scale"]
        threshold = gamma.ppf(0.9, shape, loc=location, scale=scale)
        scores = official(reference / f"anomaly_score_{file}.csv")
        decisions = official(reference / f"decision_result_{file}.csv")
        assert {name: float(score > threshold) for name, score in scores.items()} == decisions


def test_all_pairs_distance_in_linear_time_equals_the_official_quadratic_form() -> None:
    """The official code averages an N x N matrix; here it is a form in the mean residual."""
    frames = torch.from_numpy(np.random.default_rng(0).normal(size=(55, 8))).float()
    precision = torch.eye(8) + 0.1
    slow = (frames @ precision @ frames.T).mean()
    fast = mean_residual_distance(frames, torch.tensor([55]), [precision, 2 * precision])
    torch.testing.assert_close(fast, slow[None])


def test_the_papers_distance_is_the_mean_over_frames() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).normal(size=(55, 8))).float()
    precision = torch.eye(8) + 0.1
    expected = torch.stack([frame @ precision @ frame for frame in frames]).mean()
    torch.testing.assert_close(mean_frame_distance(frames, torch.tensor([55]), [precision]), expected[None])


def test_covariances_add_up_the_scatter_of_each_batch_and_domain() -> None:
    draw = np.random.default_rng(0)
    batches = [(draw.normal(n, 1, (6, 8)), np.array([0, 0, 1, 0, 1, 1], bool)) for n in range(3)]
    batches.append((draw.normal(size=(2, 8)), np.array([1, 1], bool)))  # a batch of one domain
    made = covariances_around_batches([(torch.from_numpy(x), torch.from_numpy(t)) for x, t in batches], 4)
    for domain, covariance in enumerate(made):
        parts = [x[t == domain] for x, t in batches if (t == domain).any()]
        scatter = sum(np.cov(part.reshape(-1, 4).T, ddof=0) * 2 * len(part) for part in parts)
        np.testing.assert_allclose(covariance, scatter / (sum(map(len, parts)) - 1), rtol=1e-12)


@pytest.mark.parametrize("n_targets", [0, 1, 5, 6])
def test_a_domain_of_too_few_windows_has_the_covariance_of_the_other(n_targets: int) -> None:
    windows = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 8)))
    source, target = covariances_around_batches([(windows, torch.arange(6) < n_targets)], 4)
    others = windows[n_targets:] if n_targets < 6 else windows
    own = windows[:n_targets] if n_targets > 1 else windows[n_targets:]
    if n_targets == 5:
        assert torch.isnan(source).all() or torch.isinf(source).any()  # one window has no covariance: as officially
    else:
        np.testing.assert_allclose(
            source, np.cov(others.reshape(-1, 4).T, ddof=0) * 2 * len(others) / (len(others) - 1)
        )
    np.testing.assert_allclose(target, np.cov(own.reshape(-1, 4).T, ddof=0) * 2 * len(own) / (len(own) - 1))


def test_each_clip_has_the_distance_to_its_nearer_domain() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 3)))
    counts, precisions = (
        torch.tensor([2, 3, 4]),
        [torch.eye(3).double(), torch.diag(torch.tensor([9.0, 0.1, 0.1])).double()],
    )
    clips = frames.split(counts.tolist())
    by_frame = [min(float(sum(f @ p @ f for f in clip)) / len(clip) for p in precisions) for clip in clips]
    by_mean = [min(float(clip.mean(0) @ p @ clip.mean(0)) for p in precisions) for clip in clips]
    assert mean_frame_distance(frames, counts, precisions).tolist() == pytest.approx(by_frame)
    assert mean_residual_distance(frames, counts, precisions).tolist() == pytest.approx(by_mean)


@pytest.mark.parametrize("compatible", [False, True])
def test_calibration_is_per_batch_only_in_the_compatible_mode(tmp_path: Path, compatible: bool) -> None:
    machine = tone_machine(tmp_path / "data")
    detector = Autoencoder(run_context(tmp_path), AutoencoderSettings(compatible=compatible, **SMALL))
    detector.fit(recordings(machine))
    assert set(detector.calibration) == (set(detector.scorers) if compatible else set())
    for values in detector.calibration.values():
        assert fit_threshold(values).value > 0


def test_the_compatible_mode_calibrates_on_batches_as_the_official_code_does(tmp_path: Path) -> None:
    """One training batch and one validation batch of all windows: their losses and all-pairs distances."""
    clips = recordings(tone_machine(tmp_path / "data"))
    one_batch = TrainSettings(epochs=1, batch_size=1 << 20, learning_rate=1e-12)
    settings = AutoencoderSettings(n_mels=32, training=one_batch, compatible=True)
    detector = Autoencoder(run_context(tmp_path), settings)
    detector.fit(clips)
    windows = detector._windows(clips)
    target = np.array([clip.domain is Domain.TARGET for clip in clips.clips])
    learn, held_out = detector._split(windows, target)
    assert len(held_out) == np.ceil(0.1 * len(windows))
    residuals, losses = [], []
    with torch.no_grad():
        for part, training in ((learn, True), (held_out, False)):
            x = windows[part]
            losses.append(float((deepcopy(detector.network).train(training)(x) - x).square().mean()))
            residuals.append((x - detector.network.eval()(x)).view(-1, 32).double())
    np.testing.assert_allclose(detector.calibration["mse"], losses, rtol=1e-3)
    by_frame = torch.from_numpy(target)[windows.clip_of[learn]].repeat_interleave(5)
    expected = []
    for frames in residuals:
        distances = []
        for domain in (False, True):
            own = residuals[0][by_frame == domain]
            covariance = torch.cov(own.T, correction=0) * len(own) / (len(own) // 5 - 1)
            distances.append(float((frames @ torch.linalg.inv(covariance) @ frames.T).mean()))
        expected.append(min(distances))
    np.testing.assert_allclose(detector.calibration["mahalanobis"], expected, rtol=1e-3)


def test_the_compatible_threshold_is_fitted_to_the_batches(tmp_path: Path) -> None:
    """Through the stage: the gamma quantile of the calibration that was saved, not of the clips' scores."""
    tone_machine(tmp_path / "data", n_train=48)
    config = parse(
        Run,
        [
            *("detector=autoencoder", "compatible=true", f"data={tmp_path / 'data'}", f"runs={tmp_path / 'runs'}"),
            *("machine=fan", "training.epochs=2", "training.batch_size=32", "autoencoder.n_mels=32"),
        ],
    )
    (run,) = train(config)
    saved = load_tensors(run.path / "model/weights.safetensors")[0]
    thresholds = json.loads((run.path / "scores/thresholds.json").read_text())
    for scorer in ("mse", "mahalanobis"):
        values = saved[f"calibration.{scorer}"].numpy()
        shape, location, scale = gamma.fit(values)
        expected = gamma.ppf(0.9, shape, loc=location, scale=scale)
        found = thresholds[scorer]
        if found["method"] == "gamma":
            assert found["value"] == pytest.approx(expected, rel=1e-6)
        else:
            assert found["value"] == pytest.approx(np.quantile(values, 0.9), rel=0.2)
        clips = run.training_scores()[scorer].to_numpy()
        assert found["value"] != pytest.approx(np.quantile(clips, 0.9), rel=1e-3)


def test_the_default_mode_holds_out_whole_clips_of_both_domains(tmp_path: Path) -> None:
    machine = tone_machine(tmp_path / "data", n_train=40, n_target=10)
    clips = recordings(machine)
    detector = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    windows = detector._windows(clips)
    target = np.array([clip.domain is Domain.TARGET for clip in clips.clips])
    learn, held_out = detector._split(windows, target)
    held_clips = set(windows.clip_of[held_out].tolist())
    assert not held_clips & set(windows.clip_of[learn].tolist())
    assert sum(target[list(held_clips)]) == 1
    assert len(held_clips) == 4


def test_official_pth_is_read_without_running_code(tmp_path: Path) -> None:
    detector = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    state = detector.network.state_dict() | {"cov_source": torch.eye(32), "cov_target": 2 * torch.eye(32)}
    torch.save(state, tmp_path / "official.pth")
    detector.load_weights(tmp_path / "official.pth")
    assert torch.equal(detector.cov_target, 2 * torch.eye(32))
    torch.save({"x": print}, tmp_path / "evil.pth")
    with pytest.raises(AsdError, match="not a torch state dict of plain tensors"):
        detector.load_weights(tmp_path / "evil.pth")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(AsdError, match="is not an autoencoder of this framework"):
        detector.load_weights(tmp_path / "other.pth")


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    Autoencoder(run_context(tmp_path), AutoencoderSettings(n_mels=16)).save(tmp_path)
    with pytest.raises(AsdError, match=r"belongs to another network: .* of another shape"):
        Autoencoder(run_context(tmp_path), AutoencoderSettings(n_mels=32)).load(tmp_path)
    assert "cov_source" in load_tensors(tmp_path / "weights.safetensors")[0]


def test_a_machine_of_one_domain_is_saved_and_loaded(tmp_path: Path) -> None:
    machine = tone_machine(tmp_path / "data", n_target=0)
    detector = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    detector.fit(recordings(machine))
    detector.save(tmp_path)
    again = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    again.load(tmp_path)
    assert torch.equal(again.cov_source, again.cov_target)


def test_neighbours_are_of_mean_codes_and_mean_residuals(tmp_path: Path) -> None:
    root = tone_machine(tmp_path / "data")
    clips, test = recordings(root), recordings(root, "fan", Split.TEST)
    detector = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    detector.fit(clips)
    vectors: dict[str, list[list[np.ndarray]]] = {"bottleneck_knn": [[], []], "residual_knn": [[], []]}
    for which, some in enumerate((clips, test)):
        windows = detector._windows(some, exact=some is test)  # what is scored is not rounded to steps, as graphs do it
        for clip in range(len(some)):
            x = windows[torch.nonzero(windows.clip_of == clip)[:, 0]]
            with torch.no_grad():
                codes, rest = detector.network.encoder(x), x - detector.network(x)
            vectors["bottleneck_knn"][which].append(codes.mean(0).double().numpy())
            vectors["residual_knn"][which].append(rest.view(-1, 32).mean(0).double().numpy())
    scores, training = detector.score(test), detector.score_training(clips)
    for scorer, (learnt, asked) in vectors.items():
        backend = backend_named("knn_relative").fit(references_of(clips.clips, np.stack(learnt)))
        np.testing.assert_allclose(scores[scorer], backend.score(np.stack(asked)), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(training[scorer], backend.score_training(), rtol=1e-3, atol=1e-3)


def test_weights_from_elsewhere_bring_no_neighbours(tmp_path: Path) -> None:
    root = tone_machine(tmp_path / "data")
    first = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    first.fit(recordings(root))
    first.save(tmp_path)
    given = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    given.load_weights(tmp_path / "weights.safetensors")
    assert given.scorers == ("mse", "mahalanobis", "mahalanobis_frames")
    (tmp_path / "given").mkdir()
    given.save(tmp_path / "given")
    again = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    again.load(tmp_path / "given")
    test = recordings(root, "fan", Split.TEST)
    assert again.scorers == given.scorers == tuple(again.score(test))
    np.testing.assert_array_equal(again.score(test)["mse"], first.score(test)["mse"])


@pytest.mark.parametrize("n_samples", [100, 2047])
def test_a_clip_without_a_whole_window_is_named_by_the_detector_itself(tmp_path: Path, n_samples: int) -> None:
    detector = Autoencoder(run_context(tmp_path), AutoencoderSettings(**SMALL))
    waveforms = [np.full(n, 0.1, np.float32) for n in (2048, n_samples)]
    given = from_arrays(waveforms, 16000, NEAR, Split.TEST)
    with pytest.raises(AsdError, match=rf"waveform 1 has {n_samples} samples, too few for one window of 5 frames"):
        detector.score(given)
