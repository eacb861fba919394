"""Jobs done one after another: the detector is fitted or loaded, its scores and thresholds are written, DONE last."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from asd.challenge.years import YEARS, get_year
from asd.core.files import atomic, write_json
from asd.core.runtime import log, pick_device
from asd.core.storage import list_names, publish
from asd.core.tracking import Tracked, tracking
from asd.data.dataset import Dataset
from asd.data.recordings import Recordings, Refused
from asd.data.remarks import kinds
from asd.detectors import detector_class
from asd.detectors.base import Detector, RunContext, Scores
from asd.detectors.windowed import Windowed
from asd.features.normal_spectra import SPECTRA_FILE, NormalSpectra
from asd.metrics import auc
from asd.runs import FRONT_END_FILE, RECORDED_FILE, RunDirectory, score_table, warn_of_run
from asd.settings.config import Run
from asd.settings.parsing import stored_run
from asd.stages.deciding import tell_of_change, thresholds_of
from asd.stages.jobs import Job, TestData, dataset_of, prepare
from asd.stages.predictions import usable_scores
from asd.types import AsdError, FrontEnd, Label

Unscored = dict[str, str]  # why test clips have no score, by file name


def run_jobs(config: Run, *, learn: bool, again: bool) -> list[RunDirectory]:
    """Does all jobs in this process, when all input is checked; what has scores is left alone, or scored `again`."""
    list_names(config.data_root)
    dataset = dataset_of(config)
    warn_of_other_years(config, dataset)
    runs = [run for run, _ in do(list(prepare(config, dataset, learn=learn)), again=again)]
    warn_of_run(config.runs, config.run_name)
    return runs


def warn_of_other_years(config: Run, dataset: Dataset) -> None:
    """Warns where the folder holds machines of other years and none of the given one; unknown ones do not count."""
    published = {
        machine: found
        for machine in dataset.machines()
        if (found := [year for year in YEARS if machine in {*get_year(year).dev, *get_year(year).eval}])
    }
    if not dataset.is_strict or not published or any(config.year in found for found in published.values()):
        return
    machine = min(published, key=lambda name: len(published[name]))  # the one that tells most
    *others, last = map(str, published[machine])
    either = f"{', '.join(others)} or {last}" if others else last
    what = f"{config.data_root} holds no machine of {config.year}, but {machine} of {either}"
    log.warning(f"{what}: if these are recordings of the challenge, say year={either}")


def do(todo: list[Job], *, again: bool, patient: bool = False) -> list[tuple[RunDirectory, Unscored]]:
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
            publish(job.run.path)
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
                publish(job.run.path)
        done.append((job.run, job.score_folder().unscored()))
    return done


def _is_done(job: Job) -> bool:
    if is_done := job.run.is_done(job.fingerprint) and _is_recorded(job):
        job.run.check_model()
        log.info("%s is done already", job.run.path)
    return is_done


def _is_recorded(job: Job) -> bool:
    """Whether config.yaml holds the options that the model was fitted with: it may be lost, cut off or edited."""
    try:
        known = job.run.config()
        return bool(known) and stored_run(known).settings(job.code) == job.config.settings(job.code)
    except AsdError:
        return False


def _results(run: RunDirectory) -> dict[str, float]:
    """AUC of each scorer over all labelled test clips, where there are both kinds, and the thresholds."""
    limits = run.scores.thresholds()
    found = {f"threshold/{scorer}": float(limit["value"]) for scorer, limit in limits.items()}
    for scorer, table in run.scores.tables().items():
        known = table[table["label"] != ""]
        if {*known["label"]} == {*Label}:
            found[f"auc/{scorer}"] = float(auc(known["label"] == Label.ANOMALY, known["score"].to_numpy()))
    return found


def fitted(job: Job) -> Detector:
    """The detector of a job: loaded where the run has it, else fitted (or given weights) and saved."""
    known = {"seed": job.run.seed, "fingerprint": job.model_fingerprint, "supplement": job.supplement}
    known |= {"front_end": job.front_end, "code": job.code}
    detector = _detector(job.config, job.config.runs / ".cache", job.run.path, **known)
    foreign = job.is_foreign()
    if job.learn is None or (job.run.fit_facts() and not foreign):
        job.run.check_model()
        detector.load(job.run.model)
        return detector
    if foreign:
        job.run.clear()
    job.run.write_config(job.config.stored())
    if job.config.weights:
        detector.load_weights(job.config.weights)
    else:
        detector.fit(job.learn)
    store_model(job.run, detector, job.learn, job.settings, job.data)
    job.run.end_training()
    return detector


def store_model(
    run: RunDirectory,
    detector: Detector,
    learnt: Recordings,
    settings: str,
    data: str,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    place: Path | None = None,
) -> None:
    """Writes a fitted detector to its run, whole or not at all.

    `settings` and `data` are hashes of what decided the model; `more` are JSON files that belong to it, by name.
    `place` is the folder of the model where that is not yet the one of its run.
    """
    training = pd.DataFrame(detector.score_training(learnt))
    training.insert(0, "file", [clip.name for clip in learnt.clips])
    n_window = detector.n_samples if isinstance(detector, Windowed) else None
    with atomic(place or run.model) as folder:
        folder.mkdir()
        detector.save(folder)
        training.to_csv(folder / "training_scores.csv", index=False)
        write_json(folder / "facts.json", {**detector.facts(), "front_end": learnt.front_end.description()})
        write_json(folder / FRONT_END_FILE, asdict(learnt.front_end))
        write_json(folder / RECORDED_FILE, kinds(learnt, n_window and n_window / learnt.sample_rate_hz))
        NormalSpectra.of(learnt, detector.context.device).save(folder / SPECTRA_FILE)
        for name, content in (more or {}).items():
            write_json(folder / name, content)
        facts: dict[str, Any] = {"settings": settings, "data": data, "version": detector.version}
        facts |= {"code": detector.context.code} if detector.context.code else {}
        facts |= {"sections": learnt.sections, "clip_s": float(np.median(learnt.durations_s))}
        run.seal_model(folder, facts)


def write_job_scores(job: Job, detector: Detector, started_s: float) -> None:
    """Writes a score table per scorer, the thresholds, the list of clips, and DONE.

    Scores of other recordings than the run's own test clips go to a folder of their own, and DONE stays. The record
    tells the time since `started_s`, by `time.perf_counter`.
    """
    folder = job.score_folder()
    is_own = folder == job.run.scores
    thresholds = thresholds_of(detector, job.run.training_scores(), job.config, job.run.machine, job.learn)
    tables: dict[str, pd.DataFrame] = {}
    unscored: Unscored = {}
    scored = None
    if job.test is not None:
        scored = job.scored_data(job.test)
        for section in scored.untrained_sections:
            what = f"{job.run.machine} section {section} has test clips but was never trained on"
            log.warning("%s: they are scored against the other sections", what)
        recordings, scores, unscored = _scored(detector, job.test, keep_going=job.config.keep_going)
        for scorer, values in scores.items():
            tables[scorer] = score_table(recordings.clips, values, thresholds[scorer].decide(values))
    elif folder.scorers and job.run.done():
        log.warning("%s has no test clips any more: the scores in %s stay as they are", job.run.machine, folder.path)
        return
    if job.learn is not None:  # the same training clips may lie in a folder that was moved since
        job.run.write_config(job.config.stored())
    elif is_own and (stored := job.run.config()):  # the run decides so from now on, as where its bank grows
        job.run.write_config(stored | {"decision": job.config.stored()["decision"]})
    limits = {scorer: asdict(threshold) for scorer, threshold in thresholds.items()}
    tell_of_change(job, folder, limits, detector.scorers[0])
    folder.write(tables, limits, scored, unscored, before=job.run.reopen if is_own else lambda: None)
    if is_own:
        seconds = round(time.perf_counter() - started_s, 3)
        job.run.finish(job.fingerprint, default=detector.scorers[0], scorers=[*tables], seconds=seconds)


def _scored(detector: Detector, test: TestData, *, keep_going: bool) -> tuple[Recordings, Scores, Unscored]:
    """The clips that have scores, their scores, and why the others have none, by file name."""
    unscored = {clip.name: str(error) for clip, error in test.refused}
    if not keep_going:
        return test.recordings, detector.score(test.recordings), unscored
    refused: list[Refused] = []
    left, scores = usable_scores(detector, test.recordings, refused)
    for clip, error in refused:
        log.error("%s gets no score: %s", clip.name, error)
    return left, scores, unscored | {clip.name: str(error) for clip, error in refused}


def _detector(config: Run, cache: Path, directory: Path, **known: Any) -> Detector:
    """The detector that the options describe, not fitted yet; what is known besides are fields of its `RunContext`."""
    device, settings = pick_device(config.device), config.detector_settings
    context = RunContext(device, cache, directory, sample_rate_hz=config.sample_rate_hz, **known)
    detector = detector_class(config.detector)(context, settings)
    if config.window_s is None and not settings.takes_windows():
        return detector
    return Windowed(detector, config.window_s)


def lone_detector(config: Run, front_end: FrontEnd) -> Detector:
    """A detector to fit or load outside a run, with a place to work in that goes with it."""
    place = Path(tempfile.mkdtemp(prefix="asd-"))
    known = {"seed": config.seeds[0], "front_end": front_end, "code": config.own_code}
    detector = _detector(config, place / "cache", place / "run", **known)
    weakref.finalize(detector, shutil.rmtree, place, ignore_errors=True)
    return detector
