"""The stage `benchmark`: many methods on the same machines through the real stages, in one table.

A method is a line of options of `train` in a YAML file. Each is trained for every machine and seed by `pipeline.train`,
so that the table shows exactly what a user gets; what is done is not done again. One process does all methods of a
machine, several processes work side by side. Where something fails, the table is of what all machines have.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from asd.core.executors import attempt, finished, log_failure
from asd.core.files import alone, read_yaml, write_text
from asd.core.storage import list_names
from asd.data.dataset import open_data
from asd.evaluation.comparison import Entry, chosen_by_test_labels, chosen_elsewhere, ranked
from asd.evaluation.labelling import labelled_scores, published_truth
from asd.evaluation.markdown import check_columns, place_in, without_nan, write_results
from asd.evaluation.markdown import table as markdown_table
from asd.evaluation.rule import LATEST_YEAR, PLAIN_YEAR, check_labels
from asd.evaluation.tables import measure_name, rule_name
from asd.options import Execution, machine_options
from asd.places import spelled
from asd.runs import find_runs
from asd.settings.config import Run
from asd.settings.parsing import parse
from asd.settings.stages import Benchmark
from asd.stages.jobs import machines_of
from asd.types import AsdError, Label, Split, failures

ORACLE = "oracle: the best per machine by test labels"
ELSEWHERE = "chosen on the other machines: leave one machine out"
_AGAIN = "the same command goes on with them, and with overwrite=true trains anew what has changed"

_LINES = "`label: detector=... key=value` lines"
_SHARED = (  # by all methods
    "data", "normal", "abnormal", "machine", "year", "name", "runs", "seed", "seeds", "overwrite",
    *Execution.model_fields,
)  # fmt: skip


class Failure(NamedTuple):
    """What could not be trained or scored, and why."""

    machine: str
    method: str | None  # None: none of them, as its process was lost
    why: str

    def __str__(self) -> str:
        return f"{f'{self.method} on ' if self.method else ''}{self.machine} ({self.why})"


class Row(NamedTuple):
    """One method with one of its scorers."""

    method: str
    scorer: str
    entry: Entry
    seconds: float  # per machine and seed, training and scoring


def benchmark(config: Benchmark) -> pd.DataFrame:
    """Trains and evaluates every method; writes benchmark.{md,csv,json} to the folder of its runs, and the page.

    Returns:
        One row per method and scorer, best first: rule ("plain" for recordings of one's own), official_score, std (over
        seeds), leave_one_out (its scorer chosen on the other machines), worst (machine), difference to the reference
        with its interval, wins, losses and sign_p over machines, a column per machine, seconds. Below them what a
        choice among all rows is worth, by leaving one machine out (where there are others) and by test labels.

    Raises:
        AsdError: something failed; the table is then of the methods that did not fail, and the page as it was.
    """
    every = read_methods(config.methods)
    reference = config.reference or next(iter(every))
    if reference not in every:
        raise AsdError(f"reference={reference!r} is no method of {config.methods}")
    wanted = {*every}
    if config.detectors != ["all"]:
        wanted = {label for label, own in every.items() if parse(Run, own).detector in config.detectors}
    if not wanted:
        raise AsdError(f"detectors={','.join(config.detectors)} have no method among the {len(every)} of the file")
    methods = {label: own for label, own in every.items() if label in wanted | {reference}}
    check_methods(config.methods, methods)
    if config.page:
        place_in(config.page, _title(config))
    list_names(config.data)
    dataset = open_data(config.data)
    machines = machines_of(config.machine, dataset)
    check_columns(machines, _FIXED)
    is_plain = config.year is None and not dataset.is_strict
    year = config.year or (PLAIN_YEAR if is_plain else LATEST_YEAR)
    for machine in machines:
        dataset.require(machine)
        if config.part == "dev":
            clips = dataset.clips(machine, Split.TEST)
            if not {*Label} <= {clip.label for clip in clips}:
                raise AsdError(f"{machine} has no test clips labelled normal and anomaly; leave it out with machine=")
            check_labels(clips, year)
    if config.part == "eval":
        published_truth(config.ground_truth, year, machines)
    failed = _train(config, methods, machines)
    labels, machines = _whole(failed, [*methods], machines)
    reference = reference if reference in labels else next(iter(labels), "")
    others = f"the table of the others, with differences to {reference}, is in {config.runs}/benchmark.md"
    told = failures(failed, f"{others if labels else 'there is no new table'}; {_AGAIN}") if failed else ""
    if not labels:
        raise AsdError(told)
    rows = [row for label in labels for row in _rows(config, label, machines, year)]
    full = wanted if config.scorers == "all" else set()
    shown = [row for row in rows if row.method in full or row is _first(rows, row.method)]
    table = _as_table(shown, rows, reference)
    table.insert(0, "rule", rule_name(year, plain=is_plain))
    numbers = {"rows": without_nan(table.to_dict("records"))}
    write_results(config.runs / "benchmark", numbers, table, as_markdown(table) + (told and f"\n{told}\n"))
    if told:
        raise AsdError(told)
    if config.page:  # read again: a benchmark takes long, and a page is written meanwhile
        write_text(config.page, f"\n\n{as_markdown(table)}\n".join(place_in(config.page, _title(config))))
    return table


def summary(config: Benchmark, table: pd.DataFrame) -> str:
    """The table and where it lies."""
    return f"{as_markdown(table)}\nwritten to {config.runs}/benchmark.md, .csv and .json"


def read_methods(path: Path) -> dict[str, list[str]]:
    """Label -> options of `train`, from a YAML file of `label: key=value ...` lines."""
    content = read_yaml(path, "methods=", f"; write a file of {_LINES}, one for each method")
    if not content or not all(isinstance(options, str) for options in content.values()):
        raise AsdError(f"methods={path} is no list of {_LINES}")
    methods = {str(label): _options(path, options) for label, options in content.items()}
    for label, options in methods.items():
        if given := [option for option in options if option.partition("=")[0] in _SHARED]:
            raise AsdError(f"methods={path}: {given[0]} of {label} is the same for all methods; leave it out")
    name, count = (names := Counter(map(run_name, methods))).most_common(1)[0]
    if "" in names:
        raise AsdError(f"methods={path} has a label without a letter or digit, of which the name of a run is made")
    if count > 1:
        raise AsdError(f"methods={path} has {count} labels for the run {name}; let them differ in a letter or digit")
    return methods


def _options(path: Path, line: str) -> list[str]:
    """The options of a line as a shell takes them, so that a value may hold blanks."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise AsdError(f"methods={path}: {line!r} cannot be read ({error}); close the quote") from error


