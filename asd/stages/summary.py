"""The message at the end of a stage: where its results are and which command comes next.

There is a function per stage of `pipeline`, by its name; the other stages have theirs beside them.

Args:
    config: options of the stage.
    result, or what it is: what the stage returned.
"""

from __future__ import annotations

import math
import shlex
import unicodedata
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from asd.challenge.validator import Findings
from asd.challenge.years import get_year
from asd.evaluation.completeness import Folders, absent_machines, chosen_runs, missing_scores
from asd.evaluation.confidence import decision_intervals
from asd.evaluation.labelling import evaluation_name
from asd.evaluation.leaderboard import as_markdown as board_table
from asd.evaluation.leaderboard import board_name
from asd.evaluation.rule import LATEST_YEAR
from asd.evaluation.tables import as_markdown
from asd.options import machine_options, run_options
from asd.runs import RunDirectory, ScoreFolder, find_runs, years_of
from asd.scoring.threshold import CONFIDENCE, how_sure
from asd.settings import stages as options
from asd.settings.config import Demo, Enroll, Fuse, Run
from asd.stages.obtaining import Inventory, Target
from asd.stages.packaging import Package, evaluation_sections, findings_lines
from asd.types import Label, named

_NAMED = 3  # recordings that are named where several cannot be used, or are unlike the others


def data(config: options.Data, targets: Sequence[Target]) -> str:
    """Where the clips are, and what to do with them."""
    places = dict.fromkeys(str(target.folder.parent if target.part else target.folder) for target in targets)
    lines = [f"there are {len(targets)} archives of {config.year} in", *(f"  {place}" for place in places)]
    given, root = [f"year={config.year}"], targets[0].folder.parent
    if root != get_year(config.year).dev_root:
        given.append(f"data={root}")
    return "\n".join([*lines, f"next: python -m asd train machine=all {shlex.join(given)}"])


def data_check(config: options.DataCheck, inventory: Inventory) -> str:
    """A line per archive, a sentence for recordings that cannot be used, and how many are not good."""
    rows = [("machine", "part", "clips", "state", "")]
    rows += [(f.machine, f.part, str(f.n_clips), f.state, f.about) for f in inventory.findings]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if not (defects := inventory.defects):
        return "\n".join([*lines, "all there"])
    for found in defects:
        lines += [f"  {sentence}" for sentence in found.unusable[:_NAMED]]
        if (n_more := len(found.unusable) - _NAMED) > 0:
            lines.append(f"  and {n_more} more of {found.machine} {found.part}")
    pointed_at = all(found.unusable for found in defects)  # what else is wrong is found by `data` itself
    machines = [*dict.fromkeys(found.machine for found in defects)] if pointed_at else config.machine
    given = [f"year={config.year}", f"part={config.part}", *machine_options(machines)]
    given += [f"data={config.data}"] if config.data else []
    given += ["overwrite=true"] if pointed_at else []
    advice = f"python -m asd data {shlex.join(given)}"
    return "\n".join([*lines, f"{len(defects)} of {len(inventory.findings)} are not; next: {advice}"])


def train(config: Run, runs: Sequence[RunDirectory]) -> str:
    """Where the models and scores of a training are."""
    places = "\n".join(f"  {run.path}" for run in runs)
    folders = {run: run.scores for run in runs}
    if any(folder.scorers for folder in folders.values()):
        advice = _after_scores(config, folders)
    elif config.normal:
        advice = f"next: {_predict(config)}"
    else:
        advice = (
            "put clips to score in test/ beside train/, then: python -m asd score with the same options\n"
            f"or score any recordings: {_predict(config)}"
        )
    return f"trained (model/ and scores/ in each):\n{places}\n{_least_alike(config, runs)}{advice}"


def enroll(config: Enroll, runs: Sequence[RunDirectory]) -> str:
    """How sure each model can be, and how it grows."""
    lines, rate = [], config.decision.false_alarm_rate
    for run in runs:
        bound = run.scores.thresholds()[run.default_scorer()]["false_alarm_bound"]
        lines.append(f"{run.machine}: {how_sure(len(run.training_scores()), bound)} ({run.path})")
        if rate is not None and bound > rate:
            needed = math.ceil(math.log1p(-CONFIDENCE) / math.log1p(-rate))
            lines.append(f"  for {rate:.0%} it takes {needed}: confirm normal recordings as they come")
    advice = f"python -m asd predict {run_options(config.run_name, config.runs)} audio=NEW"
    return "\n".join([*lines, f"next: {advice}; --confirm-normal adds what is normal to the bank"])


def score(config: Run, runs: Sequence[RunDirectory]) -> str:
    """Where the scores are."""
    root = config.data_root
    folders = {run: run.scores_of(root) or run.scores for run in runs}
    beside = any(folder != run.scores for run, folder in folders.items())
    places = "\n".join(f"  {folder.path}" for folder in folders.values())
    note = "these are no test clips of the run: their scores lie beside its own\n" if beside else ""
    after = _after_scores(config, folders, *([f"data={root}"] if beside else []))
    return f"scored:\n{places}\n{note}{after}"


