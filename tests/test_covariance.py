from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from asd.scoring.covariance import (
    ledoit_wolf_intensity,
    nuisance_directions,
    streamed_ledoit_wolf,
    without_directions,
)
from asd.types import AsdError


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(1, 17), st.integers(0, 99))
def test_streamed_covariance_equals_sklearn(n: int, dims: int, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + rng.normal(size=dims)
    expected, shrinkage = ledoit_wolf(vectors)
    covariance, ours = streamed_ledoit_wolf(lambda: torch.from_numpy(vectors).split(batch))
    np.testing.assert_allclose(covariance.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert ours == pytest.approx(shrinkage if dims > 1 else ours)


def test_no_vectors_is_an_error() -> None:
    with pytest.raises(ValueError, match="got none"):
        streamed_ledoit_wolf(lambda: [])


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
    with pytest.raises(AsdError, match="two noise-only recordings or more, got 1"):
        nuisance_directions(np.ones((1, 3)))


def test_the_shrinkage_is_at_most_all() -> None:
    """Near a sphere the formula asks for more than the sphere."""
    vectors = np.random.default_rng(1).normal(size=(6, 2))
    covariance, shrinkage = streamed_ledoit_wolf(lambda: [torch.from_numpy(vectors)])
    assert shrinkage == 1.0
    np.testing.assert_allclose(covariance.numpy(), ledoit_wolf(vectors)[0], atol=1e-12)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 99), st.floats(0.0, 3.0))
def test_the_intensity_equals_scikit_learn_s(n: int, dims: int, seed: int, correlation: float) -> None:
    rng = np.random.default_rng(seed)
    residuals = rng.normal(size=(n, dims)) + correlation * rng.normal(size=(n, 1))
    expected = ledoit_wolf_shrinkage(residuals, assume_centered=True)
    assert ledoit_wolf_intensity(residuals) == pytest.approx(expected, rel=1e-7)
