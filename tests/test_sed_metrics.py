"""Tests of asd.sed.metrics: cases known by hand, and two libraries that must agree."""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from asd.sed.metrics import area, evaluate_events
from asd.types import AsdError

HOP_S = 0.05
CLASSES = ["dog", "cat"]
COLUMNS = ["filename", "onset", "offset", "event_label"]
HALF = {"dog": 0.5, "cat": 0.5}


def score_table(activity: npt.NDArray[np.float64]) -> pd.DataFrame:
    times_s = np.round(np.arange(len(activity) + 1) * HOP_S, 6)
    columns = {name: activity[:, k] for k, name in enumerate(CLASSES)}
    return pd.DataFrame({"onset": times_s[:-1], "offset": times_s[1:], **columns})


def said(*events: tuple[float, float, str], duration_s: float = 10.0) -> pd.DataFrame:
    """Scores of a clip that say exactly these events."""
    activity = np.full((round(duration_s / HOP_S), len(CLASSES)), 0.1)
    for onset, offset, label in events:
        activity[round(onset / HOP_S) : round(offset / HOP_S), CLASSES.index(label)] = 0.9
    return score_table(activity)


def some_clips(n_clips: int = 25, skill: float = 0.3) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    rng = np.random.default_rng(0)
    scores, rows = {}, []
    for k in range(n_clips):
        activity = 0.6 * rng.random((200, 2))
        for name in CLASSES:
            if rng.random() < 0.6:
                onset = rng.integers(0, 120) * HOP_S
                offset = onset + rng.integers(10, 60) * HOP_S
                rows.append((f"{k}.wav", round(onset, 6), round(offset, 6), name))
                activity[round(onset / HOP_S) : round(offset / HOP_S), CLASSES.index(name)] += skill
        scores[f"{k}.wav"] = score_table(np.clip(activity, 0, 1))
    return scores, pd.DataFrame(rows, columns=COLUMNS)


def evaluate(
    scores: dict[str, pd.DataFrame], truth: pd.DataFrame, thresholds: dict[str, float] = HALF
) -> dict[str, Any]:
    pytest.importorskip("sed_scores_eval", reason="part of make test-sed")
    return evaluate_events(scores, truth, dict.fromkeys(scores, 10.0), thresholds)


def truth_of(*events: tuple[float, float, str], name: str = "a.wav") -> pd.DataFrame:
    return pd.DataFrame([(name, *event) for event in events], columns=COLUMNS)


@pytest.mark.sed
def test_perfect_detection_is_perfect() -> None:
    events = [(1.0, 3.0, "dog"), (2.0, 2.5, "cat"), (7.0, 9.5, "cat")]
    found = evaluate({"a.wav": said(*events), "b.wav": said()}, truth_of(*events))
    measures = {name: value for name, value in found.items() if name != "classes"}
    assert {name for name, value in measures.items() if value == 0} == {"segment_error_rate", "event_error_rate"}
    assert {value for name, value in measures.items() if "error" not in name} == {1.0}
    assert found["classes"]["cat"]["n_events"] == 2


