from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from asd.scoring import normalise
from asd.scoring.domains import DomainMedian, DomainZ
from asd.scoring.normalise import DensityRatio, NeighbourScorer, VarMin
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Metric = Literal["euclid", "cosine"]
SCORERS: list[Callable[..., NeighbourScorer]] = [DensityRatio, VarMin, DomainMedian, DomainZ]


def two_domains(
    n_source: int = 60, n_target: int = 8, dims: int = 5, seed: int = 0
) -> tuple[FloatArray, Mask]:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(n_source, dims)), 4.0 + 3.0 * rng.normal(size=(n_target, dims))
    return np.concatenate([source, target]), np.arange(n_source + n_target) >= n_source


def plain_densities(vectors: FloatArray, k: int, metric: str) -> FloatArray:
    distances = cdist(vectors, vectors, "euclidean" if metric == "euclid" else "cosine")
    return np.asarray(np.sort(distances, axis=1)[:, 1 : k + 1].mean(1))


@pytest.mark.parametrize("metric", ["euclid", "cosine"])
def test_density_ratio_and_varmin_are_their_formulas(metric: Metric) -> None:
    vectors, is_target = two_domains()
    queries = two_domains(seed=1)[0]
    d = cdist(queries, vectors, "euclidean" if metric == "euclid" else "cosine")
    b = plain_densities(vectors, 4, metric)
    ratio = DensityRatio(vectors, is_target, k=4, metric=metric)
    np.testing.assert_allclose(ratio.score(queries), (d / b).min(1), rtol=1e-9)
    additive = VarMin(vectors, is_target, k=4, metric=metric)
    assert additive.alpha > 0.0
    np.testing.assert_allclose(additive.score(queries), (d - additive.alpha * b).min(1), atol=1e-12)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.integers(6, 40), st.integers(1, 5), st.integers(0, 99))
