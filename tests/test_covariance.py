from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from asd.core.networks.autoencoder import streamed_ledoit_wolf
from asd.detectors.statistic_groups import fault_covariance, faults_of_spectra
from asd.scoring.gaussian import (
    Groups,
    Whitening,
    ledoit_wolf_intensity,
    nuisance_directions,
    spread_of,
    without_directions,
)
from asd.scoring.references import References
from asd.types import AsdError


@settings(max_examples=30)
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
    assert [len(nuisance_directions(noise, share)) for share in (0.5, 0.65, 0.9, 0.95, 1.0)] == [1, 2, 2, 3, 3]


def test_one_recording_does_not_vary() -> None:
    with pytest.raises(AsdError, match="two noise-only recordings or more, got 1"):
        nuisance_directions(np.ones((1, 3)))


def test_the_shrinkage_is_at_most_all() -> None:
    """Near a sphere the formula asks for more than the sphere."""
    vectors = np.random.default_rng(1).normal(size=(6, 2))
    covariance, shrinkage = streamed_ledoit_wolf(lambda: [torch.from_numpy(vectors)])
    assert shrinkage == 1.0
    np.testing.assert_allclose(covariance.numpy(), ledoit_wolf(vectors)[0], atol=1e-12)


@settings(max_examples=60)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 99), st.floats(0.0, 3.0))
def test_the_intensity_equals_scikit_learn_s(n: int, dims: int, seed: int, correlation: float) -> None:
    rng = np.random.default_rng(seed)
    residuals = rng.normal(size=(n, dims)) + correlation * rng.normal(size=(n, 1))
    expected = ledoit_wolf_shrinkage(residuals, assume_centered=True)
    assert ledoit_wolf_intensity(residuals) == pytest.approx(expected, rel=1e-7)


def test_the_mean_of_the_noise_is_no_direction_of_it() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(40, 1)) * np.array([3.0, 4.0, 0.0]) + np.array([0.0, 90.0, -40.0])
    np.testing.assert_allclose(np.abs(nuisance_directions(noise)), [[0.6, 0.8, 0.0]], atol=1e-9)


def test_two_recordings_of_noise_have_a_direction() -> None:
    directions = nuisance_directions(np.array([[1.0, 2.0, 5.0], [4.0, 6.0, 5.0]]))
    np.testing.assert_allclose(np.abs(directions), [[0.6, 0.8, 0.0]], atol=1e-12)


def test_vectors_that_do_not_vary_need_no_shrinkage() -> None:
    assert ledoit_wolf_intensity(np.zeros((5, 3))) == 0.0
    same = torch.ones(6, 3, dtype=torch.float64)
    covariance, shrinkage = streamed_ledoit_wolf(lambda: [same[:2], same[2:]])
    assert shrinkage == 0.0
    np.testing.assert_array_equal(covariance.numpy(), np.zeros((3, 3)))


def grouped(n: int, dims: int, sizes: list[int], scale: float = 1.0) -> References:
    rng = np.random.default_rng(n + dims)
    conditions = np.repeat(np.arange(len(sizes)), sizes)
    vectors = rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + conditions[:, None]
    return References(scale * vectors, conditions, np.zeros(n, bool))


@pytest.mark.parametrize(("n", "dims"), [(20, 5), (6, 15), (6, 6)])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_whitening_does_not_depend_on_the_unit(n: int, dims: int, scale: float) -> None:
    queries = np.random.default_rng(0).normal(size=(4, dims))
    plain, scaled = (Whitening.of(Groups.of(grouped(n, dims, [n - 4, 4], s), "condition"), 1.0) for s in (1.0, scale))
    np.testing.assert_allclose(
        np.linalg.norm(scaled(scale * queries), axis=1), np.linalg.norm(plain(queries), axis=1), rtol=1e-6
    )


@pytest.mark.parametrize("between", [0.0, 0.2])
@pytest.mark.parametrize(("n", "dims", "sizes"), [(12, 4, [8, 4]), (5, 9, [3, 2]), (3, 4, [2, 1]), (4, 4, [2, 2])])
def test_a_whitening_is_that_of_the_shrunk_covariance(n: int, dims: int, sizes: list[int], between: float) -> None:
    refs = grouped(n, dims, sizes)
    groups = Groups.of(refs, "condition")
    residuals = groups.residuals / np.sqrt(
        (groups.residuals**2).sum(0) / (n - len(sizes))
        + (0.05 * np.median(np.sqrt((groups.residuals**2).sum(0) / (n - len(sizes))))) ** 2
    )
    scatter = residuals.T @ residuals / (n - len(sizes))
    units = residuals[0] / groups.residuals[0]
    apart = (groups.means[0] - groups.means[1]) * units
    of_means = sizes[0] * sizes[1] / n * np.outer(apart, apart) / (n - len(sizes))  # around the mean of all clips
    for factor in (1.0, 1e9):
        intensity = min(1.0, factor * ledoit_wolf_shrinkage(residuals, assume_centered=True))
        shrunk = (1 - intensity) * (scatter + between * of_means) + intensity * np.trace(scatter) / dims * np.eye(dims)
        queries = np.random.default_rng(1).normal(size=(6, dims))
        scaled = queries * units
        expected = np.sqrt(np.einsum("qi,ij,qj->q", scaled, np.linalg.pinv(shrunk), scaled))
        if intensity > 1e-6:  # else only axes in which the clips vary are inverted
            found = np.linalg.norm(Whitening.of(groups, factor, None, between)(queries), axis=1)
            np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("between", "scattered"), [(0.0, False), (0.2, False), (0.2, True)])
