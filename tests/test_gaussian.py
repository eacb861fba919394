from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage
from sklearn.mixture import GaussianMixture

from asd.scoring.backends import backend_named
from asd.scoring.gaussian import Mahalanobis
from asd.scoring.nearest import RelativeNearest
from asd.scoring.references import References, conditions_of
from asd.scoring.variants import Mixture, SelectiveMahalanobis
from asd.types import AsdError, Clip, Domain, Split
from tests.machines import references

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def test_one_group_without_shrinkage_is_the_textbook_distance() -> None:
    refs = references(n_target=0, n=200)
    queries = np.random.default_rng(1).normal(size=(7, 5))
    model = Mahalanobis(means="all", shrinkage=0.0).fit(refs)
    # the floor under quiet dimensions widens each a little; undo it to compare
    mean, precision = refs.vectors.mean(0), np.linalg.inv(np.cov(refs.vectors.T))
    delta = queries - mean
    expected = np.einsum("ij,jk,ik->i", delta, precision, delta) / 5 / (1 + 1 / 200)
    np.testing.assert_allclose(model.score(queries), expected, rtol=1e-2)


def test_shrinkage_equals_sklearn_on_standardised_vectors() -> None:
    refs = references(n=30, n_target=0)
    model = Mahalanobis(means="all").fit(refs)
    standard = (refs.vectors - refs.vectors.mean(0)) / model.scale
    expected = LedoitWolf(assume_centered=True).fit(standard)
    intensity = expected.shrinkage_
    covariance = standard.T @ standard / 29
    shrunk = (1 - intensity) * covariance + intensity * np.trace(covariance) / 5 * np.eye(5)
    whitening = model.whitening(np.diag(model.scale))
    np.testing.assert_allclose(np.linalg.inv(whitening @ whitening.T), shrunk, rtol=1e-8)


def test_the_shift_between_domains_does_not_widen_the_covariance() -> None:
    near, far = references(shift=0.0), references(shift=50.0)
    query = near.vectors[:5] + 3.0
    np.testing.assert_allclose(
        Mahalanobis(means="domain").fit(near).score(query), Mahalanobis(means="domain").fit(far).score(query), rtol=0.2
    )
    assert (
        Mahalanobis(means="all").fit(far).score(query).mean() < Mahalanobis(means="domain").fit(far).score(query).mean()
    )


def test_normal_target_clips_are_near_their_own_mean() -> None:
    refs = references(n_target=12)
    model = Mahalanobis(means="domain").fit(refs)
    assert model.score(refs.vectors[refs.is_target]).mean() < 3
    assert model.score(refs.vectors[refs.is_target] + 30.0).mean() > 30


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_units_of_a_dimension_change_nothing(seed: int, factor: float) -> None:
    refs = references(seed=seed)
    scaled = refs.replace(refs.vectors * factor)
    for means in ("all", "domain", "condition"):
        a = Mahalanobis(means=means).fit(refs).score(refs.vectors)
        b = Mahalanobis(means=means).fit(scaled).score(refs.vectors * factor)
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_whitened_references_scatter_like_a_sphere() -> None:
    refs = references(n=500, n_target=0)
    white = Mahalanobis(means="all").fit(refs).whitening(refs.vectors)
    np.testing.assert_allclose(np.cov(white.T), np.eye(5), atol=0.3)  # shrinkage bends the smallest axes


def test_a_selective_model_survives_one_target_clip() -> None:
    scores = SelectiveMahalanobis().fit(references(n_target=1)).score(references().vectors)
    assert np.isfinite(scores).all()


def test_equal_vectors_are_refused() -> None:
    refs = references()
    with pytest.raises(AsdError, match="60 training clips are all the same"):
        Mahalanobis().fit(refs.replace(np.ones_like(refs.vectors)))


def test_nan_vectors_and_single_clips_are_refused() -> None:
    refs = references()
    broken = refs.vectors.copy()
    broken[3, 1] = np.nan
    with pytest.raises(AsdError, match="training clip 3 holds NaN"):
        refs.replace(broken)
    with pytest.raises(AsdError, match="two training clips or more to compare with, got 1"):
        refs[np.arange(1)]


def test_folds_hold_each_clip_once_and_spread_conditions() -> None:
    refs = references(n=60, n_target=10)
    folds = list(refs.folds(5))
    assert np.sum(folds, axis=0).tolist() == [1] * 60
    assert [int(refs.is_target[mask].sum()) for mask in folds] == [2] * 5


