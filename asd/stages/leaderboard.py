"""The stage `leaderboard`: runs in order of their official score, and which differences the clips can settle.

Runs are set side by side on the machines that they share, and only where they scored the same labelled
clips. Two runs differ by what they differ on the same resampled clips (a paired bootstrap): that interval is
narrower than those of the two scores, because a hard clip is hard for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.evaluation.confidence import Interval, percentile_interval, resampled_scores
from asd.metrics import evaluate_table
from asd.runs import RunDirectory, find_runs, same_seeds, write_json, write_text
from asd.settings.config import Leaderboard
from asd.types import AsdError

_CLIP = ["machine", "section", "domain", "label", "file"]  # what must agree for a comparison


@dataclass(frozen=True, slots=True)
class Entry:
    """One run on the shared machines: official score per seed, (seeds,), and per resample, (n_resamples,)."""

    name: str
    scores: npt.NDArray[np.float64]
    resampled: npt.NDArray[np.float64]

    @property
    def score(self) -> float:
        """Mean over seeds."""
        return float(self.scores.mean())


def rank_runs(config: Leaderboard) -> pd.DataFrame:
    """Ranks runs; writes leaderboard.{md,csv,json} to the folder of runs.

    Returns:
        One row per run, best first: run, official_score, std (over seeds), seeds, low, high (bootstrap of the
        score), difference to the reference with its own low and high, and whether it is a tie.

    Raises:
        AsdError: no labelled runs, runs without a machine in common, or that scored different clips.
    """
    members = config.members or _labelled_names(config)
    found = {member: _labelled_runs(config, member) for member in members}
    machines = sorted(set.intersection(*({run.machine for run in runs} for runs in found.values())))
    if config.machine != ["all"]:
        machines = [machine for machine in machines if machine in config.machine]
    if not machines:
        has = "; ".join(
            f"{name}: {', '.join(sorted({r.machine for r in runs}))}" for name, runs in found.items()
        )
        raise AsdError(f"the runs have no machine in common ({has}); name members= that can be compared")
    tables = {
        member: _tables([run for run in runs if run.machine in machines], member.partition(":")[2])
        for member, runs in found.items()
    }
    _check_same_clips(tables)
    entries = [_entry(member, by_seed, config) for member, by_seed in tables.items()]
    entries.sort(key=lambda entry: -entry.score)
    board = ranked(entries, config.reference)
    write_json(config.runs / "leaderboard.json", {"machines": machines, "rows": board.to_dict("records")})
    write_text(config.runs / "leaderboard.csv", board.to_csv(index=False))
    write_text(config.runs / "leaderboard.md", as_markdown(board, machines))
    return board


def ranked(entries: Sequence[Entry], reference: str | None = None) -> pd.DataFrame:
    """Entries, best first, as rows; differences are those to `reference`, by default to the best.

    Raises:
        AsdError: a reference that is not among the entries.
    """
    by_name = {entry.name: entry for entry in entries}
    if reference is not None and reference not in by_name:
        raise AsdError(f"reference={reference} is not on the board: it holds {', '.join(by_name)}")
    against = entries[0] if reference is None else by_name[reference]
    return pd.DataFrame([_row(entry, against) for entry in entries])


def _row(entry: Entry, against: Entry) -> dict[str, object]:
    own = percentile_interval(entry.resampled)
    difference = Interval(0.0, 0.0)
    if entry is not against:
        difference = percentile_interval(entry.resampled - against.resampled)
    return {
        "run": entry.name,
        "official_score": entry.score,
        "std": float(entry.scores.std(ddof=1)) if len(entry.scores) > 1 else 0.0,
        "seeds": len(entry.scores),
        "low": own.low,
        "high": own.high,
        "reference": against.name,
        "difference": entry.score - against.score,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "tie": difference.low <= 0 <= difference.high,
    }


def as_markdown(board: pd.DataFrame, machines: Sequence[str]) -> str:
    """The board for people, in per cent."""
    lines = [
        "# Leaderboard",
        "",
        f"Machines: {', '.join(machines)}. Differences to {board['reference'][0]}, paired on the same resampled "
        f"clips; where their 95 % interval holds 0, these clips cannot tell the two apart.",
        "",
        "| run | official score | 95 % of clips | difference | 95 % of clips | |",
        "|---|---|---|---|---|---|",
    ]
    for row in board.to_dict("records"):
        spread = f" ± {100 * row['std']:.2f} over {row['seeds']} seeds" if row["seeds"] > 1 else ""
        cells = [row["run"], f"{100 * row['official_score']:.2f}{spread}", _range(row["low"], row["high"])]
        if row["run"] == row["reference"]:
            cells += ["", "", "reference"]
        else:
            between = _range(row["difference_low"], row["difference_high"])
            cells += [f"{100 * row['difference']:+.2f}", between, "tie" if row["tie"] else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _entry(member: str, by_seed: Mapping[int, pd.DataFrame], config: Leaderboard) -> Entry:
    scores = [evaluate_table(table, config.year)["official_score"] for table in by_seed.values()]
    # The same draws for every seed and every run: the mean over seeds is resampled as a whole.
    resampled = [resampled_scores(table, config.year) for table in by_seed.values()]
    return Entry(member, np.array(scores), np.mean(resampled, axis=0))


def _labelled_names(config: Leaderboard) -> list[str]:
    """Every run that can be ranked."""
    places = sorted({done.parents[2].name for done in config.runs.glob("*/*/seed*/DONE")})
    names = [name for name in places if any(run.is_labelled() for run in find_runs(config.runs, name))]
    if not names:
        raise AsdError(
            f"{config.runs} holds no run with labelled test clips; make train machine=... makes the first"
        )
    return names


def _labelled_runs(config: Leaderboard, member: str) -> list[RunDirectory]:
    runs = [run for run in find_runs(config.runs, member.partition(":")[0]) if run.is_labelled()]
    if not runs:
        raise AsdError(f"no machine of the run {member} has labelled test clips; leave it out of members=")
    return runs


def _tables(runs: Sequence[RunDirectory], scorer: str) -> dict[int, pd.DataFrame]:
    """Seed -> score table of all machines, by the scorer named or the default one."""
    same_seeds(runs)
    parts: dict[int, list[pd.DataFrame]] = {}
    for run in runs:
        parts.setdefault(run.seed, []).append(run.table(scorer or run.default_scorer()))
    return {seed: pd.concat(tables, ignore_index=True) for seed, tables in parts.items()}


def _check_same_clips(tables: Mapping[str, Mapping[int, pd.DataFrame]]) -> None:
    first, expected = "", None
    for member, by_seed in tables.items():
        for table in by_seed.values():
            clips = sorted(map(tuple, table[_CLIP].astype(str).to_numpy().tolist()))
            if expected is None:
                first, expected = member, clips
            elif clips != expected:
                raise AsdError(
                    f"{first} and {member} scored different clips, so their scores cannot be compared; "
                    f"name members= that were scored on the same data"
                )
