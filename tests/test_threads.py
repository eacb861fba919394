from __future__ import annotations

import multiprocessing
import os
import threading

import pytest
import torch
from threadpoolctl import threadpool_info

from asd.core.runtime import on_threads


@pytest.mark.parametrize("n_items", [0, 1, 7])
def test_results_come_in_the_order_of_the_items(two_threads: None, n_items: int) -> None:
    assert on_threads(lambda i: i * i, range(n_items)) == [i * i for i in range(n_items)]


def test_two_items_are_worked_on_at_once(two_threads: None) -> None:
    both = threading.Barrier(2, timeout=20)
    assert sorted(on_threads(lambda _: both.wait(), range(2))) == [0, 1]


def test_a_forked_process_has_one_thread_and_does_not_wait_for_those_of_the_first(two_threads: None) -> None:
    def compute() -> None:
        torch.rand(2000, 2000).exp().sum()

    compute()
    child = multiprocessing.get_context("fork").Process(
        target=lambda: (compute(), os._exit(torch.get_num_threads() + 6))
    )
    child.start()
    child.join(60)
    child.kill()
    assert child.exitcode == 7


def test_little_work_stays_on_this_thread(two_threads: None) -> None:
    assert {*on_threads(lambda _: threading.get_ident(), range(9), most=1)} == {threading.get_ident()}


@pytest.mark.parametrize("n_items", [1, 3])
def test_each_thread_computes_alone_and_all_is_as_before(two_threads: None, n_items: int) -> None:
    def threads(_: int) -> set[int]:
        blas = {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}
        return {torch.get_num_threads(), *blas}

    before = threads(0)
    assert on_threads(threads, range(n_items)) == [{1}] * n_items
    assert threads(0) == before


def test_what_an_item_raises_is_raised(two_threads: None) -> None:
    with pytest.raises(ZeroDivisionError):
        on_threads(lambda i: 1 / i, [1, 0])
    assert torch.get_num_threads() == 2
