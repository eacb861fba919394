from __future__ import annotations

import numpy as np
import pytest

from asd.data.audio import Sound
from asd.data.mixing import LEAST_SNR_DB, MOST_SNR_DB, MixedSound, mix, mix_noise


def waves(n: int, *levels: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([level * rng.normal(size=n) for level in levels]).astype(np.float32)


def sounds(n: int, seed: int = 0) -> list[Sound]:
    return [Sound.of(waves(100, 0.1, seed=seed + i), 16000) for i in range(n)]


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 12.0])
@pytest.mark.parametrize("n_noise", [1000, 4000, 9000])
def test_the_ratio_holds_for_the_first_channel(snr_db: float, n_noise: int) -> None:
    clip, noise = waves(4000, 0.1, 0.02), waves(n_noise, 0.5, 1.0, seed=1)
    added = mix(clip, noise, snr_db, 0.4) - clip
    ratio_db = 10 * np.log10(np.square(clip[0]).mean() / np.square(added[0]).mean())
    assert ratio_db == pytest.approx(snr_db, abs=0.01)
    start = int(0.4 * n_noise)
    gains = added[:, 5] / noise[:, (start + 5) % n_noise]
    assert gains[0] == pytest.approx(gains[1], rel=1e-3)  # one gain for both, as in a room


def test_silence_stays_without_the_other() -> None:
    clip, silence = waves(100, 0.1), waves(100, 0.0)
    np.testing.assert_array_equal(mix(clip, silence, 0.0, 0.0), clip)
    np.testing.assert_array_equal(mix(silence, clip, 0.0, 0.0), silence)


def test_draws_are_a_function_of_the_seed_and_the_place() -> None:
    some, noises = sounds(200), sounds(5, 1000)
    mixed = mix_noise(some, noises, 3)
    facts = [(one.recording, one.noise, one.snr_db, one.start) for one in mixed]
    assert facts[:50] == [(m.recording, m.noise, m.snr_db, m.start) for m in mix_noise(some[:50], noises, 3)]
    assert [m.content for m in mixed] != [m.content for m in mix_noise(some, noises, 4)]
    assert [m.recording for m in mixed] == some
    assert {m.noise for m in mixed} == set(noises)
    levels = np.array([one.snr_db for one in mixed])
    assert LEAST_SNR_DB <= levels.min() < LEAST_SNR_DB + 1
    assert MOST_SNR_DB - 1 < levels.max() <= MOST_SNR_DB


def test_what_is_mixed_is_another_sound_of_the_same_length() -> None:
    recording, noise = Sound.of(waves(100, 0.1, 0.1), 16000), Sound.of(waves(70, 0.3, 0.2, seed=1), 16000)
    mixed = MixedSound.with_noise(recording, noise, 3.0, 0.25)
    for n_microphones in (1, 2):
        wanted = mix(recording.waveform(n_microphones), noise.waveform(n_microphones), 3.0, 0.25)
        np.testing.assert_array_equal(mixed.waveform(n_microphones), wanted)
    assert (mixed.n_samples, mixed.n_channels) == (100, 2)
    others = [(noise, recording, 3.0, 0.25), (recording, noise, 2.0, 0.25), (recording, noise, 3.0, 0.2)]
    contents = {MixedSound.with_noise(*other).content for other in others}
    assert len(contents | {mixed.content, recording.content}) == 5
