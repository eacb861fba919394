"""Tables of labels in the forms of the field: read, checked, joined with the recordings that they label.

All are tab-separated with a header line; times are seconds from the beginning of the clip.

    strong   filename onset offset event_label          a row per event (DESED)
    weak     filename event_labels                      names with commas between them (DESED)
    soft     filename onset offset event_label value    share of listeners who heard it (MAESTRO, segments of 1 s)

A clip without an event has a row with its name alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from asd.core.runtime import log
from asd.places import recording_key, unmatched
from asd.types import AsdError

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")
WEAK_COLUMNS = ("filename", "event_labels")
SOFT_COLUMNS = (*STRONG_COLUMNS, "value")

_ROUNDING_S = 1e-3  # tables are written to the millisecond, so that a label may end so much after its clip


def read_strong(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Events of a strong table: `STRONG_COLUMNS`; a clip without events has an empty label and NaN for times."""
    table = _read(path, STRONG_COLUMNS)
    _check_events(table, classes, path)
    return table


def read_soft(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Segments of a soft table: `SOFT_COLUMNS`, values from 0 to 1; a row that stands twice counts once."""
    table = _read(path, SOFT_COLUMNS)
    segments = table[table["event_label"] != ""]
    if len(bad := segments[~segments["value"].between(0, 1)]):
        raise AsdError(f"{_row(path, bad)} has the value {bad['value'].iloc[0]}; soft labels lie from 0 to 1")
    _check_events(table, classes, path)
    once = table.drop_duplicates()
    if len(once) < len(table):
        log.warning("%s: %d rows stand there twice and count once", path, len(table) - len(once))
    return once


def read_weak(path: Path, classes: Sequence[str]) -> dict[str, list[str]]:
    """Labels of each clip of a weak table, [] where there is no event; rows of one clip are merged."""
    table = _read(path, WEAK_COLUMNS)
    labels = table["event_labels"].map(lambda cell: split_labels(cell, classes))
    _check_labels(labels.explode().dropna(), classes, path)
    if len(again := table.loc[table["filename"].duplicated(), "filename"]):
        message = "%s: %d clips have several rows, %s first; their labels are merged"
        log.warning(message, path, again.nunique(), again.iloc[0])
    by_clip = labels.groupby(table["filename"], sort=False)
    return {str(name): list(dict.fromkeys(chain(*rows))) for name, rows in by_clip}


def labels_of(path: Path, known: Iterable[str] = ()) -> set[str]:
    """Every label that a table names, strong, soft or weak; a weak one may name `known` labels with commas in them."""
    weak = path.stem == "train_weak"
    cells = _read(path, WEAK_COLUMNS if weak else STRONG_COLUMNS).iloc[:, -1]
    return {label for cell in cells for label in (split_labels(cell, known) if weak else [cell]) if label}


def split_labels(cell: str, known: Iterable[str]) -> list[str]:
    """Labels with commas between them; the longest run of parts that is a known label is one label.

    >>> split_labels("Male speech, man speaking,Dog", ["Male speech, man speaking"])
    ['Male speech, man speaking', 'Dog']
    """
    of_parts = {_parts(label): label for label in known}
    parts, labels = _parts(cell), []
    while parts:
        length = next((n for n in range(len(parts), 1, -1) if parts[:n] in of_parts), 1)
        labels.append(of_parts.get(parts[:length], parts[0]))
        parts = parts[length:]
    return labels


def merge_events(events: pd.DataFrame, where: Path | str) -> pd.DataFrame:
    """Events of one class in one clip that overlap or touch, as one; the log says how many were merged.

    Rows without a label are kept.
    """
    times = events.astype({"onset": float, "offset": float})
    by_time = times.sort_values(["filename", "event_label", "onset"])
    ends = by_time.groupby(["filename", "event_label"], sort=False)["offset"]
    before = ends.cummax().groupby([by_time["filename"], by_time["event_label"]]).shift()
    first = ~(by_time["onset"] <= before)  # True where either is NaN
    groups = first.cumsum()
    merged = by_time[first].assign(offset=by_time.groupby(groups)["offset"].max().to_numpy())
    if len(merged) < len(events):
        what = "%s: %d events overlap or touch an earlier one of their class and count as one with it"
        log.warning(what, where, len(events) - len(merged))
    return merged.sort_index()


def cut_to_clips(events: pd.DataFrame, durations_s: Mapping[str, float], where: Path | str) -> pd.DataFrame:
    """Events cut at the end of their clip; one that begins after it is dropped. The log names the first."""
    ends_s = events["filename"].map(dict(durations_s)).astype(float)
    if len(late := events[events["offset"] > ends_s + _ROUNDING_S]):
        name, onset, offset, label = late.iloc[0][list(STRONG_COLUMNS)]
        log.warning(
            "%s: %d of %d labels reach beyond the end of their recording and are cut to it; the first is %s in %s, "
            "from %g to %g s of %.3f s",
            where, len(late), int((events["event_label"] != "").sum()), label, name, onset, offset, durations_s[name],
        )  # fmt: skip
    cut = events.assign(offset=np.minimum(events["offset"], ends_s))
    outside = (events["onset"] >= ends_s) & (events["event_label"] != "")
    emptied = sorted(set(events["filename"][outside]) - set(events["filename"][~outside]))
    empty = pd.DataFrame({"filename": emptied, "event_label": ""}).reindex(columns=events.columns)
    kept = cut[~outside]
    return pd.concat([kept, empty.astype(kept.dtypes)], ignore_index=True) if emptied else kept


def join_names(named: Iterable[str], filenames: Sequence[str], table: Path) -> dict[str, str]:
    """Which recording each name of a table means: {name: file name}.

    Names that no recording has are left out, counted and named in the log: recordings of public data sets are
    often no longer to be had. Every recording has to be named: a clip without events has to be labelled, too.
    `AsdError` for a recording without a row, no row with a recording, or recordings of one name in two folders.
    """
    by_key = {recording_key(name): name for name in filenames}
    folder_of_table = table.with_suffix("")
    named = list(dict.fromkeys(named))
    _check_folders(named, table)
    meant = {name: by_key[recording_key(name)] for name in named if recording_key(name) in by_key}
    absent, missing = unmatched(named, filenames), unmatched(filenames, named)
    if absent and not meant:
        raise AsdError(f"{table} labels {absent[0]}, which is not in {folder_of_table}, and nothing that is")
    if missing:
        raise AsdError(
            f"{table} has no row for {missing[0]} ({len(missing)} such clips); a clip without events needs a row "
            f"with its file name alone"
        )
    if absent:
        log.warning(
            "%s labels %d clips that are not in %s, %s first; their rows are left out",
            table, len({recording_key(name) for name in absent}), folder_of_table, absent[0],
        )  # fmt: skip
    return meant


def _check_folders(named: Sequence[str], table: Path) -> None:
    """Makes sure that no two folders hold recordings of one name, which would be taken for one recording."""
    folders: dict[str, str] = {}
    for name in named:
        key, folder = recording_key(name), name.replace("\\", "/").rpartition("/")[0].strip()
        folders[key] = folders.get(key) or folder
        if folder and folder != folders[key]:
            raise AsdError(f"{table} names {key} in the folders {folders[key]} and {folder}; leave one of them out")


def _parts(label: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in label.split(",") if part.strip())


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The columns of a table, in composed Unicode without outer spaces; the index is the line in the file."""
    try:
        table = pd.read_csv(  # the header as a row: pandas would rename a column that is there twice
            path, sep="\t", dtype=str, header=None, keep_default_na=False, skip_blank_lines=False, encoding="utf-8-sig"
        ).fillna("")
    except FileNotFoundError as error:
        raise AsdError(f"{path} does not exist; it is to hold the columns {', '.join(columns)}") from error
    except (OSError, ValueError) as error:
        raise AsdError(
            f"{path} is not a readable table ({' '.join(str(error).split())}); save it as UTF-8 text with tabs "
            f"between the columns"
        ) from error
    table.index += 1  # the header is line 1
    # The recipes of DCASE 2024 call the value a confidence.
    header = ["value" if name == "confidence" else name for name in table.iloc[0].str.strip()]
    table = table.set_axis(header, axis=1).iloc[1:]
    if (twice := table.columns[table.columns.duplicated() & (table.columns != "")]).size:
        raise AsdError(f"{path} has the column {twice[0]} twice (confidence means value); remove one")
    if missing := [name for name in columns if name not in table.columns]:
        raise AsdError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}: give a header "
            f"line of {', '.join(columns)} with tabs between them"
        )
    table = table[list(columns)].apply(lambda column: column.str.normalize("NFC").str.strip())
    table = table[(table != "").any(axis=1)]  # blank lines
    if len(nameless := table[table["filename"] == ""]):
        raise AsdError(f"{_row(path, nameless)} names no recording; give its file name in the first column")
    for name in set(columns) & {"onset", "offset", "value"}:
        numbers = pd.to_numeric(table[name].replace("", np.nan), errors="coerce").astype(float)
        if len(wrong := table[numbers.isna() & (table[name] != "")]):
            raise AsdError(f"{_row(path, wrong)} has the {name} {wrong[name].iloc[0]!r}; write a number, such as 0.5")
        table[name] = numbers
    return table


