"""The stage `sweep`: many configurations of `train` tried on the same machines, and what mattered.

    <runs>/<name>/data/          normal training clips with planted faults, for judge=faults
                  trials/        a run per configuration
                  results/       what came of it, one JSON file each
                  sweep.{csv,md} all of them, best first
                  best.yaml      the best configuration: train config=...
                  best/          for judge=others that of each machine, by the labels of the other machines
                  importance.png what mattered

A configuration that was tried is not tried again, so an interrupted sweep goes on with the same command. Optuna learns
from results/ alone, here and at an address: each step of its search reads them anew.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from asd.challenge.years import get_year
from asd.core.executors import attempt, finished, log_failure
from asd.core.files import alone, atomic, read_json, remove, write_text
from asd.core.runtime import fingerprint, imported
from asd.core.storage import fetch, list_names, publish_files, withdraw
from asd.data.dataset import data_hash, open_data
from asd.evaluation.markdown import check_columns
from asd.evaluation.markdown import table as markdown_table
from asd.evaluation.rule import LATEST_YEAR, PLAIN_YEAR, check_labels
from asd.options import machine_options
from asd.places import spelled, written
from asd.settings.config import Run
from asd.settings.stages import Sweep
from asd.stages import trials
from asd.stages.jobs import machines_of
from asd.stages.trials import COMPLETE, FAILED, Options, Result, Space, Trial, draws
from asd.types import AsdError, Label, Split

_COLUMNS = ("score", "state", "seconds")  # of the table, before those of the options and of the machines


@dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep found; `elsewhere` is the score where each machine takes what is best on the others, if any."""

    folder: Path
    table: pd.DataFrame  # a row per configuration, best first: score, state, seconds, options, a score per machine
    machines: list[str]  # its columns of the machines
    elsewhere: float | None


def sweep(config: Sweep) -> Swept:
    """Tries configurations; `AsdError` for no space, recordings that cannot be used, or none that works."""
    space = trials.read_space(config.space)
    if config.method == "grid" and "trials" in config.model_fields_set:
        raise AsdError(f"trials={config.trials} is unread as method=grid tries all; leave it out, or say method=random")
    if config.method == "optuna":
        import_optuna()
        every = []
    else:
        every = trials.grid(space) if config.method == "grid" else draws(space, config.trials, config.seed)
    list_names(config.data)
    dataset = open_data(config.data)
    machines = machines_of(config.machine, dataset)
    check_columns(machines, [*_COLUMNS, *space])
    year = config.year if config.year is not None else LATEST_YEAR if dataset.is_strict else PLAIN_YEAR
    for machine in machines:
        dataset.require(machine)
        labels = {*Label} if config.judge == "faults" else {c.label for c in dataset.clips(machine, Split.TEST)}
        if not {*Label} <= labels:
            raise AsdError(
                f"judge={config.judge} needs test clips that are known to be normal and others that are known to be "
                f"anomalous, and {machine} has none; leave it out with machine=, or say judge=faults"
            )
    if config.judge == "others" and len(machines) == 1:
        raise AsdError(f"judge=others judges {machines[0]} by other machines, and there is none; say judge=faults")
    splits = (Split.TRAIN,) if config.judge == "faults" else (Split.TRAIN, Split.TEST)
    data, recordings = config.data, data_hash(dataset, machines, splits)
    if config.judge == "faults":
        from asd.stages.planting import plant

        data = config.folder / f"data-{fingerprint(written(config.data), recordings, config.seed)[:8]}"
        for machine in machines:
            plant(Run(data=config.data, year=year), machine, data, config.seed)
        publish_files(data)
    judged = open_data(data)
    for machine in machines:
        check_labels(judged.clips(machine, Split.TEST), year)
    shared = {"data": spelled(str(data)), "year": year, "seeds": config.seeds, "device": config.device}
    first = Trial({}, shared, tuple(machines), spelled(str(config.folder)), recordings)
    fetch(first.results)
    results = _guided(config, space, first) if config.method == "optuna" else _listed(config, every, first)
    if not any(result["state"] == COMPLETE for result in results):
        raise AsdError(f"none of {len(results)} configurations could be tried: {results[0]['state']}")
    return _written(config.folder, results, [*space], machines, year, each=config.judge == "others")


