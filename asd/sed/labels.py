"""Labels of clips as targets of a network, and decisions of a network as events.

Frame k of a clip stands for the time around k x hop_s, half a hop to both sides, as the frames of
`asd.features.logmel.LogMel` do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.types import AsdError

Frames = npt.NDArray[np.float32]  # (frames, classes)


def require_positives(counts: Mapping[str, float], what: str) -> None:
    """Makes sure that there is something to learn, or to measure, of every class.

    Args:
        counts: active clips or frames of each class.
        what: where they were counted, for the sentence.

    Raises:
        AsdError: a class without any.
    """
    empty = [name for name, count in counts.items() if not count > 0]
    if empty:
        raise AsdError(f"{what} has no example of {', '.join(empty)}; label one, or leave the class out with classes=")


def frame_targets(events: pd.DataFrame, classes: Sequence[str], n_frames: int, hop_s: float) -> Frames:
    """Events of one clip as frames (frames, classes): 1 where active, or the value of a soft label.

    An event covers the frames whose middle it covers, and at least the one nearest to its own middle.

    Args:
        events: rows of one clip, times in seconds.
        classes: in the order of the targets.
        n_frames: of the clip.
        hop_s: seconds from frame to frame.
    """
    targets = np.zeros((n_frames, len(classes)), np.float32)
    column = {name: k for k, name in enumerate(classes)}
    values = events["value"] if "value" in events else pd.Series(1.0, events.index)
    for onset, offset, label, value in zip(
        events["onset"], events["offset"], events["event_label"], values, strict=True
    ):
        if label == "":
            continue
        first, end = int(np.ceil(onset / hop_s - 1e-9)), int(np.ceil(offset / hop_s - 1e-9))
        if end <= first:
            first = min(round((onset + offset) / 2 / hop_s), n_frames - 1)
            end = first + 1
        part = targets[first:end, column[label]]
        np.maximum(part, np.float32(value), out=part)
    return targets


def events_of_frames(
    active: npt.NDArray[np.bool_], classes: Sequence[str], hop_s: float, duration_s: float
) -> list[tuple[float, float, str]]:
    """Events (onset, offset, label) of a clip's binary frames (frames, classes), by time.

    Args:
        active: (frames, classes).
        classes: their names.
        hop_s: seconds from frame to frame.
        duration_s: of the clip.
    """
    edges = np.diff(np.pad(active.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    events = []
    for k, name in enumerate(classes):
        starts, ends = np.flatnonzero(edges[:, k] == 1), np.flatnonzero(edges[:, k] == -1)
        for first, end in zip(starts, ends, strict=True):
            onset, offset = max((first - 0.5) * hop_s, 0.0), min((end - 0.5) * hop_s, duration_s)
            events.append((round(onset, 6), round(offset, 6), name))
    return sorted(events)


def clip_targets(names: Sequence[str], classes: Sequence[str]) -> Frames:
    """Labels of one clip as (classes,): 1 where named.

    Args:
        names: labels of the clip.
        classes: in the order of the targets.
    """
    return np.isin(np.asarray(classes), list(names)).astype(np.float32)
