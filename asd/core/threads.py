"""Threads that each compute with one: two items at once are done sooner than two halves of one item.

The threads of one calculation wait for each other at every step, and where another process has one of the cores they
wait for that as well, which takes several times as long as one thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")


def on_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Results of all items, in their order; as many threads as torch may use, each with one thread of its own.

    Args:
        work: what is done with an item. Gradients are off in other threads than the first.
        items: what there is to do.

    Raises:
        Exception: the first that an item raised.
    """
    import torch

    n_threads = min(torch.get_num_threads(), len(items))
    with _linear_algebra().limit(limits=1):
        if n_threads > 1:
            with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(work, items))
        with _one_thread():
            return [work(item) for item in items]


@cache
def _linear_algebra() -> ThreadpoolController:
    """The threads of numpy, which belong to the whole process; to look for them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def _one_thread() -> Iterator[None]:
    """The calling thread computes alone meanwhile."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
