"""Tables of labels: what is read, merged and cut with a notice, what is refused, and the join with recordings."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.sed.labels import clip_targets, frame_targets
from asd.sed.tables import (
    STRONG_COLUMNS,
    cut_to_clips,
    join_names,
    labels_of,
    merge_events,
    read_soft,
    read_strong,
    read_weak,
    split_labels,
)
from asd.types import AsdError

CLASSES = ["Cat", "Dog", "Speech"]
STRONG = "filename\tonset\toffset\tevent_label\n"
COMMA = "Male speech, man speaking"


@pytest.fixture(autouse=True)
def _heed_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "asd")


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
        ("a.wav\t0\t1\tBird", r"s.tsv, line 2 has the label 'Bird', which is none of the classes Cat, Dog, Speech"),
        ("a.wav\t-1\t1\tDog", r"line 2: an event from -1.0 to 1.0 s"),
        ("a.wav\t0\t1\tDog\na.wav\t2\t2\tDog", r"line 3: an event from 2.0 to 2.0 s"),
        ("a.wav\t3\t2\tDog", r"an event from 3.0 to 2.0 s; its onset is a number from 0 on"),
        ("a.wav\tsoon\t2\tDog", r"line 2 has the onset 'soon'; write a number, such as 0.5"),
        ("a.wav\t0.5\t1,25\tDog", r"line 2 has the offset '1,25'; write a number"),
        ("a.wav\t\t2\tDog", r"line 2: an event from nan to 2.0 s"),
        ("a.wav\t0\t1\tDog\t", r"not a readable table .*Expected 4 fields in line 2, saw 5"),
        ("a.wav\t0\t1\tDog\t\t", r"not a readable table .*Expected 4 fields in line 2, saw 6"),
        ("a.wav\t0\tinf\tDog", r"an event from 0.0 to inf s"),
        ("a.wav\t0\t1\t", r"line 2 has times but no label"),
        ("\t0\t1\tDog", r"line 2 names no recording"),
        ("\n\na.wav\t3\t2\tDog", r"s.tsv, line 4: an event from 3.0 to 2.0 s"),
    ],
)
def test_what_is_no_event_is_refused_in_a_sentence(tmp_path: Path, rows: str, saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        read_strong(write(tmp_path / "s.tsv", STRONG + rows + "\n"), CLASSES)


def test_missing_columns_and_files_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tsv", "filename,onset,offset,event_label\na.wav,0,1,Dog\n")
    with pytest.raises(AsdError, match="lacks the column filename, onset, offset, event_label; it has"):
        read_strong(path, CLASSES)
    with pytest.raises(AsdError, match=r"gone.tsv does not exist"):
        read_weak(tmp_path / "gone.tsv", CLASSES)


@pytest.mark.parametrize("header", ["filename\tonset\tonset \toffset", "filename\tvalue\tconfidence", "onset\tonset"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(AsdError, match=r"s.tsv has the column (onset|value) twice .confidence means value.; remove"):
        read_soft(write(tmp_path / "s.tsv", f"{header}\n"), CLASSES)


def test_weak_labels(tmp_path: Path) -> None:
    header = "filename\tevent_labels\n"
    read = read_weak(write(tmp_path / "w.tsv", header + "a.wav\tDog,Cat\nb.wav\t\n"), CLASSES)
    assert read == {"a.wav": ["Dog", "Cat"], "b.wav": []}
    np.testing.assert_array_equal(clip_targets(read["a.wav"], CLASSES), [1, 1, 0])
    with pytest.raises(AsdError, match="line 3 has the label 'Fox'"):
        read_weak(write(tmp_path / "w.tsv", header + "a.wav\tDog,Cat\nb.wav\tDog,Fox\n"), CLASSES)


def test_soft_labels_of_maestro_keep_their_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    header = "filename\tonset\toffset\tevent_label\t{}\n"
    for name in ("value", "confidence"):
        path = write(tmp_path / "m.tsv", header.format(name) + "a.wav\t0\t1\tDog\t0.4\na.wav\t1\t2\tDog\t1\n")
        targets = frame_targets(read_soft(path, CLASSES), CLASSES, 4, 0.5)
        np.testing.assert_allclose(targets[:, 1], [0.4, 0.4, 1, 1])
    assert caplog.text == ""
    write(path, header.format("value") + "a.wav\t0\t1\tDog\t1.5\n")
    with pytest.raises(AsdError, match=r"line 2 has the value 1.5; soft labels lie from 0 to 1"):
        read_soft(path, CLASSES)


def test_a_clip_without_events_has_a_row_of_its_name_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tsv", STRONG + "a.wav\t0\t1\tDog\nb.wav\t\t\t\n")
    assert read_strong(path, CLASSES)["filename"].tolist() == ["a.wav", "b.wav"]
    path = write(tmp_path / "m.tsv", STRONG.replace("\n", "\tvalue\n") + "a.wav\t0\t1\tDog\t0.5\nb.wav\t\t\t\t\n")
    soft = read_soft(path, CLASSES)
    assert soft[["filename", "event_label"]].to_numpy().tolist() == [["a.wav", "Dog"], ["b.wav", ""]]
    assert not frame_targets(soft[soft["filename"] == "b.wav"], CLASSES, 4, 0.5).any()


def test_text_around_the_cells_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "s.tsv"
    path.write_bytes("\ufefffilename\tonset\toffset\tevent_label \n a.wav\t0.5\t1\t Dog\n\n".encode())
    assert read_strong(path, CLASSES).to_numpy().tolist() == [["a.wav", 0.5, 1.0, "Dog"]]


def test_rows_of_one_clip_in_a_weak_table_are_merged_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "filename\tevent_labels\na.wav\tDog\nb.wav\tDog\na.wav\tCat,Dog\n"
    read = read_weak(write(tmp_path / "w.tsv", rows), CLASSES)
    assert read == {"a.wav": ["Dog", "Cat"], "b.wav": ["Dog"]}
    assert "1 clips have several rows, a.wav first" in caplog.text


def test_labels_may_have_commas(tmp_path: Path) -> None:
    strong = write(tmp_path / "train_strong.tsv", STRONG + f"a.wav\t0\t1\t{COMMA}\n")
    assert labels_of(strong) == {COMMA}
    assert read_strong(strong, [COMMA])["event_label"].tolist() == [COMMA]
    weak = write(tmp_path / "train_weak.tsv", f"filename\tevent_labels\nb.wav\tDog,{COMMA},Cat\n")
    assert labels_of(weak, [COMMA]) == {"Dog", COMMA, "Cat"}
    assert read_weak(weak, [*CLASSES, COMMA]) == {"b.wav": ["Dog", COMMA, "Cat"]}
    assert split_labels("a,b,c", ["a, b", "a, b, c"]) == ["a, b, c"]


def test_a_soft_row_that_stands_twice_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = "a.wav\t0\t1\tDog\t0.5\n"
    path = write(tmp_path / "s.tsv", STRONG.replace("\n", "\tvalue\n") + row + row)
    assert len(read_soft(path, CLASSES)) == 1
    assert "1 rows stand there twice" in caplog.text


def events_of(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(STRONG_COLUMNS))


NOTHING = ("quiet.wav", np.nan, np.nan, "")


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(1, 9), st.sampled_from(["Dog", "Cat"])),
        max_size=12,
    )
)
def test_merged_events_cover_the_same_moments_and_keep_apart(drawn: list[tuple[str, int, int, str]]) -> None:
    rows = [(clip, float(onset), float(onset + length), label) for clip, onset, length, label in drawn]
    merged = merge_events(events_of(*rows, NOTHING), "here")

    def moments(events: pd.DataFrame) -> set[tuple[str, str, float]]:
        return {
            (clip, label, k / 2)
            for clip, onset, offset, label in events.itertuples(index=False)
            if label
            for k in range(int(2 * onset), int(2 * offset))
        }

    assert moments(merged) == moments(events_of(*rows))
    assert "quiet.wav" in set(merged["filename"])
    for _, group in merged.groupby(["filename", "event_label"]):
        by_time = group.sort_values("onset")
        assert (by_time["onset"].to_numpy()[1:] > by_time["offset"].to_numpy()[:-1]).all()


def test_merging_is_said(caplog: pytest.LogCaptureFixture) -> None:
    merge_events(events_of(("a.wav", 0, 2, "Dog"), ("a.wav", 3, 4, "Dog")), "s.tsv")
    assert caplog.text == ""
    merge_events(events_of(("a.wav", 0, 2, "Dog"), ("a.wav", 0, 2, "Dog"), ("a.wav", 1, 2, "Cat")), "s.tsv")
    assert "s.tsv: 1 events overlap or touch an earlier one" in caplog.text


def test_labels_beyond_the_end_are_cut_to_the_clip(caplog: pytest.LogCaptureFixture) -> None:
    events = events_of(
        ("a.wav", 0, 10, "Dog"), ("b.wav", 9, 10.115, "Cat"), ("c.wav", 4, 5, "Dog"), NOTHING,
        ("d.wav", 0, 1.0004, "Dog"),
    )  # fmt: skip
    lengths_s = {"a.wav": 3.0, "b.wav": 10.0, "c.wav": 4.0, "quiet.wav": 1.0, "d.wav": 1.0}
    cut = cut_to_clips(events, lengths_s, "s.tsv").set_index("filename")
    assert cut.loc[["a.wav", "b.wav", "d.wav"], "offset"].tolist() == [3.0, 10.0, 1.0]
    assert cut.loc[["c.wav", "quiet.wav"], "event_label"].tolist() == ["", ""]  # still labelled: as without events
    assert "3 of 4 labels reach beyond the end of their recording" in caplog.text
    assert "the first is Dog in a.wav, from 0 to 10 s of 3.000 s" in caplog.text
    caplog.clear()
    pd.testing.assert_frame_equal(cut_to_clips(cut.reset_index(), lengths_s, "s.tsv"), cut.reset_index())
    assert caplog.text == ""


SPELLINGS = ["Clip 1.wav", "Clip 1.WAV", "Clip 1", " Clip 1.wav ", "train/Clip 1.wav", "C:\\train\\Clip 1.wav"]


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("filename", ["Clip 1.wav", "Clip 1.WAV"])
def test_spellings_of_a_name_mean_the_recording(spelled: str, filename: str) -> None:
    assert join_names([spelled], [filename], Path("s.tsv")) == {spelled: filename}


def test_rows_whose_recording_was_never_obtained_are_counted_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    named = ["gone2.wav", "a.wav", "gone1.wav", "gone1.wav"]
    assert join_names(named, ["a.wav"], Path("data/train.tsv")) == {"a.wav": "a.wav"}
    assert "data/train.tsv labels 2 clips that are not in data/train, gone1.wav first" in caplog.text
    with pytest.raises(AsdError, match=r"labels gone.wav, which is not in data/train, and nothing that is"):
        join_names(["gone.wav"], ["a.wav"], Path("data/train.tsv"))


@pytest.mark.parametrize(
    ("named", "filenames", "saying"),
    [
        (["a.wav"], ["a.wav", "b.wav", "c.wav"], r"no row for b.wav \(2 such clips\); a clip without events"),
        (["x/a.wav", "y\\a.wav"], ["a.wav"], "names a in the folders x and y"),
    ],
)
def test_names_that_are_not_clear_are_refused(named: list[str], filenames: list[str], saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        join_names(named, filenames, Path("data/train.tsv"))
