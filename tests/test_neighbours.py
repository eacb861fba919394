from __future__ import annotations

import subprocess
import sys
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from asd.scoring import neighbours as module
from asd.scoring.backends import backend_named
from asd.scoring.neighbours import LEAST_CODED, NeighbourBank, Neighbours
from asd.scoring.references import References, to_distance, to_euclidean
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]
Metric = Literal["euclid", "cosine"]
METRICS: tuple[Metric, Metric] = ("euclid", "cosine")
INDEXES: tuple[Literal["flat"], Literal["ivf"]] = ("flat", "ivf")
properties = settings(max_examples=80)


def brute_force(
    vectors: FloatArray, queries: FloatArray, k: int, metric: str = "euclid", weights: Any = 1.0, exclude: Any = None
) -> Neighbours:
    """The definition, one pair at a time, as far from the implementation as it can be."""
    distances = np.empty((len(queries), len(vectors)))
    for q, query in enumerate(queries.astype(np.float64)):
        for row, vector in enumerate(vectors.astype(np.float64)):
            distances[q, row] = euclid(query, vector) if metric == "euclid" else cosine(query, vector)
    distances *= weights
    if exclude is not None:
        distances[np.arange(len(queries)), exclude] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Neighbours(np.take_along_axis(distances, order, axis=1), order)


def euclid(a: FloatArray, b: FloatArray) -> float:
    return float(np.sqrt(np.sum((a - b) ** 2)))


def cosine(a: FloatArray, b: FloatArray) -> float:
    if not a.any() or not b.any():
        return float(a.any() != b.any())
    a, b = a / np.sqrt(np.sum(a**2)), b / np.sqrt(np.sum(b**2))
    return min(0.5 * float(np.sum((a - b) ** 2)), 2.0)


def scattered(n: int, dims: int, seed: int, spread: float = 1.0, level: float = 0.0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(level + spread * rng.normal(size=(n, dims)))


@properties
@given(
    n=st.integers(1, 40),
    dims=st.integers(1, 9),
    k=st.integers(1, 40),
    side=st.sampled_from([0, 1, 2, 9]),
    metric=st.sampled_from(METRICS),
    leave_out=st.booleans(),
    seed=st.integers(0, 10**6),
)
@example(n=40, dims=2, k=3, side=0, metric="euclid", leave_out=True, seed=1)  # all equal
def test_ties_and_duplicates_equal_brute_force(
    n: int, dims: int, k: int, side: int, metric: Metric, leave_out: bool, seed: int
) -> None:
    """Integer grids are full of ties, duplicates and zero vectors, and their squares are exact."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-side, side + 1, size=(n, dims)).astype(np.float64)
    if metric == "cosine":  # one direction per axis: unit vectors are exact too
        vectors = np.where(np.arange(dims) == rng.integers(dims, size=(n, 1)), np.sign(vectors), 0.0)
    k = min(k, n - leave_out)
    assume(k)
    exclude = rng.permutation(n) if leave_out else None
    expected = brute_force(vectors, vectors, k, metric, exclude=exclude)
    found = NeighbourBank(vectors, metric=metric).search(vectors, k, exclude)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.distances, expected.distances)


@properties
@given(
    n=st.integers(2, 60),
    dims=st.integers(2, 40),
    k=st.integers(1, 12),
    spread=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]),
    level=st.sampled_from([0.0, 1.0, -60.0]),
    metric=st.sampled_from(METRICS),
    weighted=st.booleans(),
    single=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_neighbours_equal_brute_force(
    n: int, dims: int, k: int, spread: float, level: float, metric: Metric, weighted: bool, single: bool, seed: int
) -> None:
    """Whatever the scale and offset: differences that float32 cannot see are found all the same."""
    vectors, queries = scattered(n, dims, seed, spread, level), scattered(5, dims, seed + 1, spread, level)
    if single:
        vectors, queries = vectors.astype(np.float32), queries.astype(np.float32)  # type: ignore[assignment]
    weights = np.exp(scattered(n, 1, seed + 2)[:, 0]) if weighted and metric == "euclid" else None
    found = NeighbourBank(vectors, metric=metric, weights=weights).search(queries, min(k, n))
    expected = brute_force(vectors, queries, min(k, n), metric, 1.0 if weights is None else weights)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-12, atol=0.0)
    if not np.any(np.diff(expected.distances) < 1e-12 * expected.distances[:, 1:]):
        np.testing.assert_array_equal(found.rows, expected.rows)


@pytest.mark.parametrize("level", [0.0, 1e4])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_large_clustered_bank_equals_scikit_learn(weighted: bool, level: float) -> None:
    """More rows than candidates, far from the origin, in clusters, with duplicates far apart in the bank."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(20, 32)) + level
    vectors = centres[rng.integers(20, size=6000)] + 0.01 * rng.normal(size=(6000, 32))
    vectors[3000:3200] = vectors[:200]
    queries = vectors[:300]
    if not weighted:
        expected, _ = NearestNeighbors(n_neighbors=4, algorithm="ball_tree").fit(vectors).kneighbors(queries)
        found = NeighbourBank(vectors).search(queries, 4)
        np.testing.assert_allclose(found.distances, expected, rtol=1e-12)
        np.testing.assert_array_equal(found.rows[:20, :2], np.arange(20)[:, None] + [0, 3000])
        return
    weights = np.exp(rng.normal(size=6000))
    distances = np.linalg.norm(queries[:40, None] - vectors, axis=2) * weights
    found = NeighbourBank(vectors, weights=weights).search(queries[:40], 4)
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :4], rtol=1e-12)


