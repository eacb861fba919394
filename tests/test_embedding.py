from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asd.core.checkpoint import load_tensors, save_tensors
from asd.detectors.embedding import Embedding
from asd.types import AsdError, Split
from tests.machines import recordings, tone_machine, workplace

TINY = {
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
    detector = Embedding(workplace(folder), **(TINY | changes))
    detector.fit(recordings(root))
    return detector


def test_embeddings_are_directions_whatever_the_length_of_the_clip(root: Path, tmp_path: Path) -> None:
    vectors = fitted(root, tmp_path).embed(recordings(root, "fan", Split.TEST))
    assert vectors.shape == (8, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)


def test_scorers_are_the_back_ends_asked_for(root: Path, tmp_path: Path) -> None:
    detector = fitted(root, tmp_path, backends=["gaussian", "knn_cosine", "knn"])
    scores = detector.score(recordings(root, "fan", Split.TEST))
    assert tuple(scores) == detector.scorers == ("gaussian", "knn_cosine", "knn")
    np.testing.assert_allclose(scores["knn_cosine"], scores["knn"] ** 2 / 2, atol=1e-12)
    with pytest.raises(AsdError, match="backend=median is unknown"):
        Embedding(workplace(tmp_path), backends=["median"], **TINY)


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
        detector = Embedding(workplace(tmp_path), joint=True, auxiliary=others, **TINY)
        detector.fit(own)
        pair.append(detector)
        assert detector.score(recordings(root, "fan", Split.TEST))["knn"].shape == (8,)
    assert len(list((tmp_path / "cache").glob("encoder-*"))) == 1
    for (name, a), b in zip(
        pair[0].encoder.state_dict().items(), pair[1].encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert len(pair[0]._bank()) == len(fan)


def test_joint_without_other_machines_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"embedding\.joint=true needs the training clips of other machines"):
        fitted(root, tmp_path, joint=True)


def test_models_of_another_configuration_are_refused(root: Path, tmp_path: Path) -> None:
    detector = fitted(root, tmp_path)
    detector.save(tmp_path)
    with pytest.raises(AsdError, match="belongs to another network"):
        Embedding(workplace(tmp_path), **(TINY | {"width": 4})).load(tmp_path)
    tensors = load_tensors(tmp_path / "bank.safetensors")[0]
    save_tensors(tmp_path / "bank.safetensors", {"vectors": tensors["vectors"]})
    with pytest.raises(AsdError, match="has no conditions"):
        Embedding(workplace(tmp_path), **TINY).load(tmp_path)


def test_a_bank_of_another_encoder_is_refused(root: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        detector = Embedding(workplace(tmp_path / str(seed), seed), **TINY)
        detector.fit(recordings(root))
        detector.save(tmp_path / str(seed))
    (tmp_path / "1/bank.safetensors").replace(tmp_path / "0/bank.safetensors")
    with pytest.raises(AsdError, match="was filled by another encoder"):
        Embedding(workplace(tmp_path), **TINY).load(tmp_path / "0")


def test_an_encoder_that_gives_nan_is_named_with_its_clip(root: Path, tmp_path: Path) -> None:
    detector = fitted(root, tmp_path)
    with torch.no_grad():
        next(detector.encoder.parameters()).fill_(torch.nan)
    with pytest.raises(AsdError, match=r"embedding of .*section_00.*\.wav holds NaN or infinity"):
        detector.score(recordings(root, "fan", Split.TEST))


def test_scoring_before_fitting_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AsdError, match="has no bank yet"):
        Embedding(workplace(tmp_path), **TINY).score(recordings(root))
