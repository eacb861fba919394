from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf

from asd.detectors.statistic_groups import fault_covariance
from asd.scoring.gaussian import Groups, Whitening
from asd.scoring.nearest import Nearest, RelativeNearest
from asd.scoring.references import References
from asd.scoring.variants import DomainNearest
from asd.types import AsdError
from tests.machines import references

FloatArray = npt.NDArray[np.float64]
SCRIPTS = Path(__file__).parents[2] / "shared" / "research" / "scripts"


def mixed(n: int, dims: int, sizes: list[int], seed: int, scatter: float = 3.0) -> References:
    """Correlated clips in conditions of given sizes, the rest in one more; the first condition is the target."""
    rng = np.random.default_rng(seed)
    conditions = np.repeat(np.arange(len(sizes) + 1), [*sizes, n - sum(sizes)])
    centres = scatter * rng.normal(size=(len(sizes) + 1, dims))
    vectors = rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + centres[conditions]
    return References(vectors, conditions, conditions == 0)


def slow_scores(
    refs: References, queries: FloatArray, density: float, shrinkage: float
) -> tuple[FloatArray, FloatArray]:
    """z scores of queries and of training clips, clip by clip from the published formula."""
    residuals = refs.vectors.copy()
    for condition in set(refs.conditions):
        own = refs.conditions == condition
        residuals[own] -= refs.vectors[own].mean(0)
    spread = residuals.std(0)
    spread = np.sqrt(spread**2 + (0.05 * np.median(spread)) ** 2)
    residuals /= spread
    intensity = min(1.0, shrinkage * ledoit_wolf(residuals, assume_centered=True)[1])
    covariance = residuals.T @ residuals / len(residuals)
    dims = len(covariance)
    shrunk = (1 - intensity) * covariance + intensity * np.trace(covariance) / dims * np.eye(dims)
    inverse = np.linalg.inv(shrunk)

    def distance(a: FloatArray, b: FloatArray) -> Any:
        delta = (a - b) / spread
        return np.sqrt(delta @ inverse @ delta)

    n = len(refs)
    nearest = np.array([min(distance(refs.vectors[i], refs.vectors[j]) for j in range(n) if j != i) for i in range(n)])

    def score(x: FloatArray, offsets: FloatArray, without: int = -1) -> float:
        return min(
            np.log(distance(x, refs.vectors[j])) - density * np.log(nearest[j]) - offsets[j]
            for j in range(n)
            if j != without
        )

    plain = np.array([score(refs.vectors[i], np.zeros(n), i) for i in range(n)])
    offsets = np.empty(n)
    for condition in set(refs.conditions):
        own = refs.conditions == condition
        offsets[own] = (plain[own].mean() - plain.mean()) * own.sum() / (own.sum() + 5)
    training = np.array([score(refs.vectors[i], offsets, i) for i in range(n)])
    scores = np.array([score(x, offsets) for x in queries])
    return (scores - training.mean()) / training.std(), (training - training.mean()) / training.std()


@settings(max_examples=15)
@given(
    n=st.integers(12, 24),
    dims=st.integers(4, 30),
    density=st.sampled_from([0.0, 0.5, 1.0]),
    shrinkage=st.sampled_from([1.0, 3.0]),
    seed=st.integers(0, 999),
)
def test_scores_are_the_published_formula(n: int, dims: int, density: float, shrinkage: float, seed: int) -> None:
    refs = mixed(n, dims, [4, 5], seed)
    queries = mixed(8, dims, [2], seed + 1).vectors
    expected, expected_training = slow_scores(refs, queries, density, shrinkage)
    fitted = RelativeNearest(density=density, shrinkage=shrinkage).fit(refs)
    np.testing.assert_allclose(fitted.normalizer.z(fitted.leave_one_out()), expected_training, atol=1e-6)
    np.testing.assert_allclose(fitted.normalizer.z(fitted.score(queries)), expected, atol=1e-6)


@pytest.mark.skipif(not SCRIPTS.exists(), reason="the research scripts are not beside this clone")
def test_scores_equal_the_research_script() -> None:
    sys.path.insert(0, str(SCRIPTS))
    try:
        from training_free import score  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(SCRIPTS))
    refs, queries = mixed(200, 40, [10, 50], 0), mixed(60, 40, [10], 1).vectors
    fitted = RelativeNearest(shrinkage=3.0).fit(refs)
    found = fitted.normalizer.z(fitted.score(queries))
    np.testing.assert_allclose(found, score(refs.vectors, queries, refs.conditions, 3.0), atol=1e-6)


