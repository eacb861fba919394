"""Runs in order of their official score, and which differences the clips can settle.

Only runs that scored the same labelled clips can be compared. Without members there is a board for the machines of each
run, and for those that any two runs share; it holds all runs that scored the same clips of these machines.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from asd.challenge.years import get_year
from asd.core.runtime import log
from asd.evaluation.comparison import Entry, ranked
from asd.evaluation.completeness import NAMED, is_all
from asd.evaluation.labelling import CLIP_COLUMNS, EvaluatedPart, labelled_scores
from asd.evaluation.markdown import table, write_results
from asd.evaluation.rule import meant_year
from asd.evaluation.tables import measure_name, rule_name, rule_sentence, score_over_seeds
from asd.metrics import evaluate_table
from asd.options import join_names
from asd.runs import run_names, warn_of_run
from asd.types import AsdError, named

Basis = tuple[str, tuple[tuple[str, ...], ...]]  # a rule, and the clips that are measured by it


@dataclass(frozen=True)
class Member:
    """One run and its score table of all machines by seed, by the scorer named or the default one."""

    name: str
    machines: list[str]
    by_seed: Mapping[int, pd.DataFrame]
    scored: Mapping[str, str]  # hash of the score tables, by folder
    year: int  # whose rule holds
    rule: str  # "plain" where the year only stands for plain AUC and pAUC

    def on(self, machines: Sequence[str]) -> Member:
        """The same run on some of its machines."""
        parts = {seed: scores[scores["machine"].isin(machines)] for seed, scores in self.by_seed.items()}
        return replace(self, machines=list(machines), by_seed=parts)

    def basis(self) -> Basis:
        """What runs that are compared have in common: the rule, and what every seed scored."""
        clips = next(iter(self.by_seed.values()))[CLIP_COLUMNS].astype(str).to_numpy().tolist()
        return get_year(self.year).rule, tuple(sorted(map(tuple, clips)))


@dataclass(frozen=True)
class Asked:
    """Which scores of which runs are ranked."""

    runs: Path  # folder of all runs
    year: int | None  # whose rule holds; None: as `evaluate` measures the recordings of each run
    part: EvaluatedPart = "dev"  # "eval": by the organisers' labels of the evaluation set
    ground_truth: Path | None = None  # folder of those, by default where `data` puts it


def board_name(part: EvaluatedPart) -> str:
    """Name of the files of a board: each set of clips has its own."""
    return {"dev": "leaderboard", "eval": "leaderboard_eval"}[part]


def rank_runs(asked: Asked, *, members: Sequence[str], machines: Sequence[str], reference: str | None) -> pd.DataFrame:
    """Ranks runs; writes leaderboard.{md,csv,json} to the folder of runs, of the evaluation set leaderboard_eval.

    Args:
        asked: which scores.
        members: runs to rank, each RUN or RUN:SCORER; none: all that can be ranked.
        machines: which machines shall count; ["all"]: all that a run should have.
        reference: member that differences refer to; None: the best of each board.

    Returns:
        One row per run, boards one after the other, best first in each: machines, rule, year (whose it is), run,
        official_score, std (over seeds), and the other columns of `comparison.ranked`.
    """
    if asked.year is not None:
        get_year(asked.year)  # a year that is unknown is no fault of the runs
    if asked.ground_truth is not None and asked.part == "dev":
        raise AsdError(f"ground_truth={asked.ground_truth} is for part=eval; say that too, or leave it out")
    found = [_member(asked, name, machines) for name in members] or _every_member(asked, machines)
    boards = _boards(found)
    if members and (apart := [member for member in found if member.basis() != found[0].basis()]):
        raise AsdError(_why_apart(found[0], apart[0]))
    if len({board[0].basis()[1] for board in boards}) < len(boards):
        log.info("runs that were trained with years of other rules are on boards of their own; year= puts all on one")
    names = [member.name for member in found]
    if reference is not None and reference not in names:
        raise AsdError(f"reference={reference} is not on the board: it holds {', '.join(names)}")
    board = pd.concat([_board(group, reference) for group in boards], ignore_index=True)
    scored = {path: digest for member in found for path, digest in member.scored.items()}
    numbers = {"rows": board.to_dict("records"), "scored": scored}
    write_results(asked.runs / board_name(asked.part), numbers, board, as_markdown(board))
    for run in sorted({name.partition(":")[0] for name in names}):
        warn_of_run(asked.runs, run)
    return board


def _boards(members: Sequence[Member]) -> list[list[Member]]:
    """Runs that can be compared, the largest group first; one on fewer machines must have a run more."""
    whole = {frozenset(member.machines) for member in members}
    shared = {one & other for one, other in combinations(whole, 2)} - {frozenset()}
    groups: dict[Basis, list[Member]] = {}  # those on many machines first
    for machines in sorted(whole | shared, key=lambda each: (-len(each), sorted(each))):
        for member in members:
            if machines <= {*member.machines}:
                part = member.on(sorted(machines))
                groups.setdefault(part.basis(), []).append(part)
    boards: list[list[Member]] = []
    for group in groups.values():
        names, machines = {member.name for member in group}, frozenset(group[0].machines)
        compared = [{member.name for member in board} for board in boards if machines < {*board[0].machines}]
        is_new = names not in compared if len(group) > 1 else not any(names <= others for others in compared)
        if is_new:
            boards.append(group)
    return sorted(boards, key=len, reverse=True)


def _board(group: Sequence[Member], reference: str | None) -> pd.DataFrame:
    """The rows of runs that scored the same clips, measured by the same rule."""
    entries = [Entry.of(member.name, member.by_seed, member.year) for member in group]
    board = ranked(entries, reference if reference in {entry.name for entry in entries} else None)
    board.insert(0, "machines", ", ".join(group[0].machines))
    board.insert(1, "rule", group[0].rule)
    years = {member.name: None if member.rule == "plain" else member.year for member in group}
    board.insert(2, "year", pd.Series([years[name] for name in board["run"]], dtype=object))
    return board


def as_markdown(board: pd.DataFrame) -> str:
    """The boards for people, in per cent."""
    lines = ["# Leaderboard"]
    for (machines, rule, reference), rows in board.groupby(["machines", "rule", "reference"], sort=False):
        measure = measure_name([str(rule)])
        head = ["run", measure, "95 % of clips", "difference", "95 % of clips", ""]
        lines += [
            "",
            f"Machines: {machines}. {rule_sentence(str(rule), [*filter(None, rows['year'])])}. Differences to "
            f"{reference}, paired on the same resampled clips; where their 95 % interval holds 0, these clips cannot "
            f"tell the two apart.",
            "",
            *table(head, [_cells(row) for row in rows.to_dict("records")]),
        ]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    percent = {key: 100 * value for key, value in row.items() if isinstance(value, float)}
    own = f"{percent['low']:.2f} to {percent['high']:.2f}"
    cells = [str(row["run"]), score_over_seeds(row["official_score"], row["std"], row["seeds"]), own]
    if row["run"] == row["reference"]:
        return [*cells, "", "", "reference"]
    between = f"{percent['difference_low']:.2f} to {percent['difference_high']:.2f}"
    return [*cells, f"{percent['difference']:+.2f}", between, "tie" if row["tie"] else ""]


def _member(asked: Asked, name: str, machines: Sequence[str]) -> Member:
    """A run by its name, RUN or RUN:SCORER."""
    run, _, scorer = name.partition(":")
    meant, plain = meant_year(asked.runs, run, machines, None, asked.year, by_names=asked.part == "dev")
    scores = labelled_scores(asked.runs, run, meant, machines, part=asked.part, ground_truth=asked.ground_truth)
    by_seed = scores.tables.get(scorer or scores.default)
    if by_seed is None:
        raise AsdError(f"the run {run} has no scorer={scorer}; it has {', '.join(scores.tables)}")
    for table_of_seed in by_seed.values():
        evaluate_table(table_of_seed, meant)  # clips that allow no score are a reason to leave the run out
    scored = {f"{run}/{path}": digest for path, digest in scores.scored.items()}
    return Member(name, scores.machines, by_seed, scored, meant, rule_name(meant, plain=plain))


def _every_member(asked: Asked, machines: Sequence[str]) -> list[Member]:
    """Every run that can be ranked, on the machines that it has as a whole; what is left out is named in the log."""
    members = []
    for name in run_names(asked.runs):
        try:
            members.append(_member(asked, name, machines))
        except AsdError as error:
            if part := _whole_part(asked, name) if is_all(machines) else None:
                log.warning("%s is ranked on %s alone: %s", name, ", ".join(part.machines), error)
                members.append(part)
            else:
                log.warning("%s is left out: %s", name, error)
    if not members and asked.part == "eval":
        way = "`data part=eval` fetches both, `train` and `score` make the first"
        raise AsdError(f"{asked.runs} holds no run with scores of an evaluation set whose labels are there; {way}")
    if not members:
        what = "labelled test clips" if is_all(machines) else f"labelled clips of {named(machines, NAMED)}"
        raise AsdError(f"{asked.runs} holds no run with {what}; `train machine=...` makes the first")
    return members


def _whole_part(asked: Asked, name: str) -> Member | None:
    """A run on the machines that lack nothing; None where there are none, or they were trained with several years."""
    whole = []
    for machine in sorted({done.parents[1].name for done in (asked.runs / name).glob("*/seed*/DONE")}):
        with suppress(AsdError):
            _member(asked, name, [machine])
            whole.append(machine)
    with suppress(AsdError):
        return _member(asked, name, whole) if whole else None
    return None


def _why_apart(one: Member, other: Member) -> str:
    """Why two runs cannot be compared, and what would help."""
    if one.basis()[1] == other.basis()[1]:
        return (
            f"{one.name} is measured by the rule of {one.year} and {other.name} by that of {other.year}; say whose "
            f"rule holds for both by year="
        )
    if one.machines == other.machines:
        return (
            f"{one.name} and {other.name} scored different clips, so their scores cannot be compared; name members= "
            f"that were scored on the same data"
        )
    shared = sorted({*one.machines} & {*other.machines})
    way = f"compare them on what they share with machine={join_names(shared)}" if shared else "they share none"
    return f"{one.name} has scores of {', '.join(one.machines)} and {other.name} of {', '.join(other.machines)}; {way}"
