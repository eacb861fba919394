from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asd.challenge.system_meta import SystemFacts, fill_meta, load_template
from asd.challenge.years import get_year
from asd.core.files import load_tensors, save_tensors
from asd.data.recordings import check
from asd.data.supplemental import Supplement
from asd.detectors.embedding import Embedding
from asd.detectors.encoders.recipe import EmbeddingSettings
from asd.metrics import auc
from asd.types import AsdError, FrontEnd, Label, Split
from tests.machines import recordings, run_context, tone_machine, two_microphones
from tests.tiny_encoders import beats_pt

TINY = {
    "encoder": "multires_cnn",
    "segment_samples": 8000,
    "windows_samples": (512,),
    "n_dims": 8,
    "width": 2,
    "epochs": 2,
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines")
    for machine in ("fan", "pump"):
        tone_machine(folder, machine, n_train=12, n_target=3, n_test=2)
    return folder


def fitted(root: Path, folder: Path, **changes: Any) -> Embedding:
    detector = Embedding(run_context(folder), EmbeddingSettings(**(TINY | changes)))
    detector.fit(recordings(root))
    return detector


def test_embeddings_are_directions_whatever_the_length_of_the_clip(root: Path, tmp_path: Path) -> None:
    vectors = fitted(root, tmp_path).encoder.embed(recordings(root, "fan", Split.TEST))[0]
    assert vectors.shape == (8, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)


def test_scorers_are_the_back_ends_asked_for(root: Path, tmp_path: Path) -> None:
    detector = fitted(root, tmp_path, backends=["gaussian", "knn_cosine", "knn"])
    scores = detector.score(recordings(root, "fan", Split.TEST))
    assert tuple(scores) == detector.scorers == ("gaussian", "knn_cosine", "knn")
    np.testing.assert_allclose(scores["knn_cosine"], scores["knn"] ** 2 / 2, atol=1e-12)
    with pytest.raises(AsdError, match="backend=median is unknown"):
        Embedding(run_context(tmp_path), EmbeddingSettings(backends=["median"], **TINY))


def test_training_clips_do_not_meet_themselves(root: Path, tmp_path: Path) -> None:
    detector, clips = fitted(root, tmp_path), recordings(root)
    met, unmet = detector.score(clips), detector.score_training(clips)
    np.testing.assert_allclose(met["knn"], 0, atol=1e-6)
    assert (unmet["knn"] > 1e-6).all()
    assert np.median(unmet["mahalanobis"]) > np.median(met["mahalanobis"])


def test_machines_share_one_joint_encoder(root: Path, tmp_path: Path) -> None:
    fan, pump = recordings(root, "fan"), recordings(root, "pump")
    pair = []
    for own, others in ((fan, pump), (pump, fan)):
        context = replace(run_context(tmp_path), supplement=Supplement(other_machines=others))
        detector = Embedding(context, EmbeddingSettings(joint=True, **TINY))
        detector.fit(own)
        pair.append(detector)
        assert detector.score(recordings(root, "fan", Split.TEST))["knn"].shape == (8,)
    assert len(list((tmp_path / "cache").glob("encoder-*"))) == 1
    for (name, a), b in zip(
        pair[0].encoder.module.state_dict().items(), pair[1].encoder.module.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert pair[0].score_training(fan)["knn"].shape == (len(fan),)


def test_joint_without_other_machines_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"embedding\.joint=true needs the training clips of other machines"):
        fitted(root, tmp_path, joint=True)


def test_models_of_another_configuration_are_refused(root: Path, tmp_path: Path) -> None:
    detector = fitted(root, tmp_path)
    detector.save(tmp_path)
    with pytest.raises(AsdError, match="belongs to another network"):
        Embedding(run_context(tmp_path), EmbeddingSettings(**(TINY | {"width": 4}))).load(tmp_path)
    tensors, facts = load_tensors(tmp_path / "bank.safetensors")
    save_tensors(
        tmp_path / "bank.safetensors", {name: t for name, t in tensors.items() if "training" not in name}, facts
    )
    with pytest.raises(AsdError, match=r"bank\.safetensors is not a bank of this configuration: .* no array training"):
        Embedding(run_context(tmp_path), EmbeddingSettings(**TINY)).load(tmp_path)


def test_a_bank_of_another_encoder_is_refused(root: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        detector = Embedding(run_context(tmp_path / str(seed), seed), EmbeddingSettings(**TINY))
        detector.fit(recordings(root))
        detector.save(tmp_path / str(seed))
    (tmp_path / "1/bank.safetensors").replace(tmp_path / "0/bank.safetensors")
    with pytest.raises(AsdError, match="was filled by another encoder"):
        Embedding(run_context(tmp_path), EmbeddingSettings(**TINY)).load(tmp_path / "0")


def test_an_encoder_that_gives_nan_is_named_with_its_clip(root: Path, tmp_path: Path) -> None:
    detector = fitted(root, tmp_path)
    with torch.no_grad():
        next(detector.encoder.module.parameters()).fill_(torch.nan)
    with pytest.raises(AsdError, match=r"embedding of .*section_00.*\.wav holds NaN or infinity"):
        detector.score(recordings(root, "fan", Split.TEST))


def test_scoring_before_fitting_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AsdError, match="has no bank yet"):
        Embedding(run_context(tmp_path), EmbeddingSettings(**TINY)).score(recordings(root))


def frozen(root: Path, folder: Path, **changes: Any) -> Embedding:
    words: dict[str, Any] = {"encoder": "beats", "checkpoint": root / "BEATs_tiny.pt"}
    return Embedding(run_context(folder), EmbeddingSettings(**(words | changes)))


def test_a_pretrained_encoder_is_fitted_saved_and_loaded(root: Path, tmp_path: Path) -> None:
    beats_pt(root)
    detector = frozen(root, tmp_path, backends=["knn", "bandwise"])
    detector.fit(recordings(root))
    test = recordings(root, "fan", Split.TEST)
    scores = detector.score(test)
    anomalous = np.array([clip.label is Label.ANOMALY for clip in test.clips])
    assert all(auc(anomalous, values) >= 0.9 for values in scores.values())
    detector.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) < 100_000
    loaded = frozen(root, tmp_path, backends=["knn", "bandwise"])
    loaded.load(tmp_path)
    for name, values in loaded.score(test).items():
        np.testing.assert_array_equal(values, scores[name])
    (tmp_path / "other").mkdir()
    other = frozen(root, tmp_path, checkpoint=beats_pt(tmp_path / "other", seed=1))
    with pytest.raises(AsdError, match="was filled by another encoder"):
        other.load(tmp_path)


