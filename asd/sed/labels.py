"""Labels of clips as targets of a network, and decisions of a network as events.

Probabilities become events by a median filter and a threshold per class, both found on validation; nothing here ever
sees the test. The filter smooths the probabilities, which then are the scores that files hold and metrics start from.

Frame k of a clip stands for the time around k x hop_s, half a hop to both sides, as the frames of
`asd.features.logmel.LogMel` do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn.functional import max_pool1d

from asd.core.semi import median_filter
from asd.types import AsdError

Frames = npt.NDArray[np.float32]  # (frames, classes)

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))
WINDOWS_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
COLLAR_S = 0.2  # how far an onset may be off, as in the event-based measures


def require_positives(classes: Sequence[str], counts: Iterable[float], what: str) -> None:
    """Makes sure that there is something to learn, or to measure, of every class."""
    if empty := [name for name, count in zip(classes, counts, strict=True) if not count > 0]:
        raise AsdError(
            f"{what} has no example of {', '.join(empty)}; label one, or take the class out of the tables and classes="
        )


def frame_targets(events: pd.DataFrame, classes: Sequence[str], n_frames: int, hop_s: float) -> Frames:
    """Events of one clip as frames (frames, classes): 1 where active, or the value of a soft label.

    An event covers the frames whose middle it covers, and at least the one nearest to its own middle.
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
    """Events (onset, offset, label) of a clip's binary frames (frames, classes), by time."""
    edges = np.diff(np.pad(active.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    events = []
    for k, name in enumerate(classes):
        starts, ends = np.flatnonzero(edges[:, k] == 1), np.flatnonzero(edges[:, k] == -1)
        for first, end in zip(starts, ends, strict=True):
            onset, offset = max((first - 0.5) * hop_s, 0.0), min((end - 0.5) * hop_s, duration_s)
            events.append((round(onset, 6), round(offset, 6), name))
    return sorted(events)


def clip_targets(names: Sequence[str], classes: Sequence[str]) -> Frames:
    """Labels of one clip as (classes,): 1 where named."""
    return np.isin(np.asarray(classes), list(names)).astype(np.float32)


@dataclass(frozen=True)
class Decoding:
    """How scores of each class become decisions."""

    windows_frames: Mapping[str, int]  # odd length of the median filter, by class
    thresholds: Mapping[str, float]  # a class is active where its score exceeds it

    def smooth(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Scores (clips, frames, classes)."""
        return median_filter(probabilities, list(self.windows_frames.values()))

    def active(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
        """Decisions (..., classes) of smoothed scores."""
        return np.asarray(scores > np.asarray(list(self.thresholds.values())), np.bool_)


def tune(
    probabilities: torch.Tensor, targets: torch.Tensor, padding: torch.Tensor, classes: Sequence[str], hop_s: float
) -> Decoding:
    """The window and the threshold of each class that do best on validation clips.

    Best is the largest mean of two F1: of frames, and of onsets within `COLLAR_S`. The first alone does not
    mind an event in splinters, the second alone not when it ends. Among equals the shortest window and the
    threshold nearest to 0.5 win. Probabilities and targets (0 or 1) are (clips, frames, classes), padding (clips,
    frames) is True where a clip is over.
    """
    truth = (targets > 0.5) & ~padding.unsqueeze(-1)
    require_positives(classes, truth.sum((0, 1)).tolist(), "the validation part")
    windows = list(dict.fromkeys(2 * round(window_s / hop_s / 2) + 1 for window_s in WINDOWS_S))
    thresholds = sorted(THRESHOLDS, key=lambda threshold: abs(threshold - 0.5))
    results = []
    for window in windows:
        smoothed = median_filter(probabilities, [window] * len(classes))
        for threshold in thresholds:
            active = (smoothed > threshold) & ~padding.unsqueeze(-1)
            results.append(_merit(active, truth, max(round(COLLAR_S / hop_s), 1)))
    pairs = [divmod(k, len(thresholds)) for k in torch.stack(results).argmax(0).tolist()]  # the first of equals
    return Decoding(
        {name: windows[i] for name, (i, _) in zip(classes, pairs, strict=True)},
        {name: thresholds[j] for name, (_, j) in zip(classes, pairs, strict=True)},
    )


def _merit(active: torch.Tensor, truth: torch.Tensor, collar_frames: int) -> torch.Tensor:
    """Mean of frame F1 and onset F1 of decisions (clips, frames, classes), (classes,) in float64."""
    frames = _f1((active & truth).sum((0, 1)), active.sum((0, 1)), truth.sum((0, 1)))
    predicted, true = _onsets(active), _onsets(truth)
    # Each side counts its own hits, so that two onsets near one true one are not both right.
    found = (true & _near(predicted, collar_frames)).sum((0, 1))
    right = (predicted & _near(true, collar_frames)).sum((0, 1))
    onsets = _f1(torch.minimum(found, right), predicted.sum((0, 1)), true.sum((0, 1)))
    return (frames + onsets) / 2


def _f1(hits: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return 2 * hits.double() / (predicted + true).clamp_min(1)


def _onsets(mask: torch.Tensor) -> torch.Tensor:
    before = torch.zeros_like(mask[:, :1])
    return mask & ~torch.cat([before, mask[:, :-1]], 1)


def _near(mask: torch.Tensor, collar_frames: int) -> torch.Tensor:
    """Where the mask is True within so many frames."""
    spread = max_pool1d(mask.transpose(1, 2).float(), 2 * collar_frames + 1, 1, collar_frames)
    return spread.transpose(1, 2) > 0
