from __future__ import annotations

import numpy as np
import pytest
import torch

from asd.features.clip_statistics import FURTHER_VIEWS, VIEWS, ClipStatistics
from asd.features.logmel import band_filters, mel_filters


def noise(seed: int = 0, seconds: float = 1.0) -> torch.Tensor:
    return 0.1 * torch.randn(1, int(16000 * seconds), generator=torch.Generator().manual_seed(seed))


def test_views_have_the_same_dims_for_every_length() -> None:
    extract = ClipStatistics()
    dims = {name: values.shape[1] for name, values in extract(noise()).items()}
    assert tuple(dims) == VIEWS
    assert dims["mel32"] == dims["variation"] == dims["kurtosis"] == 32
    assert dims["modulation"] == 12 * 8
    for seconds in (0.13, 0.9, 2.0, 16.0):
        views = extract(noise(seconds=seconds))
        assert {name: values.shape[1] for name, values in views.items()} == dims
        assert all(torch.isfinite(values).all() for values in views.values())


def test_gain_changes_only_the_view_that_keeps_the_level() -> None:
    extract = ClipStatistics()
    quiet = extract(noise() * 0.05)
    for name, values in extract(noise()).items():
        change_db = 20 * np.log10(0.05) if name == "mel32_level" else 0.0
        torch.testing.assert_close(quiet[name], values + change_db, atol=2e-3, rtol=1e-3)


def test_digital_silence_is_finite() -> None:
    assert all(torch.isfinite(values).all() for values in ClipStatistics()(torch.zeros(2, 16000)).values())


def test_a_clip_does_not_depend_on_its_batch() -> None:
    extract = ClipStatistics()
    waves = torch.cat([noise(seed) for seed in range(4)])
    together = extract(waves)
    for i in range(4):
        for name, values in extract(waves[i : i + 1]).items():
            torch.testing.assert_close(values[0], together[name][i], atol=1e-4, rtol=1e-5)


def test_a_tone_raises_its_band() -> None:
    extract = ClipStatistics()
    time_s = torch.arange(16000) / 16000
    plain, toned = extract(noise()), extract(noise() + 0.1 * torch.sin(2 * torch.pi * 3000 * time_s))
    rise = (toned["linear64"] - plain["linear64"])[0]
    assert int(rise.argmax()) == (3000 // 62.5 - 1) // 2


def test_impulses_raise_kurtosis_and_variation_more_than_the_mean_spectrum() -> None:
    extract = ClipStatistics()
    clicks = torch.zeros(1, 16000)
    clicks[:, ::2000] = 6.0
    plain, clicked = extract(noise()), extract(noise() + clicks)
    assert ((clicked["kurtosis"] - plain["kurtosis"]).mean()) > 0.5
    assert ((clicked["variation"] - plain["variation"]).mean()) > 0.1


@pytest.mark.parametrize("rate_hz", [4, 12, 64])
def test_modulation_is_found_at_its_rate(rate_hz: int) -> None:
    extract = ClipStatistics()
    time_s = torch.arange(32000) / 16000
    wave = noise(seconds=2.0) * (1 + 0.8 * torch.sin(2 * torch.pi * rate_hz * time_s))
    rise = (extract(wave)["modulation"] - extract(noise(seconds=2.0))["modulation"]).view(12, 8).mean(0)
    edges = np.geomspace(2, 125, 9)
    assert edges[int(rise.argmax())] <= rate_hz < edges[int(rise.argmax()) + 1]


def test_filters_give_power_per_hertz() -> None:
    edges_hz = torch.tensor([100.0, 450.0, 4000.0])
    density = band_filters(1024, edges_hz) @ torch.ones(513)  # 1 per bin of 15.625 Hz
    np.testing.assert_allclose(density, np.full(2, 1 / 15.625), rtol=1e-5)
    assert mel_filters(1024, 64).shape == (64, 513)


@pytest.mark.parametrize("view", FURTHER_VIEWS)
def test_further_views_are_computed_alone(view: str) -> None:
    views = ClipStatistics([view])(noise())
    assert list(views) == [view]
    assert torch.isfinite(views[view]).all()


def test_views_do_not_depend_on_which_others_are_wanted() -> None:
    together = ClipStatistics(VIEWS + FURTHER_VIEWS)(noise())
    for view in VIEWS + FURTHER_VIEWS:
        assert torch.equal(ClipStatistics([view])(noise())[view], together[view])