@pytest.mark.slow
def test_a_fine_tuned_encoder_keeps_its_adapters(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra `pretrained` is not installed")
    beats_pt(root)
    words = {"lora_rank": 2, "window_s": 0.5, "n_dims": 8, "epochs": 1, "batch_size": 8}
    detector = frozen(root, tmp_path, **words)
    detector.fit(recordings(root))
    detector.save(tmp_path)
    loaded = frozen(root, tmp_path, **words)
    loaded.load(tmp_path)
    test = recordings(root, "fan", Split.TEST)
    np.testing.assert_array_equal(loaded.score(test)["knn"], detector.score(test)["knn"])
    assert not list((tmp_path / "cache").glob("*embedding*"))


def test_a_frozen_encoder_has_nothing_to_learn_from_others(root: Path, tmp_path: Path) -> None:
    beats_pt(root)
    with pytest.raises(AsdError, match=r"embedding\.joint=true is for encoders that are trained"):
        frozen(root, tmp_path, joint=True).fit(recordings(root))


def test_pretrained_weights_are_declared_in_the_meta_file(root: Path, tmp_path: Path) -> None:
    beats_pt(root)
    facts = SystemFacts(name="x", abbreviation="x", sampling_rate_hz=16000, **frozen(root, tmp_path).facts())
    system = fill_meta(load_template(get_year(2025)), facts, "Doe_ACME_task2_1")["system"]
    assert system["description"]["embeddings"] == "BEATs"
    assert "embeddings" in system["description"]["external_data_usage"]
    assert [entry["name"] for entry in system["external_datasets"]] == ["AudioSet"]
    assert system["complexity"]["total_parameters"] == sum(
        p.numel() for p in frozen(root, tmp_path).encoder.module.parameters()
    )
    scratch = Embedding(run_context(tmp_path), EmbeddingSettings(**TINY)).facts()
    assert "external_datasets" not in scratch
    assert frozen(root, tmp_path).facts()["data_augmentation"] is None


def test_the_bottleneck_and_the_spectrum_alone_are_encoders_too(root: Path, tmp_path: Path) -> None:
    for changes in ({"encoder": "bottleneck"}, {"windows_samples": ()}):
        detector = fitted(root, tmp_path / next(iter(changes)), **changes)
        (part,) = detector.encoder.embed(recordings(root))
        assert part.shape == (len(recordings(root)), 8)


def test_the_residual_view_is_near_minus_a_share_of_far(tmp_path: Path) -> None:
    clips = two_microphones(tmp_path / "data")
    detector = Embedding(run_context(tmp_path), EmbeddingSettings(**TINY))
    near, far, residual = (
        detector.encoder.embed(check(clips, sample_rate_hz=16000, front_end=front_end))[0]
        for front_end in (FrontEnd(), FrontEnd("far"), FrontEnd(residual=0.5))
    )
    expected = near - 0.5 * far
    np.testing.assert_allclose(residual, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert not np.allclose(residual, near, atol=1e-3)
