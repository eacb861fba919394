"""Jobs of machines that do not depend on each other: with `keep_going`, or in other processes."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from asd.core.executors import finished, log_failure
from asd.core.runtime import pick_device
from asd.core.storage import fetch, list_names
from asd.data.dataset import Dataset
from asd.runs import RunDirectory, warn_of_run
from asd.settings.config import Run
from asd.settings.parsing import stored_run
from asd.stages.fitting import Unscored, do, warn_of_other_years
from asd.stages.jobs import dataset_of, machines_of, prepare
from asd.types import AsdError, failures


class Share(NamedTuple):
    """Jobs that are done together, as plain values that any process understands."""

    options: dict[str, Any]  # of `train`, as they are stored in config.yaml
    machine: str  # whose jobs
    seeds: list[int]  # of the jobs
    learn: bool  # whether training clips are needed
    again: bool  # score clips anew that have scores already
    patient: bool  # wait where another command is at work, instead of refusing
    command: str  # of which it is a share, by a word that no other command has

    def __str__(self) -> str:
        """Its name in messages: the machine, with the seed where each seed is a share."""
        return self.machine if self.seeds == self.options["seeds"] else f"{self.machine} seed {self.seeds[0]}"


def run_shares(config: Run, *, learn: bool, again: bool) -> list[RunDirectory]:
    """Does the jobs of a configuration, and names what failed when all else is done."""
    command = uuid.uuid4().hex
    list_names(config.data_root, command)
    dataset = dataset_of(config)
    warn_of_other_years(config, dataset)
    shares = _shares(config, dataset, learn=learn, again=again, command=command)
    done: dict[int, list[tuple[RunDirectory, Unscored]]] = {}
    failed: list[str] = []
    broken: set[str] = set()
    for index, result, error in finished(do_share, shares, config, device=config.device, label="machines"):
        share = shares[index]
        if error is None:
            done[index] = result
            failed += [f"{run.path} {name} ({why})" for run, left in result for name, why in left.items()]
            continue
        failed.append(f"{share} ({log_failure(share, error)})")
        broken.add(share.machine)
        if learn:
            _begin(config, dataset, share.machine)
    fetch(config.runs / config.run_name, without="model")
    runs = [
        RunDirectory.of(config.runs, config.run_name, run.machine, run.seed)
        for index in sorted(done)
        for run, _ in done[index]
    ]
    warn_of_run(config.runs, config.run_name)
    if failed := list(dict.fromkeys(failed)):
        names = ", ".join(dict.fromkeys(run.machine for run in runs if run.machine not in broken)) or "none"
        raise AsdError(failures(failed, f"done: {names}"))
    return runs


def _shares(config: Run, dataset: Dataset, *, learn: bool, again: bool, command: str) -> list[Share]:
    """One share per machine in this process, where its recordings are read once; else one per machine and seed."""
    machines = machines_of(config, dataset)
    is_here = config.executor == "here"
    if not config.keep_going:
        pick_device(config.device)
        for machine in machines:
            dataset.require(machine)
        for machine in machines if learn else ():
            _begin(config, dataset, machine)
    parts = [config.seeds] if is_here else [[seed] for seed in config.seeds]
    options = config.stored()
    return [Share(options, machine, part, learn, again, not is_here, command) for machine in machines for part in parts]


def _begin(config: Run, dataset: Dataset, machine: str) -> None:
    """Marks a machine as begun, so that `evaluate` names it where it is missing; one that is not there is left out."""
    if machine in dataset.machines():
        for seed in config.seeds:
            RunDirectory.of(config.runs, config.run_name, machine, seed).begin(config.stored())


def do_share(share: Share) -> list[tuple[RunDirectory, Unscored]]:
    """Does the jobs of a share, in whatever process: each run, and which of its clips have no score and why."""
    config = stored_run(share.options)
    list_names(config.data_root, share.command)
    machines, seeds = [share.machine], share.seeds
    todo = list(prepare(config, dataset_of(config), learn=share.learn, machines=machines, seeds=seeds))
    return do(todo, again=share.again, patient=share.patient)
