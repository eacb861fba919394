"""All jobs of `train` or `score` done: one after another in this process, or each machine and seed by itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from asd.core.executors import finished
from asd.core.files import alone
from asd.core.runtime import log
from asd.core.storage import fetch, list_names, publish
from asd.core.tracking import Tracked, tracking
from asd.metrics import auc
from asd.runs import RunDirectory, warn_of_stale
from asd.settings.config import Run
from asd.settings.parsing import stored_run
from asd.stages import jobs
from asd.stages.fitting import fitted, write_job_scores
from asd.stages.loading import dataset_of
from asd.types import AsdError, Label


class Share(NamedTuple):
    """Jobs that are done together, as plain values that any process understands.

    Attributes:
        options: of `train`, as they are stored in config.yaml.
        machine: whose jobs.
        seeds: of the jobs.
        learn: whether training clips are needed.
        again: score clips anew that have scores already.
        patient: wait where another command is at work, instead of refusing.
        command: of which it is a share, by a word that no other command has.
    """

    options: dict[str, Any]
    machine: str
    seeds: list[int]
    learn: bool
    again: bool
    patient: bool
    command: str

    def __str__(self) -> str:
        """What a message calls it: the machine, with the seed where each seed is a share."""
        return self.machine if self.seeds == self.options["seeds"] else f"{self.machine} seed {self.seeds[0]}"


Unscored = dict[str, str]  # why test clips have no score, by file name


def do_all(config: Run, *, learn: bool, again: bool) -> list[RunDirectory]:
    """Does the jobs of a configuration.

    In this process, all input is checked before anything is done. With `keep_going` or another executor each machine
    stands for itself: what fails is named when all else is done.

    Args:
        config: which machines, seeds and data, and where the jobs run.
        learn: whether training clips are needed.
        again: score clips anew that have scores already.

    Raises:
        AsdError: input that cannot be used, or what failed.
    """
    command = uuid.uuid4().hex
    list_names(config.data_root, command)
    jobs.warn_of_other_years(config)
    if config.executor == "here" and not config.keep_going:
        runs = [run for run, _ in _do(list(jobs.prepare(config, learn=learn)), again=again)]
        warn_of_stale(config.runs, config.run_name)
        return runs
    shares = _shares(config, learn=learn, again=again, command=command)
    done: dict[int, list[tuple[RunDirectory, Unscored]]] = {}
    failed: list[str] = []
    broken: set[str] = set()
    for index, result, error in finished(do_share, shares, config, device=config.device, label="machines"):
        share = shares[index]
        if error is None:
            done[index] = result
            failed += [f"{run.path} {name} ({why})" for run, left in result for name, why in left.items()]
            continue
        log.error("%s: %s", share, error)
        if not isinstance(error, AsdError):
            log.error("%s", "\n".join(getattr(error, "__notes__", ())))
        failed.append(f"{share} ({error})")
        broken.add(share.machine)
        if learn:
            jobs.begin(config, share.machine)
    fetch(config.runs / config.run_name, without="model")
    runs = [
        RunDirectory.of(config.runs, config.run_name, run.machine, run.seed)
        for index in sorted(done)
        for run, _ in done[index]
    ]
    warn_of_stale(config.runs, config.run_name)
    if failed := list(dict.fromkeys(failed)):
        names = ", ".join(dict.fromkeys(run.machine for run in runs if run.machine not in broken)) or "none"
        raise AsdError(f"{len(failed)} failed: {'; '.join(failed)}; done: {names}")
    return runs


def _shares(config: Run, *, learn: bool, again: bool, command: str) -> list[Share]:
    """One share per machine in this process, where its recordings are read once; else one per machine and seed."""
    dataset = dataset_of(config)
    machines = jobs.machines_to_do(config, dataset)
    is_here = config.executor == "here"
    if not config.keep_going:
        jobs.check_options(config)
        for machine in machines:
            dataset.require(machine)
        for machine in machines if learn else ():
            jobs.begin(config, machine)
    parts = [config.seeds] if is_here else [[seed] for seed in config.seeds]
    options = config.stored()
    return [Share(options, machine, part, learn, again, not is_here, command) for machine in machines for part in parts]


def do_share(share: Share) -> list[tuple[RunDirectory, Unscored]]:
    """Does the jobs of a share, in whatever process: each run, and which of its clips have no score and why."""
    config = stored_run(share.options)
    list_names(config.data_root, share.command)
    todo = list(jobs.prepare(config, learn=share.learn, machines=[share.machine], seeds=share.seeds))
    return _do(todo, again=share.again, patient=share.patient)


def _do(todo: list[jobs.Job], *, again: bool, patient: bool = False) -> list[tuple[RunDirectory, Unscored]]:
    """Does jobs one after another."""
    if not again:
        for job in todo:
            job.run.begin(job.config.stored())
    for job in todo:
        if again and not job.config.weights and not job.run.fit_facts():
            raise AsdError(
                f"{job.run.model} holds no model; first make train machine={job.run.machine} "
                f"name={job.config.run_name}, or give weights="
            )
    done = []
    while todo:
        job = todo.pop(0)  # what was read of its recordings is let go when it is done
        busy = f"another command works on {job.run.path}; wait until it is done"
        if not again and _is_done(job):  # perhaps where nobody can write
            publish(job.run.path)
        else:
            with alone(job.run.path, busy=None if patient else busy):
                jobs.check_place(job)  # again: another command may have been here since
                if again or not _is_done(job):
                    started_s = time.perf_counter()
                    with _tracked(job):
                        write_job_scores(job, fitted(job), started_s)
                publish(job.run.path)
        done.append((job.run, job.score_folder().unscored()))
    return done


def _is_done(job: jobs.Job) -> bool:
    if is_done := job.run.is_done(job.fingerprint):
        log.info("%s is done already", job.run.path)
    return is_done


@contextmanager
def _tracked(job: jobs.Job) -> Iterator[None]:
    """Notes the options before a job, what its training logs, and its results afterwards; nothing without track=."""
    if job.config.track == "none":
        yield
        return
    with tracking(job.config.track, Tracked.of(job.run.path, job.model_fingerprint), job.config.stored()) as board:
        yield
        board.numbers(_results(job.run), 0)


def _results(run: RunDirectory) -> dict[str, float]:
    """AUC of each scorer over all labelled test clips, where there are both kinds, and the thresholds."""
    limits = run.scores.thresholds()
    found = {f"threshold/{scorer}": float(limit["value"]) for scorer, limit in limits.items()}
    for scorer, table in run.scores.tables().items():
        known = table[table["label"] != ""]
        if {*known["label"]} == {*Label}:
            found[f"auc/{scorer}"] = float(auc(known["label"] == Label.ANOMALY, known["score"].to_numpy()))
    return found