def evaluate(config: options.Evaluate, result: dict[str, Any]) -> str:
    """The table, and where it lies."""
    if config.submission:
        lines = [
            f"  {system}: official score {100 * found['official_score']:.2f}"
            for system, found in result["systems"].items()
        ]
        return "\n".join(["evaluated as the organisers do:", *lines, f"result files: {config.out}"])
    name = result["name"]
    return (
        f"{as_markdown(result, name, full=False)}\n"
        f"written to {config.runs / name}/{evaluation_name(config.part, config.data)}.json, .csv and .md\n"
        f"next: python -m asd {_after_evaluation(config, result)}"
    )


def _after_evaluation(config: options.Evaluate, result: dict[str, Any]) -> str:
    """The command that follows: package what is to be packaged, else look at the run, or at others beside it."""
    run = run_options(config.name, config.runs)
    if config.part == "eval" and not config.data:
        given = config.model_dump(include={"runs", "year", "ground_truth"}, exclude_unset=True, exclude_none=True)
        words = ["part=eval", *(f"{key}={value}" for key, value in given.items()), *machine_options(config.machine)]
        return f"leaderboard {shlex.join(words)}"
    measured = chosen_runs(config.runs, config.name, config.machine)
    year = config.year or max(years_of(measured), default=result["year"])  # the rule of 2020 may stand in for its own
    every = find_runs(config.runs, config.name)
    if config.part == "dev" and result["year"] and evaluation_sections(every, get_year(year)):
        return f"submit {run} label=<LastName>_<Institute>_task2_1 year={year}"
    return f"report {run}"


def fuse(config: Fuse, runs: Sequence[RunDirectory]) -> str:
    """Where the fused scores are."""
    folders = {run: run.scores for run in runs}
    places = [f"  {folder.path}" for folder in folders.values()]
    years = years_of(runs) or [LATEST_YEAR]
    of_several = [f"year={years[-1]}"] if len(years) > 1 else []  # then evaluate asks whose rule holds
    advice = _evaluate(config.name, config, years[-1], folders, *of_several)
    if not advice and any(folder.is_own_data for folder in folders.values()):
        advice = f"next: python -m asd report {run_options(config.name, config.runs)}"
    return "\n".join([f"fused {', '.join(config.members)}:", *places, advice or _unlabelled(folders)])


def explain(config: options.Explain, table: pd.DataFrame) -> str:
    """The clips, what moved them, and where the pictures are."""
    columns = ["machine", "kind", "file", "score", "verdict", "nearest", "top_bands", "top_stretch"]
    text = table[columns].to_string(index=False, float_format="%.3f")
    return f"{text}\npictures and explain.csv: {', '.join(dict.fromkeys(table['folder']))}"


def leaderboard(config: options.Leaderboard, board: pd.DataFrame) -> str:
    """The board and where it lies."""
    return f"{board_table(board)}\nwritten to {config.runs}/{board_name(config.part)}.md, .csv and .json"


def submit(config: options.Submit, result: Package) -> str:
    """Where the package is and what is still wrong with it."""
    folder = result.zip.with_suffix("")
    if not result.written:
        return "\n".join([f"dry run: {result.zip} would hold", *result.lines(), "nothing was written"])
    last = f"next: python -m asd validate {shlex.quote(str(folder))} year={config.year}"
    if result.is_rehearsal:
        last = (
            f"this is not the whole evaluation set of {config.year}, which `validate` and `bundle` expect unless data= "
            f"names the folder of its recordings"
        )
    return "\n".join([f"packaged: {folder} and {result.zip}", *findings_lines(result.findings), last])


def bundle(config: options.Bundle, result: Package) -> str:
    """What the archive holds, and whether it may go out."""
    if result.written:
        return "\n".join([f"archived: {result.zip}", *result.lines(), "valid: ready to be sent"])
    why = "it has defects" if result.findings.defects else "this is a dry run"
    return "\n".join([f"{result.zip} would hold", *result.lines(), f"nothing was written: {why}"])


def validate(config: options.Validate, findings: Findings) -> str:
    """Every defect and every reminder."""
    verdict = f"{len(findings.defects)} defects" if findings.defects else "valid"
    return "\n".join([f"{config.path}: {verdict}", *findings_lines(findings)])