@pytest.mark.sed
def test_an_event_that_is_half_right() -> None:
    truth = truth_of((0.0, 2.0, "dog"), (5.0, 6.0, "cat"))
    found = evaluate({"a.wav": said((1.0, 3.0, "dog"), (5.0, 6.0, "cat"))}, truth)
    # Segments of dog: true 0 and 1, said 1 and 2; of cat: both 5.
    assert found["segment_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["segment_macro_f1"] == pytest.approx((0.5 + 1) / 2)
    assert found["segment_error_rate"] == pytest.approx(2 / 3)
    assert (found["event_f1"], found["event_error_rate"]) == (0.5, 1.0)  # one missed, one invented, of two
    assert found["intersection_f1"] == 1.0


@pytest.mark.sed
@pytest.mark.parametrize(("late_s", "f1"), [(0.2, 1.0), (0.25, 0.0)])
def test_an_onset_may_be_late_by_its_collar(late_s: float, f1: float) -> None:
    truth = truth_of((1.0, 2.0, "dog"), (1.0, 2.0, "cat"))
    found = evaluate({"a.wav": said((1.0 + late_s, 2.0, "dog"), (1.0 + late_s, 2.0, "cat"))}, truth)
    assert found["event_f1"] == f1


@pytest.mark.sed
def test_sed_eval_and_sed_scores_eval_agree() -> None:
    scores, truth = some_clips()
    library = pytest.importorskip("sed_scores_eval", reason="part of make test-sed")
    cut = {"dog": 0.62, "cat": 0.68}
    found = evaluate(scores, truth, cut)
    events = {name: [] for name in scores} | {
        name: list(rows[COLUMNS[1:]].itertuples(index=False, name=None)) for name, rows in truth.groupby("filename")
    }
    segment, *_ = library.segment_based.fscore(scores, events, dict.fromkeys(scores, 10.0), cut, segment_length=1.0)
    event, *_ = library.collar_based.fscore(
        scores, events, cut, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.2
    )
    assert 0.5 < found["segment_f1"] < 1
    assert 0 < found["event_f1"] < 0.5
    # Ours is sed_eval's, over all classes together; the macro average is the other library's.
    assert found["segment_f1"] == pytest.approx(segment["micro_average"])
    assert found["event_f1"] == pytest.approx(event["micro_average"])
    assert found["segment_macro_f1"] == pytest.approx(np.mean([segment[name] for name in CLASSES]))


@pytest.mark.sed
def test_more_skill_scores_higher_and_none_like_chance() -> None:
    none, some, much = (evaluate(*some_clips(skill=skill)) for skill in (0.0, 0.2, 0.5))
    assert none["segment_roc_auc"] == pytest.approx(0.5, abs=0.1)
    assert 0 == none["psds1"] <= some["psds1"] < much["psds1"]
    for name in ("psds2", "segment_roc_auc", "segment_map", "intersection_macro_f1"):
        assert none[name] < some[name] < much[name] <= 1, name


@pytest.mark.sed
def test_what_cannot_be_counted_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    touching = truth_of((1.0, 2.0, "dog"), (2.0, 3.0, "dog"))
    silent = pd.DataFrame([("b.wav", np.nan, np.nan, "")], columns=COLUMNS)
    scores = {"a.wav": said((1.0, 3.0, "dog")), "b.wav": said((4.0, 5.0, "cat"))}
    with caplog.at_level(logging.WARNING, "asd"):
        found = evaluate(scores, pd.concat([touching, silent]))
    assert "1 events overlap or touch" in caplog.text
    assert "no true event of cat" in caplog.text
    assert found["event_macro_f1"] == found["psds1"] == found["segment_map"] == 1
    assert found["event_f1"] == pytest.approx(2 / 3)  # the cat that was not there counts
    assert found["classes"]["dog"]["n_events"] == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_ties_under_a_curve_count_half(segments: list[tuple[bool, int]]) -> None:
    true, scores = (np.array(column) for column in zip(*segments, strict=True))
    assume(0 < true.sum() < len(true))
    points = [(np.mean(scores[~true] >= cut), np.mean(scores[true] >= cut)) for cut in {*scores, np.inf}]
    assert area(*np.array(points).T) == pytest.approx(roc_auc_score(true, scores))


@pytest.mark.sed
def test_segments_of_one_score_count_half_and_areas_are_those_of_scikit_learn() -> None:
    scores, truth = some_clips()
    tied = {name: table.assign(**table[CLASSES].round(1)) for name, table in scores.items()}
    found = evaluate(tied, truth)
    for name in CLASSES:
        true, said_ = [], []
        for clip, table in tied.items():
            events = truth[(truth["filename"] == clip) & (truth["event_label"] == name)]
            for k in range(10):
                true.append(((events["onset"] < k + 1) & (events["offset"] > k)).any())
                said_.append(table[name][20 * k : 20 * k + 20].max())
        assert found["classes"][name]["segment_roc_auc"] == pytest.approx(roc_auc_score(true, said_))
        assert found["classes"][name]["segment_ap"] == pytest.approx(average_precision_score(true, said_))
    constant = {name: table.assign(dog=0.5, cat=0.5) for name, table in scores.items()}
    assert evaluate(constant, truth)["segment_roc_auc"] == pytest.approx(0.5)


@pytest.mark.sed
def test_labels_beyond_the_end_do_not_cost_a_perfect_detector(caplog: pytest.LogCaptureFixture) -> None:
    scores = {"a.wav": said((0.0, 3.0, "dog"), duration_s=3.0), "b.wav": said((9.0, 10.0, "cat"))}
    beyond = pd.concat([truth_of((0.0, 10.0, "dog")), truth_of((9.0, 10.115, "cat"), name="b.wav")])
    pytest.importorskip("sed_scores_eval", reason="part of make test-sed")
    found = evaluate_events(scores, beyond, {"a.wav": 3.0, "b.wav": 10.0}, HALF)
    assert {found[name] for name in ("event_f1", "segment_f1", "intersection_f1", "psds1", "psds2")} == {1.0}
    assert "2 of 2 labels reach beyond the end" in caplog.text


BROKEN = said().assign(cat=np.nan)
GAP = said().assign(offset=lambda table: table["offset"] - 0.01)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"scores": {}}, "no clip has scores"),
    ({"scores": {"a.wav": said(), "b.wav": said()[["onset", "offset", "cat"]]}}, "scores of b.wav have the columns"),
    ({"scores": {"a.wav": GAP}}, "frames of a.wav do not follow each other"),
    ({"scores": {"a.wav": BROKEN}}, "a score of a.wav is not a number"),
    ({"durations_s": {}}, "a.wav has scores but no duration"),
    ({"thresholds": {"dog": 0.5}}, "no threshold for cat; there are those of dog"),
    ({"truth": truth_of((1.0, 2.0, "cow"))}, "label cow, the scores only dog, cat"),
    ({"truth": truth_of((1.0, 2.0, "dog"), name="c.wav")}, "events in c.wav, which has no scores"),
    ({"truth": truth_of()}, "no event in any clip"),
]


@pytest.mark.parametrize(("change", "what"), BAD, ids=[what for _, what in BAD])
def test_what_does_not_fit_is_said(change: dict[str, Any], what: str) -> None:
    given: dict[str, Any] = {
        "scores": {"a.wav": said()},
        "truth": truth_of((1.0, 2.0, "dog")),
        "durations_s": {"a.wav": 10.0},
        "thresholds": HALF,
    }
    with pytest.raises(AsdError, match=what):
        evaluate_events(**{**given, **change})


@pytest.mark.parametrize("pandas", ["2.3.3", "3.1.1"])
def test_without_the_extra_the_way_to_it_is_said(pandas: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd, "__version__", pandas)
    monkeypatch.setitem(sys.modules, "sed_eval", None)
    with pytest.raises(AsdError, match=r"need sed_eval.*run `make setup-sed` and .*\.venv-sed/bin/python"):
        evaluate_events({"a.wav": said()}, truth_of((1.0, 2.0, "dog")), {"a.wav": 10.0}, HALF)
