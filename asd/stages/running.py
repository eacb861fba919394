"""Jobs done: one after another in this process, or machine by machine, with `keep_going` or in other processes."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import Any, NamedTuple

from asd.challenge.years import YEARS, get_year
from asd.core.executors import finished, log_failure
from asd.core.files import read_json
from asd.core.runtime import fingerprint, log, pick_device
from asd.core.storage import fetch, is_taken, list_names, publish, read_bytes
from asd.core.tracking import Tracked, tracking
from asd.data.dataset import Dataset
from asd.metrics import auc
from asd.runs import RunDirectory, warn_of_run
from asd.settings.config import Run
from asd.settings.parsing import stored_run
from asd.stages.fitting import Unscored, fitted, write_job_scores
from asd.stages.jobs import Job, dataset_of, machines_of, prepare
from asd.types import AsdError, Label, Split, failures


def run_jobs(config: Run, *, learn: bool, again: bool) -> list[RunDirectory]:
    """Does all jobs of a configuration; what has scores is left alone, or scored `again`.

    In this process all input is checked before anything is done; else what failed is named when all else is done.
    """
    command = uuid.uuid4().hex
    list_names(config.data_root, command)
    dataset = dataset_of(config)
    warn_of_other_years(config, dataset)
    if config.executor == "here" and not config.keep_going:
        jobs = list(prepare(config, dataset, learn=learn))
        runs, failed = [run for run, _ in do_jobs(jobs, again=again)], ""
    else:
        runs, failed = _do_in_shares(config, dataset, learn=learn, again=again, command=command)
    warn_of_run(config.runs, config.run_name)
    if failed:
        raise AsdError(failed)
    if gone := [run.path for run in runs if not run.path.exists()]:
        raise AsdError(f"{gone[0]} was done and is gone: somebody removed it; start the same command again")
    return runs


def warn_of_other_years(config: Run, dataset: Dataset) -> None:
    """Warns where the folder holds machines of other years and none of the given one; unknown ones do not count."""
    if not dataset.is_strict:
        return
    published = {machine: found for machine in dataset.machines() if (found := _years_with(dataset, machine))}
    if not published or any(config.year in found for found in published.values()):
        return
    machine = min(published, key=lambda name: len(published[name]))  # the one of fewest years tells most
    *others, last = map(str, published[machine])
    either = f"{', '.join(others)} or {last}" if others else last
    what = f"{config.data_root} holds no machine of {config.year}, but {machine} of {either}"
    if machine in {**get_year(config.year).dev, **get_year(config.year).eval}:
        what = f"{config.data_root} holds other sections of {machine} than {config.year} has, those of {either}"
    log.warning(f"{what}: if these are recordings of the challenge, say year={either}")


def _years_with(dataset: Dataset, machine: str) -> list[int]:
    """The years in which a machine was published with the sections that it has here, as far as its names tell them."""
    sections: set[str] = set()
    with suppress(AsdError):  # recordings are named when they are read
        sections = {clip.section for clip in dataset.clips(machine, Split.TRAIN)}
    known = {each: {*get_year(each).dev.get(machine, ()), *get_year(each).eval.get(machine, ())} for each in YEARS}
    return [year for year, own in known.items() if own and sections <= own]


def do_jobs(todo: list[Job], *, again: bool, patient: bool = False) -> list[tuple[RunDirectory, Unscored]]:
    """Does jobs one after another; a patient command waits where another one is at work, instead of refusing."""
    for job in todo:
        if not again:
            job.run.begin(job.config.stored())
        elif not job.config.weights and not job.run.fit_facts():
            raise AsdError(
                f"{job.run.model} holds no model; first `train machine={job.run.machine} "
                f"name={job.config.run_name}`, or give weights="
            )
    done = []
    while todo:
        job = todo.pop(0)  # what was read of its recordings is let go when it is done
        if not again and _is_done(job):  # perhaps where nobody can write
            _publish(job)
        else:
            with job.run.alone(patient=patient):
                job.check_place()  # again: another command may have been here since
                if again or not _is_done(job):
                    started_s = time.perf_counter()
                    what, options = Tracked.of(job.run.path, job.model_fingerprint), job.config.stored()
                    with tracking(job.config.track, what, options) as board:
                        write_job_scores(job, fitted(job), started_s)
                        if board:
                            board.numbers(_results(job.run), 0)
                _publish(job)
        done.append((job.run, job.score_folder().unscored()))
    return done


def _publish(job: Job) -> None:
    """Brings a finished run to its address, unless another computer has brought one of another configuration since."""
    path, there = job.run.model / "fit.json", dict[str, Any]()
    if not job.config.overwrite and is_taken(path):
        with suppress(AsdError):  # half of it is there, where bringing it was broken off: it is brought anew
            there = read_json(path, read=read_bytes)
    if there:
        job.run.make_way(fingerprint(there.get("settings"), there.get("data")), overwrite=False)
    publish(job.run.path)


def _is_done(job: Job) -> bool:
    if is_done := job.run.is_done(job.fingerprint) and _is_recorded(job):
        job.run.check_model()
        log.info("%s is done already", job.run.path)
    return is_done


def _is_recorded(job: Job) -> bool:
    """Whether config.yaml holds the options of the model, and the year: it may be lost, cut off or edited."""
    try:
        known, now = job.run.config(), job.config
        same_year = known.get("year") == now.year  # whose rule holds
        return same_year and stored_run(known).settings(job.code_hash) == now.settings(job.code_hash)
    except AsdError:
        return False


def _results(run: RunDirectory) -> dict[str, float]:
    """AUC of each scorer over all labelled test clips, where there are both kinds, and the thresholds."""
    found = {f"threshold/{scorer}": float(limit["value"]) for scorer, limit in run.scores.thresholds().items()}
    for scorer, table in run.scores.tables().items():
        known = table[table["label"] != ""]
        if {*known["label"]} == {*Label}:
            found[f"auc/{scorer}"] = float(auc(known["label"] == Label.ANOMALY, known["score"].to_numpy()))
    return found


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


def _do_in_shares(
    config: Run, dataset: Dataset, *, learn: bool, again: bool, command: str
) -> tuple[list[RunDirectory], str]:
    """The runs of all jobs that could be done, each machine by itself, and what failed."""
    machines, is_here, options = machines_of(config.machine, dataset), config.executor == "here", config.stored()
    if not config.keep_going:
        pick_device(config.device)
        for machine in machines:
            dataset.require(machine)
        if learn:
            for machine in machines:
                _begin(config, dataset, machine)
    parts = [config.seeds] if is_here else [[seed] for seed in config.seeds]  # here a machine is read once
    shares = [Share(options, name, part, learn, again, not is_here, command) for name in machines for part in parts]
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
    names = ", ".join(dict.fromkeys(run.machine for run in runs if run.machine not in broken)) or "none"
    return runs, failures(failed, f"done: {names}") if failed else ""


def _begin(config: Run, dataset: Dataset, machine: str) -> None:
    """Marks a machine as begun, so that `evaluate` names it where it is missing; one that is not there is left out."""
    if machine in dataset.machines():
        for seed in config.seeds:
            RunDirectory.of(config.runs, config.run_name, machine, seed).begin(config.stored())


def do_share(share: Share) -> list[tuple[RunDirectory, Unscored]]:
    """Does the jobs of a share, in whatever process: each run, and which of its clips have no score and why."""
    config = stored_run(share.options)
    list_names(config.data_root, share.command)
    jobs = prepare(config, dataset_of(config), learn=share.learn, machines=[share.machine], seeds=share.seeds)
    return do_jobs(list(jobs), again=share.again, patient=share.patient)