@pytest.mark.parametrize("times", [2, 3, 6])
def test_folds_keep_copies_together(times: int) -> None:
    """Each clip twice, as two channels of one sound are, or more: scores are those without copies."""
    refs = references(n=60, n_target=10)
    copied = refs[np.tile(np.arange(60), times)]
    np.testing.assert_array_equal(list(copied.folds(5)), np.tile(list(refs.folds(5)), times))
    plain, fitted = (RelativeNearest().fit(part) for part in (refs, copied))
    np.testing.assert_allclose(fitted.score_training(), np.tile(plain.score_training(), times))
    np.testing.assert_array_equal(fitted.score(refs.vectors + 0.1), plain.score(refs.vectors + 0.1))


def test_rare_attributes_share_a_condition() -> None:
    def clip(speed: str, domain: Domain) -> Clip:
        return Clip(Path("x.wav"), "fan", "00", Split.TRAIN, domain, None, {"speed": speed})

    clips = [clip("1", Domain.SOURCE)] * 5 + [clip("2", Domain.SOURCE)] * 2 + [clip("3", Domain.SOURCE)]
    clips += [clip("9", Domain.TARGET)] * 2
    numbers = conditions_of(clips).tolist()
    assert len(set(numbers)) == 3
    assert numbers[5] == numbers[6] == numbers[7]
    assert len(set(numbers[:5])) == len(set(numbers[8:])) == 1


@pytest.mark.parametrize("shrinkage", [0.3, 1.0])
def test_more_dimensions_than_clips_are_measured_as_few_are(shrinkage: float) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 50)) @ rng.normal(size=(50, 50))
    refs = References(vectors, np.zeros(20, np.int64), np.zeros(20, bool))
    fitted = Mahalanobis(means="all", shrinkage=shrinkage).fit(refs)
    queries = rng.normal(size=(7, 50)) * 5
    scaled = (vectors - vectors.mean(0)) / fitted.scale
    covariance = scaled.T @ scaled / 19
    intensity = min(1.0, shrinkage * ledoit_wolf_shrinkage(scaled, assume_centered=True))
    shrunk = (1 - intensity) * covariance + intensity * np.trace(covariance) / 50 * np.eye(50)
    offsets = (queries - vectors.mean(0)) / fitted.scale
    expected = np.einsum("nd,de,ne->n", offsets, np.linalg.inv(shrunk), offsets) / 50 / (1 + 1 / 20)
    np.testing.assert_allclose(fitted.score(queries), expected, rtol=1e-8)


def mahalanobis_by_hand(refs: References, queries: FloatArray, groups: IntArray, factor: float) -> FloatArray:
    """Squared distance per dimension to the nearest group mean, from the textbook and scikit-learn's shrinkage."""
    residuals, counts = refs.vectors.copy(), {}
    means = {}
    for group in set(groups.tolist()):
        own = groups == group
        means[group], counts[group] = refs.vectors[own].mean(0), own.sum()
        residuals[own] -= means[group]
    freedom, dims = len(residuals) - len(means), residuals.shape[1]
    spread = np.sqrt((residuals**2).sum(0) / freedom)
    spread = np.sqrt(spread**2 + (0.05 * np.median(spread)) ** 2)
    residuals /= spread
    intensity = min(1.0, factor * ledoit_wolf_shrinkage(residuals, assume_centered=True))
    covariance = residuals.T @ residuals / freedom
    shrunk = (1 - intensity) * covariance + intensity * np.trace(covariance) / dims * np.eye(dims)
    inverse = np.linalg.inv(shrunk)
    distances = []
    for group, mean in means.items():
        delta = (queries - mean) / spread
        distances.append(np.einsum("nd,de,ne->n", delta, inverse, delta) / dims / (1 + 1 / counts[group]))
    return np.asarray(np.min(distances, axis=0))


def conditioned(n: int = 60, n_target: int = 10) -> References:
    """Three conditions, two of them in the source, far apart on one axis and scattering differently."""
    refs = references(n=n, n_target=n_target)
    conditions = np.where(refs.is_target, 2, np.arange(n) % 2)
    shift = 8.0 * conditions[:, None] * np.eye(5)[0]
    width = np.where(refs.is_target, 3.0, 1.0)[:, None]
    return References(width * refs.vectors + shift, conditions, refs.is_target)