def test_an_outlier_does_not_blur_the_others() -> None:
    """One row at a million spreads what float32 resolves over everything; the answer stays exact."""
    vectors = np.concatenate([scattered(3000, 8, 0), np.full((1, 8), 1e6)])
    expected = brute_force(vectors, vectors[:20], 3)
    found = NeighbourBank(vectors).search(vectors[:20], 3)
    np.testing.assert_array_equal(found.rows, expected.rows)
    far = np.full((1, 8), 1e12)
    assert NeighbourBank(vectors).search(far, 1).rows.tolist() == [[3000]]


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_that_float32_cannot_tell_apart_are_all_looked_at(weighted: bool) -> None:
    order = np.random.default_rng(0).permutation(400)
    vectors = np.concatenate([np.ones((400, 3)), np.zeros((1, 3))])
    vectors[:400, 0] += 1e-9 * order
    weights = np.ones(401) if weighted else None
    queries = np.ones((400, 3)) + 1e-9 * np.arange(400)[:, None] * [1.0, 0.0, 0.0]
    found = NeighbourBank(vectors, weights=weights).search(queries, 1)
    np.testing.assert_array_equal(order[found.rows[:, 0]], np.arange(400))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_query_beyond_float32_gets_its_distance(weighted: bool) -> None:
    vectors = scattered(3000, 8, 0)
    weights = np.full(3000, 0.5) if weighted else None
    found = NeighbourBank(vectors, weights=weights).search(np.full((1, 8), 1e45), 2)
    np.testing.assert_allclose(found.distances, np.sqrt(8.0) * 1e45 * (0.5 if weighted else 1.0))


def test_a_tie_group_larger_than_the_surplus_goes_to_the_lower_rows() -> None:
    vectors = np.concatenate([scattered(50, 4, 0), np.ones((500, 4)), scattered(50, 4, 1)])
    found = NeighbourBank(vectors).search(np.ones((20, 4)), 3)
    np.testing.assert_array_equal(found.rows, [[50, 51, 52]] * 20)
    np.testing.assert_array_equal(found.distances, 0.0)