def check_methods(path: Path, methods: Mapping[str, Sequence[str]]) -> None:
    """Refuses options and names that `train` would refuse, before anything is done."""
    for label, options in methods.items():
        try:
            parse(Run, [*options, f"name={run_name(label)}"]).detector_settings.check_names()
        except AsdError as error:
            raise AsdError(f"methods={path}: {label}: {error}") from error


def _title(config: Benchmark) -> str:
    """What stands in the page's place of the table: a choice of detectors has a place of its own."""
    chosen = "" if config.detectors == ["all"] else f": {', '.join(config.detectors)}"
    return spelled(f"benchmark of {config.data}{chosen}")


def run_name(label: str) -> str:
    """Name of the run of a method."""
    return re.sub(r"[\W_]+", "-", label.lower()).strip("-")


def _train(config: Benchmark, methods: Mapping[str, Sequence[str]], machines: Sequence[str]) -> list[Failure]:
    """Does what is not done yet, and tells what failed when all else is done, machine by machine."""
    shared = [spelled(f"data={config.data}"), spelled(f"runs={config.runs}")]
    shared += [] if config.year is None else [f"year={config.year}"]
    shared += [f"seeds={','.join(map(str, config.seeds))}", f"overwrite={config.overwrite}"]
    own = {label: [*shared, f"name={run_name(label)}", *options] for label, options in methods.items()}
    tasks = [{label: [*own[label], *machine_options([machine])] for label in own} for machine in machines]
    failed: dict[int, list[Failure]] = {}
    for index, found, error in finished(_work, tasks, config, label="benchmark"):
        where = machines[index]
        failed[index] = [Failure(where, None, log_failure(where, error))] if error else found
    return [failure for index in sorted(failed) for failure in failed[index]]


def _work(methods: Mapping[str, Sequence[str]]) -> list[Failure]:
    """All methods of a machine, by their options of `train`, in a process of its own; returns what failed."""
    from asd import pipeline

    failed = []
    for label, options in methods.items():
        config = parse(Run, options)
        (machine,) = config.machine
        with alone(config.runs / config.run_name / machine):  # train by itself would refuse to wait
            _, error = attempt(pipeline.train, config)
        if error:
            failed.append(Failure(machine, label, log_failure(f"{label} on {machine}", error)))
    return failed