def test_a_small_change_of_speed_is_normal_where_vectors_are_levels() -> None:
    rng = np.random.default_rng(0)
    bands, units = np.arange(24), rng.uniform(0.5, 2.0, 24)

    def clips(n: int, moved_bands: float) -> np.ndarray:
        levels = 20 * np.sin((bands - moved_bands) / 2) + rng.normal(size=(n, 24))
        return np.asarray((levels - levels.mean(1, keepdims=True)) / units)

    refs = References(np.hstack([clips(60, 0.0), rng.normal(size=(60, 3))]), np.zeros(60, int), np.zeros(60, bool))
    faults = fault_covariance(np.arange(27) / 27, np.repeat([0, 1], [24, 3]))
    plain = RelativeNearest(faults=faults).fit(refs)
    fitted = RelativeNearest(faults=faults, levels=units).fit(refs)
    slopes = np.zeros((60, 27))
    for row, levels in zip(slopes, refs.vectors[:, :24] * units, strict=True):
        row[:24] = [levels[min(k + 1, 23)] - levels[max(k - 1, 0)] for k in bands]
        row[1:23] /= 2
        row[:24] = (row[:24] - row[:24].mean()) / units
    by_hand = Whitening.of(Groups.of(refs, "condition"), 2.0, faults, 0.0, [slopes])
    np.testing.assert_allclose(fitted.points, by_hand(refs.vectors), atol=1e-9)
    further = np.hstack([clips(20, 0.2), rng.normal(size=(20, 3))])
    means = [backend.normalizer.z(backend.score(further)).mean() for backend in (plain, fitted)]
    assert means[1] < 0.5 * means[0]
    tilt = np.linspace(-1.0, 1.0, 24) / units
    unknown = replace(refs, shift_is_known=np.zeros(60, bool))
    both = [slopes, np.append(tilt, np.zeros(3))[None]]
    for some, nuisances in ((refs, both[:1]), (unknown, both)):
        by_hand = Whitening.of(Groups.of(some, "condition"), 2.0, faults, 0.0, nuisances)
        tilted = RelativeNearest(faults=faults, levels=units, tilt=tilt).fit(some)
        np.testing.assert_allclose(tilted.points, by_hand(some.vectors), atol=1e-9)


def test_local_density_is_its_formula() -> None:
    refs, queries = mixed(60, 4, [8], 2), mixed(25, 4, [5], 3).vectors
    own = np.sort(cdist(refs.vectors, refs.vectors), axis=1)[:, 1:4].mean(1)
    ratio = cdist(queries, refs.vectors) / own
    assert np.mean(ratio.argmin(1) != cdist(queries, refs.vectors).argmin(1)) > 0.1
    fitted = RelativeNearest(whiten=False, density=1.0, neighbours=3, offset_clips=None).fit(refs)
    np.testing.assert_allclose(fitted.score(queries), np.log(ratio.min(1)))
    ratio = cdist(refs.vectors, refs.vectors) / own
    np.fill_diagonal(ratio, np.inf)
    np.testing.assert_allclose(fitted.leave_one_out(), np.log(ratio.min(1)))


def test_the_density_of_a_clip_takes_no_more_neighbours_than_its_condition_has() -> None:
    refs, queries = mixed(40, 4, [3, 1], 2), mixed(25, 4, [5], 3).vectors
    near = np.sort(cdist(refs.vectors, refs.vectors), axis=1)[:, 1:]
    most = [2] * 3 + [1] + [4] * 36
    own = np.array([row[:k].mean() for row, k in zip(near, most, strict=True)])
    fitted = RelativeNearest(whiten=False, density=1.0, neighbours=4, offset=0.0).fit(refs)
    np.testing.assert_allclose(fitted.score(queries), np.log((cdist(queries, refs.vectors) / own).min(1)))
    d, b = np.log(near[:, 0]), np.empty(40)
    for row, distances in enumerate(cdist(refs.vectors, refs.vectors)):
        other = int(np.argsort(distances)[1])
        others = np.delete(refs.vectors, row, axis=0)
        b[row] = np.log(np.sort(cdist(refs.vectors[[other]], others)[0])[1 : most[other] + 1].mean())
    exponent = np.polyfit(b, d, 1)[0]
    fitted = RelativeNearest(whiten=False, density=None, neighbours=4, offset=0.0).fit(refs)
    np.testing.assert_allclose(fitted.score(queries), np.log((cdist(queries, refs.vectors) / own**exponent).min(1)))


