"""Each kind of synthetic fault against its formula in double precision, on tones and drawn noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from asd.features.fault_kinds import band
from asd.features.faults import KINDS

Wave = npt.NDArray[np.float64]
RATE = 16000
TIME_S = np.arange(RATE) / RATE


def sine(hz: float, phase: float = 0.0) -> Wave:
    return np.sin(2 * np.pi * (hz * TIME_S + phase))


def faulty(kind: str, wave: Wave, **given: float | list[float]) -> tuple[Wave, dict[str, Wave]]:
    """A waveform with a fault, and its parameters: those given, the others drawn."""
    drawn = KINDS[kind].draw(1, RATE, RATE, torch.Generator().manual_seed(2))
    assert {*given} <= {*drawn}
    params = {**drawn, **{name: torch.tensor([value]) for name, value in given.items()}}
    made = KINDS[kind].apply(torch.from_numpy(wave.astype(np.float32))[None], params, RATE)
    return made[0].double().numpy(), {name: value[0].double().numpy() for name, value in params.items()}


def assert_added(kind: str, wave: Wave, sound: Wave, made: Wave, level_db: float, error: float = 2e-3) -> None:
    """What was added has the form of the sound, and a level relative to that of the waveform."""
    unit = sound / np.sqrt(np.mean(sound**2)) * np.sqrt(np.mean(wave**2)) * 10 ** (level_db / 20)
    np.testing.assert_allclose(made - wave, unit, atol=error * np.abs(unit).max(), err_msg=kind)


def bumps(p: dict[str, Wave]) -> Wave:
    shown = zip(p["places"], p["lengths_s"], strict=True)
    each = [np.exp(-0.5 * ((TIME_S - place) / length) ** 2) for place, length in shown]  # the clip lasts one second
    return np.sum(each[: int(p["n_bumps"])], axis=0)


def pulses(p: dict[str, Wave]) -> Wave:
    return np.exp(p["sharpness"] * (sine(float(p["rate_hz"]), float(p["phase"])) - 1))


MACHINE = 0.1 * sine(2000.0, 0.1)  # in the middle of the bands below, which let it through whole
WIDE = {"centre_hz": 2000.0, "octaves": 4.0}


def test_a_tone_swings_and_holds_as_many_harmonics_as_it_is_told() -> None:
    made, p = faulty("tone", MACHINE, hz=300.0, n_harmonics=3.7, roll_off=0.5, vibrato_hz=6.0, level_db=-3.0)
    moment_s = TIME_S + 3e-4 * sine(6.0, float(p["vibrato_phase"]))
    sound = sum(
        p["amplitudes"][k - 1] * k**-0.5 * np.sin(2 * np.pi * (k * 300.0 * moment_s + p["phases"][k - 1]))
        for k in (1, 2, 3)
    )
    assert_added("tone", MACHINE, sound, made, -3.0)


def test_harmonics_beyond_the_spectrum_are_left_out() -> None:
    made, _ = faulty("tone", MACHINE, hz=3000.0, n_harmonics=8.5, roll_off=0.0, vibrato_hz=6.0, level_db=0.0)
    spectrum = np.abs(np.fft.rfft((made - MACHINE) * np.hanning(RATE)))
    assert spectrum[3000] > 100 * np.median(spectrum)
    around = (np.arange(len(spectrum)) < 2500) | (np.arange(len(spectrum)) > 6500)
    assert spectrum[around].max() < 0.01 * spectrum.max()  # 9000 Hz would be heard at 7000


def test_a_modulated_tone_never_turns_round() -> None:
    made, _ = faulty(
        "modulated_tone", MACHINE, hz=1000.0, carrier_phase=0.2, rate_hz=20.0, phase=0.4, depth=1.4, level_db=-6.0
    )
    sound = sine(1000.0, 0.2) * np.maximum(0, 1 + 1.4 * sine(20.0, 0.4))
    assert_added("modulated_tone", MACHINE, sound, made, -6.0)


@pytest.mark.parametrize("wander_hz", [0.0, 10.0])
def test_a_squeal_wanders_by_its_noise_and_flutters(wander_hz: float) -> None:
    """Noise that is always one makes a chirp."""
    made, _ = faulty(
        "squeal", MACHINE, hz=1000.0, wander_hz=wander_hz, flutter_hz=5.0, phase=0.3, level_db=0.0, noise=[1.0] * RATE
    )
    steps = np.arange(1, RATE + 1)
    hz = 1000.0 + wander_hz * steps / np.sqrt(RATE)
    sound = np.sin(2 * np.pi * np.cumsum(hz) / RATE) * (1 + 0.5 * sine(5.0, 0.3))
    assert_added("squeal", MACHINE, sound, made, 0.0, 2e-2)


def test_a_squeal_stays_between_50_hz_and_the_highest_frequency() -> None:
    for sign, wanted in ((-1.0, 50), (1.0, round(0.494 * RATE))):
        noise = [1e6 * sign, *[0.0] * (RATE - 1)]
        made, _ = faulty("squeal", MACHINE, hz=1000.0, wander_hz=100.0, level_db=0.0, noise=noise)
        assert int(np.abs(np.fft.rfft(made - MACHINE)).argmax()) == wanted


@pytest.mark.parametrize("kind", ["noise", "rubbing", "bursts"])
def test_noise_of_a_band_is_steady_or_comes_in_pulses_or_in_bursts(kind: str) -> None:
    made, p = faulty(kind, MACHINE, level_db=-2.0, centre_hz=1500.0, octaves=1.0)
    params = {"centre_hz": torch.tensor([1500.0]), "octaves": torch.tensor([1.0])}
    passed = band(torch.from_numpy(p["noise"])[None], params, RATE)[0].numpy()
    envelope = {"noise": lambda _: 1.0, "rubbing": pulses, "bursts": bumps}[kind](p)
    assert_added(kind, MACHINE, passed * envelope, made, -2.0)


def test_impacts_under_load_are_impacts_that_swell_with_the_shaft() -> None:
    given: dict[str, float] = {"rate_hz": 40.0, "phase": 0.3, "jitter": 0.1, "resonance_hz": 2500.0, "decay_s": 0.003}
    plain, p = faulty("impacts", MACHINE, level_db=0.0, **given)
    same: dict[str, list[float]] = {name: p[name].tolist() for name in ("strengths", "noise")}
    loaded, _ = faulty("loaded_impacts", MACHINE, level_db=0.0, shaft_hz=5.0, shaft_phase=0.2, **given, **same)
    assert_added("loaded_impacts", MACHINE, (plain - MACHINE) * (1 + sine(5.0, 0.2)), loaded, 0.0)


def test_a_machine_beside_is_the_machine_at_another_speed() -> None:
    slow = 0.1 * sine(200.0)
    made, _ = faulty("another_speed", slow, speed=-0.2, level_db=-4.0)
    assert_added("another_speed", slow, sine(200.0 * np.exp(-0.2)), made, -4.0)


def test_a_band_swells_and_fades() -> None:
    made, _ = faulty("modulated", MACHINE, depth=0.5, rate_hz=10.0, phase=0.3, gain_db=-3.0, **WIDE)
    expected = MACHINE * (1 + 0.5 * 10 ** (-3 / 20) * sine(10.0, 0.3))
    np.testing.assert_allclose(made, expected, atol=3e-4)


def test_a_band_comes_in_pulses_at_its_own_level() -> None:
    made, p = faulty("pulsed", MACHINE, depth=1.5, rate_hz=7.0, phase=0.3, sharpness=2.0, **WIDE)
    envelope = pulses(p)
    np.testing.assert_allclose(made, MACHINE * (1 + 1.5 * (envelope - envelope.mean())), atol=3e-4)


def test_a_level_drifts_from_knot_to_knot() -> None:
    made, p = faulty("drifting", MACHINE, strength=0.4, **WIDE)
    levels = np.interp(np.linspace(0, 7, RATE), np.arange(8), 0.4 * p["knots"])  # nepers
    np.testing.assert_allclose(made, MACHINE * np.exp(levels), atol=5e-4)


def test_a_band_drops_out_for_moments() -> None:
    made, p = faulty("gaps", MACHINE, depth=2.0, n_bumps=4.5, **WIDE)
    np.testing.assert_allclose(made, MACHINE * np.exp(-2.0 * np.minimum(1.0, bumps(p))), atol=3e-4)


def test_the_speed_swings_by_its_depth() -> None:
    slow = 0.1 * sine(200.0)
    made, _ = faulty("wavering", slow, depth=0.05, rate_hz=2.0, phase=0.25)
    moment_s = TIME_S + 0.05 / (2 * np.pi * 2.0) * sine(2.0, 0.25)
    expected = 0.1 * np.sin(2 * np.pi * 200.0 * moment_s)
    inside = (moment_s > 0) & (moment_s < TIME_S[-1])  # beyond its ends a clip is mirrored
    np.testing.assert_allclose(made[inside], expected[inside], atol=5e-4)


def test_saturation_is_a_hyperbolic_tangent_in_units_of_the_level() -> None:
    made, _ = faulty("saturated", MACHINE, which=0.49, limit=0.8)
    limit = 0.8 * np.sqrt(np.mean(MACHINE**2))
    np.testing.assert_allclose(made, limit * np.tanh(MACHINE / limit), atol=1e-5)


def test_a_rectifier_adds_even_harmonics() -> None:
    """|sin wt| = 2/pi - 4/pi (cos 2wt / 3 + cos 4wt / 15 + ...), without its mean."""
    wave = 0.1 * sine(100.0)
    made, _ = faulty("saturated", wave, which=0.5, level_db=-6.0)
    amplitudes = 2 / RATE * np.abs(np.fft.rfft(made))
    gain = 1.5 * 10 ** (-6 / 20)
    expected = {100: 0.1, 200: 0.1 * gain * 4 / np.pi / 3, 400: 0.1 * gain * 4 / np.pi / 15, 0: 0.0, 300: 0.0}
    for hz, amplitude in expected.items():
        assert amplitudes[hz] == pytest.approx(amplitude, abs=1e-4), hz
