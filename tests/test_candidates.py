"""Candidates of asd.scoring.neighbours against whole numbers, whose distances are exact."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asd.scoring.neighbours import nearest_candidates


@given(
    n=st.integers(2, 30),
    k=st.integers(1, 4),
    side=st.integers(0, 5),
    away=st.sampled_from([0, 10**3, 10**7]),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_whatever_rounding_hides_the_nearest_are_among_them(
    n: int, k: int, side: int, away: int, weighted: bool, seed: int
) -> None:
    """Far from the origin the product loses what is near: it has to give more candidates, once each."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-side, side + 1, (n, 3)) + away
    factors = 4.0 ** rng.integers(0, 3, n) if weighted else np.ones(n)
    exclude = rng.permutation(n)
    k = min(k, n - 1)
    floats = rows.astype(np.float64)
    lengths = np.square(floats).sum(1)
    found = nearest_candidates(floats, floats, k, lengths, factors if weighted else None, exclude)
    exact = np.square(rows[:, None] - rows).sum(2) * factors
    for point, (own, candidates) in enumerate(zip(exact, found, strict=True)):
        real = candidates[candidates >= 0].tolist()
        assert len({*real}) == len(real)
        assert exclude[point] not in real
        others = np.delete(own, exclude[point])
        assert np.sort(own[real])[:k].tolist() == np.sort(others)[:k].tolist()


def test_what_is_clear_gives_no_more_than_wanted() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 8))
    assert nearest_candidates(rows, rows, 3, np.square(rows).sum(1)).shape == (50, 3)