def summary(config: Sweep, found: Swept) -> str:
    """The table, what the choice is worth, and the best configuration as a command."""
    lines = [as_markdown(found.table, found.machines)]
    if found.elsewhere is not None:
        lines.append(f"chosen for each machine on the other machines: {100 * found.elsewhere:.1f}")
    if config.judge == "faults":
        lines.append("scores are those of planted faults, not of test clips: they order configurations, no more")
    if failed := int(found.table["state"].str.startswith(FAILED).sum()):
        lines.append(f"{failed} of {len(found.table)} configurations failed; the same command tries them again")
    each = ", best/ of each machine" if config.judge == "others" else ""
    figure = ", importance.png" if (found.folder / "importance.png").exists() else ""
    lines.append(f"written to {found.folder}: sweep.md, sweep.csv, best.yaml{each}{figure}")
    best = [spelled(f"config={found.folder / 'best.yaml'}"), spelled(f"data={config.data}")]
    best += machine_options(config.machine)
    best += [] if config.year is None else [f"year={config.year}"]
    return "\n".join([*lines, f"next: python -m asd train {shlex.join(best)} name=best"])


def _listed(config: Sweep, every: Sequence[Options], first: Trial) -> list[Result]:
    """Results of configurations that are known beforehand."""
    wanted = [replace(first, options=options) for options in every]
    known = [trial.known() for trial in wanted]
    todo = [trial for trial, result in zip(wanted, known, strict=True) if not result]
    found = finished(trials.run_trial, todo, config, device=config.device, label="sweep")
    new = [_failure(error, todo[i].options) if error else result for i, result, error in found]
    return [*filter(None, known), *new]


def _failure(error: Exception, options: Options) -> Result:
    return trials.failure(options, log_failure(options or "a configuration", error))


def _guided(config: Sweep, space: Space, first: Trial) -> list[Result]:
    """Results of configurations that Optuna chooses by those that are there already, whichever method tried them."""
    stored = _stored(space, first)
    known = [result for result in stored if not result["state"].startswith(FAILED)]
    again = {result["number"]: result["options"] for result in stored if result["state"].startswith(FAILED)}
    numbers = {*range(config.trials), *again} - {result["number"] for result in known}
    first_again = sorted(numbers, key=lambda number: (number not in again, number))
    step, todo = partial(_step, config, space, first, again), first_again[: max(config.trials - len(known), 0)]
    for _, result, error in finished(step, todo, config, device=config.device, label="sweep"):
        if result or error:  # an error: its process was lost, and with it what was chosen
            known.append(_failure(error, {}) if error else result)
    return known


def _step(config: Sweep, space: Space, first: Trial, again: Mapping[int, Options], number: int) -> Result | None:
    """Tries what Optuna chooses, or a draw where that was tried; it may end early. None: the space has no other.

    A step has one number and one result: another command that is at the same step is waited for. What failed in an
    earlier command is tried `again` in the step of its number.
    """
    optuna, seed = import_optuna(), config.seed + number
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    with alone(first.results / str(number)):
        fetch(first.results)
        stored = _stored(space, first)
        if number not in again and (meanwhile := [result for result in stored if result["number"] == number]):
            return meanwhile[0]
        study.add_trials([_told(space, result) for result in stored])
        asked = study.ask({key: choice.distribution() for key, choice in space.items()})

        def falls_behind(so_far: Sequence[float]) -> bool:
            asked.report(so_far[-1], len(so_far))
            return bool(asked.should_prune())

        chosen = {key: choice.drawn(asked.params[key]) for key, choice in space.items()}
        for options in [again[number]] if number in again else [chosen, *draws(space, config.trials, seed)]:
            trial = replace(first, options=options)
            with alone(trial.file):
                if number not in again and trial.stored():
                    continue
                result, error = attempt(partial(trial.tried, falls_behind), number)
                return trial.failed(log_failure(options, error), number) if error else result
    return None