@pytest.mark.parametrize(("n", "dims"), [(30, 4), (7, 9)])
def test_a_whitening_that_knows_faults_tells_how_much_likelier_a_clip_is_with_one(
    n: int, dims: int, between: float, scattered: bool
) -> None:
    groups = Groups.of(grouped(n, dims, [n - 3, 3]), "condition")
    faults = fault_covariance(np.arange(dims) / dims, np.arange(dims) % 2)
    nuisances = [np.linspace(-1.0, 1.0, dims)[None], np.random.default_rng(3).normal(size=(5, dims))]
    whitening = Whitening.of(groups, 2.0, faults, between, nuisances if scattered else [])
    residuals = groups.residuals / whitening.scale
    intensity = min(1.0, 2.0 * ledoit_wolf_shrinkage(residuals, assume_centered=True))
    scatter = residuals.T @ residuals / (n - 2)
    apart = (groups.means[0] - groups.means[1]) / whitening.scale
    of_means = (n - 3) * 3 / n * np.outer(apart, apart) / (n - 2)  # of two groups around the mean of all clips
    normal = (1 - intensity) * (scatter + between * of_means) + intensity * np.trace(scatter) / dims * np.eye(dims)
    for directions in nuisances if scattered else []:
        scatter = sum(np.outer(row, row) for row in directions / whitening.scale)
        normal += 0.1 * scatter * dims / np.trace(scatter)

    def log_ratio(vectors: np.ndarray) -> np.ndarray:
        zero = np.zeros(dims)
        return multivariate_normal(zero, normal + faults).logpdf(vectors) - multivariate_normal(zero, normal).logpdf(
            vectors
        )

    queries = np.random.default_rng(2).normal(size=(8, dims))
    expected = 2 * (log_ratio(queries / whitening.scale) - log_ratio(np.zeros(dims)))
    np.testing.assert_allclose((whitening(queries) ** 2).sum(1), expected, rtol=1e-8)


@pytest.mark.parametrize(("n", "dims"), [(30, 4), (7, 9)])
def test_what_tells_conditions_apart_counts_less_the_more_of_it_is_normal(n: int, dims: int) -> None:
    groups = Groups.of(grouped(n, dims, [n - 3, 3]), "condition")
    apart = groups.means[:1] - groups.means[1:]
    lengths = [np.linalg.norm(Whitening.of(groups, 1.0, None, share)(apart)) for share in (0.0, 0.1, 0.5, 2.0)]
    assert (np.diff(lengths) < 0).all()


def test_faults_move_neighbouring_bands_together() -> None:
    statistics = np.repeat([0, 1], 40)
    covariance = fault_covariance(np.tile(np.arange(40) / 40, 2), statistics)
    assert np.linalg.eigvalsh(covariance)[0] > 0
    of_first = covariance[20, :40]
    assert np.argmax(of_first) == 20
    assert (np.diff(of_first[20:]) <= 0).all()
    np.testing.assert_allclose(covariance[20, 40:][[15, 25]], 0.3 * of_first[[15, 25]])
    bump = np.exp(-0.5 * ((np.arange(40) - 20) / 1.5) ** 2)
    noise = bump * (-1.0) ** np.arange(40)
    normals = References(np.random.default_rng(0).normal(size=(4000, 40)), np.zeros(4000, int), np.zeros(4000, bool))
    whitening = Whitening.of(Groups.of(normals, "all"), 1.0, covariance[:40, :40])
    assert np.linalg.norm(whitening(bump[None])) > 1.3 * np.linalg.norm(whitening(noise[None]))


def test_two_vectors_have_the_deviation_of_two() -> None:
    pair = np.array([[0.0, 1.0, 5.0], [4.0, 3.0, 5.0]])
    deviations = pair.std(0, ddof=1)  # of which the median of those that move is the floor's unit
    floor = 0.05 * np.median(deviations[:2])
    np.testing.assert_allclose(spread_of(pair), np.sqrt(deviations**2 + floor**2))


def test_a_whitening_that_knows_faults_is_made_again_from_its_arrays() -> None:
    faults = fault_covariance(np.arange(5) / 5, np.zeros(5, np.int64))
    whitening = Whitening.of(Groups.of(grouped(20, 5, [16, 4]), "condition"), 1.0, faults)
    state = whitening.state()
    assert {name: array.dtype for name, array in state.items()} == dict.fromkeys(
        ("scale", "axes", "gains", "rest"), np.dtype(np.float64)
    )
    queries = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_array_equal(Whitening(**state)(queries), whitening(queries))


def test_spectra_side_by_side_have_their_bands_along_one_axis() -> None:
    positions = np.array([0.0, 0.25, 0.5, 0.75, 0.0, 0.5])
    expected = fault_covariance(positions, np.array([0, 0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(faults_of_spectra([4, 2]), expected)
    kept = np.array([1, 2, 5])
    np.testing.assert_array_equal(faults_of_spectra([4, 2], [slice(1, 3), slice(1, 2)]), expected[np.ix_(kept, kept)])
