"""Runs in order, and the paired intervals of their differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.evaluation.confidence import resampled_scores
from asd.metrics import evaluate_table
from asd.runs import RunDirectory, read_json, write_scores
from asd.stages.leaderboard import Entry, as_markdown, ranked
from asd.types import SCORE_COLUMNS, AsdError
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
    write_scores(run.path / "scores" / "s.csv", scores)
    run.finish("x", "s", 0.0)


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
    assert "| tie |" in answer.out
    assert "leaderboard.md" in answer.out
    expected = evaluate_table(table(2.0), 2025)["official_score"]
    assert rows["strong"]["official_score"] == pytest.approx(expected)


def test_a_reference_of_choice_and_chosen_members(place: Path) -> None:
    succeeds("leaderboard", "members=weak,strong:s", "reference=weak")
    rows = {row["run"]: row for row in read_json(Path("runs/leaderboard.json"))["rows"]}
    assert rows.keys() == {"weak", "strong:s"}
    assert rows["strong:s"]["difference_low"] > 0
    assert rows["weak"]["difference"] == 0


def test_what_cannot_be_compared_is_refused(place: Path) -> None:
    refuses(
        "leaderboard", "reference=nobody", saying="reference=nobody is not on the board: it holds .*strong"
    )
    finished(Path("runs"), "valve", table(1.0, machine="valve"))
    refuses("leaderboard", saying=r"no machine in common .*valve: valve")
    succeeds("leaderboard", "members=weak,strong")
    finished(Path("runs"), "shorter", table(1.0, n=20))
    refuses("leaderboard", "members=weak,shorter", saying="weak and shorter scored different clips")
    unknown = table(1.0).assign(label="")
    finished(Path("runs"), "unlabelled", unknown)
    refuses("leaderboard", "members=unlabelled", saying="unlabelled has labelled test clips")
    assert asd("leaderboard", "runs=elsewhere").code == 2


def test_resamples_are_paired_whatever_the_order_of_the_rows() -> None:
    ordered, shuffled = table(1.0), table(1.0).sample(frac=1, random_state=3)
    np.testing.assert_array_equal(
        resampled_scores(ordered, 2025, n_resamples=50), resampled_scores(shuffled, 2025, n_resamples=50)
    )


@given(st.floats(0.01, 0.2), st.integers(0, 1000))
def test_a_constant_advantage_is_never_a_tie(advantage: float, seed: int) -> None:
    """Pairing takes out what both share: the difference has no spread although both scores do."""
    resampled = np.random.default_rng(seed).normal(0.6, 0.1, size=500)
    better = Entry("better", np.array([0.6 + advantage]), resampled + advantage)
    board = ranked([better, Entry("worse", np.array([0.6]), resampled)])
    assert not board["tie"][1]
    assert board["difference"][1] == pytest.approx(-advantage)
    assert board["difference_low"][1] == pytest.approx(board["difference_high"][1])
    assert "worse" in as_markdown(board, ["fan"])


def test_a_reference_that_is_no_entry() -> None:
    with pytest.raises(AsdError, match="reference=x is not on the board"):
        ranked([Entry("a", np.array([0.5]), np.array([0.5, 0.6]))], "x")
