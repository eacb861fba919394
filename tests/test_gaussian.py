from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage

from asd.scoring.gaussian import Mahalanobis, SelectiveMahalanobis
from asd.scoring.references import References, conditions_of
from asd.types import AsdError, Clip, Domain, Split
from tests.machines import references


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
    whitening = model.whiten(np.diag(model.scale))
    np.testing.assert_allclose(np.linalg.inv(whitening @ whitening.T), shrunk, rtol=1e-8)


def test_the_shift_between_domains_does_not_widen_the_covariance() -> None:
    near, far = references(shift=0.0), references(shift=50.0)
    query = near.vectors[:5] + 3.0
    np.testing.assert_allclose(
        Mahalanobis(means="domain").fit(near).score(query),
        Mahalanobis(means="domain").fit(far).score(query),
        rtol=0.2,
    )
    assert (
        Mahalanobis(means="all").fit(far).score(query).mean()
        < Mahalanobis(means="domain").fit(far).score(query).mean()
    )


def test_normal_target_clips_are_near_their_own_mean() -> None:
    refs = references(n_target=12)
    model = Mahalanobis(means="domain").fit(refs)
    assert model.score(refs.vectors[refs.is_target]).mean() < 3
    assert model.score(refs.vectors[refs.is_target] + 30.0).mean() > 30


@settings(derandomize=True, deadline=None, max_examples=25)
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
    white = Mahalanobis(means="all").fit(refs).whiten(refs.vectors)
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


def test_rare_attributes_share_a_condition() -> None:
    from pathlib import Path

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
