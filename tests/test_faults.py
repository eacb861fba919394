"""Synthetic faults: what each kind does to a waveform, measured by other means than it was made by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal

from asd.features.fault_kinds import Range, band, between, cycles
from asd.features.faults import ADDED, KINDS, draw_kinds, with_faults

RATE = 16000


def noise(n: int = 4, seed: int = 0, n_samples: int = RATE) -> torch.Tensor:
    x = 0.1 * torch.randn(n, n_samples, generator=torch.Generator().manual_seed(seed))
    return x - x.mean(1, keepdim=True)


def drawn(kind: str, n: int = 4, seed: int = 1, n_samples: int = RATE, **fixed: float) -> dict[str, torch.Tensor]:
    params = KINDS[kind].draw(n, n_samples, RATE, torch.Generator().manual_seed(seed))
    return {**params, **{name: torch.full((n,), value) for name, value in fixed.items()}}


def level_db(x: torch.Tensor) -> torch.Tensor:
    return 10 * x.square().mean(1).log10()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_every_row_by_its_own_parameters_only(kind: str) -> None:
    x, params = noise(), drawn(kind)
    faulty = KINDS[kind].apply(x, params, RATE)
    assert faulty.shape == x.shape
    assert faulty.isfinite().all()
    assert ((faulty - x).square().mean(1) > 0).all()
    torch.testing.assert_close(KINDS[kind].apply(x, params, RATE), faulty, rtol=0, atol=0)
    alone = KINDS[kind].apply(x[2:3], {name: values[2:3] for name, values in params.items()}, RATE)
    torch.testing.assert_close(alone, faulty[2:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_samples", "rate_hz"), [(2048, RATE), (8000, 8000), (12000, 96000)])
def test_short_clips_and_other_rates_work(kind: str, n_samples: int, rate_hz: int) -> None:
    x = noise(3, n_samples=n_samples)
    params = KINDS[kind].draw(3, n_samples, rate_hz, torch.Generator().manual_seed(0))
    assert KINDS[kind].apply(x, params, rate_hz).isfinite().all()
    assert KINDS[kind].apply(torch.zeros_like(x), params, rate_hz).isfinite().all()


@pytest.mark.parametrize("kind", ADDED)
def test_an_added_sound_has_its_level(kind: str) -> None:
    x, params = noise(), drawn(kind)
    added_db = level_db(KINDS[kind].apply(x, params, RATE) - x) - level_db(x)
    torch.testing.assert_close(added_db, params["level_db"], atol=1e-2, rtol=0)


def test_a_tone_has_its_harmonics_and_nothing_else() -> None:
    x = noise(1)
    params = drawn("tone", 1, hz=500.0, n_harmonics=3.0, roll_off=0.0)
    params["amplitudes"] = torch.ones(1, 8)
    spectrum = np.abs(np.fft.rfft((KINDS["tone"].apply(x, params, RATE) - x)[0].numpy() * np.hanning(RATE)))
    strongest = np.sort(signal.find_peaks(spectrum, height=spectrum.max() / 4, distance=100)[0])
    np.testing.assert_allclose(strongest, [500, 1000, 1500], rtol=0.01)


def test_impacts_come_at_their_rate_and_ring_at_their_frequency() -> None:
    x = noise(1)
    params = drawn("impacts", 1, rate_hz=20.0, jitter=0.0, resonance_hz=3000.0, decay_s=0.002, level_db=0.0)
    sound = (KINDS["impacts"].apply(x, params, RATE) - x)[0].numpy()
    spectrum = np.abs(np.fft.rfft(sound))
    assert abs(int(spectrum.argmax()) - 3000) < 30
    onsets, _ = signal.find_peaks(np.abs(sound), height=np.abs(sound).max() / 5, distance=400)
    assert abs(len(onsets) - 20) <= 1
    np.testing.assert_allclose(np.diff(onsets), RATE / 20, atol=5)


def test_a_stretched_tone_is_at_another_frequency() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)[None]
    faster = KINDS["stretched"].apply(tone, drawn("stretched", 1, speed=0.1), RATE)
    peak = int(np.abs(np.fft.rfft(faster[0].numpy())).argmax())
    assert peak == pytest.approx(1000 * np.exp(0.1), abs=2)


def test_an_equalised_band_has_its_gain_and_the_rest_none() -> None:
    x = noise(1, n_samples=4 * RATE)
    params = drawn("equalised", 1, n_samples=4 * RATE, centre_hz=2000.0, octaves=1.0, gain_db=6.0)
    f, before = signal.welch(x[0].numpy(), RATE)
    _, after = signal.welch(KINDS["equalised"].apply(x, params, RATE)[0].numpy(), RATE)
    gain_db = 10 * np.log10(after / before)
    assert gain_db[(f > 1800) & (f < 2200)].mean() == pytest.approx(6, abs=0.3)
    assert np.abs(gain_db[(f < 800) | (f > 5000)]).max() < 0.3


def test_a_comb_is_a_delayed_copy() -> None:
    x = noise(1)
    faulty = KINDS["comb"].apply(x, drawn("comb", 1, delay_s=0.01, gain=0.5), RATE)
    torch.testing.assert_close(faulty[:, 160:], x[:, 160:] + 0.5 * x[:, :-160])
    torch.testing.assert_close(faulty[:, :160], x[:, :160])


def test_a_band_is_what_a_filter_lets_through() -> None:
    x = noise(1)
    passed = between(x, torch.tensor([1000.0]), torch.tensor([2000.0]), RATE)
    f, density = signal.welch(passed[0].numpy(), RATE)
    inside = (f > 1200) & (f < 1700)
    assert density[inside].mean() > 300 * density[(f < 400) | (f > 4000)].mean()
    params = {"centre_hz": torch.tensor([1000 * 2**0.5]), "octaves": torch.tensor([1.0])}
    torch.testing.assert_close(band(x, params, RATE), passed, atol=1e-5, rtol=1e-3)


def test_late_phases_are_exact() -> None:
    x = torch.zeros(1, 60 * RATE)
    expected = (np.float64(4321.5) * np.arange(60 * RATE) / RATE) % 1
    error = np.abs(cycles(x, torch.tensor([4321.5]), RATE)[0].numpy() - expected)
    assert np.minimum(error, 1 - error).max() < 1e-4


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        (Range(2.0, 3.0), 2.0, 3.0),
        (Range(0.1, 10.0, "log"), 0.1, 10.0),
        (Range(100.0, 0.25, "hz"), 100.0, 4000.0),
        (Range(1.0, 2.0, "signed"), -2.0, 2.0),
    ],
)
def test_ranges_are_filled_from_end_to_end(given: Range, low: float, high: float) -> None:
    values = given.draw(4000, 1, RATE, torch.Generator().manual_seed(0))
    assert low <= values.min() < values.max() <= high
    assert float(values.min()) == pytest.approx(low, rel=0.05, abs=0.02)
    assert float(values.max()) == pytest.approx(high, rel=0.05)
    if given.scale in ("log", "hz"):
        assert float(values.log().mean()) == pytest.approx(np.log(low * high) / 2, rel=0.03, abs=0.05)
    if given.scale == "signed":
        assert values.abs().min() >= 1.0


def test_every_copy_of_a_clip_is_of_another_kind_while_there_are_any() -> None:
    kinds = draw_kinds(50, len(KINDS) + 2, torch.Generator().manual_seed(0))
    assert kinds.shape == (len(KINDS) + 2, 50)
    for clip in kinds.T:
        assert clip[: len(KINDS)].sort().values.tolist() == list(range(len(KINDS)))
    first = kinds[0].bincount(minlength=len(KINDS))
    assert first.max() < 12


def test_each_row_gets_the_fault_of_its_kind() -> None:
    names = list(KINDS)
    kinds = torch.tensor([names.index("comb"), names.index("stretched"), names.index("comb")])
    x = noise(3)
    faulty = with_faults(x, kinds, RATE, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    order = sorted(("comb", "stretched"), key=names.index)
    for name in order:
        rows = kinds == names.index(name)
        params = KINDS[name].draw(int(rows.sum()), RATE, RATE, generator)
        torch.testing.assert_close(faulty[rows], KINDS[name].apply(x[rows], params, RATE))


def test_an_offset_of_the_recording_counts_for_nothing() -> None:
    kinds, x = torch.arange(len(KINDS)), noise(len(KINDS))
    plain, moved = (with_faults(y, kinds, RATE, torch.Generator().manual_seed(3)) for y in (x, x + 0.3))
    torch.testing.assert_close(moved, plain, atol=1e-4, rtol=1e-3)
