from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from asd.scoring import variants
from asd.scoring.references import References
from asd.scoring.variants import Bandwise, DomainNearest, NearestOfMade
from tests.machines import references

FloatArray = npt.NDArray[np.float64]


def test_smote_fills_up_the_target_domain_between_its_clips() -> None:
    refs = references(n=110, n_target=10)
    points = NearestOfMade(made="smote").fit(refs).points
    assert len(points) == 100 + 20
    np.testing.assert_array_equal(np.sort(points[:110], axis=0), np.sort(refs.vectors, axis=0))
    target = refs.vectors[refs.is_target]
    for made in points[110:]:  # on a line between two target clips: |a - m| + |m - b| = |a - b|
        reach = np.linalg.norm(target - made, axis=1)
        span = np.linalg.norm(target[:, None] - target, axis=2)
        np.fill_diagonal(span, -np.inf)
        assert np.abs(reach[:, None] + reach - span).min() < 1e-9


def test_smote_draws_the_same_points_between_near_clips_whatever_the_order_of_files() -> None:
    refs = references(n=110, n_target=10)
    points = NearestOfMade(made="smote").fit(refs).points
    shuffled = refs[np.random.default_rng(0).permutation(110)]
    np.testing.assert_array_equal(NearestOfMade(made="smote").fit(shuffled).points, points)
    target = refs.vectors[refs.is_target]
    spans = cdist(target, target)
    near = spans <= np.sort(spans, axis=1)[:, 2:3]  # each clip and its two nearest
    for made in points[110:]:
        reach = cdist([made], target)[0]
        between = np.abs(reach[:, None] + reach - spans) < 1e-9
        np.fill_diagonal(between, False)
        assert (between & (near | near.T)).any()
    alone = NearestOfMade(made="smote").fit(references(n=62, n_target=2))
    assert len(alone.points) == 60 + 12


def test_mem_mixup_draws_each_target_clip_a_tenth_towards_each_source_clip() -> None:
    refs = references(n=30, n_target=4)
    points = NearestOfMade(made="memmixup").fit(refs).points
    source, target = refs.vectors[~refs.is_target], refs.vectors[refs.is_target]
    made = [0.9 * t + 0.1 * s for t in target for s in source]
    expected = np.concatenate([refs.vectors, made])
    assert points.shape == expected.shape
    assert cdist(points, expected).min(0).max() < 1e-9


@pytest.mark.parametrize("made", ["smote", "memmixup"])
def test_without_a_second_domain_nothing_is_made(made: str, caplog: pytest.LogCaptureFixture) -> None:
    refs = references(n_target=0)
    variants._warn_of_one_domain.cache_clear()
    with caplog.at_level(logging.WARNING, "asd"):
        points = NearestOfMade(made=made).fit(refs).points  # type: ignore[arg-type]
        NearestOfMade(made=made).fit(refs).score_training()  # type: ignore[arg-type]
    assert len(points) == len(refs)
    assert caplog.text.count("where one has too few, the clips stay as they are") == 1


def test_kmeans_keeps_every_target_clip_beside_the_centres_of_the_source() -> None:
    refs, queries = references(n=110, n_target=10), references(seed=5).vectors
    fitted = NearestOfMade(made="kmeans").fit(refs)
    source = refs.sorted()
    source_vectors = source.vectors[~source.is_target]
    centres = KMeans(16, n_init=4, random_state=0).fit(source_vectors).cluster_centers_
    expected = np.minimum(cdist(queries, centres).min(1), cdist(queries, refs.vectors[refs.is_target]).min(1))
    np.testing.assert_allclose(fitted.score(queries), expected, rtol=1e-9)
    np.testing.assert_allclose(fitted.score(refs.vectors[refs.is_target]), 0.0, atol=1e-12)
    few = references(n=14, n_target=2)
    np.testing.assert_allclose(NearestOfMade(made="kmeans").fit(few).score(few.vectors), 0.0, atol=1e-12)


def test_made_points_leave_whole_folds_out_of_training_scores() -> None:
    """A clip's relatives would flatter it: without folds, MemMixup scores of target clips would be near 0."""
    refs = references(n=60, n_target=10)
    fitted = NearestOfMade(made="memmixup").fit(refs)
    expected = np.empty(60)
    for held_out in refs.folds(5):
        rest = NearestOfMade(made="memmixup").fit(refs[~held_out])
        expected[held_out] = rest.score(refs.vectors[held_out])
    np.testing.assert_array_equal(fitted.score_training(), expected)


