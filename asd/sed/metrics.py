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
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.core.runtime import imported, log
from asd.sed.tables import STRONG_COLUMNS, merge_events
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


def evaluate_events(scores: Scores, truth: pd.DataFrame, lengths_s: Numbers, thresholds: Numbers) -> dict[str, Any]:
    """All measures of one model on the clips of `scores`, whose frames join without gaps.

    The truth has filename, onset, offset, event_label, a row per event within one of these clips; a clip without events
    may have a row with an empty label. A frame is active where its score exceeds the threshold of the class.

    Returns:
        segment_f1, segment_macro_f1, segment_error_rate, segment_roc_auc, segment_map, event_f1, event_macro_f1,
        event_error_rate, intersection_f1, intersection_macro_f1, psds1, psds2; and, of the classes that have an
        event, "classes": {name: {n_events, segment_f1, segment_roc_auc, segment_ap, event_f1, intersection_f1}}.
    """
    events: Events = {name: [] for name in scores}
    labelled = merge_events(truth[truth["event_label"] != ""], "the truth")
    for name, *event in sorted(labelled[list(STRONG_COLUMNS)].itertuples(index=False, name=None)):
        events[name].append(tuple(event))
    labels = Counter(label for found in events.values() for _, _, label in found)
    if absent := [name for name in thresholds if name not in labels]:
        log.warning("no true event of %s: left out of everything but micro F1 and error rates", ", ".join(absent))
    counts = {name: labels[name] for name in thresholds if name in labels}
    return {
        **_all_classes(events, scores, lengths_s, thresholds),
        **_known_classes(events, scores, lengths_s, thresholds, counts),
    }


def _known_classes(
    events: Events, scores: Scores, lengths_s: Numbers, thresholds: Numbers, counts: Mapping[str, int]
) -> dict[str, Any]:
    """What sed_scores_eval measures: of each class that has an event, and of all these; counts are of their events."""
    library = _library("sed_scores_eval")
    tables = {name: table[["onset", "offset", *counts]] for name, table in scores.items()}
    cut = {name: thresholds[name] for name in counts}
    segment, *_ = library.segment_based.fscore(tables, events, lengths_s, cut, segment_length=SEGMENT_S)
    collar = {"onset_collar": COLLAR_S, "offset_collar": COLLAR_S, "offset_collar_rate": COLLAR_RATE}
    event, *_ = library.collar_based.fscore(tables, events, cut, **collar)
    intersection, *_ = library.intersection_based.fscore(tables, events, cut, **INTERSECTION)
    curves = library.segment_based.roc_curve(tables, events, lengths_s, segment_length=SEGMENT_S)
    roc_auc = {name: area(curve[1], curve[0]) for name, curve in curves.items()}
    ap, _ = library.segment_based.average_precision(tables, events, lengths_s, segment_length=SEGMENT_S)
    psds1, *_ = library.intersection_based.psds(tables, events, lengths_s, **PSDS1)
    crossed = CROSS_TRIGGERS if len(counts) > 1 else {}
    psds2, *_ = library.intersection_based.psds(tables, events, lengths_s, **PSDS2, **crossed)
    by_class = {
        "segment_f1": segment,
        "segment_roc_auc": roc_auc,
        "segment_ap": ap,
        "event_f1": event,
        "intersection_f1": intersection,
    }
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
            name: {"n_events": n, **{measure: float(values[name]) for measure, values in by_class.items()}}
            for name, n in counts.items()
        },
    }


def area(false_positive_rate: npt.ArrayLike, true_positive_rate: npt.ArrayLike) -> float:
    """Area under a ROC curve whose points lie at the scores that occur; ties count half, as in `asd.metrics.auc`.

    sed_scores_eval draws a staircase, in which a positive and a negative segment of one score count nothing.
    """
    x, y = np.asarray(false_positive_rate, float), np.asarray(true_positive_rate, float)
    order = np.lexsort((y, x))
    return float(np.trapezoid(np.append(0.0, y[order]), np.append(0.0, x[order])))


def _all_classes(events: Events, scores: Scores, lengths_s: Numbers, thresholds: Numbers) -> dict[str, float]:
    """What sed_eval measures: of all classes together, those that have no event included."""
    library = _library("sed_eval")
    found = _library("sed_scores_eval.base_modules.detection").scores_to_event_list(dict(scores), dict(thresholds))
    segment = library.sound_event.SegmentBasedMetrics(list(thresholds), time_resolution=SEGMENT_S)
    event = library.sound_event.EventBasedMetrics(list(thresholds), t_collar=COLLAR_S, percentage_of_length=COLLAR_RATE)
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


def _library(name: str) -> Any:
    """One of the extra's libraries; with pandas 3 they install, but fail in the middle."""
    way_out = "run `make setup-sed` and repeat the command with .venv-sed/bin/python in the place of python"
    if int(pd.__version__.split(".")[0]) > 2:
        raise AsdError(f"measures of events need {name}, which does not work with pandas {pd.__version__}; {way_out}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)  # hence setuptools<81
        return imported(name, f"measures of events need {name}, which cannot be imported; {way_out}")
