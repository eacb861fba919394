"""The scores of a machine: what is written is read, what no stage could have written is refused, changes are named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asd.core.runtime import file_hash
from asd.runs import ScoredData, ScoreFolder
from asd.runs.scores import read_scores, score_table, stamps_of
from asd.types import SCORE_COLUMNS, AsdError, Clip, Domain, Label, Split

ROWS = [
    ("fan", "00", "source", "test", "normal", "a.wav", 0.1 + 0.2, 0),
    ("fan", "00", "", "test", "", "b.wav", 1e-300, 1),
    ("fan", "01", "target", "test", "anomaly", "a.wav", -1 / 3, 1),
]
TABLE = pd.DataFrame(ROWS, columns=list(SCORE_COLUMNS))


def folder(place: Path, **tables: pd.DataFrame) -> ScoreFolder:
    written = ScoreFolder(place / "scores", "fan")
    written.write(tables, {"s": {"value": 0.5}})
    return written


def test_the_table_of_clips_tells_what_their_names_tell() -> None:
    clips = [
        Clip(Path("x/a.wav"), "fan", "00", Split.TEST, Domain.SOURCE, Label.NORMAL),
        Clip(Path("x/b.wav"), "fan", "00", Split.TEST),
        Clip(Path("y/a.wav"), "fan", "01", Split.TEST, Domain.TARGET, Label.ANOMALY),
    ]
    scores, decisions = TABLE["score"].to_numpy(), TABLE["decision"].to_numpy()
    pd.testing.assert_frame_equal(score_table(clips, scores, decisions), TABLE, check_exact=True)
    with pytest.raises(AsdError, match=r"score of x/b.wav is nan \(2 of 3 are not finite\)"):
        score_table(clips, np.array([0, np.nan, np.inf]), decisions)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    scores = folder(tmp_path, s=TABLE, other=TABLE.assign(score=2.0))
    pd.testing.assert_frame_equal(scores.table("s"), TABLE, check_exact=True)
    assert {name: table["score"].tolist() for name, table in scores.tables().items()} == {
        "other": [2.0] * 3,
        "s": TABLE["score"].tolist(),
    }
    with pytest.raises(AsdError, match="has no scores of scorer=t; it has other, s"):
        scores.table("t")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("machine", "pump", "machine pump of b.wav"),
        ("domain", "Source", "domain Source of b.wav"),
        ("split", "tests", "split tests of b.wav"),
        ("label", "abnormal", "label abnormal of b.wav"),
        ("decision", 2, "decision 2 of b.wav"),
        ("decision", 2**63, "Python int too large to convert to C long"),
        ("score", float("inf"), "score inf of b.wav"),
        ("file", "a.wav", "a.wav is there twice"),
    ],
)
def test_a_row_that_no_stage_could_have_written_is_refused(
    column: str, value: object, said: str, tmp_path: Path
) -> None:
    TABLE.assign(**{column: [TABLE[column][0], value, TABLE[column][2]]}).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(AsdError, match=rf"s\.csv is not a readable score table \({said}\); `score` writes it anew"):
        read_scores(tmp_path / "s.csv")


def test_scores_of_another_machine_are_refused(tmp_path: Path) -> None:
    other = ScoreFolder(folder(tmp_path, s=TABLE).path, "pump")
    with pytest.raises(AsdError, match="holds scores of fan in the folder of pump; if it is a copy, remove it"):
        other.table("s")
    assert len(ScoreFolder(other.path).table("s")) == 3  # where it is not asked


def test_another_score_label_or_decision_is_another_digest(tmp_path: Path) -> None:
    digests = {folder(tmp_path / "first", s=TABLE).digest()}
    changes = ({"score": [0.1, 0.2, 0.3]}, {"label": "normal"}, {"decision": [0, 1, 0]})
    for i, change in enumerate(changes):
        digests.add(folder(tmp_path / str(i), s=TABLE.assign(**change)).digest())
    digests.add(folder(tmp_path / "name", other=TABLE).digest())
    assert len(digests) == 5
    assert folder(tmp_path / "again", s=TABLE).digest() in digests


def test_what_became_of_the_recordings_is_told(tmp_path: Path) -> None:
    clips = [tmp_path / f"{name}.wav" for name in ("a", "b", "c", "d")]
    for clip in clips:
        clip.write_bytes(clip.name.encode())
    contents = {str(clip): file_hash(clip) for clip in clips}
    data = ScoredData("x", "y", (), tuple((clip.name, "00", "") for clip in clips), "challenge", contents)
    scores = ScoreFolder(tmp_path / "scores")
    scores.write({"s": TABLE}, {}, replace(data, stamps=stamps_of(contents)))
    assert scores.changes() == []
    clips[0].write_bytes(b"other")
    clips[1].unlink()
    os.utime(clips[2])  # the same sounds
    (tmp_path / "e.wav").write_bytes(b"new")
    said = [f"{clips[1]} has gone", f"{clips[0]} has changed", f"{tmp_path / 'e.wav'} has come"]
    assert scores.changes() == said
    for clip in (clips[0], clips[2], clips[3]):
        clip.rename(clip.with_suffix(".txt"))
    assert scores.changes() == []  # all lie elsewhere by now


def test_reasons_of_an_earlier_scoring_do_not_stay(tmp_path: Path) -> None:
    scores = ScoreFolder(tmp_path)
    scores.write({"s": TABLE}, {}, unscored={"z.wav": "is empty"})
    assert scores.unscored() == {"z.wav": "is empty"}
    scores.write({"s": TABLE}, {})
    assert scores.unscored() == {}
