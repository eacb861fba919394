"""A stream of samples to windows that are scored, in memory that does not grow with the stream.

Positions are in samples since the beginning of the stream; samples that were lost count, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]  # (channels, samples), full scale is 1


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of a stream, from its sample `start` on."""

    start: int
    samples: Samples

    @property
    def end(self) -> int:
        """The sample after its last one."""
        return self.start + self.samples.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What comes next."""

    samples: Samples
    recording: str  # name of the file or device
    is_new: bool = False  # it does not belong to what came before
    lost_s: float = 0.0  # seconds that are missing before it
    problem: str = ""  # why they are missing, or why a file is left out; "" where nothing is wrong
    is_whole: bool = False  # nothing that comes later belongs to it


NOTHING: Samples = np.zeros((1, 0), np.float32)


class Windows:
    """Windows of a stream, each as soon as its last sample is there; none reaches across a cut.

    A window has `n_window` samples, the next begins `n_hop` later, and `n_kept` last samples can be asked for, as far
    back as the last cut. The buffer has room for twice as many at least, so that they are moved once per round and lie
    in one piece. `end` is the position of the next sample.
    """

    def __init__(self, n_channels: int, n_window: int, n_hop: int, n_kept: int = 0) -> None:
        self.n_window, self.n_hop, self._n_kept = n_window, n_hop, max(n_kept, n_window + n_hop)
        self.end = self._next = self._fill = 0
        self._buffer = np.zeros((n_channels, 2 * self._n_kept), np.float32)

    def feed(self, samples: Samples) -> Iterator[Window]:
        """The windows that end within the next samples (channels, any number)."""
        for start in range(0, samples.shape[1], self.n_hop):
            self._push(samples[:, start : start + self.n_hop])
            while self._next + self.n_window <= self.end:
                window = self.between(self._next, self._next + self.n_window)
                self._next += self.n_hop
                yield window

    def short(self) -> Window | None:
        """All samples since the last cut where they are too few for a window."""
        left = self.between(0, self.end)
        return left if self._next == left.start < left.end else None

    def cut(self, n_lost: int = 0) -> None:
        """The stream is interrupted; `n_lost` samples are missing here."""
        self._fill = 0
        self.end += n_lost
        self._next = self.end

    def between(self, start: int, stop: int) -> Window:
        """A copy of what is kept of the samples from `start` up to `stop`, which is left out."""
        first = self.end - self._fill
        start, stop = max(start, first), min(stop, self.end)
        return Window(start, self._buffer[:, start - first : max(start, stop) - first].copy())

    def _push(self, samples: Samples) -> None:
        n, kept = samples.shape[1], min(self._n_kept, self._fill)
        if self._fill + n > self._buffer.shape[1]:
            self._buffer[:, :kept] = self._buffer[:, self._fill - kept : self._fill].copy()
            self._fill = kept
        self._buffer[:, self._fill : self._fill + n] = samples
        self._fill += n
        self.end += n