def test_the_usual_bank_needs_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary vectors leave float32 hardly a doubt, or every search would be done twice."""
    looks: list[int] = []
    propose = NeighbourBank._propose

    def spy(self: NeighbourBank, frame: FloatArray, *more: Any) -> Any:
        looks.append(len(frame))
        return propose(self, frame, *more)

    monkeypatch.setattr(NeighbourBank, "_propose", spy)
    vectors = scattered(3000, 128, 0, level=-60.0)
    NeighbourBank(vectors).search(vectors, 2, exclude=np.arange(3000))
    NeighbourBank(vectors, weights=np.exp(0.1 * scattered(3000, 1, 1)[:, 0])).search(vectors, 2)
    assert 6000 <= sum(looks) < 6060


def test_results_do_not_depend_on_batch_or_block(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = scattered(200, 17, 0), scattered(30, 17, 1)
    whole = NeighbourBank(vectors).search(queries, 5)
    one_by_one = [NeighbourBank(vectors).search(queries[[i]], 5) for i in range(30)]
    np.testing.assert_array_equal(whole.distances, np.concatenate([part.distances for part in one_by_one]))
    monkeypatch.setattr("asd.scoring.references.BLOCK_BYTES", 4096)
    small = NeighbourBank(vectors).search(queries, 5)
    np.testing.assert_allclose(whole.distances, small.distances, rtol=1e-14)
    np.testing.assert_array_equal(whole.rows, small.rows)


def test_one_vector_and_constant_vectors() -> None:
    for metric in METRICS:
        lone = NeighbourBank(np.ones((1, 3)), metric=metric)
        assert lone.search(np.ones((2, 3)), 1).distances.tolist() == [[0.0], [0.0]]
        equal = NeighbourBank(np.full((30, 3), 0.1), metric=metric)
        found = equal.search(np.full((1, 3), 0.1), 5, exclude=np.array([2]))
        assert found.rows.tolist() == [[0, 1, 3, 4, 5]]
        assert not found.distances.any()


def test_cosine_of_zero_and_opposite_vectors() -> None:
    vectors = np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    found = NeighbourBank(vectors, metric="cosine").search(vectors, 3)
    assert found.rows.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1]]
    assert found.distances.tolist() == [[0.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]


@properties
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_cosine_is_euclidean_among_unit_vectors(seed: int, dims: int) -> None:
    a, b = scattered(2, dims, seed)
    squared = np.square(to_euclidean(a, "cosine") - to_euclidean(b, "cosine")).sum()
    expected = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert to_distance(squared, "cosine") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("index", ["ivf", "ivfpq"])
def test_lists_find_most_and_measure_exactly(
    index: Literal["ivf", "ivfpq"], metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_CODED", 6000)
    rng = np.random.default_rng(5)
    centres = 3 * rng.normal(size=(100, 24))
    vectors = centres[rng.integers(100, size=6000)] + rng.normal(size=(6000, 24))
    queries = centres[rng.integers(100, size=200)] + rng.normal(size=(200, 24))
    exact = NeighbourBank(vectors, metric=metric, index="flat").search(queries, 10)
    bank = NeighbourBank(vectors, metric=metric, index=index)
    found = bank.search(queries, 10)
    assert np.mean(found.rows[:, 0] == exact.rows[:, 0]) > 0.99
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(exact.rows, found.rows, strict=True)])
    assert recall > 0.97
    same = found.rows == exact.rows
    np.testing.assert_array_equal(found.distances[same], exact.distances[same])
    itself = bank.search(vectors[:50], 3, exclude=np.arange(50)).rows
    assert (itself != np.arange(50)[:, None]).all()


@pytest.mark.slow
@settings(max_examples=12)
@given(
    index=st.sampled_from(["ivf", "ivfpq"]),
    metric=st.sampled_from(METRICS),
    n=st.integers(LEAST_CODED, 2 * LEAST_CODED),
    dims=st.integers(1, 40),
    k=st.integers(1, 12),
    level=st.sampled_from([0.0, 1e3]),
    seed=st.integers(0, 10**6),
)
def test_what_holds_of_every_bank_in_lists(
    index: Literal["ivf", "ivfpq"], metric: Metric, n: int, dims: int, k: int, level: float, seed: int
) -> None:
    """Distances of what is found are exact and ascend, copies lie at 0, few are missed, another bank is the same."""
    rng, k = np.random.default_rng(seed), max(k, 2)
    centres = 3 * scattered(50, dims, seed)
    vectors = level + centres[rng.integers(50, size=n)] + rng.normal(size=(n, dims))
    vectors[n // 2 : n // 2 + 20] = vectors[:20]
    queries = np.concatenate([vectors[:20], level + centres[rng.integers(50, size=40)] + rng.normal(size=(40, dims))])
    found = NeighbourBank(vectors, index=index, metric=metric).search(queries, k)
    again = NeighbourBank(vectors, index=index, metric=metric).search(queries, k)
    np.testing.assert_array_equal(found.rows, again.rows)
    np.testing.assert_array_equal(found.distances, again.distances)
    assert all(len({*rows}) == k for rows in found.rows.tolist())
    order = np.lexsort((found.rows, found.distances), axis=-1)
    np.testing.assert_array_equal(order, np.arange(k)[None].repeat(60, axis=0))
    measure = euclid if metric == "euclid" else cosine
    for query, rows, distances in zip(queries, found.rows, found.distances, strict=True):
        assert distances == pytest.approx([measure(query, vectors[row]) for row in rows], rel=1e-6, abs=1e-7)
    assert found.distances[:20, :2].max() <= 1e-7
    assert (found.rows[:20, 0] <= np.arange(20)).all()  # of equal ones the lower row
    known = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="cosine" if metric == "cosine" else "euclidean")
    farthest = known.fit(vectors).kneighbors(queries)[0][:, -1:]
    assert (found.distances <= farthest * (1 + 1e-6) + 1e-7 * (1 + level)).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("index", ["ivf", "ivfpq"])
def test_lists_that_were_stored_score_the_same(index: Literal["ivf", "ivfpq"]) -> None:
    vectors, queries = scattered(LEAST_CODED, 8, 0), scattered(100, 8, 1)
    n_rows = len(vectors)
    references = References(vectors, np.zeros(n_rows, np.int64), np.zeros(n_rows, bool))
    fitted = backend_named("knn", neighbours=3, index=index).fit(references)
    restored = backend_named("knn", neighbours=3, index=index).restore(fitted.state())
    np.testing.assert_array_equal(restored.score(queries), fitted.score(queries))
    exact = backend_named("knn", neighbours=3, index="flat").fit(references).score(queries)
    assert fitted.score(queries) == pytest.approx(exact, rel=0.02)
    assert (fitted.score(queries) >= exact * (1 - 1e-12)).all()


def test_lists_find_most_of_the_nearest_by_weight() -> None:
    """Weights as densities make them: a factor of two between one row and another is much."""
    rng = np.random.default_rng(5)
    vectors, queries = rng.normal(size=(6000, 12)), rng.normal(size=(200, 12))
    weights = np.exp(0.2 * rng.normal(size=6000))
    exact, found = (NeighbourBank(vectors, weights=weights, index=index).search(queries, 1) for index in INDEXES)
    assert np.mean(found.rows == exact.rows) > 0.95
    assert (found.distances >= exact.distances).all()


@pytest.mark.parametrize("copies", [0, 90])
def test_an_approximate_index_that_finds_too_few_looks_everywhere(copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROBED_LISTS", 1)
    vectors = np.random.default_rng(0).normal(size=(100, 3))
    vectors[:copies] = 0.0
    bank = NeighbourBank(vectors, index="ivf")
    assert (bank._searcher.nlist, bank._searcher.nprobe) == (8, 1)
    found = bank.search(scattered(4, 3, 1), 100)
    np.testing.assert_array_equal(np.sort(found.rows, axis=1), np.arange(100)[None].repeat(4, axis=0))
    assert np.isfinite(found.distances).all()


def test_the_size_chooses_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLAT_LIMIT", 100)
    monkeypatch.setattr(module, "LISTS_LIMIT", 300)
    monkeypatch.setattr(module, "LEAST_CODED", 301)
    found = [NeighbourBank(scattered(n, 4, 0)).index for n in (100, 101, 300, 301)]
    assert found == ["flat", "ivf", "ivf", "ivfpq"]
    assert NeighbourBank(scattered(120, 4, 0), index="flat").index == "flat"


@pytest.mark.parametrize(("n", "lists"), [(4096, 64), (1100, 32)])
def test_there_are_about_as_many_lists_as_rows_in_each(n: int, lists: int) -> None:
    bank = NeighbourBank(np.random.default_rng(0).normal(size=(n, 4)), index="ivf")
    assert bank._searcher.nlist == lists


def test_no_queries_give_no_neighbours() -> None:
    found = NeighbourBank(scattered(9, 3, 0)).search(np.empty((0, 3)), 2)
    assert found.distances.shape == found.rows.shape == (0, 2)


def test_mistakes_are_sentences() -> None:
    vectors = scattered(10, 3, 0)
    broken = vectors.copy()
    broken[7, 1] = np.nan
    with pytest.raises(AsdError, match="training vector 7 holds NaN"):
        NeighbourBank(broken)
    with pytest.raises(AsdError, match="vector 7 holds NaN"):
        NeighbourBank(vectors).search(broken, 1)
    with pytest.raises(AsdError, match="index=ivfpq takes 10,000 vectors or more, not 10; use index=flat"):
        NeighbourBank(vectors, index="ivfpq")
    with pytest.raises(AsdError, match="neighbours=11 were asked for, but a clip has 10 others"):
        NeighbourBank(vectors).search(vectors, 11)
    with pytest.raises(AsdError, match="neighbours=10 were asked for, but a clip has 9 others"):
        NeighbourBank(vectors).search(vectors, 10, exclude=np.arange(10))
    with pytest.raises(AsdError, match="neighbours=0 were asked for"):
        NeighbourBank(vectors).search(vectors, 0)
    with pytest.raises(AsdError, match="have 4 dimensions but those of the bank 3"):
        NeighbourBank(vectors).search(scattered(1, 4, 0), 1)
    with pytest.raises(AsdError, match="at least one vector"):
        NeighbourBank(vectors[:0])
    for weights in (np.ones(9), -np.ones(10), np.zeros(10), np.full(10, np.nan)):
        with pytest.raises(AsdError, match="weights have to be positive and one for each of the 10 vectors"):
            NeighbourBank(vectors, weights=weights)
    with pytest.raises(AsdError, match="metric=manhattan is unknown"):
        NeighbourBank(vectors, metric="manhattan")  # type: ignore[arg-type]
    with pytest.raises(AsdError, match="index=hnsw is unknown; there are auto, flat, ivf"):
        NeighbourBank(vectors, index="hnsw")  # type: ignore[arg-type]
    with pytest.raises(AsdError, match=r"array of shape \(3,\)"):
        NeighbourBank(np.zeros(3))


@pytest.mark.slow
def test_faiss_comes_after_torch_and_with_the_first_search() -> None:
    code = (
        "import logging, os, sys, numpy as np; logging.basicConfig(level=0); "
        "from asd.scoring.backends import backend_named; "
        "from asd.scoring.neighbours import NeighbourBank; "
        "bank = NeighbourBank(np.eye(3)); assert 'faiss' not in sys.modules; "
        "bank.search(np.eye(3), 1); names = list(sys.modules); "
        "assert names.index('torch') < names.index('faiss'); "
        "assert 'OPENBLAS_CORETYPE' not in os.environ"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "faiss" not in done.stderr  # not a word of the instruction sets that it tries


def test_a_gpu_that_faiss_does_not_see_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    import faiss

    if faiss.get_num_gpus():
        pytest.skip("faiss sees a GPU here")
    module._gpu_resources.cache_clear()
    for _ in range(2):
        found = NeighbourBank(np.eye(3), device="cuda").search(np.eye(3), 1)
        assert found.rows[:, 0].tolist() == [0, 1, 2]
    assert caplog.text.count("sees no GPU") == 1


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighted", [False, True])
def test_gpu_gives_the_neighbours_of_the_cpu(weighted: bool, metric: Metric) -> None:
    vectors, queries = scattered(5000, 24, 0), scattered(100, 24, 1)
    weights = np.exp(0.3 * scattered(5000, 1, 2)[:, 0]) if weighted else None
    cpu, gpu = (
        NeighbourBank(vectors, metric=metric, weights=weights, device=device).search(queries, 5)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(cpu.rows, gpu.rows)
    np.testing.assert_array_equal(cpu.distances, gpu.distances)


@pytest.mark.gpu
def test_gpu_lists_find_most_neighbours() -> None:
    vectors, queries = scattered(20_000, 8, 0), scattered(200, 8, 1)
    exact = NeighbourBank(vectors).search(queries, 1)
    found = NeighbourBank(vectors, index="ivf", device="cuda").search(queries, 1)
    assert np.mean(found.rows == exact.rows) > 0.9
