"""Windows of recordings: long ones are learnt from, and scored, as several clips.

A few long recordings are a small bank of nearly equal vectors, and what happens in a second is lost in their means.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asd.core.runtime import log
from asd.data.recordings import Recordings
from asd.types import AsdError

LONGEST_S = 60.0  # a recording of more is no clip
HARDLY_LONGER = 1.05  # than a window, and no reason to cut
CLIP_S = 10.0  # what it is cut into where all are as long
_SHORTER = 0.05  # share of the training clips that may be shorter than a window
_SHORTEST = 0.25  # of the median length: windows are no shorter, whatever a few clips are


def usual_window(lengths: npt.NDArray[np.int64]) -> int:
    """Samples of the windows into which clips are cut, by the lengths of the training clips (clips,), in samples."""
    return int(max(np.quantile(lengths, _SHORTER, method="lower"), _SHORTEST * np.median(lengths)))


def clip_means(values: npt.NDArray[np.float64], owner: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Means over the windows of each clip: (windows, ...) -> (clips, ...)."""
    counts = np.bincount(owner)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))


def like_clips(recordings: Recordings, known: Recordings) -> Recordings:
    """Recordings to learn from besides known clips; what is longer than all of these is cut into windows."""
    return recordings.windows(int(known.lengths_samples.max()), HARDLY_LONGER)[0]


def as_clips(recordings: Recordings, machine: str) -> Recordings:
    """Recordings to learn from, those of more than a minute in windows, as long as the longest other or ten seconds."""
    durations_s = recordings.durations_s
    is_clip = durations_s <= LONGEST_S
    if is_clip.all():
        return recordings
    clip_s = float(durations_s[is_clip].max(initial=0.0)) or CLIP_S
    clips = recordings.windows(round(clip_s * recordings.sample_rate_hz))[0]
    log.info(
        "%s: %d of %d recordings last more than %g s and are learnt from in windows of %.3g s; window_s= sets another",
        *(machine, (~is_clip).sum(), len(recordings), LONGEST_S, clip_s),
    )
    return clips


def check_lengths(recordings: Recordings, least_samples: int) -> None:
    """Refuses recordings that are shorter than a detector can use."""
    for clip, sound in recordings.pairs:
        if (n := sound.n_samples) < least_samples:
            raise AsdError(f"{clip.path} has {n} samples, the detector needs {least_samples} at least; leave it out")
