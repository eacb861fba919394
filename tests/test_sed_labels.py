"""Tables of labels: what is read, what is refused in a sentence, and events as frames and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.sed.labels import (
    check_within,
    clip_targets,
    events_of_frames,
    frame_targets,
    read_soft,
    read_strong,
    read_weak,
    require_positives,
)
from asd.types import AsdError

CLASSES = ["Cat", "Dog", "Speech"]
STRONG = "filename\tonset\toffset\tevent_label\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_strong_labels_of_desed_with_a_silent_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tsv", STRONG + "a.wav\t0.5\t1.25\tDog\na.wav\t1.0\t3.0\tCat\nb.wav\t\t\t\n")
    table = read_strong(path, CLASSES)
    assert table["filename"].tolist() == ["a.wav", "a.wav", "b.wav"]
    assert table["onset"].tolist()[:2] == [0.5, 1.0]
    assert frame_targets(table[2:], CLASSES, 5, 0.1).sum() == 0


@pytest.mark.parametrize(
    ("rows", "saying"),
    [
        (
            "a.wav\t0\t1\tBird",
            r"s.tsv, line 2 has the label 'Bird', which is none of the classes Cat, Dog, Speech",
        ),
        ("a.wav\t-1\t1\tDog", r"line 2: an event from -1.0 to 1.0 s"),
        ("a.wav\t0\t1\tDog\na.wav\t2\t2\tDog", r"line 3: an event from 2.0 to 2.0 s"),
        ("a.wav\t3\t2\tDog", r"an event from 3.0 to 2.0 s; its onset is a number from 0 on"),
        ("a.wav\tsoon\t2\tDog", r"an event from nan to 2.0 s"),
        ("a.wav\t0\t2\tDog\na.wav\t1\t3\tDog", r"Dog in a.wav lasts from 0.* to 2.* and again from 1"),
    ],
)
def test_what_is_no_event_is_refused_in_a_sentence(tmp_path: Path, rows: str, saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        read_strong(write(tmp_path / "s.tsv", STRONG + rows + "\n"), CLASSES)


def test_different_classes_may_overlap_and_events_of_one_may_touch(tmp_path: Path) -> None:
    rows = "a.wav\t0\t2\tDog\na.wav\t1\t3\tCat\na.wav\t2\t3\tDog\n"
    assert len(read_strong(write(tmp_path / "s.tsv", STRONG + rows), CLASSES)) == 3


def test_missing_columns_and_files_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tsv", "filename,onset,offset,event_label\na.wav,0,1,Dog\n")
    with pytest.raises(AsdError, match="lacks the column filename, onset, offset, event_label; it has"):
        read_strong(path, CLASSES)
    with pytest.raises(AsdError, match=r"gone.tsv does not exist"):
        read_weak(tmp_path / "gone.tsv", CLASSES)


def test_weak_labels(tmp_path: Path) -> None:
    header = "filename\tevent_labels\n"
    read = read_weak(write(tmp_path / "w.tsv", header + "a.wav\tDog,Cat\nb.wav\t\n"), CLASSES)
    assert read == {"a.wav": ["Dog", "Cat"], "b.wav": []}
    np.testing.assert_array_equal(clip_targets(read["a.wav"], CLASSES), [1, 1, 0])
    with pytest.raises(AsdError, match="line 3 has the label 'Fox'"):
        read_weak(write(tmp_path / "w.tsv", header + "a.wav\tDog,Cat\nb.wav\tDog,Fox\n"), CLASSES)
    with pytest.raises(AsdError, match=r"line 3 names a.wav again"):
        read_weak(write(tmp_path / "w.tsv", header + "a.wav\tDog\na.wav\tCat\n"), CLASSES)


def test_soft_labels_of_maestro_keep_their_value(tmp_path: Path) -> None:
    header = "filename\tonset\toffset\tevent_label\t{}\n"
    for name in ("value", "confidence"):
        path = write(tmp_path / "m.tsv", header.format(name) + "a.wav\t0\t1\tDog\t0.4\na.wav\t1\t2\tDog\t1\n")
        targets = frame_targets(read_soft(path, CLASSES), CLASSES, 4, 0.5)
        np.testing.assert_allclose(targets[:, 1], [0.4, 0.4, 1, 1])
    write(path, header.format("value") + "a.wav\t0\t1\tDog\t1.5\n")
    with pytest.raises(AsdError, match=r"line 2 has the value 1.5; soft labels lie from 0 to 1"):
        read_soft(path, CLASSES)


def test_an_event_after_the_end_of_its_clip_is_refused() -> None:
    events = pd.DataFrame({"filename": ["a.wav"], "onset": [2.0], "offset": [3.0], "event_label": ["Dog"]})
    with pytest.raises(AsdError, match=r"Dog begins at 2.0 s, but a.wav ends at 1.500 s"):
        check_within(events, {"a.wav": 1.5}, Path("s.tsv"))


def test_a_class_without_positives_is_told() -> None:
    require_positives({"Cat": 1.0}, "the training part")
    with pytest.raises(AsdError, match="the training part has no example of Dog, Speech"):
        require_positives({"Cat": 1, "Dog": 0, "Speech": 0}, "the training part")


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
