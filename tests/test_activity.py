from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.activity import LEAST_WEIGHT, N_BANDS, activity_target, fit_activity, frame_weights, turn_down

N = 16 * 1024


def strokes(seed: int, n: int = N) -> tuple[torch.Tensor, torch.Tensor]:
    """A machine that is at work in every other eighth of a clip, (1, n), and when, (n,)."""
    rng = np.random.default_rng(seed)
    at_work = (np.arange(n) * 8 // n + seed) % 2 == 0
    wave = np.convolve(rng.normal(size=n), [1, -2, 1], mode="same") * at_work  # high frequencies
    return torch.from_numpy(wave[None]).float(), torch.from_numpy(at_work)


def hall(seed: int, n: int = N) -> torch.Tensor:
    rng = np.random.default_rng(100 + seed)
    return torch.from_numpy(2 * np.convolve(rng.normal(size=n), np.ones(8) / 4, mode="same")[None]).float()


def test_the_target_is_the_share_of_the_power() -> None:
    steady = torch.from_numpy(np.random.default_rng(0).normal(size=(1, N))).float()
    inside = activity_target(steady)[:, 1:-1]
    assert (inside - 0.5).abs().max() < 0.05
    target, at_work = activity_target(strokes(0)[0])[0], strokes(0)[1][::512]
    assert target.shape == (1 + N // 512,)
    assert target[:-1][at_work].mean() > 0.6 > 0.2 > target[:-1][~at_work].mean()
    assert (target >= 0).all()
    assert (target < 1).all()


def test_a_machine_at_work_is_found_in_noise_that_was_not_learnt() -> None:
    clean = torch.cat([strokes(seed)[0] for seed in range(6)])
    noisy = clean + torch.cat([hall(seed) for seed in range(6)])
    weights = fit_activity(noisy, activity_target(clean))
    assert weights.shape == (N_BANDS + 1,)
    sound, at_work = strokes(7)
    found = frame_weights(sound + hall(7), weights)[0][:-1]
    frames = at_work[::512]
    assert found[frames].mean() > 2 * found[~frames].mean()
    assert found.min() >= LEAST_WEIGHT
    assert found.max() <= 1.0
    heard = turn_down(sound + hall(7), weights)[0]
    rest = heard[~at_work].square().mean() / (sound + hall(7))[0][~at_work].square().mean()
    work = heard[at_work].square().mean() / (sound + hall(7))[0][at_work].square().mean()
    assert work > 2 * rest


@settings(derandomize=True, deadline=None, max_examples=25)
@given(n=st.integers(1, 4000), level=st.sampled_from([0.0, 1e-6, 1.0]), seed=st.integers(0, 99))
def test_anything_is_weighted_without_a_hole(n: int, level: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    waves = level * torch.randn(2, n, generator=generator)
    weights = torch.randn(N_BANDS + 1, generator=generator)
    heard = turn_down(waves, weights)
    assert heard.shape == waves.shape
    assert heard.isfinite().all()
    assert (heard.abs() <= waves.abs() * (1 + 1e-6)).all()
    assert (heard.abs() >= waves.abs() * (LEAST_WEIGHT**0.5 - 1e-6)).all()


def test_a_weight_multiplies_the_power() -> None:
    wave = torch.randn(1, N, generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(N_BANDS + 1)
    weights[-1] = 0.25  # of every frame
    assert (turn_down(wave, weights) / wave).mean().item() == pytest.approx(0.5)
