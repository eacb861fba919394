"""Who was heard when: tables of labels in the forms of the field, checked, and as frames.

All are tab-separated with a header line; times are seconds from the beginning of the clip.

    strong   filename onset offset event_label          a row per event (DESED)
    weak     filename event_labels                      names with commas between them (DESED)
    soft     filename onset offset event_label value    a part of the listeners heard it (MAESTRO, in 1 s segments)

A clip in which nothing is heard has a row with its name alone. Frame k of a clip stands for the time around
k x hop_s, half a hop to both sides, as the frames of `asd.features.logmel.LogMel` do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.types import AsdError

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")
WEAK_COLUMNS = ("filename", "event_labels")
SOFT_COLUMNS = (*STRONG_COLUMNS, "value")

Frames = npt.NDArray[np.float32]  # (frames, classes)


def read_strong(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Events of a strong table: `STRONG_COLUMNS`; a silent clip's row has an empty label and NaN for times.

    Raises:
        AsdError: a missing file or column, a label outside `classes`, or times that are no event's.
    """
    table = _read(path, STRONG_COLUMNS)
    events = table[table["event_label"] != ""]
    _check_labels(events["event_label"], classes, path)
    _check_times(events, path)
    _check_overlaps(events, path)
    return table


def read_soft(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Segments of a soft table: `SOFT_COLUMNS`, values from 0 to 1.

    Raises:
        AsdError: as `read_strong`, or a value out of range.
    """
    table = _read(path, SOFT_COLUMNS)
    segments = table[table["event_label"] != ""]
    bad = segments[~segments["value"].between(0, 1)]
    if len(bad):
        raise AsdError(f"{_row(path, bad)} has the value {bad['value'].iloc[0]}; soft labels lie from 0 to 1")
    _check_labels(segments["event_label"], classes, path)
    _check_times(segments, path)
    _check_overlaps(segments, path)
    return table


def read_weak(path: Path, classes: Sequence[str]) -> dict[str, list[str]]:
    """Labels of each clip of a weak table, [] where nothing is heard.

    Raises:
        AsdError: a missing file or column, a clip named twice, or a label outside `classes`.
    """
    table = _read(path, WEAK_COLUMNS)
    twice = table[table["filename"].duplicated()]
    if len(twice):
        raise AsdError(f"{_row(path, twice)} names {twice['filename'].iloc[0]} again; give each clip one row")
    labels = [[name.strip() for name in names.split(",") if name.strip()] for names in table["event_labels"]]
    flat = pd.Series([name for names in labels for name in names], dtype=str)
    rows = [row for row, names in zip(table.index, labels, strict=True) for _ in names]
    _check_labels(flat.set_axis(rows), classes, path)
    return dict(zip(table["filename"], labels, strict=True))


def check_within(events: pd.DataFrame, durations_s: Mapping[str, float], path: Path) -> None:
    """Makes sure that every event begins before its clip ends; every clip has a duration.

    Raises:
        AsdError: one does not.
    """
    lengths_s = events["filename"].map(dict(durations_s))
    late = events[events["onset"] >= lengths_s]
    if len(late):
        name, onset, label = late[["filename", "onset", "event_label"]].iloc[0]
        raise AsdError(
            f"{_row(path, late)}: {label} begins at {onset} s, but {name} ends at {durations_s[name]:.3f} s; "
            f"correct the table or the recording"
        )


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
        raise AsdError(
            f"{what} has no example of {', '.join(empty)}; label one, or leave the class out with classes="
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


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise AsdError(f"{path} does not exist; it is to hold the columns {', '.join(columns)}") from error
    except (OSError, ValueError) as error:
        raise AsdError(f"{path} is not a readable table ({' '.join(str(error).split())})") from error
    table = table.rename(columns={"confidence": "value"})  # as the recipes of DCASE 2024 call it
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise AsdError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}: give a header "
            f"line of {', '.join(columns)} with tabs between them"
        )
    for name in set(columns) & {"onset", "offset", "value"}:
        table[name] = pd.to_numeric(table[name].replace("", np.nan), errors="coerce").astype(float)
    return table[list(columns)]


def _row(path: Path, rows: pd.DataFrame) -> str:
    """Where the first of the rows stands in the file, whose header is line 1."""
    return f"{path}, line {int(rows.index[0]) + 2}"


def _check_labels(labels: pd.Series, classes: Sequence[str], path: Path) -> None:
    unknown = labels[~labels.isin(list(classes))]
    if len(unknown):
        raise AsdError(
            f"{_row(path, unknown.to_frame())} has the label {unknown.iloc[0]!r}, which is none of the classes "
            f"{', '.join(classes)}; correct it, or name it in classes="
        )


def _check_times(events: pd.DataFrame, path: Path) -> None:
    bad = events[~((events["onset"] >= 0) & (events["offset"] > events["onset"]))]
    if len(bad):
        raise AsdError(
            f"{_row(path, bad)}: an event from {bad['onset'].iloc[0]} to {bad['offset'].iloc[0]} s; its onset "
            f"is a number from 0 on and its offset lies after it"
        )


def _check_overlaps(events: pd.DataFrame, path: Path) -> None:
    by_time = events.sort_values("onset", kind="stable")
    for (name, label), group in by_time.groupby(["filename", "event_label"], sort=False):
        times = zip(group["onset"], group["offset"], strict=True)
        for (onset, offset), (later, end) in pairwise(times):
            if later < offset - 1e-9:
                raise AsdError(
                    f"{path}: {label} in {name} lasts from {onset} to {offset} s and again from {later} to "
                    f"{end} s; merge events of one class that overlap"
                )
