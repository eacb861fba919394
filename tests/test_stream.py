"""Windows of a stream are those of the whole recording, however it arrives, in memory that does not grow."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asd.deploy.stream import Windows

pieces = st.lists(st.integers(0, 70), max_size=30)


@given(pieces, st.integers(1, 40), st.integers(1, 50), st.integers(0, 60), st.integers(1, 2))
def test_windows_are_slices_of_the_whole_whatever_the_pieces(
    sizes: list[int], n_window: int, n_hop: int, n_kept: int, n_channels: int
) -> None:
    whole = np.arange(n_channels * sum(sizes), dtype=np.float32).reshape(n_channels, -1)
    windows = Windows(n_channels, n_window, n_hop, n_kept)
    found, at = [], 0
    for size in sizes:
        found += list(windows.feed(whole[:, at : at + size]))
        at += size
        kept = windows.between(at - n_kept, at)
        np.testing.assert_array_equal(kept.samples, whole[:, max(0, at - n_kept) : at])
    starts = range(0, whole.shape[1] - n_window + 1, n_hop)
    assert [window.start for window in found] == list(starts)
    for window in found:
        np.testing.assert_array_equal(window.samples, whole[:, window.start : window.end])


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9), st.integers(1, 20), st.integers(1, 30))
def test_no_window_reaches_across_a_cut_and_positions_count_what_was_lost(
    before: int, after: int, n_lost: int, n_window: int, n_hop: int
) -> None:
    windows = Windows(1, n_window, n_hop)
    first = list(windows.feed(np.ones((1, before), np.float32)))
    short = windows.short()
    windows.cut(n_lost)
    assert (short is not None) == (0 < before < n_window)
    assert short is None or (short.start, short.end) == (0, before)
    second = list(windows.feed(np.full((1, after), 2, np.float32)))
    assert all((window.samples == 1).all() for window in first)
    assert all((window.samples == 2).all() for window in second)
    assert [window.start for window in second] == [
        before + n_lost + start for start in range(0, after - n_window + 1, n_hop)
    ]


def test_memory_does_not_grow_with_the_stream() -> None:
    windows, block = Windows(1, 16000, 4000, 16000), np.zeros((1, 1600), np.float32)
    tracemalloc.start()
    for minute in range(20):
        for _ in range(600):
            for _window in windows.feed(block):
                pass
        if minute == 1:
            early, _ = tracemalloc.get_traced_memory()
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert late <= early + 4096