def _whole(failed: Sequence[Failure], labels: list[str], machines: list[str]) -> tuple[list[str], list[str]]:
    """Methods and machines of a table without gaps: machines where not all failed, and methods that have those."""
    gaps = {(label, each.machine) for each in failed for label in ([each.method] if each.method else labels)}
    machines = [machine for machine in machines if any((label, machine) not in gaps for label in labels)]
    return [label for label in labels if machines and not {(label, one) for one in machines} & gaps], machines


def _rows(config: Benchmark, label: str, machines: Sequence[str], year: int) -> list[Row]:
    """A row per scorer of a method, the default first, by the rule of a year."""
    name = run_name(label)
    part, truth, seeds = config.part, config.ground_truth, config.seeds
    scores = labelled_scores(config.runs, name, year, machines, part=part, ground_truth=truth, seeds=seeds)
    runs = [run for run in find_runs(config.runs, name) if run.machine in machines and run.seed in config.seeds]
    seconds = float(np.mean([run.done()["seconds"] for run in runs]))
    rows = []
    for scorer in sorted(scores.tables, key=lambda scorer: scorer != scores.default):
        by_seed = {seed: scores.tables[scorer][seed] for seed in config.seeds}
        entry = Entry.of(f"{label} / {scorer}", by_seed, year)
        if missing := sorted({*machines} - {*entry.machines}):
            raise AsdError(f"{missing[0]} has no labelled test clips; leave it out with machine=")
        rows.append(Row(label, scorer, entry, seconds))
    return rows


def _as_table(shown: Sequence[Row], rows: Sequence[Row], reference: str) -> pd.DataFrame:
    """The table of the methods that are shown, as `benchmark` returns it."""
    every, by_name = [row.entry for row in shown], {row.entry.name: row for row in shown}
    table: list[dict[Any, Any]] = []
    has_others = len(every[0].machines) > 1  # machines, to choose on where one is left out
    for compared in ranked(every, _first(rows, reference).entry.name).to_dict("records"):
        row = by_name[compared["run"]]
        own = {"method": row.method, "scorer": row.scorer, "seconds": row.seconds, **_machines(row.entry)}
        own["leave_one_out"] = None
        if has_others and row is _first(rows, row.method):
            others = [other.entry for other in rows if other.method == row.method]
            own["leave_one_out"] = chosen_elsewhere(row.method, others).score
        table.append({**compared, **own})
    choices = {ELSEWHERE: chosen_elsewhere} if has_others else {}
    for title, choose in (choices | {ORACLE: chosen_by_test_labels}).items():
        table.append({"method": title, "scorer": "", **_machines(choose(title, every))})
    first = ["method", "scorer", "official_score", "std", "leave_one_out", "worst", *_COMPARED[1:]]
    return pd.DataFrame(table)[[*first, *every[0].machines, "seconds"]]


_COMPARED = ("std", "difference", "difference_low", "difference_high", "wins", "losses", "sign_p")
_FIXED = ("rule", "method", "scorer", "official_score", "leave_one_out", "worst", "seconds", *_COMPARED)


def _machines(entry: Entry) -> dict[str, Any]:
    """The score over all machines, of the worst, and of each."""
    by_machine = entry.by_machine()
    return {"official_score": entry.score, "worst": min(by_machine.values()), **by_machine}


def _first(rows: Sequence[Row], method: str) -> Row:
    """The row of a method's default scorer."""
    return next(row for row in rows if row.method == method)


def as_markdown(table: pd.DataFrame) -> str:
    """The table for a document, in per cent."""
    machines = [column for column in table.columns if column not in _FIXED]
    head = ["method", "scorer", measure_name({*table["rule"]}), "leave one out", "worst", "difference", "better on"]
    rows = [_cells(row, machines) for row in without_nan(table.to_dict("records"))]
    return "\n".join(markdown_table([*head, *machines, "seconds"], rows)) + "\n"


def _cells(row: Mapping[str, Any], machines: Sequence[str]) -> list[str]:
    def percent(key: str) -> str:
        return "" if row[key] is None else f"{100 * row[key]:.1f}"

    spread = f" ± {percent('std')}" if row["std"] else ""
    difference = better = ""
    if row["difference_low"] is not None and (row["difference_low"], row["difference_high"]) != (0, 0):
        bounds = f"{percent('difference_low')} to {percent('difference_high')}"
        difference = f"{100 * row['difference']:+.1f} ({bounds})"
        better = f"{row['wins']:.0f} of {len(machines)} (p {row['sign_p']:.2f})"
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
    own = [row["method"], row["scorer"], percent("official_score") + spread]
    return [*own, percent("leave_one_out"), percent("worst"), difference, better, *map(percent, machines), seconds]