def test_the_fitted_exponent_makes_training_distances_vary_least() -> None:
    rng = np.random.default_rng(2)
    vectors = np.exp(rng.normal(size=(80, 1))) * rng.normal(size=(80, 3))
    refs = References(vectors, np.zeros(80, np.int64), np.zeros(80, bool))
    log_distance, log_spacing = np.empty(80), np.empty(80)
    for row in range(80):
        others = np.delete(vectors, row, axis=0)
        nearest = int(cdist(vectors[[row]], others).argmin())
        log_distance[row] = np.log(cdist(vectors[[row]], others).min())
        log_spacing[row] = np.log(np.sort(cdist(others[[nearest]], others)[0])[1])
    exponents = np.linspace(-2, 2, 4001)
    best = exponents[np.argmin([np.var(log_distance - a * log_spacing) for a in exponents])]
    options = {"whiten": False, "offset_clips": None}
    fitted, given = RelativeNearest(density=None, **options), RelativeNearest(density=best, **options)
    queries = 3 * rng.normal(size=(20, 3))
    np.testing.assert_allclose(fitted.fit(refs).score(queries), given.fit(refs).score(queries), atol=5e-3)


def test_sparse_conditions_get_comparable_scores() -> None:
    """Ten target clips that scatter three times as widely: normal ones score as the source does."""
    rng = np.random.default_rng(0)
    target = np.arange(210) < 10
    width = np.where(target, 3.0, 1.0)[:, None]
    refs = References(20.0 * target[:, None] + width * rng.normal(size=(210, 6)), target.astype(int), target)
    test_target = np.arange(200) < 100
    width = np.where(test_target, 3.0, 1.0)[:, None]
    queries = 20.0 * test_target[:, None] + width * rng.normal(size=(200, 6))

    def gap(**options: Any) -> float:
        scores = RelativeNearest(**options).fit(refs).score(queries)
        return float(scores[test_target].mean() - scores[~test_target].mean())

    assert gap(density=0.0, offset_clips=None) > 1.0
    assert gap(density=1.0, offset_clips=None) < 0.5
    assert gap(density=0.5) < gap(density=0.5, offset_clips=None) < 1.0


def test_copies_of_training_clips_change_nothing_but_the_whitening() -> None:
    refs, queries = mixed(40, 5, [6], 0), mixed(20, 5, [6], 1).vectors
    doubled = refs[np.repeat(np.arange(40), 1 + (np.arange(40) % 3 == 0))]
    plain, copied = (RelativeNearest(whiten=False, offset_clips=None).fit(part) for part in (refs, doubled))
    np.testing.assert_allclose(copied.score(queries), plain.score(queries))
    np.testing.assert_allclose(copied.leave_one_out().max(), plain.leave_one_out().max())
    copies = RelativeNearest().fit(doubled)
    training = copies.leave_one_out()
    assert training.std() < 1.5 * RelativeNearest().fit(refs).leave_one_out().std()
    near_copy = copies.score(refs.vectors + 1e-9)
    assert np.isfinite(near_copy).all()
    assert near_copy.max() <= np.median(training)


def test_a_near_copy_keeps_its_neighbourhood() -> None:
    """Two clips a hair apart must not repel all that is near them."""
    refs = mixed(40, 5, [6], 0)
    vectors = np.concatenate([refs.vectors, refs.vectors[-1:] + 1e-7])
    close = References(vectors, np.append(refs.conditions, refs.conditions[-1]), np.append(refs.is_target, False))
    query = refs.vectors[-1:] + 0.15
    plain = RelativeNearest(whiten=False, offset_clips=None).fit(refs).score(query)
    fitted = RelativeNearest(whiten=False, offset_clips=None).fit(close)
    assert fitted.score(query) <= plain + np.log(10) / 2
    spacing = np.sort(cdist(vectors, vectors), axis=1)[:, 1]  # of the two it counts as a tenth of the usual
    expected = np.log(np.linalg.norm(vectors[-1] - query)) - 0.5 * np.log(0.1 * np.median(spacing))
    np.testing.assert_allclose(fitted.score(query), expected)


@given(st.floats(1e-12, 1e-4), st.sampled_from([(0, 10), (10, 40)]), st.integers(0, 99))
def test_near_copies_of_a_condition_move_no_score_far(apart: float, copied: tuple[int, int], seed: int) -> None:
    """As of two channels with one sound: rounding tells them apart, and the logarithm of that has no bound."""
    refs, queries = mixed(40, 5, [10], seed), mixed(20, 5, [10], seed + 1).vectors
    rows = np.concatenate([np.arange(40), np.arange(*copied)])
    close = References(refs.vectors[rows], refs.conditions[rows], refs.is_target[rows])
    close.vectors[40:] += apart
    plain, fitted = (RelativeNearest(offset=1.5).fit(part) for part in (refs, close))
    np.testing.assert_allclose(fitted.score(queries), plain.score(queries), atol=3 * np.log(10))
    assert fitted.normalizer.deviation > 0.1


