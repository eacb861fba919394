"""Perturbations of recordings: nothing drawn changes nothing, and each kind does what physics says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.data.codecs import write_wav
from asd.studies.config import Digits
from asd.studies.digits.recordings import Perturbation, draw_perturbation, load_words, perturb

RATE_HZ, N_SAMPLES, N_BANDS = 8000, 4000, 9


def params(n: int = 1, speed: float = 1.0, shift: float = 0.0, gain_db: float = 0.0) -> Perturbation:
    return Perturbation(
        torch.full((n,), speed), torch.full((n,), shift), torch.full((n, N_BANDS), gain_db), torch.zeros(n, N_SAMPLES)
    )


def tone(hz: float) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(N_SAMPLES) / RATE_HZ)[None]


def peak_hz(waveforms: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(waveforms * torch.hann_window(N_SAMPLES)).abs()
    return float(spectrum.argmax(1)[0]) * RATE_HZ / N_SAMPLES


def test_every_recording_keeps_its_word_speaker_and_number(tmp_path: Path) -> None:
    for name in ("two_ann_1", "one_bob_2", "one_ann_0"):
        write_wav(tmp_path / f"{name}.wav", 0.1 * np.ones((1, 80), np.float32), RATE_HZ)
    words = load_words(tmp_path, Digits(sample_rate_hz=RATE_HZ, duration_s=0.02), torch.device("cpu"))
    assert (words.classes, words.names) == (("one", "two"), ("ann", "bob"))
    assert list(zip(words.labels.tolist(), words.speakers.tolist(), words.numbers.tolist(), strict=True)) == [
        (0, 0, 0), (0, 1, 2), (1, 0, 1)
    ]  # fmt: skip


def test_nothing_drawn_changes_nothing() -> None:
    x = torch.randn(3, N_SAMPLES)
    torch.testing.assert_close(perturb(x, params(3)), x, atol=1e-5, rtol=0)
    nothing = Digits(speed=1, shift_s=0, filter_db=0, least_snr_db=200, most_snr_db=200)
    none = draw_perturbation(3, N_SAMPLES, nothing)
    torch.testing.assert_close(perturb(x, none), x, atol=1e-5, rtol=0)


@settings(max_examples=20)
@given(shift=st.integers(-N_SAMPLES, N_SAMPLES))
def test_a_shift_moves_samples_and_fills_with_zeros(shift: int) -> None:
    x = torch.randn(1, N_SAMPLES, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros_like(x)
    if shift >= 0:
        expected[:, shift:] = x[:, : N_SAMPLES - shift]
    else:
        expected[:, :shift] = x[:, -shift:]
    torch.testing.assert_close(perturb(x, params(shift=float(shift))), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_moves_pitch_and_length_about_the_middle(speed: float) -> None:
    assert peak_hz(perturb(tone(500.0), params(speed=speed))) == pytest.approx(500 * speed, abs=4)
    burst = tone(500.0)
    burst[:, :1000] = burst[:, 3000:] = 0.0
    loud = (perturb(burst, params(speed=speed))[0].abs() > 0.1).nonzero()[:, 0]
    assert int(loud[-1] - loud[0]) == pytest.approx(2000 / speed, abs=20)
    assert float(loud[0] + loud[-1]) / 2 == pytest.approx(2000, abs=20)


def test_gains_are_decibels_at_equally_spaced_frequencies() -> None:
    given = params()
    given.gains_db[0, 2] = 6.0  # band 2 of 0 ... 8 is 1000 Hz
    for hz, gain_db in ((1000.0, 6.0), (750.0, 3.0), (500.0, 0.0), (3000.0, 0.0)):
        ratio = perturb(tone(hz), given).square().mean() / tone(hz).square().mean()
        assert 10 * float(ratio.log10()) == pytest.approx(gain_db, abs=0.1)


def test_draws_are_within_the_strength_and_follow_the_generator() -> None:
    config = Digits(speed=1.25, shift_s=0.1, filter_db=5, least_snr_db=10, most_snr_db=40, sample_rate_hz=RATE_HZ)
    drawn, again = (draw_perturbation(500, N_SAMPLES, config, torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert 0.8 <= float(drawn.speed.min()) < 0.85
    assert 1.2 < float(drawn.speed.max()) <= 1.25
    assert 750 < float(drawn.shift.abs().max()) <= 800
    snr_db = -20 * drawn.noise.square().mean(1).sqrt().log10()
    assert 9.5 < float(snr_db.min()) < 11
    assert 39 < float(snr_db.max()) < 40.5