def _stored(space: Space, first: Trial) -> list[Result]:
    """Results of trials like the first whose options are those of the space, by their numbers."""
    paths = sorted(first.results.glob("*.json"))
    each = [(path.stem, read_json(path).get("options")) for path in paths]
    fit = [(key, replace(first, options=some)) for key, some in each if isinstance(some, dict) and {*some} == {*space}]
    own = [trial for key, trial in fit if trial.key == key]
    fitting = [result for result in (trial.stored() for trial in own) if _told(space, result)]
    return sorted(fitting, key=lambda result: result["number"])


def _told(space: Space, result: Result) -> Any:
    """A result as a trial of Optuna; None where the values of its options are not of the space."""
    optuna = import_optuna()
    is_complete, states = result["state"] == COMPLETE, optuna.trial.TrialState
    ended = states.FAIL if result["state"].startswith(FAILED) else states.PRUNED
    try:
        return optuna.trial.create_trial(
            params={key: choice.parameter(result["options"][key]) for key, choice in space.items()},
            distributions={key: choice.distribution() for key, choice in space.items()},
            intermediate_values=dict(enumerate(result.get("so_far", ()), 1)),
            value=result["score"] if is_complete else None,
            state=states.COMPLETE if is_complete else ended,
        )
    except ValueError:
        return None


def import_optuna() -> Any:
    """The library; `AsdError` where it is not installed."""
    why = "method=optuna needs Optuna; install asd with the extra sweep: pip install 'asd[sweep]'"
    optuna = imported("optuna", why)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _written(
    folder: Path, results: Sequence[Result], keys: Sequence[str], machines: list[str], year: int, *, each: bool
) -> Swept:
    """The table, the best configuration and the figure, in files."""
    from asd.evaluation.comparison import best_elsewhere, importances, score_elsewhere
    from asd.evaluation.figures import importance_figure, save

    rows, rule = [], get_year(year).rule
    for r in results:  # a list as the command line writes it
        options = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in r["options"].items()}
        rows.append({**{key: r[key] for key in _COLUMNS}, **options, **r["machines"]})
    table = pd.DataFrame(rows, columns=[*_COLUMNS, *keys, *machines])
    order = table.assign(done=table["state"] == COMPLETE).sort_values(["done", "score"], ascending=False).index
    table, results = table.loc[order].reset_index(drop=True), [results[i] for i in order]
    whole = table[table["state"] == COMPLETE]
    elsewhere = score_elsewhere(whole[machines], rule) if len(machines) > 1 else None
    write_text(folder / "sweep.csv", table.to_csv(index=False))
    write_text(folder / "sweep.md", as_markdown(table, machines))
    withdraw(folder / "best")
    remove(folder / "best")  # of a sweep that had other machines, or another judge
    write_text(folder / "best.yaml", yaml.safe_dump(results[0]["options"], sort_keys=False))
    for machine, row in best_elsewhere(whole[machines], rule).items() if each else ():
        write_text(folder / "best" / f"{machine}.yaml", yaml.safe_dump(results[row]["options"], sort_keys=False))
    publish_files(*(folder / name for name in ("sweep.csv", "sweep.md", "best.yaml")))
    publish_files(folder / "best")
    varied = [key for key in keys if whole[key].astype(str).nunique() > 1]
    (folder / "importance.png").unlink(missing_ok=True)  # of a sweep that varied something
    if varied:
        figure = importance_figure(whole, importances(whole[varied], whole["score"]))
        with atomic(folder / "importance.png") as temporary:
            save(figure, temporary, format="png", dpi=120)
        publish_files(folder / "importance.png")
    return Swept(folder, table, machines, elsewhere)


def as_markdown(table: pd.DataFrame, machines: Sequence[str]) -> str:
    """The table for a document, scores in per cent."""
    shares = {"score", *machines}
    rows = [
        ["" if pd.isna(row[c]) else f"{100 * row[c]:.1f}" if c in shares else _cell(row[c]) for c in table.columns]
        for row in table.to_dict("records")
    ]
    return "\n".join(markdown_table([*map(str, table.columns)], rows)) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
