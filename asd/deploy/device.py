"""A sound card, which may vanish and return."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from asd.core.runtime import imported, log
from asd.deploy.stream import NOTHING, Piece, Samples

_QUEUED_S = 30  # of sound that may wait for a slow computer
_SILENT_S = 2.0  # without a block from a device: it has gone
_AGAIN_S = 0.5  # between two tries to open it

Take = Callable[[Samples, bool], None]  # a block (channels, n), and whether samples before it were lost


class Device:
    """A sound card, which may vanish and return; `OSError` where it is not there at the beginning.

    Blocks wait in a queue while a window is scored, so none is lost as long as the computer keeps up on average.
    `open_` opens it, and has every block taken from a thread of its own; it gives what has `active` and `close()`, such
    as a `sounddevice.InputStream`, and raises `OSError` while it is not there.
    """

    def __init__(self, name: str, sample_rate_hz: int, open_: Callable[[Take], Any]) -> None:
        self.name, self.rate, self._open = name, sample_rate_hz, open_
        self._queue: queue.Queue[tuple[Samples, bool]] = queue.Queue(round(_QUEUED_S / 0.1))
        self._dropped = False
        self._opened: Any = open_(self._take)  # None while it is away

    def pieces(self) -> Iterator[Piece]:
        """Blocks for ever; where the device was away, a problem as soon as it has gone and a gap when it is back."""
        last_s, problem = time.monotonic(), ""
        while True:
            is_there = self._opened is not None and self._opened.active
            try:
                block, lost = self._queue.get(timeout=_SILENT_S if is_there else _AGAIN_S / 10)
            except queue.Empty:
                if not problem:
                    problem = f"the device {self.name} has gone"
                    yield Piece(NOTHING, self.name, problem=problem)
                self._reopen()
                continue
            now_s = time.monotonic()
            if problem or lost:
                missing = max(0.0, now_s - last_s - block.shape[1] / self.rate)
                yield Piece(block, self.name, True, missing, problem or "the computer was too slow")
            else:
                yield Piece(block, self.name)
            last_s, problem = now_s, ""

    def _take(self, block: Samples, lost: bool) -> None:
        try:
            self._queue.put_nowait((block, lost or self._dropped))
            self._dropped = False
        except queue.Full:
            self._dropped = True

    def _reopen(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        try:
            self._opened = self._open(self._take)
            log.info("the device %s is back", self.name)
        except OSError:
            time.sleep(_AGAIN_S)


def open_sound_card(name: str, n_channels: int, sample_rate_hz: int) -> Callable[[Take], Any]:
    """How a sound card is opened, by its name, a part of it or its number: all there is to know of the library."""
    sounddevice = imported(
        "sounddevice",
        f"input={name} is no file and no folder, and a sound card needs sounddevice and libportaudio2; "
        f"pip install 'asd[stream]'",
    )

    def opened(take: Take) -> Any:
        def callback(block: Any, n: int, when: Any, status: Any) -> None:
            take(np.ascontiguousarray(block.T), bool(status.input_overflow))

        try:
            sounddevice._terminate()  # what is plugged in is looked for again
            sounddevice._initialize()
            stream = sounddevice.InputStream(
                samplerate=sample_rate_hz,
                blocksize=sample_rate_hz // 10,
                device=int(name) if name.isdecimal() else name,
                channels=n_channels,
                dtype="float32",
                callback=callback,
            )
            stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            names = [device["name"] for device in sounddevice.query_devices() if device["max_input_channels"]]
            raise OSError(
                f"input={name} is no file, no folder and no sound card that records at {sample_rate_hz} Hz ({error}); "
                f"sound cards here: {', '.join(names) or 'none'}"
            ) from error
        return stream

    return opened
