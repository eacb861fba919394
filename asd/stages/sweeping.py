"""The stage `sweep`: many configurations of `train` tried on the same machines, and what mattered.

    <runs>/<name>/data/          normal training clips with planted faults, for judge=faults
                  trials/        a run per configuration
                  results/       its score, one JSON file each
                  sweep.{csv,md} all of them, best first
                  best.yaml      the best configuration: make train config=...
                  best/          for judge=others that of each machine, by the labels of the other machines
                  importance.png what mattered

A configuration that was tried is not tried again, so an interrupted sweep goes on with the same command.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from asd.addresses import address_of, spelled, written
from asd.core.executors import finished
from asd.core.files import atomic, write_text
from asd.core.runtime import fingerprint, log
from asd.core.storage import fetch, list_names, publish_files, publish_folder
from asd.data.dataset import open_data
from asd.evaluation.labelling import LATEST_YEAR, PLAIN_YEAR
from asd.evaluation.markdown import table as markdown_table
from asd.settings.config import Run
from asd.settings.stages import Sweep
from asd.stages.trials import COMPLETE, Options, Space, Trial, draws, grid, read_space, run_trial
from asd.types import AsdError, Label, Split


@dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep found; `elsewhere` is the score where each machine takes what is best on the others, if any."""

    folder: Path
    table: pd.DataFrame  # a row per configuration, best first: score, state, seconds, options, a score per machine
    machines: list[str]  # its columns of the machines
    elsewhere: float | None


def sweep(config: Sweep) -> Swept:
    """Tries configurations.

    Raises:
        AsdError: a space that is none, recordings that cannot be used, or no configuration that works.
    """
    space = read_space(config.space)
    if config.method == "optuna":
        import_optuna()
        if address := address_of(config.folder):
            raise AsdError(
                f"method=optuna keeps a journal that several processes append to, which {address} cannot hold; give "
                f"runs= a folder of this computer, or say method=random"
            )
        every = []
    else:
        every = grid(space) if config.method == "grid" else draws(space, config.trials, config.seed)
    list_names(config.data)
    dataset = open_data(config.data)
    machines = dataset.machines() if config.machine == ["all"] else config.machine
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
    data = config.data
    if config.judge == "faults":
        from asd.stages.planting import plant

        data = config.folder / f"data-{fingerprint(written(config.data), config.seed)[:8]}"
        for machine in machines:
            plant(Run(data=config.data, year=year), machine, data, config.seed)
        publish_folder(data)
    shared = {"data": spelled(str(data)), "year": year, "seeds": config.seeds, "device": config.device}
    first = Trial({}, shared, tuple(machines), spelled(str(config.folder)))
    fetch(config.folder / "results")
    results = _guided(config, space, first) if config.method == "optuna" else _listed(config, every, first)
    if not any(result["state"] == COMPLETE for result in results):
        raise AsdError(f"none of {len(results)} configurations could be tried: {results[0]['state']}")
    return _written(config.folder, results, [*space], machines, each=config.judge == "others")


def summary(config: Sweep, found: Swept) -> str:
    """The table, what the choice is worth, and the best configuration as a command."""
    lines = [as_markdown(found.table, found.machines)]
    if found.elsewhere is not None:
        share = 100 * found.elsewhere
        lines.append(f"chosen for each machine on the other machines: {share:.1f} on average")
    if config.judge == "faults":
        lines.append("scores are those of planted faults, not of test clips: they order configurations, no more")
    each = ", best/ of each machine" if config.judge == "others" else ""
    figure = ", importance.png" if (found.folder / "importance.png").exists() else ""
    lines.append(f"written to {found.folder}: sweep.md, sweep.csv, best.yaml{each}{figure}")
    best = shlex.join([spelled(f"config={found.folder / 'best.yaml'}"), spelled(f"data={config.data}")])
    return "\n".join([*lines, f"next: python -m asd train {best} name=best"])


def _listed(config: Sweep, every: Sequence[Options], first: Trial) -> list[dict[str, Any]]:
    """Results of configurations that are known beforehand."""
    trials = [replace(first, options=options) for options in every]
    known = [trial.known() for trial in trials]
    todo = [trial for trial, result in zip(trials, known, strict=True) if not result]
    found = finished(run_trial, todo, config, device=config.device, label="sweep")
    new = [_result(result, error, todo[i].options) for i, result, error in found]
    return [*filter(None, known), *new]


