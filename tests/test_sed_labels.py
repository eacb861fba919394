"""Labels as frames and back, and classes without an example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.sed.labels import events_of_frames, frame_targets, require_positives
from asd.types import AsdError

CLASSES = ["Cat", "Dog", "Speech"]


def test_a_class_without_positives_is_told() -> None:
    require_positives(["Cat"], [1.0], "the training part")
    with pytest.raises(AsdError, match="the training part has no example of Dog, Speech"):
        require_positives(["Cat", "Dog", "Speech"], [1, 0, 0], "the training part")


def test_a_frame_is_active_where_its_middle_is() -> None:
    events = pd.DataFrame({"onset": [0.1, 0.32], "offset": [0.3, 0.34], "event_label": ["Dog", "Cat"]})
    targets = frame_targets(events, CLASSES, 6, 0.1)
    assert targets[:, 1].tolist() == [0, 1, 1, 0, 0, 0]
    assert targets[:, 0].tolist() == [0, 0, 0, 1, 0, 0]  # too short for any middle: the nearest frame


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(2, 20)), min_size=1, max_size=4),
    st.sampled_from([0.02, 0.05, 0.064]),
)
def test_decoding_undoes_encoding_to_half_a_frame(spans: list[tuple[int, int]], hop_s: float) -> None:
    onset_s, truth = 0.0, []
    for gap, length in spans:  # in tenths of a frame and in frames
        onset_s += (2 + gap / 10) * hop_s
        truth.append((onset_s, onset_s + length * hop_s, "Dog"))
        onset_s += length * hop_s
    duration_s = onset_s + hop_s
    events = pd.DataFrame(truth, columns=["onset", "offset", "event_label"])
    frames = frame_targets(events, CLASSES, 1 + int(duration_s / hop_s), hop_s)
    found = events_of_frames(frames > 0.5, CLASSES, hop_s, duration_s)
    assert [label for *_, label in found] == ["Dog"] * len(truth)
    for (onset, offset, _), (true_onset, true_offset, _) in zip(found, truth, strict=True):
        assert abs(onset - true_onset) <= hop_s / 2 + 1e-5
        assert abs(offset - true_offset) <= hop_s / 2 + 1e-5


def test_events_begin_and_end_with_their_clip() -> None:
    active = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 1]], bool)
    found = events_of_frames(active, CLASSES, hop_s=0.1, duration_s=0.22)
    assert found == [(0.0, 0.05, "Cat"), (0.05, 0.22, "Speech"), (0.15, 0.22, "Dog")]


def test_the_shortest_event_at_the_end_has_the_last_frame() -> None:
    events = pd.DataFrame({"onset": [0.52], "offset": [0.54], "event_label": ["Dog"]})
    assert frame_targets(events, CLASSES, 5, 0.1)[:, 1].tolist() == [0, 0, 0, 0, 1]
