from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from asd.core.losses.metric_learning import LOSSES
from asd.core.networks.multiresolution import MultiResolution
from asd.data.recordings import Recordings
from asd.detectors.base import RunContext
from asd.detectors.encoders.build import build
from asd.detectors.encoders.recipe import Recipe
from asd.detectors.encoders.training import Discriminator, joint_encoder, train_encoder
from asd.types import AsdError
from tests.machines import recordings, run_context, tone_machine

TINY = {
    "encoder": "multires_cnn",
    "segment_samples": 8000,
    "windows_samples": (512,),
    "n_dims": 8,
    "width": 2,
    "epochs": 2,
    "batch_size": 8,
}


def recipe(**changes: Any) -> Recipe:
    return Recipe(**(TINY | changes))


def trained(clips: Recordings, folder: Path, seed: int = 0, directory: str = "run", **changes: Any) -> MultiResolution:
    context = RunContext(torch.device("cpu"), folder / "cache", folder / directory, seed, fingerprint="x")
    return train_encoder(clips, recipe(**changes), context)


def weights(encoder: MultiResolution) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in encoder.parameters()])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    root = tmp_path_factory.mktemp("clips")
    return recordings(tone_machine(root, n_train=12, n_target=3, n_test=0))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_and_augmentation_gives_every_weight_a_gradient(loss: str, whole: bool) -> None:
    torch.manual_seed(0)
    everything = recipe(loss=loss, whole=whole, featex=0.5, statex=0.5, masking=0.3)
    module = Discriminator(build(everything), 3, everything)
    labels = torch.eye(3)[torch.arange(8) % 3]
    value = module(torch.randn(8, 8000), labels)
    value.backward()
    assert torch.isfinite(value)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_waveforms_and_labels_are_mixed_alike() -> None:
    mixed = recipe(mixup=1.0, part_losses=False, whole=False)
    module = Discriminator(build(mixed), 3, mixed)
    seen: dict[str, torch.Tensor] = {}
    module.whole.register_forward_pre_hook(lambda _, given: seen.update(labels=given[1]))
    spectra = module.encoder.spectra
    module.encoder.spectra = lambda x: seen.update(waveforms=x) or spectra(x)  # type: ignore[method-assign, func-returns-value]
    waveforms, labels = torch.eye(8).repeat(1, 1000), torch.eye(8)[:, :3]
    module(waveforms, labels)
    # Every row of `seen` is a w-weighted mean of two rows; a one-hot per row tells which, and how much of each.
    shares = seen["waveforms"][:, :8]
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    assert ((shares > 0) & (shares < 1)).any()
    torch.testing.assert_close(seen["labels"], shares @ labels)


def test_one_seed_gives_one_encoder(clips: Recordings, tmp_path: Path) -> None:
    first = weights(trained(clips, tmp_path, directory="a"))
    assert torch.equal(first, weights(trained(clips, tmp_path, directory="b")))
    assert not torch.equal(first, weights(trained(clips, tmp_path, seed=1, directory="c")))


def test_how_much_memory_there_is_changes_nothing(clips: Recordings, tmp_path: Path) -> None:
    first = weights(trained(clips, tmp_path, directory="a"))
    assert torch.equal(first, weights(trained(clips, tmp_path, directory="b", memory_gib=0.1)))


def test_an_interrupted_training_ends_like_an_uninterrupted_one(clips: Recordings, tmp_path: Path) -> None:
    whole = weights(trained(clips, tmp_path, directory="whole", epochs=3, featex=0.5))
    trained(clips, tmp_path, directory="parts", epochs=1, featex=0.5)
    assert torch.equal(whole, weights(trained(clips, tmp_path, directory="parts", epochs=3, featex=0.5)))


def test_the_joint_encoder_is_trained_once(clips: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = joint_encoder(clips, recipe(), run_context(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("asd.detectors.encoders.training.train_encoder", None)
        again = joint_encoder(clips, recipe(memory_gib=1.0), run_context(tmp_path))
    assert torch.equal(weights(first), weights(again))
    joint_encoder(clips, recipe(), run_context(tmp_path, seed=1))
    joint_encoder(clips, recipe(mixup=0.1), run_context(tmp_path))
    assert len(list(tmp_path.glob("cache/encoder-*/encoder.safetensors"))) == 3
    assert not list(tmp_path.glob("cache/encoder-*/state.safetensors"))


def test_recipes_that_cannot_work_are_refused() -> None:
    with pytest.raises(AsdError, match=r"segment_samples=2048 is shorter than the longest STFT window \(4096\)"):
        build(Recipe(encoder="multires_cnn", segment_samples=2048, windows_samples=(256, 4096)))
    with pytest.raises(AsdError, match="would have no input"):
        build(Recipe(encoder="multires_cnn", windows_samples=(), whole=False))


def test_waveforms_beyond_the_limit_are_refused(clips: Recordings, tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=r"more than the 0\.00 GiB of embedding\.memory_gib"):
        trained(clips, tmp_path, memory_gib=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "resnet_se", "part_losses": False, "least_classes": 1},
        {"encoder": "bottleneck", "activity": True, "ema_decay": 0.5},
    ],
)
def test_what_is_switched_on_resumes_exactly(clips: Recordings, tmp_path: Path, changes: dict[str, Any]) -> None:
    whole = weights(trained(clips, tmp_path, directory="whole", epochs=3, **changes))
    trained(clips, tmp_path, directory="parts", epochs=1, **changes)
    assert torch.equal(whole, weights(trained(clips, tmp_path, directory="parts", epochs=3, **changes)))


def test_an_averaged_encoder_lies_between_the_steps(clips: Recordings, tmp_path: Path) -> None:
    last = weights(trained(clips, tmp_path, directory="last"))
    averaged = weights(trained(clips, tmp_path, directory="averaged", ema_decay=0.9))
    first = weights(trained(clips, tmp_path, directory="first", epochs=1))
    assert 0 < (averaged - last).norm() < (first - last).norm() * 2
    nearly = weights(trained(clips, tmp_path, directory="nearly", ema_decay=1e-6))
    torch.testing.assert_close(nearly, last, atol=1e-4, rtol=0)
