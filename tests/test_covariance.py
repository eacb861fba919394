from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from asd.scoring.covariance import streamed_ledoit_wolf


@settings(derandomize=True, deadline=None, max_examples=30)
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