@settings(max_examples=60)
@given(st.integers(2, 9), st.integers(0, 3), st.integers(1, 40), st.integers(0, 99))
def test_few_clips_give_finite_scores_that_grow_with_distance(n: int, n_target: int, dims: int, seed: int) -> None:
    n_target = min(n_target, n)
    refs = references(n=n, n_target=n_target, dims=dims, seed=seed)
    fitted = RelativeNearest().fit(refs)
    assert np.isfinite(fitted.leave_one_out()).all()
    direction = np.random.default_rng(seed).normal(size=(1, dims))
    steps = refs.vectors.mean(0) + np.geomspace(1e4, 1e8, 9)[:, None] * direction
    scores = fitted.score(steps)
    assert (np.diff(scores) > 0).all()
    assert scores[-1] > fitted.leave_one_out().max()
    assert (fitted.score(refs.vectors) <= fitted.leave_one_out() + 1e-9).all()


def test_clips_that_are_all_the_same_are_refused() -> None:
    refs = references().replace(np.ones((60, 5)))
    for whiten in (True, False):
        with pytest.raises(AsdError, match="60 training clips are all the same"):
            RelativeNearest(whiten=whiten).fit(refs)


def test_an_offset_is_that_of_conditions_of_two_clips_or_more() -> None:
    rng = np.random.default_rng(7)
    conditions = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2])  # one clip, two, six
    vectors = rng.normal(size=(9, 3)) + 4.0 * conditions[:, None]
    distances = cdist(vectors, vectors)
    np.fill_diagonal(distances, np.inf)
    plain = np.log(distances.min(1))
    offsets = np.zeros(9)
    for condition, n in ((1, 2), (2, 6)):
        own = conditions == condition
        offsets[own] = (plain[own].mean() - plain.mean()) * n / (n + 5)
    queries = rng.normal(size=(5, 3)) + 4.0
    fitted = RelativeNearest(density=0.0, whiten=False).fit(References(vectors, conditions, conditions == 0))
    np.testing.assert_allclose(fitted.score(queries), (np.log(cdist(queries, vectors)) - offsets).min(1))


def test_a_density_that_is_the_same_everywhere_decides_nothing() -> None:
    """On a regular polygon every clip is as far from the next: there is no slope over the density."""
    angles = 2 * np.pi * np.arange(12) / 12
    circle = References(5.0 * np.stack([np.cos(angles), np.sin(angles)], 1), np.zeros(12, int), np.zeros(12, bool))
    queries = np.random.default_rng(0).normal(size=(6, 2))
    plain, fitted = (
        RelativeNearest(density=density, whiten=False, offset_clips=None).fit(circle) for density in (0.0, None)
    )
    np.testing.assert_allclose(fitted.score(queries), plain.score(queries))


def test_two_clips_have_no_slope_over_the_density() -> None:
    two = References(np.array([[0.0, 0.0], [3.0, 1.0]]), np.zeros(2, int), np.zeros(2, bool))
    fitted = RelativeNearest(density=None, whiten=False, offset_clips=None).fit(two)
    np.testing.assert_allclose(fitted.score(np.array([[9.0, 1.0]])), np.log(6.0))


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1e4])
@pytest.mark.parametrize("statistic", ["z", "median"])
def test_the_unit_of_the_vectors_changes_no_score(scale: float, statistic: Literal["z", "median"]) -> None:
    refs, queries = mixed(30, 6, [8], 3), mixed(9, 6, [2], 4).vectors
    scaled = refs.replace(scale * refs.vectors)
    expected = DomainNearest(statistic=statistic).fit(refs).score(queries)
    np.testing.assert_allclose(DomainNearest(statistic=statistic).fit(scaled).score(scale * queries), expected)
    relative = RelativeNearest().fit(refs)
    again = RelativeNearest().fit(scaled)
    np.testing.assert_allclose(
        again.normalizer.z(again.score(scale * queries)), relative.normalizer.z(relative.score(queries)), atol=1e-6
    )


@pytest.mark.parametrize("metric", ["euclid", "cosine"])
def test_knn_is_the_mean_distance_to_the_nearest(metric: str) -> None:
    refs, queries = references(), references(seed=5).vectors
    name = "euclidean" if metric == "euclid" else "cosine"
    fitted = Nearest(neighbours=3, metric=metric).fit(refs)  # type: ignore[arg-type]
    expected = np.sort(cdist(queries, refs.vectors, name), axis=1)[:, :3].mean(1)
    np.testing.assert_allclose(fitted.score(queries), expected)
    own = np.sort(cdist(refs.vectors, refs.vectors, name), axis=1)[:, 1:4].mean(1)
    np.testing.assert_allclose(fitted.leave_one_out(), own)


def test_more_neighbours_than_clips_are_all_clips() -> None:
    refs, queries = references(n=5, n_target=0), references(seed=5).vectors
    fitted = Nearest(neighbours=99).fit(refs)
    np.testing.assert_allclose(fitted.score(queries), cdist(queries, refs.vectors).mean(1))
    np.testing.assert_allclose(fitted.leave_one_out(), cdist(refs.vectors, refs.vectors).sum(1) / 4)
