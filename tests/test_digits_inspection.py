"""What is shown of a network: filters with known responses, evidence that adds up, a spectrogram of a tone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asd.core.networks.raw_wave import RawWaveCNN, RawWaveDesign
from asd.studies.digits.inspection import activation_maps, class_activation_map, first_filters, spectrogram_db

RATE_HZ, N_SAMPLES = 8000, 1000


def network(hidden: tuple[int, ...] = ()) -> RawWaveCNN:
    torch.manual_seed(0)
    design = RawWaveDesign((4, 6, 5), 9, pool=3, pool_first=True, batch_norm=True, hidden=hidden)
    return RawWaveCNN(design, 3, N_SAMPLES).eval()


def test_filters_are_sorted_by_the_frequency_of_their_largest_gain() -> None:
    net = network()
    times_s = torch.arange(9) / RATE_HZ
    convolution = net.blocks[0][0]
    with torch.no_grad():
        for k, hz in enumerate((3000.0, 1000.0, 2000.0, 0.0)):
            convolution.weight[k, 0] = (
                torch.cos(2 * torch.pi * hz * (times_s - 4 / RATE_HZ)) * torch.hann_window(11, periodic=False)[1:-1]
            )
    filters = first_filters(net, RATE_HZ)
    np.testing.assert_allclose(filters.centres_hz, [0, 1000, 2000, 3000], atol=60)
    np.testing.assert_allclose(filters.taps[1], convolution.weight[1, 0].detach().numpy(), rtol=1e-6)
    assert filters.response_db.shape == (4, 257)
    np.testing.assert_allclose(filters.response_db.max(1), 0, atol=1e-9)
    slow = abs(sum(tap * np.exp(-2j * np.pi * 500 / RATE_HZ * n) for n, tap in enumerate(filters.taps[0])))
    at_500_db = 20 * np.log10(slow / abs(filters.taps[0].sum()))
    assert filters.response_db[0, 32] == pytest.approx(at_500_db, abs=1e-6)


@pytest.mark.parametrize("label", [0, 2])
def test_evidence_adds_up_to_the_logit_before_a_linear_layer(label: int) -> None:
    net, x = network(), torch.randn(N_SAMPLES)
    evidence = class_activation_map(net, x, label, block=-1)
    bias = net.head[-1].bias[label]
    assert len(evidence) == activation_maps(net, x)[-1].shape[1]
    assert evidence.sum() == pytest.approx(float((net(x[None])[0, label] - bias).detach()), abs=1e-5)
    weights = net.head[-1].weight[label].detach().reshape(5, -1).double().numpy()
    np.testing.assert_allclose(evidence, (weights * activation_maps(net, x)[-1]).sum(0), atol=1e-6)


def test_evidence_further_down_is_activation_times_a_finite_difference() -> None:
    net, x = network(hidden=(8,)), torch.randn(N_SAMPLES)
    evidence = class_activation_map(net, x, 1, block=0)
    with torch.no_grad():
        y = net.blocks[0](x[None, None])

        def logit(y: torch.Tensor) -> float:
            for block in net.blocks[1:]:
                y = block(y)
            return net.head(net.feature_norm(y.flatten(1)))[0, 1].item()

        step = int(np.abs(evidence).argmax())
        louder, softer = y.clone(), y.clone()
        louder[..., step] *= 1.001
        softer[..., step] *= 0.999
    assert evidence[step] == pytest.approx((logit(louder) - logit(softer)) / 0.002, rel=0.05)


def test_a_tone_is_the_loudest_bin_of_its_spectrogram() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / RATE_HZ)
    levels = spectrogram_db(tone)
    assert levels.shape == (257, 8000 // 128 + 1)
    assert levels[:, 30].argmax() == 64  # 1000 Hz of 4000 Hz
    assert levels.max() == 0
    assert levels.min() >= -80