@pytest.mark.parametrize(
    ("name", "share", "factor"),
    [("gaussian", "conditions", 2.0), ("mahalanobis_within", "is_target", 1.0), ("mahalanobis", "", 1.0)],
)
def test_each_name_shares_means_and_shrinks_as_documented(name: str, share: str, factor: float) -> None:
    refs, queries = conditioned(), conditioned(40).vectors + 1.0
    groups = np.asarray(getattr(refs, share), np.int64) if share else np.zeros(60, np.int64)
    expected = mahalanobis_by_hand(refs, queries, groups, factor)
    np.testing.assert_allclose(backend_named(name).fit(refs).score(queries), expected, rtol=1e-9)


def test_the_selective_distance_is_to_the_nearer_domain_by_its_own_covariance() -> None:
    refs, queries = conditioned(n_target=20), conditioned(40).vectors + 1.0
    parts = [refs[~refs.is_target], refs[refs.is_target]]
    each = [mahalanobis_by_hand(part, queries, np.zeros(len(part), np.int64), 1.0) for part in parts]
    assert 0.1 < np.mean(each[0] < each[1]) < 0.9  # either is the nearer one somewhere
    fitted = backend_named("mahalanobis_selective").fit(refs)
    np.testing.assert_allclose(fitted.score(queries), np.minimum(*each), rtol=1e-9)


def test_a_domain_of_copies_takes_no_part_in_the_selective_distance() -> None:
    refs = references(n=30, n_target=3)
    vectors = np.where(refs.is_target[:, None], 9.0, refs.vectors)
    source = refs.replace(vectors)[~refs.is_target]
    queries = references(seed=5).vectors
    expected = mahalanobis_by_hand(source, queries, np.zeros(27, np.int64), 1.0)
    fitted = SelectiveMahalanobis().fit(refs.replace(vectors))
    np.testing.assert_allclose(fitted.score(queries), expected, rtol=1e-9)
    pair = SelectiveMahalanobis().fit(references(n=2, n_target=1))  # one clip of each: one domain
    assert np.isfinite(pair.score(queries)).all()


@pytest.mark.parametrize(("n", "components"), [(19, 1), (20, 2), (60, 2)])
def test_a_mixture_is_the_likelihood_of_vectors_in_units_of_their_spread(n: int, components: int) -> None:
    refs = conditioned(n)
    refs = refs.replace(refs.vectors * [1.0, 10.0, 100.0, 1e3, 1e4])
    queries = conditioned(30).vectors * [1.0, 10.0, 100.0, 1e3, 1e4]
    spread = refs.vectors.std(0, ddof=1)
    spread = np.sqrt(spread**2 + (0.05 * np.median(spread)) ** 2)
    ordered = np.array(sorted(map(tuple, refs.vectors / spread)))
    mixture = GaussianMixture(components, reg_covar=0.1, random_state=0).fit(ordered)
    likelihood = np.sum(
        [
            weight * multivariate_normal(mean, covariance).pdf(queries / spread)
            for weight, mean, covariance in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True)
        ],
        axis=0,
    )
    fitted = Mixture().fit(refs)
    assert len(fitted.weights) == components
    np.testing.assert_allclose(fitted.score(queries), -np.log(likelihood) / 5, rtol=1e-6)


def test_an_attribute_needs_four_clips_to_be_a_condition() -> None:
    def clips(speed: str, n: int) -> list[Clip]:
        return [Clip(Path("x.wav"), "fan", "00", Split.TRAIN, Domain.SOURCE, None, {"speed": speed})] * n

    numbers = conditions_of(clips("1", 4) + clips("2", 3) + clips("3", 3))
    assert len(set(numbers[:4])) == len(set(numbers[4:])) == 1
    assert numbers[0] != numbers[4]


def test_where_nothing_differs_within_conditions_a_coarser_grouping_takes_over() -> None:
    """One clip of each domain: around its own mean nothing moves, around that of both it does."""
    pair = references(n=2, n_target=1)
    queries = references(seed=5).vectors
    by_all = Mahalanobis(means="all").fit(pair).score(queries)
    for means in ("condition", "domain"):
        np.testing.assert_array_equal(Mahalanobis(means=means).fit(pair).score(queries), by_all)  # type: ignore[arg-type]
    copies = conditioned(6, 2)
    copies = copies.replace(np.where(copies.is_target[:, None], 5.0, 0.1) + np.zeros((6, 5)))
    assert np.isfinite(Mahalanobis().fit(copies).score(queries)).all()