def test_bandwise_is_the_mean_of_neighbours_in_bands_of_equal_spread() -> None:
    refs, queries = references(dims=6), references(dims=6, seed=5).vectors
    spread = refs.vectors.std(0, ddof=1)
    spread = np.sqrt(spread**2 + (0.05 * np.median(spread)) ** 2)
    train, test = refs.vectors / spread, queries / spread
    fitted = Bandwise(bands=3).fit(refs)
    bands = [slice(0, 2), slice(2, 4), slice(4, 6)]
    expected = np.mean([cdist(test[:, b], train[:, b]).min(1) for b in bands], axis=0)
    np.testing.assert_allclose(fitted.score(queries), expected)
    own = np.mean([np.sort(cdist(train[:, b], train[:, b]), axis=1)[:, 1] for b in bands], axis=0)
    np.testing.assert_allclose(fitted.leave_one_out(), own)


@pytest.mark.parametrize("k", [1, 3])
def test_domain_scores_are_their_formulas(k: int) -> None:
    refs = references(n=40, n_target=10)
    vectors, is_target = refs.vectors * np.where(refs.is_target, 5.0, 1.0)[:, None], refs.is_target
    queries = np.random.default_rng(1).normal(size=(25, 5)) * 4
    parts: dict[str, list[FloatArray]] = {"median": [], "z": []}
    training: dict[str, list[FloatArray]] = {"median": [], "z": []}
    every = cdist(vectors, vectors)
    np.fill_diagonal(every, np.inf)
    for mask in (~is_target, is_target):
        left_out = np.sort(every[:, mask], axis=1)[:, :k].mean(1)
        distance = np.sort(cdist(queries, vectors[mask]), axis=1)[:, :k].mean(1)
        own = left_out[mask]
        for name, location, scale in (("median", 0.0, np.median(own)), ("z", own.mean(), own.std())):
            parts[name].append((distance - location) / scale)
            training[name].append((left_out - location) / scale)
    for name in ("median", "z"):
        fitted = DomainNearest(statistic=name, neighbours=k).fit(refs.replace(vectors))  # type: ignore[arg-type]
        np.testing.assert_allclose(fitted.score(queries), np.min(parts[name], axis=0))
        np.testing.assert_allclose(fitted.leave_one_out(), np.min(training[name], axis=0))


def test_a_domain_that_tells_nothing_takes_the_statistic_of_all() -> None:
    lone = references(n=21, n_target=1)
    every = cdist(lone.vectors, lone.vectors)
    np.fill_diagonal(every, np.inf)
    to_others = every.min(1)
    fitted = DomainNearest(statistic="z").fit(lone)
    assert fitted.locations[1] == pytest.approx(to_others.mean())
    assert fitted.scales[1] == pytest.approx(to_others.std())
    assert DomainNearest(statistic="median").fit(lone).scales[1] == pytest.approx(np.median(to_others))
    pair = references(n=2, n_target=1)
    apart = float(cdist(pair.vectors[:1], pair.vectors[1:])[0, 0])
    assert DomainNearest(statistic="z").fit(pair).score(pair.vectors).tolist() == [-apart, -apart]
    same = References(np.ones((6, 2)), np.zeros(6, np.int64), np.arange(6) > 3)
    for statistic in ("z", "median"):
        scores = DomainNearest(statistic=statistic).fit(same).score(np.array([[4.0, 5.0]]))  # type: ignore[arg-type]
        assert scores.tolist() == [5.0]


def test_distances_that_differ_by_rounding_have_no_deviation() -> None:
    corners = 1e6 * np.eye(6) + 0.1  # all 1.4e6 apart, but for the last bit
    refs = References(corners, np.zeros(6, np.int64), np.zeros(6, bool))
    fitted = DomainNearest(statistic="z").fit(refs)
    assert fitted.scales.tolist() == [1.0]
    np.testing.assert_allclose(fitted.locations, 1e6 * np.sqrt(2.0))


@pytest.mark.parametrize("statistic", ["z", "median"])
def test_domain_scores_do_not_depend_on_the_unit(statistic: str) -> None:
    refs, queries = references(), references(seed=5).vectors
    plain, small = (
        DomainNearest(statistic=statistic).fit(refs.replace(unit * refs.vectors)).score(unit * queries)  # type: ignore[arg-type]
        for unit in (1.0, 1e-4)
    )
    np.testing.assert_allclose(small, plain)