def demo(config: Demo, result: tuple[list[RunDirectory], dict[str, Any], Package]) -> str:
    """The table, the places, the next step."""
    runs, evaluation, packed = result
    return (
        f"{as_markdown(evaluation, 'demo', full=False)}\n"
        f"data        {config.data} (synthetic machines {', '.join(sorted({run.machine for run in runs}))})\n"
        f"runs        {config.runs / 'demo'} (models, scores, evaluation.md)\n"
        f"submission  {packed.zip.with_suffix('')} and {packed.zip} (a rehearsal: fill in the authors for a real one)\n"
        f"next: python -m asd train machine=fan data=<folders of machines>, or normal=<recordings in good order>"
    )


def _after_scores(config: Run, folders: Folders, *more: str) -> str:
    """What to do with scores; `more` are options of `evaluate`."""
    if advice := _evaluate(config.run_name, config, config.year, folders, *more):
        return advice
    scored = [folder for folder in folders.values() if folder.scorers]
    if any(folder.is_own_data for folder in scored):
        # of each machine the first seed
        of_machine = {run.machine: folder for run, folder in reversed([*folders.items()]) if folder.scorers}
        scorer = next(iter(folders)).default_scorer()
        return f"{_false_alarms([*of_machine.values()], scorer)}next: {_predict(config)}"
    return _unlabelled(folders, beside=bool(more))


def _evaluate(name: str, config: Run | Fuse, year: int, folders: Folders, *more: str) -> str:
    """How to evaluate scores, which needs both kinds of clip of a machine; "" where none has them."""
    labels = _labels(folders)
    if not (compared := [machine for machine, own in labels.items() if {*Label} <= own]):
        return ""
    unnamed = {*get_year(year).eval} - {*compared}  # the names of an evaluation set tell no labels
    folders = {run: folder for run, folder in folders.items() if run.machine not in unnamed}
    others = [machine for machine in labels if machine not in {*compared} | unnamed]
    note = f"not to be evaluated, without test clips of both labels: {named(others)}\n" if others else ""
    scorer = next(folder.scorers[0] for folder in folders.values() if folder.scorers)
    # A part is evaluated where it is asked for
    is_part = others or missing_scores(folders, scorer) or absent_machines(folders, ())
    machines = machine_options(compared if is_part else config.machine)
    return f"{note}next: python -m asd evaluate {run_options(name, config.runs, *machines, *more)}"


def _unlabelled(folders: Folders, *, beside: bool = False) -> str:
    if {*chain(*_labels(folders).values())} == {""}:
        use = "`evaluate data= part=eval` takes published labels" if beside else "`submit` packages them"
        return f"their names tell no labels; the tables hold score and decision of each clip, {use}"
    return "their names tell no labels of normal and anomalous clips alike, so there is nothing to evaluate"


def _labels(folders: Folders) -> dict[str, set[str]]:
    """Labels of the clips of each machine that has been scored."""
    labels: dict[str, set[str]] = {}
    for run, folder in folders.items():
        own = labels.setdefault(unicodedata.normalize("NFC", run.machine), set())
        own.update(folder.table(folder.scorers[0])["label"] if folder.scorers else ())
    return labels


def _least_alike(config: Run, runs: Sequence[RunDirectory]) -> str:
    """Which recordings of one's own score highest by the others that were learnt from, for the first seed of each."""
    own = {run.machine: run for run in reversed(runs) if config.normal or run.scores.is_own_data}
    why = "listen to them, as a fault that was learnt hides faults like it\n"
    if len(own) > _NAMED:
        return f"model/training_scores.csv in each tells which recordings are least like the others: {why}"
    lines = []
    for machine, run in reversed(own.items()):
        scores = run.training_scores().groupby("file")[run.default_scorer()].max()
        if len(scores) > _NAMED:  # or there are no others
            files = scores.sort_values(ascending=False, kind="stable").index[:_NAMED]
            lines.append(f"{machine}: of what was learnt, {', '.join(files)} are least like the others: {why}")
    return "".join(lines)


def _false_alarms(folders: Sequence[ScoreFolder], scorer: str) -> str:
    """How many normal clips, of one seed, are called anomalous where there are no others to compare them with."""
    table = pd.concat([folder.table(scorer) for folder in folders])
    normal = table[table["label"] == Label.NORMAL]
    if normal.empty:
        return ""
    rate = normal["decision"].mean()
    low, high = decision_intervals(np.zeros(len(normal), bool), normal["decision"])["false_alarms"]
    machine = normal.groupby("machine")["decision"].mean().idxmax()  # the mean of a plant hides it
    own = normal["decision"][normal["machine"] == machine]
    most = f"; most of {machine}, {own.sum()} of {len(own)}" if own.mean() > rate else ""
    return (
        f"{normal['decision'].sum()} of {len(normal)} normal recordings of the check are above the threshold; the "
        f"false-alarm rate is {rate:.0%}, with 95 % confidence between {low:.0%} and {high:.0%}{most}\n"
    )


def _predict(config: Run) -> str:
    chosen = run_options(config.run_name, config.runs, *machine_options(config.machine))
    return f"python -m asd predict {chosen} audio=<new recordings>"
