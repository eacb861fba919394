from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from asd.scoring.space import checked, to_distance, unfold
from asd.types import AsdError


def test_unfolded_points_have_the_distances_of_the_metric() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 5))
    for metric, name in (("euclid", "euclidean"), ("cosine", "cosine")):
        points = unfold(vectors, metric)  # type: ignore[arg-type]
        squared = np.square(points[:, None] - points).sum(-1)
        distances = to_distance(squared, metric)  # type: ignore[arg-type]
        np.testing.assert_allclose(distances, cdist(vectors, vectors, name), atol=1e-12)


def test_a_zero_vector_is_at_a_right_angle_to_all_others() -> None:
    points = unfold(np.array([[0.0, 0.0], [0.0, 0.0], [3.0, -4.0]]), "cosine")
    assert (points @ points.T).tolist() == [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_cosine_distance_stays_within_two() -> None:
    vectors = np.random.default_rng(0).normal(size=(2000, 3))
    squared = np.square(unfold(vectors, "cosine") - unfold(-vectors, "cosine")).sum(-1)
    assert to_distance(squared, "cosine").max() == 2.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_row_that_is_not_finite_is_named(dtype: Any, bad: float) -> None:
    vectors = np.ones((9, 3), dtype=dtype)
    vectors[7, 1] = bad
    with pytest.raises(AsdError, match="query 7 holds NaN, infinity or"):
        checked(vectors, "query")


def test_absurd_values_and_shapes_are_refused() -> None:
    with pytest.raises(AsdError, match="vector 0 holds"):
        checked(np.full((1, 2), 1e101), "vector")
    for shape in ((3,), (3, 0), (1, 2, 3)):
        with pytest.raises(AsdError, match="got an array of shape"):
            checked(np.empty(shape), "vector")


def test_vectors_are_copied_only_where_they_must_be() -> None:
    vectors = np.ones((4, 6), dtype=np.float32)
    assert checked(vectors, "vector") is vectors
    assert checked(vectors[:, ::2], "vector").flags.c_contiguous
    assert checked(vectors.astype(np.int16), "vector").dtype == np.float64
    assert checked(vectors.astype(np.float16), "vector").dtype == np.float32
