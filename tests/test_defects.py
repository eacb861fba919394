"""Which recordings hold a sound, and what is said of those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from asd.data.audio import defect

RATE_HZ = 16000


def waves(*levels: float, seed: int = 0, n: int = 16000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([level * rng.normal(size=n) for level in levels]).astype(np.float32)


def as_int16(wave: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


def defect_of(wave: np.ndarray) -> str | None:
    """The defect, which is the same of floats and of a 16-bit file."""
    found = defect(wave, RATE_HZ)
    assert (defect(as_int16(wave), RATE_HZ) or "").split("(")[0] == (found or "").split("(")[0]
    return found


def test_sound_recordings_have_no_defect() -> None:
    assert defect_of(waves(0.1)) is None
    assert defect_of(waves(0.1, 0.1)) is None
    assert defect_of(np.concatenate([waves(0.1, 0.1), np.zeros_like(waves(0.1))])) is None  # a third channel
    near, other = waves(0.1, 0.1)
    assert defect_of(np.stack([near, near + 0.1 * other])) is None  # far off what a copy is


@pytest.mark.parametrize("factor", [1.0, -0.5, 1e-3])
def test_copies_of_a_microphone_are_named_at_any_gain(factor: float) -> None:
    (near,) = waves(0.1)
    far = np.round(32768 * factor * near) / 32768  # as a 16-bit file keeps it
    expected = "has the same sound on both" if abs(factor) > 0.1 else None  # buried in rounding: not the same
    found = defect_of(np.stack([near, far]).astype(np.float32))
    assert (found or "").startswith(expected or "")
    assert (found is None) == (expected is None)


def test_silence_is_named_by_its_microphone() -> None:
    assert defect_of(waves(0.0)) == "is silent (all samples are zero)"
    assert defect_of(waves(0.0, 0.1)) == "is silent (all samples are zero)"
    assert defect_of(waves(0.1, 0.0)) == "has a silent far microphone (all samples are zero)"
    assert defect_of(np.full((1, 4000), 0.25, np.float32)) == "is silent (all samples are 0.25)"


@pytest.mark.parametrize(("peak", "is_broken"), [(1e-40, True), (1e-12, True), (1e-8, False)])
def test_floats_that_hold_less_than_any_recorder_writes_are_silent(peak: float, is_broken: bool) -> None:
    wave = waves(1.0)
    found = defect((wave / np.abs(wave).max() * peak).astype(np.float32), RATE_HZ)  # 16-bit samples are none of these
    assert (found or "").startswith("is silent (no two samples differ by more than" if is_broken else "")
    assert (found is not None) == is_broken


def hanging(share: float, value: float = 0.03, n_stretches: int = 1) -> np.ndarray:
    """Noise of which a share holds one value, in so many stretches."""
    wave = waves(0.1)
    for part in np.array_split(wave, n_stretches, axis=1):
        part[:, round((1 - share) * part.shape[1]) :] = value
    return wave


@pytest.mark.parametrize("n_stretches", [1, 4])
@pytest.mark.parametrize(
    ("share", "value", "is_broken"),
    [
        (0.05, 0.03, False),
        (0.2, 0.03, True),
        (0.9, 0.03, True),
        (0.99, -0.1, True),
        (0.4, 0.0, False),
        (0.7, 0.0, True),
    ],
)
def test_a_converter_that_hangs(share: float, value: float, is_broken: bool, n_stretches: int) -> None:
    found = defect_of(hanging(share, value, n_stretches))
    assert (found is not None) == is_broken
    assert found is None or f"holds still for {share:.0%} of its length" in found


@pytest.mark.parametrize(("gain", "is_broken"), [(1.0, False), (10.0, False), (40.0, True), (1e4, True)])
def test_clipping_throughout(gain: float, is_broken: bool) -> None:
    wave = waves(0.05) * np.float32(gain)
    for limit in (1.0, 0.3):  # of the file; of an amplifier before it
        found = defect_of(np.clip(wave, -1.0, 1.0) * np.float32(limit))
        assert (found or "").startswith("is clipped" if is_broken else "")
        assert (found is not None) == is_broken


@pytest.mark.parametrize("level", [0.4, 1.0, 3.0])
def test_a_quiet_recording_in_coarse_steps_is_none_of_these(level: float) -> None:
    quiet = np.rint(waves(level, n=160000)) / 32768  # standard deviation in 16-bit steps
    assert defect_of(quiet.astype(np.float32)) is None


@pytest.mark.parametrize(("low", "high", "both"), [(0, 1, "0 and 3.1e-05"), (3277, 3278, "0.1 and 0.1")])
def test_a_dead_line_whose_last_bit_flickers_is_silent(low: int, high: int, both: str) -> None:
    wave = np.random.default_rng(0).integers(low, high + 1, (1, 16000)).astype(np.float32) / 32768
    assert defect_of(wave) == f"is silent (its samples are {both} alone, and full scale is 1)"


def test_a_pure_tone_at_full_scale_is_none_of_these() -> None:
    for tone_hz in (20, 50, 1000):
        wave = np.sin(2 * np.pi * tone_hz * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
        assert defect_of(0.999 * wave[None]) is None


def test_the_far_microphone_is_looked_at_as_well() -> None:
    far = hanging(0.5)
    assert (defect_of(np.concatenate([waves(0.1, seed=1), far])) or "").startswith(
        "has a far microphone that holds still for 50%"
    )


def test_the_value_of_a_constant_recording_is_told_at_full_scale_1() -> None:
    for wave in (np.full((1, 4000), 0.25, np.float32), np.full((1, 4000), 8192, np.int16)):
        assert defect(wave, RATE_HZ) == "is silent (all samples are 0.25)"


@pytest.mark.parametrize(("share", "is_broken"), [(0.09, False), (0.12, True)])
@pytest.mark.parametrize("at_start", [True, False])
def test_a_tenth_is_still_a_recording_with_a_gap(share: float, is_broken: bool, at_start: bool) -> None:
    wave = hanging(share)
    assert (defect_of(wave[:, ::-1] if at_start else wave) is not None) == is_broken


@pytest.mark.parametrize(("share", "is_broken"), [(0.48, False), (0.52, True)])
def test_half_of_a_recording_may_be_padding(share: float, is_broken: bool) -> None:
    assert (defect_of(hanging(share, 0.0)) is not None) == is_broken


@pytest.mark.parametrize(
    ("rate_hz", "run_samples", "is_broken"),
    [(32000, 1500, False), (32000, 1700, True), (2000, 250, False), (2000, 260, True)],
)
def test_a_stretch_is_long_in_seconds_and_in_samples(rate_hz: int, run_samples: int, is_broken: bool) -> None:
    wave = waves(0.1, n=8 * run_samples)
    for start in range(0, wave.shape[1], 4 * run_samples):
        wave[:, start : start + run_samples] = 0.03
    assert (defect(wave, rate_hz) is not None) == is_broken


@pytest.mark.parametrize(("share", "is_broken"), [(0.18, False), (0.22, True)])
@pytest.mark.parametrize("steps", [40, 20000])
def test_a_fifth_of_the_samples_at_the_limits(share: float, is_broken: bool, steps: int) -> None:
    """A sawtooth of which that share is cut off, at the limits of a quiet or of a loud recording."""
    period = np.linspace(-1, 1, 1001) / (1 - share)
    wave = np.tile(np.clip(period, -1, 1), 16)[None].astype(np.float32) * np.float32(steps / 2 / 32768)
    assert (defect(wave, RATE_HZ) is not None) == (is_broken and steps > 64)


@pytest.mark.parametrize(("left", "is_broken"), [(0.9e-5, True), (1.2e-5, False)])
def test_how_much_a_copy_may_differ(left: float, is_broken: bool) -> None:
    near, other = waves(0.1, 0.1)
    other -= near * (near @ other) / (near @ near)  # what no factor on the near one explains
    far = near + other * np.sqrt(left * (near @ near) / (other @ other))
    found = defect(np.stack([near, far]), RATE_HZ)
    assert (found is not None) == is_broken
