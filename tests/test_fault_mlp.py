"""The default encoder: classifiers of synthetic faults on clip statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch.nn.functional import cross_entropy

from asd.core.files import save_tensors
from asd.data.recordings import check
from asd.data.supplemental import Supplement
from asd.detectors.embedding import Embedding
from asd.detectors.encoders.fault_mlp import FaultClassifiers, FaultMlp
from asd.detectors.encoders.recipe import EmbeddingSettings, FaultRecipe
from asd.detectors.statistic_groups import RELATIVE, faults_of_spectra
from asd.features.clip_statistics import ClipStatistics
from asd.metrics import auc
from asd.scoring.backends import backend_named
from asd.scoring.gaussian import Groups, Whitening
from asd.scoring.references import references_of
from asd.types import AsdError, FrontEnd, Label, Split
from tests.machines import recordings, run_context, tone_machine, two_microphones, write_clip

QUICK = {"copies": 2, "networks": 1, "epochs": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_machine(tmp_path_factory.mktemp("machines"), n_train=24, n_target=6, n_test=4)


def fitted(root: Path, folder: Path, seed: int = 0, **changes: Any) -> FaultMlp:
    encoder = FaultMlp(run_context(folder, seed), FaultRecipe(**(QUICK | changes)))
    encoder.fit(recordings(root))
    return encoder


def weights(encoder: FaultMlp) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in encoder.module.parameters()])


def test_each_classifier_has_the_gradient_that_it_would_have_alone() -> None:
    torch.manual_seed(0)
    module = FaultClassifiers([slice(0, 6), slice(0, 4)], 6, 0, 3, noise=0.0).eval()
    module.set_normal(torch.randn(30, 6) * 3 + 1, torch.full((6,), 2.0), torch.empty(6, 0))
    x, classes = torch.randn(8, 6), torch.arange(8) % 3
    module(x, classes).backward()
    network: Any = module.networks[1]
    gradient = network.first[0].weight.grad.clone()
    network.zero_grad()
    alone = ((x - module.centre) / 2.0)[:, :4] / module.scales[1]
    cross_entropy(network(alone), classes).backward()
    torch.testing.assert_close(network.first[0].weight.grad, gradient)


def test_noise_is_added_in_training_only() -> None:
    def losses(noise: float, training: bool) -> list[float]:
        torch.manual_seed(0)
        module = FaultClassifiers([slice(0, 4)], 4, 0, 3, noise).train(training)
        network: Any = module.networks[0]
        network.DROPOUT = 0.0
        x = torch.randn(8, 4)
        return [module(x, torch.arange(8) % 3).item() for _ in range(2)]

    assert losses(0.5, training=True)[0] != losses(0.0, training=True)[0]
    assert losses(0.5, training=False) == losses(0.0, training=False)


def test_inputs_are_in_units_of_their_normal_spread_and_cut() -> None:
    module = FaultClassifiers([slice(0, 2), slice(2, 3)], 2, 1, 3)
    normal = torch.tensor([[0.0, 10.0], [2.0, 14.0]])
    module.set_normal(normal, torch.tensor([1.0, 2.0]), torch.tensor([[3.0], [0.5]]))
    inputs, along = module._inputs(module._columns(normal))
    torch.testing.assert_close(inputs, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    torch.testing.assert_close(along, torch.tensor([[-1.0], [1.0]]))  # -3.5 and 3.5, in units of their deviation
    assert module._inputs(module._columns(torch.tensor([[1e6, 12.0]])))[0].tolist() == [[10.0, 0.0]]


def test_embeddings_are_hidden_layers_and_the_spectra_of_each_resolution(root: Path, tmp_path: Path) -> None:
    encoder = fitted(root, tmp_path, networks=2)
    parts = encoder.embed(recordings(root, "fan", Split.TEST))
    assert [part.shape for part in parts] == [(16, 128)] * 6 + [(16, n) for n in (96, 192, 320, 128)]
    assert all(part.min() == 0.0 for part in parts[:6])  # rectified
    normal = encoder.embed(recordings(root))[6:]
    assert max(np.abs(part.mean(0)).max() for part in normal) < 1e-3
    residuals = [Groups.of(references_of(recordings(root).clips, part), "condition").residuals for part in normal]
    assert all(0.7 < np.median(residual.std(0)) < 1.05 for residual in residuals)


def test_spectra_are_whitened_by_what_faults_do_to_them(root: Path, tmp_path: Path) -> None:
    detector = Embedding(run_context(tmp_path), EmbeddingSettings(faults=FaultRecipe(**QUICK)))
    detector.fit(recordings(root))
    train, test = (detector.encoder.embed(recordings(root, "fan", split))[-1] for split in (Split.TRAIN, Split.TEST))
    alone = backend_named("knn_relative", **RELATIVE, shrinkage=2.0, faults=faults_of_spectra([64, 64]))
    alone.fit(references_of(recordings(root).clips, train))
    np.testing.assert_allclose(detector.fitted["knn_relative"][-1].parts[0].score(test), alone.score(test), rtol=1e-6)


def test_without_target_clips_a_tilt_of_the_spectrum_is_normal(tmp_path: Path) -> None:
    data = tone_machine(tmp_path / "data", n_target=0)
    detector = Embedding(run_context(tmp_path), EmbeddingSettings(faults=FaultRecipe(**QUICK)))
    detector.fit(recordings(data))
    train, test = (detector.encoder.embed(recordings(data, "fan", split))[-1] for split in (Split.TRAIN, Split.TEST))
    levels = detector.encoder.module.spread[list(detector.encoder.dims["level_256"])].double().numpy()
    tilt = np.linspace(-1.0, 1.0, 64) / levels
    scores = {}
    for name, tilts in (("with", tilt), ("without", None)):
        faults = faults_of_spectra([64, 64])
        alone = backend_named("knn_relative", **RELATIVE, shrinkage=2.0, faults=faults, tilt=tilts)
        scores[name] = alone.fit(references_of(recordings(data).clips, train)).score(test)
    own = detector.fitted["knn_relative"][-1].parts[0].score(test)
    np.testing.assert_allclose(own, scores["with"], rtol=1e-6)
    assert np.abs(own - scores["without"]).max() > 1e-3


def test_normal_clips_and_faults_are_told_apart(root: Path, tmp_path: Path) -> None:
    encoder = fitted(root, tmp_path, epochs=8, copies=8)
    clips = recordings(root)
    normal = encoder._vectors(clips)
    faulty, kinds = encoder._faulty(clips, 4)
    module, network = encoder.module, encoder.module.networks[0].eval()
    inputs = [module._inputs(module._columns(x))[0] for x in (normal, faulty)]
    with torch.no_grad():
        scores = [1 - network(x).softmax(1)[:, 0].numpy() for x in inputs]
        named = network(inputs[1]).argmax(1)  # class 0 is normal, class 1 + k the kind k
    assert auc(np.repeat([False, True], [len(normal), len(faulty)]), np.concatenate(scores)) > 0.9
    assert (named == 1 + kinds).float().mean() > 0.15  # by chance: 1 of 21


def test_a_third_of_the_classifiers_sees_axes_on_which_faults_stand_out(root: Path, tmp_path: Path) -> None:
    encoder, clips = fitted(root, tmp_path), recordings(root)
    vectors = encoder._vectors(clips)
    along = encoder.module._columns(vectors)[:, encoder.module.inputs[-1]]
    assert along.shape == (len(clips), 4 * 48)
    for number, widths in enumerate(((32, 32, 32), (64, 64, 64), (128, 128, 64), (64, 64))):
        dims = list(encoder.module.direct[number])
        rows = vectors[:, dims].double().numpy() / encoder.module.spread[dims].numpy()
        groups = Groups.of(references_of(clips.clips, rows), "condition")
        whitening = Whitening.of(groups, 2.0, faults_of_spectra(widths))
        clearest = whitening.gains >= np.sort(whitening.gains)[-48]
        expected = whitening(rows)[:, clearest]
        found = along[:, 48 * number : 48 * (number + 1)].double().numpy()
        np.testing.assert_allclose(pdist(found), pdist(expected), rtol=1e-3)  # axes in any order and direction


def test_one_seed_gives_one_encoder_and_another_gives_another(root: Path, tmp_path: Path) -> None:
    first = weights(fitted(root, tmp_path / "a"))
    assert torch.equal(first, weights(fitted(root, tmp_path / "b")))
    assert not torch.equal(first, weights(fitted(root, tmp_path / "c", seed=1)))


def test_an_interrupted_training_ends_like_an_uninterrupted_one(root: Path, tmp_path: Path) -> None:
    whole = weights(fitted(root, tmp_path / "whole"))
    fitted(root, tmp_path / "parts", epochs=1)
    assert torch.equal(whole, weights(fitted(root, tmp_path / "parts")))


def test_the_detector_finds_a_tone_whatever_the_gain_of_a_clip(root: Path, tmp_path: Path) -> None:
    detector = Embedding(run_context(tmp_path), EmbeddingSettings(faults=FaultRecipe(networks=1)))
    detector.fit(recordings(root))
    test = recordings(root, "fan", Split.TEST)
    anomalous = np.array([clip.label is Label.ANOMALY for clip in test.clips])
    scores = detector.score(test)
    assert tuple(scores) == ("knn_relative", "knn", "mahalanobis")
    assert all(auc(anomalous, values) >= 0.9 for values in scores.values())
    encoder: Any = detector.encoder
    loud = torch.from_numpy(test.waveform(0))[None]
    for gain in (0.1, 3.0):
        quiet, same = (torch.cat([*encoder.statistics(x).values()], 1) for x in (gain * loud, loud))
        torch.testing.assert_close(quiet, same, atol=5e-3, rtol=1e-3)


def test_parts_are_averaged_on_one_scale(root: Path, tmp_path: Path) -> None:
    detector = Embedding(run_context(tmp_path), EmbeddingSettings(faults=FaultRecipe(**QUICK), backends=["knn"]))
    detector.fit(recordings(root))
    test = recordings(root, "fan", Split.TEST)
    expected = []
    for train, part in zip(detector.encoder.embed(recordings(root)), detector.encoder.embed(test), strict=True):
        between = np.linalg.norm(train[:, None] - train[None], axis=2)
        np.fill_diagonal(between, np.inf)
        nearest = np.linalg.norm(part[:, None] - train[None], axis=2).min(1)
        expected.append((nearest - between.min(1).mean()) / between.min(1).std())
    np.testing.assert_allclose(detector.score(test)["knn"], np.mean(expected, axis=0), rtol=1e-3, atol=1e-3)
    assert abs(float(detector.score_training(recordings(root))["knn"].mean())) < 0.2


def test_recordings_without_the_machine_are_a_class_of_their_own(root: Path, tmp_path: Path) -> None:
    clips = recordings(root)
    place = replace(run_context(tmp_path), supplement=Supplement(noise_only=clips.subset(range(4))))
    encoder = FaultMlp(place, FaultRecipe(**QUICK))
    encoder.fit(clips)
    assert not torch.equal(weights(encoder), weights(fitted(root, tmp_path / "without")))


def test_the_residual_view_is_near_minus_a_share_of_far(tmp_path: Path) -> None:
    clips = two_microphones(tmp_path / "data")
    encoder = FaultMlp(run_context(tmp_path), FaultRecipe(**QUICK))
    near, far, residual = (
        encoder._vectors(check(clips, sample_rate_hz=16000, front_end=front_end))
        for front_end in (FrontEnd(), FrontEnd("far"), FrontEnd(residual=0.5))
    )
    torch.testing.assert_close(residual, near - 0.5 * far)
    faulty, faulty_residual = (
        encoder._faulty(check(clips, sample_rate_hz=16000, front_end=front_end), 2)[0]
        for front_end in (FrontEnd(), FrontEnd(residual=0.5))
    )
    torch.testing.assert_close(faulty_residual, faulty - 0.5 * far.repeat(2, 1), atol=1e-3, rtol=1e-3)
    encoder.fit(check(clips, sample_rate_hz=16000, front_end=FrontEnd(residual=0.5)))


def test_copies_are_fewer_where_there_is_much_sound(tmp_path: Path) -> None:
    encoder = FaultMlp(run_context(tmp_path), FaultRecipe(copies=8))
    for n_clips, seconds, expected in ((200, 2, 8), (400, 2, 5), (1000, 10, 3), (2, 1, 8)):
        sound = SimpleNamespace(durations_s=np.full(n_clips, float(seconds)))
        assert encoder._n_copies(sound) == expected  # type: ignore[arg-type]


def test_windows_overlap_as_those_of_the_training_clips_did(root: Path, tmp_path: Path) -> None:
    test, names = recordings(root, "fan", Split.TEST), [f"section_00_source_train_normal_{i:04d}.wav" for i in range(6)]
    for i, name in enumerate(names):
        write_clip(tmp_path / "long/fan/train" / name, i, 4.5)
    encoders = {8: fitted(root, tmp_path / "8"), 4: FaultMlp(run_context(tmp_path / "4"), FaultRecipe(**QUICK))}
    encoders[4].fit(recordings(tmp_path / "long"))
    for overlap, encoder in encoders.items():
        again = FaultMlp(run_context(tmp_path / "again"), FaultRecipe(**QUICK))
        save_tensors(tmp_path / "weights.safetensors", encoder.module.state_dict())
        again.load(tmp_path / "weights.safetensors")
        (flux,) = ClipStatistics(["flux_64"], overlap=overlap)(torch.from_numpy(test.waveform(0))[None]).values()
        own = again.dims["flux_64"]
        found = again._vectors(test.subset([0]))[0, own.start : own.stop]
        torch.testing.assert_close(found, flux[0].float(), atol=1e-4, rtol=1e-4)


def test_its_statistics_are_those_of_clip_statistics(root: Path, tmp_path: Path) -> None:
    encoder, test = FaultMlp(run_context(tmp_path), FaultRecipe()), recordings(root, "fan", Split.TEST)
    row = encoder._vectors(test)[3]
    levels, textures = [f"level_{ms}" for ms in (16, 64, 128, 256)], ["flux_16", "roughness_16", "flux_64"]
    views = ClipStatistics([*levels, "modulation", "variation", "kurtosis", *textures])
    expected = torch.cat(list(views(torch.from_numpy(test.waveform(3))[None]).values()), 1)[0]
    row = row[: len(expected)]
    torch.testing.assert_close(row, expected.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "saying"),
    [
        ({"joint": True}, r"embedding\.joint is no option of embedding\.encoder=fault_mlp; take another encoder"),
        ({"epochs": 3}, r"embedding\.epochs is no option of .*; give embedding\.faults\.epochs, or take another"),
        ({"width": 8}, r"embedding\.width is no option of embedding\.encoder=fault_mlp"),
    ],
)
def test_options_of_other_encoders_are_refused(tmp_path: Path, given: dict[str, Any], saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        Embedding(run_context(tmp_path), EmbeddingSettings(**given))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_statistics_of_faults(root: Path, tmp_path: Path) -> None:
    clips, found = recordings(root), []
    for device in ("cpu", "cuda"):
        place = replace(run_context(tmp_path / device), device=torch.device(device))
        encoder = FaultMlp(place, FaultRecipe(**QUICK))
        found.append(encoder._faulty(clips, 4)[0].cpu())
        encoder.fit(clips)
    torch.testing.assert_close(found[0], found[1], atol=0.05, rtol=1e-3)
