from __future__ import annotations

import numpy as np
import pytest

from asd.features.pseudo_anomalies import KINDS, LEVEL_DB, add_foreign_sound

WAVES = (0.1 * np.random.default_rng(0).standard_normal((8, 16000))).astype(np.float32)
NUMBERS = np.arange(8)


def test_the_added_sound_has_its_level() -> None:
    added = add_foreign_sound(WAVES, NUMBERS, 16000, 0) - WAVES
    level_db = 10 * np.log10(np.square(added).mean(1) / np.square(WAVES).mean(1))
    np.testing.assert_allclose(level_db, LEVEL_DB, atol=0.01)


def test_the_batch_and_its_order_change_nothing() -> None:
    together = add_foreign_sound(WAVES, NUMBERS, 16000, 0)
    alone = add_foreign_sound(WAVES[5:6], NUMBERS[5:6], 16000, 0)
    np.testing.assert_array_equal(together[5], alone[0])
    assert not np.array_equal(together, add_foreign_sound(WAVES, NUMBERS, 16000, 1))


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_silence_stays_silent(number: int) -> None:
    silence = np.zeros((1, 4000), np.float32)
    assert not add_foreign_sound(silence, np.array([number]), 16000, 0).any()
