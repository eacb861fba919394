"""Tables of predictions that are read again: which rows are whose, and what is no such table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from asd.runs import RunDirectory
from asd.stages.scored_clips import predicted_tables, scored_clips, threshold_of
from asd.types import AsdError

ROWS = [("x/a.wav", "fan", 1.5), ("b.wav", "pump", 0.1 + 0.2), ("c.wav", "fan", 1.0)]


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDirectory]:
    """A machine with a threshold of 1 by the default scorer and of 2 by another, and so on."""
    found = [RunDirectory.of(tmp_path / "runs", "one", machine, 0) for machine in ("fan", "lathe", "pump")]
    for i, run in enumerate(found):
        run.scores.write({}, {"s": {"value": 1.0 - i}, "t": {"value": 2.0 + i}})
        run.finish("x", default="s")
    return found


def written(path: Path, **columns: object) -> Path:
    pd.DataFrame(ROWS, columns=["path", "machine", "score"]).assign(**columns).to_csv(path, index=False)
    return path


def test_rows_are_parted_by_machine_and_decided_by_the_thresholds_that_are_told(
    tmp_path: Path, runs: list[RunDirectory]
) -> None:
    path = written(tmp_path / "p.csv", threshold=[1.4, 0.5, 1.4], decision=0, section=["00", "", "01"])
    found = predicted_tables(path, runs, None)
    assert [run.machine for run in found] == ["fan", "pump"]  # a run without a row is left out
    fan, pump = found.values()
    assert fan[["file", "score", "threshold", "decision", "section"]].to_numpy().tolist() == [
        ["x/a.wav", 1.5, 1.4, 1, "00"],
        ["c.wav", 1.0, 1.4, 0, "01"],
    ]
    assert (pump["score"][0], pump["decision"][0]) == (0.1 + 0.2, 0)
    assert {*fan["label"], *fan["domain"], *fan["split"]} == {"", "test"}


@pytest.mark.parametrize(
    ("scorer", "limits", "decisions"), [(None, (1.0, -1.0), [1, 0, 1]), ("t", (2.0, 4.0), [0] * 3)]
)
def test_where_the_table_tells_no_threshold_those_of_the_runs_hold(
    tmp_path: Path, runs: list[RunDirectory], scorer: str | None, limits: tuple[float, ...], decisions: list[int]
) -> None:
    found = predicted_tables(written(tmp_path / "p.csv"), runs, scorer)
    assert tuple(rows["threshold"][0] for rows in found.values()) == limits
    assert [*found[runs[0]]["decision"], *found[runs[2]]["decision"]] == decisions
    with pytest.raises(AsdError, match=r"fan/seed0/scores/thresholds.json has no threshold of u; `score name=one`"):
        threshold_of(runs[0], "u")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,machine\na.wav,fan\n", "it has no column score"),
        ("path,machine,score\na.wav,fan,1,5\n", "more cells than its first line names, as by a decimal comma"),
        ("path,machine,score\na.wav,fan,nan\n", "it has no scores, or one that is not finite"),
        ("path,machine,score\n", "it has no scores, or one that is not finite"),
        ("path,machine,score,threshold\na.wav,fan,1,inf\n", "it has no thresholds, or one that is not finite"),
        ("path,machine,score\na.wav,fan,high\n", "could not convert string to float: 'high'"),
        (None, "No such file"),
    ],
)
def test_what_is_no_table_of_predictions_is_refused(
    tmp_path: Path, runs: list[RunDirectory], text: str | None, said: str
) -> None:
    path = tmp_path / "p.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AsdError, match=rf"predictions={path} is no readable table .*{said}.*; predict writes it"):
        predicted_tables(path, runs, None)


def test_clips_of_a_machine_that_the_run_lacks_are_named(tmp_path: Path, runs: list[RunDirectory]) -> None:
    with pytest.raises(AsdError, match="has clips of pump, which the run lacks; it has fan, lathe"):
        predicted_tables(written(tmp_path / "p.csv"), runs[:2], None)


def test_clips_that_were_not_scored_are_not_explained(tmp_path: Path, runs: list[RunDirectory]) -> None:
    job = SimpleNamespace(run=runs[0], test=None)
    for data, said in ((None, "has no test clips to explain"), (tmp_path, f"no scores of {tmp_path}; `score data=")):
        with pytest.raises(AsdError, match=said):
            scored_clips(job, data)  # type: ignore[arg-type]
