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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from asd.core.executors import finished
from asd.core.files import atomic
from asd.core.runtime import fingerprint, log
from asd.data.dataset import open_data
from asd.evaluation.markdown import table as markdown_table
from asd.runs import write_text
from asd.settings.config import Run
from asd.settings.stages import Sweep
from asd.stages.trials import Options, Space, Trial, draws, grid, read_space, run_trial
from asd.types import AsdError


@dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep found.

    Attributes:
        folder: where it lies.
        table: a row per configuration, best first: score, state, seconds, its options, and a score per machine.
        machines: columns of the machines.
        elsewhere: score where each machine takes the configuration that is best on the others; None for one machine.
    """

    folder: Path
    table: pd.DataFrame
    machines: list[str]
    elsewhere: float | None


def sweep(config: Sweep) -> Swept:
    """Tries configurations.

    Raises:
        AsdError: a space that is none, recordings that cannot be used, or no configuration that works.
    """
    space = read_space(config.space)
    if config.method == "optuna":
        import_optuna()
        every = []
    else:
        every = grid(space) if config.method == "grid" else draws(space, config.trials, config.seed)
    machines = open_data(config.data).machines() if config.machine == ["all"] else config.machine
    if config.judge == "others" and len(machines) == 1:
        raise AsdError(f"judge=others judges {machines[0]} by other machines, and there is none; say judge=faults")
    data = config.data
    if config.judge == "faults":
        from asd.stages.planting import plant

        data = config.folder / f"data-{fingerprint(str(config.data.resolve()), config.seed)[:8]}"
        for machine in machines:
            plant(Run(data=config.data, year=config.year), machine, data, config.seed)
    shared = {"data": str(data), "year": config.year, "seeds": config.seeds, "device": config.device}
    first = Trial({}, shared, tuple(machines), config.folder)
    results = _guided(config, space, first) if config.method == "optuna" else _listed(config, every, first)
    if not any(result["state"] == "complete" for result in results):
        raise AsdError(f"none of {len(results)} configurations could be tried: {results[0]['state']}")
    return _written(config.folder, results, [*space], machines, each=config.judge == "others")


def summary(config: Sweep, found: Swept) -> str:
    """The table, what the choice is worth, and the best configuration as a command.

    Args:
        config: of the stage.
        found: what it returned.
    """
    lines = [as_markdown(found.table, found.machines)]
    if found.elsewhere is not None:
        share = 100 * found.elsewhere
        lines.append(f"chosen for each machine on the other machines: {share:.1f} on average")
    if config.judge == "faults":
        lines.append("scores are those of planted faults, not of test clips: they order configurations, no more")
    each = ", best/ of each machine" if config.judge == "others" else ""
    lines.append(f"written to {found.folder}: sweep.md, sweep.csv, best.yaml{each}, importance.png")
    best = shlex.join([f"config={found.folder / 'best.yaml'}", f"data={config.data}"])
    return "\n".join([*lines, f"next: python -m asd train {best} name=best"])


def _listed(config: Sweep, every: Sequence[Options], first: Trial) -> list[dict[str, Any]]:
    """Results of configurations that are known beforehand."""
    trials = [Trial(options, first.shared, first.machines, first.folder) for options in every]
    found = finished(run_trial, trials, config, device=config.device, label="sweep")
    return [_result(result, error, trials[i].options) for i, result, error in found]


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
    study = _study(first.folder, key, config.seed)
    known = [trial.user_attrs["result"] for trial in study.trials if "result" in trial.user_attrs]
    steps = [_Guided(k, space, first, key, config.seed) for k in range(len(known), config.trials)]
    for _, result, error in finished(_step, steps, config, device=config.device, label="sweep"):
        known.append(_result(result, error, {}))
    return known


def _step(step: _Guided) -> dict[str, Any]:
    """Asks Optuna for a configuration and tries it; it may end early where it falls behind the others."""
    optuna = import_optuna()
    study = _study(step.first.folder, step.study, step.seed + step.number)
    asked = study.ask()
    options = {key: choice.suggest(key, asked) for key, choice in step.space.items()}
    trial = Trial(options, step.first.shared, step.first.machines, step.first.folder)
    started_s, score, n_done, state = time.perf_counter(), 0.0, 0, "complete"
    try:
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
    study.tell(asked, **({"values": score} if state == "complete" else {"state": pruned}))
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
    is_complete = table["state"] == "complete"
    order = table.assign(done=is_complete).sort_values(["done", "score"], ascending=False, kind="stable").index
    table, results = table.loc[order].reset_index(drop=True), [results[i] for i in order]
    whole = table[table["state"] == "complete"]
    elsewhere = chosen_elsewhere(whole[machines]) if len(machines) > 1 else None
    write_text(folder / "sweep.csv", table.to_csv(index=False))
    write_text(folder / "sweep.md", as_markdown(table, machines))
    write_text(folder / "best.yaml", yaml.safe_dump(results[0]["options"], sort_keys=False))
    for machine, row in best_elsewhere(whole[machines]).items() if each else ():
        write_text(folder / "best" / f"{machine}.yaml", yaml.safe_dump(results[row]["options"], sort_keys=False))
    varied = [key for key in keys if whole[key].astype(str).nunique() > 1]
    if varied:
        figure = importance_figure(whole, varied, importances(whole[varied], whole["score"]))
        with atomic(folder / "importance.png") as temporary:
            figure.savefig(temporary, format="png", dpi=120)
    return Swept(folder, table, machines, elsewhere)


def as_markdown(table: pd.DataFrame, machines: Sequence[str]) -> str:
    """The table for a document, scores in per cent.

    Args:
        table: of `Swept`.
        machines: its columns of the machines.
    """
    shares = {"score", *machines}
    rows = [
        ["" if pd.isna(row[c]) else f"{100 * row[c]:.1f}" if c in shares else _cell(row[c]) for c in table.columns]
        for row in table.to_dict("records")
    ]
    return "\n".join(markdown_table([*map(str, table.columns)], rows)) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
