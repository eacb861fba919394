"""Measures of detected events, by the field's own libraries: sed_scores_eval and sed_eval (the extra `sed`).

    segment_*       the clip cut into segments of 1 s; a class is active in a segment or not
    event_*         an event is found if its onset is right within 0.2 s, and its offset within 0.2 s or a fifth
                    of its length, whichever is more
    intersection_*  an event is found if at least half of it was detected, in stretches of which it is at least half
    psds1, psds2    polyphonic sound detection scores over all thresholds, scenarios 1 and 2 of DCASE Task 4

F1 and error rates hold at the thresholds given. `segment_f1`, `event_f1` and the error rates count the
detections of all classes alike, the others leave out classes without a true event, and a warning names those.

Sources: Mesaros et al., "Metrics for polyphonic sound event detection", Applied Sciences 6(6), 2016; Bilen et al.,
"A framework for the robust evaluation of sound event detection", ICASSP 2020; Ebbers et al.,
"Threshold-independent evaluation of sound event detection scores", ICASSP 2022.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.core.runtime import imported, log
from asd.sed.cell_metrics import thresholds_of
from asd.sed.tables import STRONG_COLUMNS, cut_to_clips, merge_events
from asd.types import AsdError

SEGMENT_S = 1.0
COLLAR_S = 0.2
COLLAR_RATE = 0.2  # of an event's length
INTERSECTION = {"dtc_threshold": 0.5, "gtc_threshold": 0.5}
PSDS1 = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_st": 1.0}
PSDS2 = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "alpha_st": 1.0}
CROSS_TRIGGERS = {"cttc_threshold": 0.3, "alpha_ct": 0.5}  # of PSDS2; there are none among a single class

Events = dict[str, list[tuple[float, float, str]]]  # clip -> (onset, offset, label), seconds
Scores = Mapping[str, pd.DataFrame]  # clip -> onset, offset (seconds) and a column per class, a row per frame
Numbers = Mapping[str, float]  # of each clip or class


def evaluate_events(scores: Scores, truth: pd.DataFrame, durations_s: Numbers, thresholds: Numbers) -> dict[str, Any]:
    """All measures of one model on the clips of `scores`, whose frames join without gaps.

    The truth has filename, onset, offset, event_label, a row per event; a clip without events may have a row with an
    empty label. A frame is active where its score exceeds the threshold of the class.

    Returns:
        segment_f1, segment_macro_f1, segment_error_rate, segment_roc_auc, segment_map, event_f1, event_macro_f1,
        event_error_rate, intersection_f1, intersection_macro_f1, psds1, psds2; and, of the classes that have an
        event, "classes": {name: {n_events, segment_f1, segment_roc_auc, segment_ap, event_f1, intersection_f1}}.
    """
    classes = _check(scores, durations_s, thresholds)
    lengths_s = {name: float(durations_s[name]) for name in scores}
    events = _true_events(truth, lengths_s, classes)
    known = [name for name, count in _counts(events, classes).items() if count]
    return {
        **_all_classes(events, scores, lengths_s, thresholds, classes),
        **_known_classes(events, scores, lengths_s, thresholds, known),
    }


def _known_classes(
    events: Events, scores: Scores, lengths_s: Numbers, thresholds: Numbers, known: Sequence[str]
) -> dict[str, Any]:
    """What sed_scores_eval measures: of each class that has an event, and of all these."""
    library = _library("sed_scores_eval")
    tables = {name: table[["onset", "offset", *known]] for name, table in scores.items()}
    cut = {name: thresholds[name] for name in known}
    segment, *_ = library.segment_based.fscore(tables, events, lengths_s, cut, segment_length=SEGMENT_S)
    collar = {"onset_collar": COLLAR_S, "offset_collar": COLLAR_S, "offset_collar_rate": COLLAR_RATE}
    event, *_ = library.collar_based.fscore(tables, events, cut, **collar)
    intersection, *_ = library.intersection_based.fscore(tables, events, cut, **INTERSECTION)
    curves = library.segment_based.roc_curve(tables, events, lengths_s, segment_length=SEGMENT_S)
    roc_auc = {name: area(curve[1], curve[0]) for name, curve in curves.items()}
    ap, _ = library.segment_based.average_precision(tables, events, lengths_s, segment_length=SEGMENT_S)
    psds1, *_ = library.intersection_based.psds(tables, events, lengths_s, **PSDS1)
    crossed = CROSS_TRIGGERS if len(known) > 1 else {}
    psds2, *_ = library.intersection_based.psds(tables, events, lengths_s, **PSDS2, **crossed)
    by_class = {
        "segment_f1": segment,
        "segment_roc_auc": roc_auc,
        "segment_ap": ap,
        "event_f1": event,
        "intersection_f1": intersection,
    }
    counts = _counts(events, known)
    return {
        "segment_macro_f1": float(segment["macro_average"]),
        "segment_roc_auc": float(np.mean(list(roc_auc.values()))),
        "segment_map": float(ap["mean"]),
        "event_macro_f1": float(event["macro_average"]),
        "intersection_f1": float(intersection["micro_average"]),
        "intersection_macro_f1": float(intersection["macro_average"]),
        "psds1": float(psds1),
        "psds2": float(psds2),
        "classes": {
            name: {"n_events": counts[name], **{measure: float(values[name]) for measure, values in by_class.items()}}
            for name in known
        },
    }


def area(false_positive_rate: npt.ArrayLike, true_positive_rate: npt.ArrayLike) -> float:
    """Area under a ROC curve whose points lie at the scores that occur; ties count half, as in `asd.metrics.auc`.

    sed_scores_eval draws a staircase, in which a positive and a negative segment of one score count nothing.
    """
    x, y = np.asarray(false_positive_rate, float), np.asarray(true_positive_rate, float)
    order = np.lexsort((y, x))
    return float(np.trapezoid(np.append(0.0, y[order]), np.append(0.0, x[order])))


def _all_classes(
    events: Events, scores: Scores, lengths_s: Numbers, thresholds: Numbers, classes: Sequence[str]
) -> dict[str, float]:
    """What sed_eval measures: of all classes together, those that have no event included."""
    library = _library("sed_eval")
    found = _library("sed_scores_eval.base_modules.detection").scores_to_event_list(dict(scores), dict(thresholds))
    segment = library.sound_event.SegmentBasedMetrics(list(classes), time_resolution=SEGMENT_S)
    event = library.sound_event.EventBasedMetrics(list(classes), t_collar=COLLAR_S, percentage_of_length=COLLAR_RATE)
    for name, true in events.items():
        true_rows, found_rows = _rows(name, true), _rows(name, found[name])
        segment.evaluate(true_rows, found_rows, evaluated_length_seconds=lengths_s[name])
        event.evaluate(true_rows, found_rows)
    return {
        f"{kind}_{measure}": float(value)
        for kind, metrics in (("segment", segment), ("event", event))
        for measure, value in (
            ("f1", np.nan_to_num(metrics.overall_f_measure()["f_measure"])),  # NaN where nothing was detected
            ("error_rate", metrics.overall_error_rate()["error_rate"]),
        )
    }


def _rows(name: str, events: Sequence[tuple[float, float, str]]) -> list[dict[str, Any]]:
    return [
        {"filename": name, "onset": float(onset), "offset": float(offset), "event_label": label}
        for onset, offset, label in events
    ]


def _check(scores: Scores, durations_s: Numbers, thresholds: Numbers) -> list[str]:
    """Classes of the scores; makes sure that every clip has them, a duration and joined frames."""
    if not scores:
        raise AsdError("no clip has scores; score some clips before evaluating")
    classes = list(next(iter(scores.values())).columns[2:])
    thresholds_of(classes, thresholds)
    for name, table in scores.items():
        if list(table.columns) != ["onset", "offset", *classes]:
            raise AsdError(
                f"the scores of {name} have the columns {', '.join(map(str, table.columns))}, those of other clips "
                f"onset, offset, {', '.join(classes)}; score all clips with one model"
            )
        onsets, offsets = table["onset"].to_numpy(), table["offset"].to_numpy()
        if not len(table) or not np.array_equal(onsets[1:], offsets[:-1]) or not (offsets > onsets).all():
            raise AsdError(f"the frames of {name} do not follow each other without a gap; score the clip again")
        if table[classes].isna().any(axis=None):
            raise AsdError(f"a score of {name} is not a number; look for what the model made of this clip")
        if not durations_s.get(name, 0) > 0:
            raise AsdError(f"{name} has scores but no duration; name its length in seconds")
    return classes


def _true_events(truth: pd.DataFrame, durations_s: Numbers, classes: Sequence[str]) -> Events:
    """Events of each clip that has a duration, those of one class that touch merged, as the libraries want them."""
    events: Events = {name: [] for name in durations_s}
    labelled = truth[truth["event_label"].fillna("") != ""]
    for name in labelled["filename"].unique():
        if name not in events:
            raise AsdError(f"the truth has events in {name}, which has no scores; score it, or leave it out")
    if unknown := sorted(set(labelled["event_label"]) - set(classes)):
        raise AsdError(f"the truth has the label {unknown[0]}, the scores only {', '.join(classes)}")
    within = cut_to_clips(merge_events(labelled, "the truth"), durations_s, "the truth")
    for name, onset, offset, label in within[list(STRONG_COLUMNS)].itertuples(index=False):
        if label:
            events[name].append((float(onset), float(offset), label))
    if not any(events.values()):
        raise AsdError("the truth has no event in any clip that was scored, so that nothing can be measured")
    if absent := [name for name, count in _counts(events, classes).items() if not count]:
        log.warning("no true event of %s: left out of everything but micro F1 and error rates", ", ".join(absent))
    return {name: sorted(found) for name, found in events.items()}


def _counts(events: Events, classes: Sequence[str]) -> dict[str, int]:
    labels = [label for found in events.values() for _, _, label in found]
    return {name: labels.count(name) for name in classes}


def _library(name: str) -> Any:
    """One of the extra's libraries; with pandas 3 they install, but fail in the middle."""
    way_out = "run `make setup-sed` and repeat the command with .venv-sed/bin/python in the place of python"
    if int(pd.__version__.split(".")[0]) > 2:
        raise AsdError(f"measures of events need {name}, which does not work with pandas {pd.__version__}; {way_out}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)  # hence setuptools<81
        return imported(name, f"measures of events need {name}, which cannot be imported; {way_out}")
