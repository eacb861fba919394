from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.frontends import (
    FRONT_ENDS,
    LEAST_WEIGHT,
    N_BANDS,
    activity_target,
    apply_front_end,
    cancel,
    fit_activity,
    frame_weights,
    magnitude_profile,
    subtract,
    subtract_profile,
    turn_down,
)
from asd.types import FrontEnd

Wave = npt.NDArray[np.float64]

N = 16 * 1024


def noise(n: int = 16000, seed: int = 0, level: float = 0.1) -> Wave:
    return level * np.random.default_rng(seed).normal(size=n)


def pair(near: Wave, far: Wave) -> torch.Tensor:
    return torch.from_numpy(np.stack([near, far])[None].astype(np.float32))


def rms(x: torch.Tensor | Wave) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def slow_spectra(x: Wave, n_fft: int, hop: int) -> npt.NDArray[np.complex128]:
    """Frame by frame, (frames, bins), of a signal whose length is a whole number of hops."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    padded = np.pad(x, n_fft // 2)
    return np.array([np.fft.rfft(window * padded[s : s + n_fft]) for s in range(0, len(x) + 1, hop)])


def slow_waveform(spectra: npt.NDArray[np.complex128], n_fft: int, hop: int, n: int) -> Wave:
    """Least-squares overlap-add (Griffin and Lim 1984)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    total, weight = np.zeros(n + n_fft), np.zeros(n + n_fft)
    for k, spectrum in enumerate(spectra):
        total[k * hop : k * hop + n_fft] += window * np.fft.irfft(spectrum)
        weight[k * hop : k * hop + n_fft] += window**2
    return total[n_fft // 2 :][:n] / weight[n_fft // 2 :][:n]


def test_cancellation_is_the_published_formula() -> None:
    far, machine = noise(8192, 1), noise(8192, 2, 0.05)
    near = machine + 0.7 * np.roll(far, 3)
    c, f = (slow_spectra(x, 1024, 512) for x in (near, far))
    h = (c * f.conj()).sum(0) / ((np.abs(f) ** 2).sum(0) + 1e-12)
    wanted = slow_waveform(c - h * f, 1024, 512, 8192)
    np.testing.assert_allclose(cancel(pair(near, far))[0].numpy(), wanted, atol=2e-6)


def test_subtraction_is_the_published_formula() -> None:
    far, near = noise(8192, 1), noise(8192, 2) + np.sin(np.arange(8192) * 0.3)
    c, f = (slow_spectra(x, 512, 256) for x in (near, far))
    left = np.abs(c) - np.abs(f)
    magnitude = np.where(left > 0, left, 0.1 * np.abs(c))
    wanted = slow_waveform(magnitude * np.exp(1j * np.angle(c)), 512, 256, 8192)
    np.testing.assert_allclose(subtract(pair(near, far))[0].numpy(), wanted, atol=2e-5)


def test_cancellation_removes_what_both_microphones_share_and_keeps_the_machine() -> None:
    hall, machine = noise(48000, 1, 0.2), 0.05 * np.sin(np.arange(48000) * 0.2)
    rng = np.random.default_rng(2)
    room = [rng.normal(size=64) * np.exp(-np.arange(64) / 12) for _ in range(2)]
    near, far = (np.convolve(hall, response)[:48000] for response in room)
    heard = cancel(pair(near + machine, far))[0].numpy()
    left = heard - machine
    assert rms(left) < 0.3 * rms(near)  # more than 10 dB, with frames as short as these
    assert rms(heard - left) == pytest.approx(rms(machine))
    assert np.corrcoef(heard, machine)[0, 1] > 3 * np.corrcoef(near + machine, machine)[0, 1]


def test_a_silent_far_microphone_changes_nothing_and_two_equal_ones_leave_nothing() -> None:
    x = noise()
    silent, same = cancel(pair(x, 0 * x))[0], cancel(pair(x, x))[0]
    np.testing.assert_allclose(silent.numpy(), x, atol=1e-6)
    assert rms(same) < 1e-5 * rms(x)


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(FRONT_ENDS)),
    n=st.integers(1, 5000),
    levels=st.tuples(st.sampled_from([0.0, 1e-6, 0.1, 1.0]), st.sampled_from([0.0, 1e-6, 0.1, 1.0])),
)
def test_anything_gives_a_finite_waveform_of_its_length(name: str, n: int, levels: tuple[float, float]) -> None:
    pairs = pair(noise(n, 1, levels[0]), noise(n, 2, levels[1]))
    heard = FRONT_ENDS[name](pairs)
    assert heard.shape == (1, n)
    assert heard.isfinite().all()
    assert heard.abs().max() <= 3 * pairs.abs().max() + 1e-12  # nothing blows up at the edges


@pytest.mark.parametrize("name", sorted(FRONT_ENDS))
def test_a_clip_does_not_depend_on_the_others_of_its_batch(name: str) -> None:
    clips = torch.cat([pair(noise(seed=2 * i), noise(seed=2 * i + 1, level=0.05)) for i in range(3)])
    together = FRONT_ENDS[name](clips)
    for i in range(3):
        torch.testing.assert_close(FRONT_ENDS[name](clips[i : i + 1])[0], together[i], rtol=0, atol=1e-6)


def test_a_noise_profile_is_subtracted() -> None:
    hall, tone = noise(32000, 1, 0.02), 0.2 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(32000))
    profile = magnitude_profile(torch.from_numpy(hall[None]).float())[0]
    clean = subtract_profile(torch.from_numpy((tone + noise(32000, 3, 0.02))[None]).float(), profile)[0].numpy()
    assert profile.shape == (257,)
    assert rms(clean - tone) < 0.7 * 0.02
    nothing = subtract_profile(torch.from_numpy(tone[None]).float(), torch.zeros(257))[0]
    np.testing.assert_allclose(nothing.numpy(), tone, atol=1e-5)


def test_the_parts_of_a_front_end_follow_one_another() -> None:
    recorded = pair(noise(seed=1), noise(seed=2))
    profile = tuple([0.5] * 257)
    found = apply_front_end(FrontEnd("cancel", profile=profile), recorded)
    assert torch.equal(found, subtract_profile(cancel(recorded), torch.tensor(profile)))


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(FRONT_ENDS))
def test_the_gpu_hears_the_same(name: str) -> None:
    recorded = pair(noise(seed=1), noise(seed=2))
    one, other = (apply_front_end(FrontEnd(name), recorded.to(device)) for device in ("cpu", "cuda"))
    assert other.device.type == "cuda"
    torch.testing.assert_close(one, other.cpu(), rtol=0, atol=1e-5)


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
    two = torch.cat([steady, 100 * strokes(0)[0]])
    torch.testing.assert_close(activity_target(two), torch.cat([activity_target(each[None]) for each in two]))
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


@settings(max_examples=25)
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
