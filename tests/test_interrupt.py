from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from asd.core.files import load_tensors, save_tensors
from asd.core.runtime import interrupt_noted


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def within(defer: bool, *body: Callable[[], object]) -> list[int]:
    """Runs `body` in an `interrupt_noted`; how many of them came to their end before the interrupt."""
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        _run(defer, body, done)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return done


def _run(defer: bool, body: Sequence[Callable[[], object]], done: list[int]) -> None:
    with interrupt_noted(defer):
        for k, call in enumerate(body):
            call()
            done.append(k)


def test_the_first_wish_waits_and_the_second_does_not() -> None:
    assert within(True, ctrl_c, ctrl_c) == [0]


def test_a_wish_that_nobody_granted_is_not_forgotten() -> None:
    assert within(True, ctrl_c) == [0]


def test_told_not_to_wait_it_interrupts_at_once() -> None:
    assert within(False, ctrl_c) == []


def test_an_error_is_not_hidden_by_a_wish() -> None:
    with pytest.raises(ZeroDivisionError):
        _run(True, [ctrl_c, lambda: 1 / 0], [])


def test_other_threads_and_other_listeners_are_left_alone() -> None:
    heard = []
    thread = threading.Thread(target=lambda: heard.append(interrupt_noted().__enter__().is_set()))
    thread.start()
    thread.join()
    assert heard == [False]
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    try:
        with interrupt_noted() as stop:
            ctrl_c()
        assert (heard, stop.is_set()) == ([False, True], False)
    finally:
        signal.signal(signal.SIGINT, before)


def test_tensors_are_not_called_damaged_where_somebody_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tensors(tmp_path / "bank.safetensors", {"bank": torch.ones(3)})
    as_tensor = torch.asarray  # which safetensors calls, and which makes another error of the interrupt

    def interrupted(*args: object, **options: object) -> torch.Tensor:
        try:
            ctrl_c()
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object type") from None
        return as_tensor(*args, **options)

    monkeypatch.setattr(torch, "asarray", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_tensors(tmp_path / "bank.safetensors")
