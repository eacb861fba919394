from __future__ import annotations

import subprocess
import sys
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from asd.scoring import bank as bank_module
from asd.scoring.bank import Bank, Neighbours
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]
Metric = Literal["euclid", "cosine"]
METRICS: tuple[Metric, Metric] = ("euclid", "cosine")
BACKENDS: tuple[Literal["torch"], Literal["faiss"]] = ("torch", "faiss")
properties = settings(derandomize=True, deadline=None, max_examples=80)


def brute_force(
    vectors: FloatArray, queries: FloatArray, k: int, metric: str, exclude: Any = None
) -> Neighbours:
    """The definition, one pair at a time, as far from the implementation as it can be."""
    distances = np.empty((len(queries), len(vectors)))
    for q, query in enumerate(queries.astype(np.float64)):
        for row, vector in enumerate(vectors.astype(np.float64)):
            distances[q, row] = euclid(query, vector) if metric == "euclid" else cosine(query, vector)
        if exclude is not None and exclude[q] >= 0:
            distances[q, exclude[q]] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Neighbours(np.take_along_axis(distances, order, axis=1), order)


def euclid(a: FloatArray, b: FloatArray) -> float:
    return float(np.sqrt(np.sum((a - b) ** 2)))


def cosine(a: FloatArray, b: FloatArray) -> float:
    if not a.any() or not b.any():
        return float(a.any() != b.any())
    a, b = a / np.sqrt(np.sum(a**2)), b / np.sqrt(np.sum(b**2))
    return min(0.5 * float(np.sum((a - b) ** 2)), 2.0)


def assert_same(found: Neighbours, expected: Neighbours) -> None:
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-12, atol=0.0)


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
    backend=st.sampled_from(BACKENDS),
    leave_out=st.booleans(),
    seed=st.integers(0, 10**6),
)
@example(n=40, dims=2, k=3, side=0, metric="euclid", backend="faiss", leave_out=True, seed=1)  # all equal
def test_ties_and_duplicates_equal_brute_force(
    n: int, dims: int, k: int, side: int, metric: Metric, backend: Any, leave_out: bool, seed: int
) -> None:
    """Integer grids are full of ties, duplicates and zero vectors, and their squares are exact."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-side, side + 1, size=(n, dims)).astype(np.float64)
    if metric == "cosine":  # one direction per axis: unit vectors are exact too
        vectors = np.where(np.arange(dims) == rng.integers(dims, size=(n, 1)), np.sign(vectors), 0.0)
    k = min(k, n - leave_out)
    assume(k)
    exclude = np.where(rng.random(n) < 0.7, np.arange(n), -1) if leave_out else None
    found = Bank(vectors, metric=metric, backend=backend, index="flat").search(vectors, k, exclude)
    expected = brute_force(vectors, vectors, k, metric, exclude)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


@properties
@given(
    n=st.integers(12, 60),
    dims=st.integers(1, 40),
    k=st.integers(1, 12),
    spread=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]),
    level=st.sampled_from([0.0, 1.0, -60.0]),
    metric=st.sampled_from(METRICS),
    backend=st.sampled_from(BACKENDS),
    single=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_neighbours_equal_brute_force(
    n: int,
    dims: int,
    k: int,
    spread: float,
    level: float,
    metric: Metric,
    backend: Any,
    single: bool,
    seed: int,
) -> None:
    """Whatever the scale and offset: differences that float32 cannot see are found all the same."""
    vectors = scattered(n, dims, seed, spread, level)
    queries = scattered(5, dims, seed + 1, spread, level)
    # The cosine knows two directions in one dimension: all ties, up to rounding that has no order.
    assume(metric == "euclid" or dims > 1)
    if single:
        vectors, queries = vectors.astype(np.float32), queries.astype(np.float32)
    found = Bank(vectors, metric=metric, backend=backend, index="flat").search(queries, k)
    assert_same(found, brute_force(vectors, queries, k, metric))


@pytest.mark.parametrize("metric", METRICS)
def test_backends_agree_to_the_bit_on_a_clustered_bank(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(20, 32))
    vectors = (centres[rng.integers(20, size=30_000)] + 0.1 * rng.normal(size=(30_000, 32))).astype(
        np.float32
    )
    vectors[15_000:15_200] = vectors[:200]  # duplicates far apart in the bank
    queries = vectors[:300]
    ours, theirs = (
        Bank(vectors, metric=metric, backend=backend, index="flat").search(queries, 4) for backend in BACKENDS
    )
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_array_equal(ours.distances, theirs.distances)
    np.testing.assert_array_equal(ours.distances[:200, :2], 0.0)
    np.testing.assert_array_equal(ours.indices[:200, :2], np.arange(200)[:, None] + [0, 15_000])


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_do_not_depend_on_batch_or_block(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = scattered(200, 17, 0), scattered(30, 17, 1)
    whole = Bank(vectors, backend=backend, index="flat").search(queries, 5)
    one_by_one = [Bank(vectors, backend=backend, index="flat").search(queries[[i]], 5) for i in range(30)]
    np.testing.assert_array_equal(whole.distances, np.concatenate([part.distances for part in one_by_one]))
    monkeypatch.setattr(bank_module, "BLOCK_BYTES", 4096)
    monkeypatch.setattr("asd.scoring.search_torch.BLOCK_VALUES", 64)
    small = Bank(vectors, backend=backend, index="flat").search(queries, 5)
    np.testing.assert_array_equal(whole.distances, small.distances)
    np.testing.assert_array_equal(whole.indices, small.indices)


def test_tie_group_larger_than_the_surplus_is_searched_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.concatenate([scattered(50, 4, 0), np.ones((500, 4)), scattered(50, 4, 1)])
    asked: list[int] = []
    whole = Bank._compare_with_all

    def spy(self: Bank, points: FloatArray, wanted: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        asked.append(len(np.unique(points, axis=0)))
        return whole(self, points, wanted)

    monkeypatch.setattr(Bank, "_compare_with_all", spy)
    queries = np.concatenate([np.ones((20, 4)), vectors[:10] + 1e-3])
    for backend in BACKENDS:
        found = Bank(vectors, backend=backend, index="flat").search(queries, 3)
        np.testing.assert_array_equal(found.indices[:20], [[50, 51, 52]] * 20)
        np.testing.assert_array_equal(found.distances[:20], 0.0)
        np.testing.assert_array_equal(found.indices[20:, 0], np.arange(10))
    assert asked == [1, 1]  # only the tied queries, and those once


def test_the_usual_bank_needs_no_full_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof must succeed on ordinary data, or large banks would be searched twice."""
    monkeypatch.setattr(Bank, "_compare_with_all", lambda *_: pytest.fail("compared with every row"))
    for backend in BACKENDS:
        Bank(scattered(3000, 128, 0, level=-60.0), backend=backend, index="flat").search(
            scattered(9, 128, 1), 2
        )