def test_leave_one_out_is_a_bank_without_the_clip(n: int, k: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    k = min(k, n - 3)
    left_out = DensityRatio(vectors, k=k).score_training()
    for row in range(n):
        others = DensityRatio(np.delete(vectors, row, axis=0), k=k)
        assert left_out[row] == pytest.approx(others.score(vectors[[row]])[0], rel=1e-12)


def test_alpha_makes_training_scores_of_the_nearest_reference_vary_least() -> None:
    vectors, _ = two_domains(80, 20, seed=2)
    n = len(vectors)
    distance, density = np.empty(n), np.empty(n)
    for row in range(n):
        others = np.delete(vectors, row, axis=0)
        to_others = cdist(vectors[[row]], others)[0]
        distance[row] = to_others.min()
        density[row] = plain_densities(others, 4, "euclid")[to_others.argmin()]
    alphas = np.linspace(-2, 2, 4001)
    best = alphas[np.argmin([np.var(distance - alpha * density) for alpha in alphas])]
    assert VarMin(vectors, k=4).alpha == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("negative_alpha", [False, True])
def test_few_neighbours_first_gives_the_minimum_over_all(
    negative_alpha: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A far reference in a sparse place can win over the nearest one."""
    rng = np.random.default_rng(4)
    vectors = np.concatenate([0.01 * rng.normal(size=(300, 2)), [5.0, 0.0] + 3 * rng.normal(size=(300, 2))])
    queries = rng.uniform(-4, 8, size=(200, 2))
    d, b = cdist(queries, vectors), plain_densities(vectors, 4, "euclid")
    assert np.mean((d / b).argmin(1) != d.argmin(1)) > 0.2
    monkeypatch.setattr(normalise, "FIRST_NEIGHBOURS", 3)
    np.testing.assert_allclose(DensityRatio(vectors, k=4).score(queries), (d / b).min(1), rtol=1e-9)
    additive = VarMin(vectors, k=4)
    if negative_alpha:
        additive.alpha = -0.7
        additive._offset = additive.alpha * b.min()
    np.testing.assert_allclose(additive.score(queries), (d - additive.alpha * b).min(1), atol=1e-12)


def test_density_ratio_balances_the_domains() -> None:
    vectors, is_target = two_domains(400, 40)
    queries, query_is_target = two_domains(200, 200, seed=1)
    plain = cdist(queries, vectors).min(1)
    ratio = DensityRatio(vectors, is_target).score(queries)

    def gap(scores: FloatArray) -> float:
        return float(np.median(scores[query_is_target]) / np.median(scores[~query_is_target]))

    assert gap(plain) > 2.0
    assert gap(ratio) < 1.5


def degenerate_banks() -> dict[str, tuple[FloatArray, Mask]]:
    rng = np.random.default_rng(6)
    vectors, is_target = two_domains()
    duplicates = np.repeat(rng.normal(size=(6, 5)), 9, axis=0)
    return {
        "all equal": (np.full((20, 5), 0.1), np.arange(20) >= 15),
        "duplicates": (duplicates, np.arange(54) >= 45),
        "some duplicates": (np.concatenate([vectors, vectors[:1].repeat(9, 0)]), np.arange(77) >= 60),
        "one target clip": (vectors[:61], is_target[:61]),
        "two target clips": (vectors[:62], is_target[:62]),
        "one of each": (vectors[[0, 60]], np.array([False, True])),
        "two clips": (vectors[:2], np.zeros(2, dtype=bool)),
        "source only": (vectors[:60], is_target[:60]),
        "target only": (vectors[60:], is_target[60:]),
        "constant distances": (np.eye(5), np.arange(5) >= 3),
        "zero vectors": (np.zeros((7, 5)), np.arange(7) >= 5),
        "nearly equal": (1e-140 * vectors, is_target),
        "huge": (1e90 * vectors, is_target),
    }


@pytest.mark.parametrize("metric", ["euclid", "cosine"])
@pytest.mark.parametrize("bank", degenerate_banks())
@pytest.mark.parametrize("scorer", SCORERS)
def test_degenerate_banks_give_finite_scores(scorer: Any, bank: str, metric: Metric) -> None:
    vectors, is_target = degenerate_banks()[bank]
    queries = np.concatenate([vectors, two_domains(seed=3)[0], np.zeros((1, 5)), np.full((1, 5), 1e90)])
    fitted = scorer(vectors, is_target, metric=metric)
    assert np.isfinite(fitted.score(queries)).all()
    training = fitted.score_training()
    assert training.shape == (len(vectors),)
    assert np.isfinite(training).all()


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_lone_reference_scores_by_plain_distance_and_cannot_score_itself(scorer: Any) -> None:
    lone = scorer(np.zeros((1, 2)), np.array([False]))
    assert lone.score(np.array([[3.0, 4.0]])).tolist() == [5.0]
    with pytest.raises(AsdError, match="the bank has 1 vector"):
        lone.score_training()


@pytest.mark.parametrize("scorer", SCORERS)
def test_order_and_company_do_not_matter(scorer: Any) -> None:
    vectors, is_target = two_domains()
    queries = two_domains(seed=1)[0]
    shuffled = np.random.default_rng(0).permutation(len(vectors))
    fitted, other = scorer(vectors, is_target), scorer(vectors[shuffled], is_target[shuffled])
    scores = fitted.score(queries)
    np.testing.assert_allclose(other.score(queries), scores, rtol=1e-9)
    np.testing.assert_allclose(other.score_training(), fitted.score_training()[shuffled], rtol=1e-9)
    np.testing.assert_array_equal(np.concatenate([fitted.score(query[None]) for query in queries]), scores)
    assert scorer(vectors, is_target).score(np.empty((0, 5))).shape == (0,)


def test_all_equal_references_leave_the_plain_distance() -> None:
    vectors, is_target = np.zeros((12, 2)), np.arange(12) >= 9
    queries = np.array([[0.0, 0.0], [3.0, 4.0]])
    for scorer in SCORERS:
        np.testing.assert_allclose(scorer(vectors, is_target).score(queries), [0.0, 5.0])


def test_duplicates_do_not_make_the_score_explode() -> None:
    vectors, is_target = two_domains()
    vectors = np.concatenate([vectors, vectors[:1].repeat(5, 0)])
    fitted = DensityRatio(vectors, np.append(is_target, np.zeros(5, dtype=bool)))
    near = fitted.score(vectors[:1] + 1e-6)
    assert 0.0 < near[0] < 0.01


def test_density_needs_neighbours() -> None:
    for scorer in SCORERS:
        with pytest.raises(AsdError, match="k=0"):
            scorer(np.eye(3), np.zeros(3, dtype=bool), k=0)
