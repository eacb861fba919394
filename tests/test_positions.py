from __future__ import annotations

import math

import pytest
import torch

from asd.core.networks.positions import sinusoids


def test_columns_are_the_sines_and_cosines_of_the_paper() -> None:
    codes = sinusoids(7, 6, like=torch.zeros(1))
    for step in range(7):
        for pair in range(3):
            angle = step / 10000 ** (2 * pair / 6)
            assert codes[step, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-6)
            assert codes[step, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_an_odd_width_ends_with_a_sine() -> None:
    assert sinusoids(4, 5, like=torch.zeros(1)).shape == (4, 5)


def test_steps_stay_apart_in_the_type_asked_for() -> None:
    codes = sinusoids(500, 128, like=torch.zeros(1, dtype=torch.float64))
    assert codes.dtype == torch.float64
    assert torch.pdist(codes).min() > 0.5
