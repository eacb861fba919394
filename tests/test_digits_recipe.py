"""The recipe of the digits study: filters to start with, features of every length, a training that resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from asd.studies.config import Digits
from asd.studies.digits import band_passes, build_network, fit, predict
from asd.studies.digits.recordings import Perturbation, Words, perturb

SHORT = Digits(duration_s=0.512, epochs=2, batch_size=4, precision="float32")


def words(n: int = 12) -> Words:
    x = torch.randn(n, 4096, generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(n)
    return Words(x, numbers % 2, numbers % 3, numbers, ("a", "b"), ("x", "y", "z"), "")


def test_band_passes_rise_in_frequency_and_weigh_the_same() -> None:
    filters = band_passes(16, 65, 8000)
    torch.testing.assert_close(filters.norm(dim=1), torch.ones(16))
    peaks = np.abs(np.fft.rfft(filters.numpy(), 4096)).argmax(1) * 8000 / 4096
    assert (np.diff(peaks) > 0).all()
    assert peaks[0] < 250
    assert peaks[-1] > 3400
    assert np.diff(peaks)[-1] > 2 * np.diff(peaks)[1]  # wider apart where pitch is heard less finely


def test_the_network_starts_with_them_unless_told_otherwise() -> None:
    tuned = build_network(SHORT, 2, seed=3).blocks[0][0].weight
    drawn = build_network(SHORT.model_copy(update={"tuned": False}), 2, seed=3).blocks[0][0].weight
    torch.testing.assert_close(tuned.detach().norm(dim=(1, 2)), torch.ones(32))
    assert float(drawn.detach().norm(dim=(1, 2)).std()) > 0.01


def test_features_are_what_the_layers_give_and_logits_follow_from_them() -> None:
    net, data = build_network(SHORT, 2, seed=0), words()
    logits, features = predict(net, data.waveforms)
    assert {name: tuple(x.shape) for name, x in features.items()} == {"64": (12, 64), "32": (12, 32)}
    torch.testing.assert_close(net.head[-1](features["32"]), logits)
    torch.testing.assert_close(net(data.waveforms), logits)


def test_one_seed_fixes_the_training_and_an_interrupted_one_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = words()

    def trained(folder: str) -> torch.Tensor:
        net = build_network(SHORT, 2, seed=1)
        fit(net, data, torch.arange(12), SHORT, 1, tmp_path / folder, "same")
        return predict(net, data.waveforms)[0]

    whole = trained("whole")
    torch.testing.assert_close(trained("again"), whole, rtol=0, atol=0)
    calls = []

    def stopping(waveforms: torch.Tensor, params: Perturbation) -> torch.Tensor:
        calls.append(len(waveforms))
        if len(calls) == 5:
            raise RuntimeError("killed in the second epoch")
        return perturb(waveforms, params)

    with monkeypatch.context() as patch:
        patch.setattr("asd.studies.digits.perturb", stopping)
        with pytest.raises(RuntimeError, match="killed"):
            trained("stopped")
    assert (tmp_path / "stopped/state.safetensors").exists()
    torch.testing.assert_close(trained("stopped"), whole, rtol=0, atol=0)