def _result(result: dict[str, Any] | None, error: Exception | None, options: Options) -> dict[str, Any]:
    if result is not None:
        return result
    log.error("%s: %s", options, error)
    return {"options": options, "score": None, "state": f"failed: {error}", "seconds": None, "machines": {}}


class _Guided(NamedTuple):
    """One step of a search that Optuna guides."""

    number: int
    space: Space
    first: Trial
    study: str
    seed: int


def _guided(config: Sweep, space: Space, first: Trial) -> list[dict[str, Any]]:
    """Results of configurations that Optuna chooses; what it knows lies in a file that all workers share."""
    key = fingerprint(first.key, [(name, repr(choice)) for name, choice in space.items()])
    study = _study(config.folder, key, config.seed)
    known = [trial.user_attrs["result"] for trial in study.trials if "result" in trial.user_attrs]
    steps = [_Guided(k, space, first, key, config.seed) for k in range(len(known), config.trials)]
    for _, result, error in finished(_step, steps, config, device=config.device, label="sweep"):
        known.append(_result(result, error, {}))
    return known


def _step(step: _Guided) -> dict[str, Any]:
    """Asks Optuna for a configuration and tries it; it may end early where it falls behind the others."""
    optuna = import_optuna()
    study = _study(Path(step.first.place), step.study, step.seed + step.number)
    asked = study.ask()
    options = {key: choice.suggest(key, asked) for key, choice in step.space.items()}
    trial = replace(step.first, options=options)
    started_s, score, n_done, state = time.perf_counter(), 0.0, 0, COMPLETE
    try:
        with trial.alone():
            for n_done, score in enumerate(trial.scores(), 1):
                asked.report(score, n_done)
                if n_done < len(trial.machines) and asked.should_prune():
                    state = "ended early"
                    break
            result = trial.conclude(score, state, time.perf_counter() - started_s, n_done)
    except AsdError:
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        raise
    asked.set_user_attr("result", result)
    pruned = optuna.trial.TrialState.PRUNED
    study.tell(asked, **({"values": score} if state == COMPLETE else {"state": pruned}))
    return result


def _study(folder: Path, key: str, seed: int) -> Any:
    """The study in a file of the sweep's folder."""
    optuna = import_optuna()
    journal = optuna.storages.journal
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / "optuna.log")
    file = journal.JournalFileBackend(path, lock_obj=journal.JournalFileOpenLock(path))
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(file),
        study_name=key,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )


def import_optuna() -> Any:
    """The library.

    Raises:
        AsdError: it is not installed.
    """
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise AsdError(
            "method=optuna needs Optuna; install asd with the extra sweep: pip install 'asd[sweep]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _written(
    folder: Path, results: Sequence[dict[str, Any]], keys: Sequence[str], machines: list[str], *, each: bool
) -> Swept:
    """The table, the best configuration and the figure, in files."""
    from asd.evaluation.importance import best_elsewhere, chosen_elsewhere, importance_figure, importances

    rows = [
        {"score": r["score"], "state": r["state"], "seconds": r["seconds"], **r["options"], **r["machines"]}
        for r in results
    ]
    table = pd.DataFrame(rows, columns=["score", "state", "seconds", *keys, *machines])
    is_complete = table["state"] == COMPLETE
    order = table.assign(done=is_complete).sort_values(["done", "score"], ascending=False, kind="stable").index
    table, results = table.loc[order].reset_index(drop=True), [results[i] for i in order]
    whole = table[table["state"] == COMPLETE]
    elsewhere = chosen_elsewhere(whole[machines]) if len(machines) > 1 else None
    write_text(folder / "sweep.csv", table.to_csv(index=False))
    write_text(folder / "sweep.md", as_markdown(table, machines))
    write_text(folder / "best.yaml", yaml.safe_dump(results[0]["options"], sort_keys=False))
    for machine, row in best_elsewhere(whole[machines]).items() if each else ():
        write_text(folder / "best" / f"{machine}.yaml", yaml.safe_dump(results[row]["options"], sort_keys=False))
    publish_files(*(folder / name for name in ("sweep.csv", "sweep.md", "best.yaml")))
    publish_folder(folder / "best")
    varied = [key for key in keys if whole[key].astype(str).nunique() > 1]
    (folder / "importance.png").unlink(missing_ok=True)  # of a sweep that varied something
    if varied:
        figure = importance_figure(whole, varied, importances(whole[varied], whole["score"]))
        with atomic(folder / "importance.png") as temporary:
            figure.savefig(temporary, format="png", dpi=120)
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
