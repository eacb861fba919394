from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from asd.scoring import coreset
from asd.scoring.coreset import k_centre_greedy
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]


def covering_radius(vectors: FloatArray, chosen: npt.NDArray[np.int64]) -> float:
    return float(cdist(vectors, vectors[chosen]).min(1).max())


def plain_greedy(vectors: FloatArray, count: int, first: int) -> list[int]:
    chosen = [first]
    while len(chosen) < count:
        gaps = np.square(vectors[:, None] - vectors[chosen]).sum(-1).min(1)
        gaps[chosen] = -1.0
        chosen.append(int(np.argmax(gaps)))
    return chosen


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 3), st.integers(0, 10**6))
def test_choice_equals_the_definition(n: int, dims: int, side: int, seed: int) -> None:
    """Integer vectors: ties and duplicates abound, and every distance is exact."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-side, side + 1, size=(n, dims)).astype(np.float64)
    chosen = k_centre_greedy(vectors, n, seed=seed)
    assert chosen.tolist() == plain_greedy(vectors, n, int(chosen[0]))
    assert sorted(chosen.tolist()) == list(range(n))
    for count in range(1, n + 1):
        assert k_centre_greedy(vectors, count, seed=seed).tolist() == chosen[:count].tolist()


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.integers(3, 11), st.integers(1, 4), st.integers(0, 99))
def test_covering_radius_is_at_most_twice_the_best(n: int, count: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 2))
    count = min(count, n)
    best = min(covering_radius(vectors, np.array(c)) for c in combinations(range(n), count))
    assert covering_radius(vectors, k_centre_greedy(vectors, count, seed=seed)) <= 2.0 * best + 1e-12


def test_the_first_point_is_kept_and_follows_the_seed() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    firsts = {int(k_centre_greedy(vectors, 1, seed=seed)[0]) for seed in range(20)}
    assert len(firsts) > 5
    for seed in range(5):
        first = k_centre_greedy(vectors, 1, seed=seed)[0]
        chosen = k_centre_greedy(vectors, 10, seed=seed)
        assert chosen[0] == first
        np.testing.assert_array_equal(chosen, k_centre_greedy(vectors, 10, seed=seed))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 7)).astype(np.float32)
    whole = k_centre_greedy(vectors, 40)
    monkeypatch.setattr(coreset, "BLOCK_VALUES", 50)
    np.testing.assert_array_equal(k_centre_greedy(vectors, 40), whole)


def test_clusters_are_all_represented() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(8), [500, 1, 1, 1, 1, 1, 1, 1])  # one common sound, seven rare ones
    vectors = 100.0 * rng.normal(size=(8, 6))[cluster] + rng.normal(size=(507, 6))
    assert set(cluster[k_centre_greedy(vectors, 8)]) == set(range(8))


def test_mistakes_are_sentences() -> None:
    for count in (0, 4):
        with pytest.raises(AsdError, match=f"{count} centres cannot be chosen from 3 vectors"):
            k_centre_greedy(np.eye(3), count)
    with pytest.raises(AsdError, match="vector 1 holds NaN"):
        k_centre_greedy(np.array([[0.0], [np.nan]]), 1)