def test_one_vector_and_constant_vectors() -> None:
    for metric in METRICS:
        for backend in BACKENDS:
            lone = Bank(np.ones((1, 3)), metric=metric, backend=backend, index="flat")
            assert lone.search(np.ones((2, 3)), 1).distances.tolist() == [[0.0], [0.0]]
            equal = Bank(np.full((30, 3), 0.1), metric=metric, backend=backend, index="flat")
            found = equal.search(np.full((1, 3), 0.1), 5, exclude=np.array([2]))
            assert found.indices.tolist() == [[0, 1, 3, 4, 5]]
            assert not found.distances.any()


def test_cosine_of_zero_and_opposite_vectors() -> None:
    vectors = np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    for backend in BACKENDS:
        found = Bank(vectors, metric="cosine", backend=backend, index="flat").search(vectors, 3)
        assert found.indices.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1]]
        assert found.distances.tolist() == [[0.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
@pytest.mark.parametrize("metric", METRICS)
def test_approximate_indexes_find_most_and_measure_exactly(index: Any, metric: Metric) -> None:
    rng = np.random.default_rng(5)
    centres = 3 * rng.normal(size=(100, 24))
    vectors = (centres[rng.integers(100, size=6000)] + rng.normal(size=(6000, 24))).astype(np.float32)
    queries = (centres[rng.integers(100, size=200)] + rng.normal(size=(200, 24))).astype(np.float32)
    exact = Bank(vectors, metric=metric, index="flat").search(queries, 10)
    bank = Bank(vectors, metric=metric, index=index)
    assert not bank.exact
    found = bank.search(queries, 10)
    assert np.mean(found.indices[:, 0] == exact.indices[:, 0]) > 0.99
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(exact.indices, found.indices, strict=True)])
    assert recall > 0.97
    same = found.indices == exact.indices
    np.testing.assert_array_equal(found.distances[same], exact.distances[same])
    itself = bank.search(vectors[:50], 3, exclude=np.arange(50)).indices
    assert (itself != np.arange(50)[:, None]).all()


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_an_approximate_index_that_finds_too_few_is_completed(index: Any) -> None:
    vectors = np.concatenate([np.zeros((90, 3)), scattered(10, 3, 0)])
    found = Bank(vectors, index=index).search(scattered(4, 3, 1), 100)
    np.testing.assert_array_equal(np.sort(found.indices, axis=1), np.arange(100)[None].repeat(4, axis=0))
    assert np.isfinite(found.distances).all()


