"""Runs in order, and the paired intervals of their differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asd.core.files import read_json, write_text
from asd.evaluation.confidence import resampled_scores
from asd.metrics import evaluate_table
from asd.runs import RunDirectory, ScoredData
from asd.types import SCORE_COLUMNS
from tests.command import asd, refuses, succeeds


def table(strength: float, seed: int = 0, n: int = 25, machine: str = "fan") -> pd.DataFrame:
    """Scores that tell anomalies by `strength` standard deviations, noise shared between strengths."""
    noise = np.random.default_rng(seed).normal(size=4 * n)
    rows = []
    for i, value in enumerate(noise):
        domain, label = ("source", "target")[i % 2], ("normal", "anomaly")[i // 2 % 2]
        score = value + strength * (label == "anomaly")
        rows.append((machine, "00", domain, "test", label, f"{i:04d}.wav", score, 0))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def finished(runs: Path, name: str, scores: pd.DataFrame, seed: int = 0) -> None:
    run = RunDirectory.of(runs, name, str(scores["machine"][0]), seed)
    clips = tuple((file, "00", domain) for file, domain in zip(scores["file"], scores["domain"], strict=True))
    run.scores.write({"s": scores}, {}, ScoredData("data", "", (), clips))
    run.finish(f"{name} {seed}", default="s", seconds=0.0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    finished(Path("runs"), "weak", table(0.3))
    finished(Path("runs"), "strong", table(2.0))
    for seed in (0, 1):
        finished(Path("runs"), "close", table(1.95, seed), seed)
    return tmp_path


def test_the_board_ranks_all_runs_and_says_what_the_clips_settle(place: Path) -> None:
    answer = succeeds("leaderboard")
    rows = {row["run"]: row for row in read_json(Path("runs/leaderboard.json"))["rows"]}
    assert list(rows) == sorted(rows, key=lambda name: -rows[name]["official_score"])
    assert rows["weak"]["tie"] is False
    assert rows["weak"]["difference_high"] < 0
    assert rows["strong"]["tie"] is True
    assert rows["close"]["tie"] is True
    assert rows["close"]["seeds"] == 2
    assert "| tie " in answer.out
    assert "leaderboard.md" in answer.out
    expected = evaluate_table(table(2.0), 2025)["official_score"]
    assert rows["strong"]["official_score"] == pytest.approx(expected)


def test_a_board_names_the_rule_and_whose_it_is(place: Path) -> None:
    Path("runs/weak/fan/seed0/config.yaml").write_text("year: 2023\n")
    Path("runs/strong/fan/seed0/config.yaml").write_text("year: 2021\n")
    succeeds("leaderboard")
    text = Path("runs/leaderboard.md").read_text()
    assert "Machines: fan. Rule of 2023 and 2025 (harmonic mean; a domain's AUC sets its normal clips" in text
    assert "Machines: fan. Rule of 2021 (harmonic mean of AUC and pAUC of each section and domain). " in text
    years = {row["run"]: row["year"] for row in read_json(Path("runs/leaderboard.json"))["rows"]}
    assert years == {"weak": 2023, "close": 2025, "strong": 2021}


def test_a_board_of_the_evaluation_set_takes_the_published_labels(place: Path) -> None:
    known = table(2.0, machine="ToothBrush").assign(file=[f"section_00_{i:04d}.wav" for i in range(100)])
    for kind, column, one in (("data", "label", "anomaly"), ("domain", "domain", "target")):
        rows = "".join(
            f"{file},{int(value == one)}\n" for file, value in known[["file", column]].itertuples(index=False)
        )
        write_text(Path(f"labels/ground_truth_{kind}/ground_truth_ToothBrush_section_00_test.csv"), rows)
    for name, strength in (("strong", 2.0), ("weak", 0.3)):
        scores = table(strength, machine="ToothBrush")["score"]
        finished(Path("runs"), name, known.assign(score=scores, label="", domain=""))
    words = ("year=2024", "part=eval", "ground_truth=labels")
    answer = succeeds("leaderboard", *words)
    assert answer.out.endswith("written to runs/leaderboard_eval.md, .csv and .json\n")
    rows = {row["run"]: row for row in read_json(Path("runs/leaderboard_eval.json"))["rows"]}
    assert {row["machines"] for row in rows.values()} == {"ToothBrush"}
    assert rows["strong"]["official_score"] == pytest.approx(evaluate_table(known, 2024)["official_score"])
    assert rows["weak"]["difference_high"] < 0
    assert (
        "close is left out: runs/close has no scores of the sections of ToothBrush that labels is about" in answer.err
    )
    assert not Path("runs/leaderboard.json").exists()
    refuses("leaderboard", *words[::2], saying="ground_truth=labels is for part=eval; say that too, or leave it out")
    saying = "no run with scores of an evaluation set whose labels are there; `data part=eval` fetches both, `train`"
    refuses("leaderboard", *words[:2], saying=saying)
    told = succeeds("evaluate", "name=strong", *words).out
    assert told.endswith("next: python -m asd leaderboard part=eval year=2024 ground_truth=labels\n")
    finished(Path("runs"), "strong", known.assign(score=0.0, label="", domain=""))
    assert "runs/leaderboard_eval.json is of earlier scores" in succeeds("evaluate", "name=strong", "machine=fan").err


def test_a_reference_of_choice_and_chosen_members(place: Path) -> None:
    succeeds("leaderboard", "members=weak,strong:s", "reference=weak")
    rows = {row["run"]: row for row in read_json(Path("runs/leaderboard.json"))["rows"]}
    assert rows.keys() == {"weak", "strong:s"}
    assert rows["strong:s"]["difference_low"] > 0
    assert rows["weak"]["difference"] == 0


def test_what_cannot_be_compared_is_refused(place: Path) -> None:
    refuses("leaderboard", "reference=nobody", saying="reference=nobody is not on the board: it holds .*strong")
    refuses("leaderboard", "machine=lathe,valve", saying="runs holds no run with labelled clips of lathe, valve;")
    finished(Path("runs"), "valve", table(1.0, machine="valve"))
    refuses("leaderboard", "members=weak,valve", saying="weak has scores of fan and valve of valve; they share none")
    succeeds("leaderboard", "members=weak,strong")
    finished(Path("runs"), "shorter", table(1.0, n=20))
    refuses("leaderboard", "members=weak,shorter", saying="weak and shorter scored different clips")
    finished(Path("runs"), "close", table(1.95, 2, n=20), seed=2)
    for words in (("leaderboard", "members=weak,close"), ("evaluate", "name=close")):
        refuses(*words, saying="the seeds of runs/close scored different clips; `score` with all of its seeds")
    unknown = table(1.0).assign(label="")
    finished(Path("runs"), "unlabelled", unknown)
    refuses("leaderboard", "members=unlabelled", saying="none of the test clips of runs/unlabelled has a label")
    assert asd("leaderboard", "runs=elsewhere").code == 2


def test_resamples_are_paired_whatever_the_order_of_the_rows() -> None:
    ordered, shuffled = table(1.0), table(1.0).sample(frac=1, random_state=3)
    np.testing.assert_array_equal(
        resampled_scores(ordered, 2025, n_resamples=50), resampled_scores(shuffled, 2025, n_resamples=50)
    )


def test_runs_of_other_machines_have_a_board_of_their_own(place: Path) -> None:
    """Each run stands beside those that scored the same clips; nothing is dropped without a word."""
    for name, strength in (("low", 0.2), ("high", 2.5)):
        finished(Path("runs"), name, table(strength, machine="valve"))
    finished(Path("runs"), "unlabelled", table(1.0).assign(label=""))
    answer = succeeds("leaderboard", "reference=weak")
    rows = read_json(Path("runs/leaderboard.json"))["rows"]
    assert [(row["machines"], row["run"]) for row in rows[3:]] == [("valve", "high"), ("valve", "low")]
    assert {row["reference"] for row in rows[:3]} == {"weak"}
    assert {row["reference"] for row in rows[3:]} == {"high"}
    assert "unlabelled is left out" in answer.err
    assert answer.out.count("Machines: ") == 2


def test_members_of_different_machines_are_compared_on_demand_only(place: Path) -> None:
    for machine in ("fan", "valve"):
        finished(Path("runs"), "both", table(1.0, machine=machine))
    refuses("leaderboard", "members=both,weak", saying="compare them on what they share with machine=fan$")
    succeeds("leaderboard", "members=both,weak", "machine=fan")
    assert {row["machines"] for row in read_json(Path("runs/leaderboard.json"))["rows"]} == {"fan"}


def boards() -> list[tuple[str, list[str]]]:
    """Machines and runs of each board, in order."""
    rows = pd.DataFrame(read_json(Path("runs/leaderboard.json"))["rows"])
    return [(str(name), sorted(rows["run"][rows["machines"] == name])) for name in rows["machines"].unique()]


def test_runs_that_share_machines_are_grouped(place: Path) -> None:
    for run, machines in (("one", ("fan", "valve")), ("two", ("valve", "pump")), ("three", ("fan", "valve"))):
        for machine in machines:
            finished(Path("runs"), run, table(1.0, machine=machine))
    succeeds("leaderboard")
    assert dict(boards()) == {
        "fan": ["close", "one", "strong", "three", "weak"],
        "valve": ["one", "three", "two"],
        "fan, valve": ["one", "three"],
        "pump, valve": ["two"],
    }
    assert [len(runs) for _, runs in boards()] == [5, 3, 2, 1]
    refuses("leaderboard", "name=one", saying="members=RUN1,RUN2")


def test_a_run_that_lacks_something_is_ranked_on_what_is_whole(place: Path) -> None:
    finished(Path("runs"), "half", table(1.0))
    finished(Path("runs"), "half", table(1.0, machine="pump"))
    finished(Path("runs"), "half", table(1.0, machine="valve").assign(label=""))
    answer = succeeds("leaderboard")
    assert "half is ranked on fan, pump alone: " in answer.err
    assert dict(boards())["fan"] == ["close", "half", "strong", "weak"]


def test_scores_by_the_rules_of_several_years_are_not_compared(place: Path) -> None:
    for name, machine, year in (("weak", "fan", 2020), ("close", "fan", 2023), ("old", "fan", 2020)):
        finished(Path("runs"), name, table(1.0, machine=machine))
        RunDirectory.of(Path("runs"), name, machine, 0).write_config({"year": year})
    for machine, year in (("fan", 2021), ("valve", 2020)):
        finished(Path("runs"), "mixed", table(1.0, machine=machine))
        RunDirectory.of(Path("runs"), "mixed", machine, 0).write_config({"year": year})
    by = "old is measured by the rule of 2020 and strong by that of 2025; say whose rule holds for both by year="
    refuses("leaderboard", "members=old,strong", saying=by)
    succeeds("leaderboard", "members=old,strong", "year=2023")
    answer = succeeds("leaderboard")
    assert "mixed is left out: machines of runs/mixed were trained with year=2020 and year=2021" in answer.err
    assert "runs that were trained with years of other rules are on boards of their own; year= puts" in answer.err
    rows = pd.DataFrame(read_json(Path("runs/leaderboard.json"))["rows"])
    found = {rule: sorted(runs) for rule, runs in rows.groupby("rule")["run"]}
    assert found == {"mixed": ["close", "strong"], "per_id": ["old", "weak"]}
    assert answer.out.count("Machines: fan.") == 2
