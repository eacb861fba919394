"""Windows of recordings as recordings of their own: a row per window in a bank, instead of one per clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.data.audio import Waveform
from asd.data.recordings import Recordings


@dataclass(frozen=True)
class WindowedRecordings(Recordings):
    """Recordings whose items are windows of clips: clips and sounds stand once for every window.

    Args:
        spans: (start, stop) in samples of each window, in its clip.
    """

    spans: tuple[tuple[int, int], ...] = ()

    @property
    def lengths_samples(self) -> npt.NDArray[np.int64]:
        """Length of each window, (windows,)."""
        return np.array([stop - start for start, stop in self.spans], np.int64)

    def recorded(self, index: int) -> Waveform:
        """The microphones of window `index`, (channels, samples), with what is mixed in."""
        start, stop = self.spans[index]
        return super().recorded(index)[:, start:stop]

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> WindowedRecordings:
        """Some of the windows, in the order given."""
        chosen = super().subset(indices)
        return replace(chosen, spans=tuple(self.spans[int(i)] for i in indices))  # type: ignore[call-arg, return-value]

    def key(self) -> list[Any]:
        """What decides the waveforms, for the key of a cache."""
        return [*super().key(), self.spans]


def windows_of(recordings: Recordings, n_samples: int) -> tuple[WindowedRecordings, npt.NDArray[np.int64]]:
    """The fewest windows that cover each clip, evenly spaced; a shorter clip is one window.

    Args:
        recordings: clips of any length.
        n_samples: length of a window.

    Returns:
        The windows, clip after clip, and the number of the clip of each, (windows,).
    """
    spans, owner = [], []
    for clip, length in enumerate(recordings.lengths_samples.tolist()):
        size = min(n_samples, length)
        count = -(-length // size)
        for start in np.linspace(0, length - size, count).round().astype(int).tolist():
            spans.append((start, start + size))
            owner.append(clip)
    clips = recordings.subset(owner)
    fields = {name: getattr(clips, name) for name in Recordings.__dataclass_fields__}
    return WindowedRecordings(**fields, spans=tuple(spans)), np.array(owner, np.int64)