def _row(path: Path, rows: pd.DataFrame) -> str:
    """Where the first of the rows stands in the file."""
    return f"{path}, line {int(rows.index[0])}"


def _check_events(table: pd.DataFrame, classes: Sequence[str], path: Path) -> None:
    events = table[table["event_label"] != ""]
    _check_labels(events["event_label"], classes, path)
    bad = events[~((events["onset"] >= 0) & (events["offset"] > events["onset"]))]
    bad = bad if len(bad) else events[np.isinf(events["offset"])]
    if len(bad):
        raise AsdError(
            f"{_row(path, bad)}: an event from {bad['onset'].iloc[0]} to {bad['offset'].iloc[0]} s; its onset "
            f"is a number from 0 on and its offset lies after it"
        )
    if len(timed := table[(table["event_label"] == "") & table[["onset", "offset"]].notna().any(axis=1)]):
        raise AsdError(f"{_row(path, timed)} has times but no label; name the event, or remove the times")


def _check_labels(labels: pd.Series, classes: Sequence[str], path: Path) -> None:
    if len(unknown := labels[~labels.isin(list(classes))]):
        raise AsdError(
            f"{_row(path, unknown.to_frame())} has the label {unknown.iloc[0]!r}, which is none of the classes "
            f"{', '.join(classes)}; correct it, or name it in classes="
        )