def test_the_size_chooses_backend_and_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "FAISS_FROM", 50)
    chosen = [
        (type(bank._backend).__name__, bank.exact)
        for bank in (Bank(scattered(n, 4, 0), flat_limit=100) for n in (40, 60, 120))
    ]
    assert chosen == [("TorchFlat", True), ("FaissIndex", True), ("FaissIndex", False)]
    assert Bank(scattered(120, 4, 0), flat_limit=100, backend="torch").exact


def test_no_queries_give_no_neighbours() -> None:
    for backend in BACKENDS:
        found = Bank(scattered(9, 3, 0), backend=backend, index="flat").search(np.empty((0, 3)), 2)
        assert found.distances.shape == found.indices.shape == (0, 2)


def test_mistakes_are_sentences() -> None:
    vectors = scattered(10, 3, 0)
    broken = vectors.copy()
    broken[7, 1] = np.nan
    with pytest.raises(AsdError, match="bank vector 7 holds NaN"):
        Bank(broken)
    with pytest.raises(AsdError, match="query 7 holds NaN"):
        Bank(vectors).search(broken, 1)
    with pytest.raises(AsdError, match="11 neighbours were asked for but 10 of the bank's 10"):
        Bank(vectors).search(vectors, 11)
    with pytest.raises(AsdError, match="10 neighbours were asked for but 9 of the bank's 10"):
        Bank(vectors).search(vectors, 10, exclude=np.arange(10))
    with pytest.raises(AsdError, match="0 neighbours were asked for"):
        Bank(vectors).search(vectors, 0)
    with pytest.raises(AsdError, match="queries have 4 dimensions but the bank was made of 3"):
        Bank(vectors).search(scattered(1, 4, 0), 1)
    with pytest.raises(AsdError, match="at least one vector"):
        Bank(vectors[:0])
    with pytest.raises(AsdError, match="metric=manhattan is unknown"):
        Bank(vectors, metric="manhattan")  # type: ignore[arg-type]
    with pytest.raises(AsdError, match="index=ivf is faiss's"):
        Bank(vectors, backend="torch", index="ivf")
    with pytest.raises(AsdError, match="one row below 10"):
        Bank(vectors).search(vectors, 1, exclude=np.full(10, 10))


def test_a_small_bank_never_imports_faiss() -> None:
    code = (
        "import sys, numpy as np; from asd.scoring.bank import Bank; "
        "Bank(np.eye(3)).search(np.eye(3), 1); assert 'faiss' not in sys.modules; "
        "Bank(np.eye(3), backend='faiss').search(np.eye(3), 1); names = list(sys.modules); "
        "assert names.index('torch') < names.index('faiss')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_gpu_gives_the_neighbours_of_the_cpu(backend: Any, metric: Metric) -> None:
    vectors, queries = scattered(5000, 24, 0), scattered(100, 24, 1)
    cpu = Bank(vectors, metric=metric).search(queries, 5)
    gpu = Bank(vectors, metric=metric, backend=backend, index="flat", device="cuda").search(queries, 5)
    np.testing.assert_array_equal(cpu.indices, gpu.indices)
    np.testing.assert_array_equal(cpu.distances, gpu.distances)


@pytest.mark.gpu
def test_gpu_lists_find_most_neighbours() -> None:
    vectors, queries = scattered(20_000, 8, 0), scattered(200, 8, 1)
    exact = Bank(vectors).search(queries, 1)
    found = Bank(vectors, index="ivf", device="cuda").search(queries, 1)
    assert np.mean(found.indices == exact.indices) > 0.9
