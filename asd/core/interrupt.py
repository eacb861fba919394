"""Ctrl-C as a wish that is granted where nothing is half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class StopRequest:
    """Within its `with`, the first Ctrl-C only sets `requested`; a second one interrupts at once.

    A step of the optimiser that is interrupted in the middle leaves weights and moments that belong to
    different steps, and nothing to resume from. At the end of the `with`, a wish that nobody has granted
    becomes a `KeyboardInterrupt`. Outside the main thread, or where somebody else listens to Ctrl-C, or
    with `defer=False`, nothing is changed.
    """

    def __init__(self, defer: bool = True) -> None:
        self.requested = False
        self._defer = defer

    def __enter__(self) -> Self:
        self._defer = (
            self._defer
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._defer:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._defer:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.requested and kind is None:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
