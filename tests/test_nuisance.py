from __future__ import annotations

import numpy as np
import pytest

from asd.scoring.nuisance import nuisance_directions, without_directions
from asd.types import AsdError


def test_the_main_axis_of_the_noise_goes_and_the_rest_stays() -> None:
    rng = np.random.default_rng(0)
    axis = np.array([3.0, 4.0, 0.0, 0.0]) / 5
    noise = rng.normal(size=(50, 4)) * 0.1 + rng.normal(size=(50, 1)) * axis
    directions = nuisance_directions(noise)
    assert directions.shape == (1, 4)
    assert abs(directions[0] @ axis) > 0.99
    vectors = rng.normal(size=(7, 4))
    left = without_directions(vectors, directions)
    np.testing.assert_allclose(left @ directions.T, 0.0, atol=1e-12)
    np.testing.assert_allclose(left, without_directions(left, directions), atol=1e-12)  # a projection
    np.testing.assert_allclose(left[:, 2:], vectors[:, 2:], atol=0.2)


def test_the_fewest_axes_that_hold_the_share_are_taken() -> None:
    noise = np.concatenate([np.diag([3.0, 2.0, 1.0]), -np.diag([3.0, 2.0, 1.0])])  # variance 9 : 4 : 1
    assert [len(nuisance_directions(noise, share)) for share in (0.5, 0.65, 0.9, 0.95, 1.0)] == [
        1,
        2,
        2,
        3,
        3,
    ]


def test_one_recording_does_not_vary() -> None:
    with pytest.raises(AsdError, match="1 noise-only recording is too few"):
        nuisance_directions(np.ones((1, 3)))
