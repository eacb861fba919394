"""One job: the detector is fitted or loaded, its scores and thresholds are written, DONE last."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from asd.core.files import atomic
from asd.core.runtime import log, pick_device
from asd.data.microphones import FRONT_END_FILE
from asd.data.notices import RECORDED_FILE, kinds
from asd.data.recordings import Recordings, Refused
from asd.detectors import detector_class
from asd.detectors.base import Detector, RunContext, Scores
from asd.detectors.windowed import Windowed
from asd.features.normal_spectra import SPECTRA_FILE, NormalSpectra
from asd.runs import RunDirectory, score_table, write_json
from asd.scoring.threshold import Threshold, fit_threshold
from asd.settings.config import Run
from asd.stages.jobs import Job
from asd.stages.loading import TestData
from asd.stages.predictions import usable_scores


def fitted(job: Job) -> Detector:
    """The detector of a job: loaded where the run has it, else fitted (or given weights) and saved."""
    context = RunContext(
        device=pick_device(job.config.device),
        cache=job.config.runs / ".cache",
        directory=job.run.path,
        seed=job.run.seed,
        fingerprint=job.model_fingerprint,
        sample_rate_hz=job.config.sample_rate_hz,
        supplement=job.supplement,
        front_end=job.front_end,
    )
    detector = detector_of(job.config, context)
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
) -> pd.DataFrame:
    """Writes a fitted detector to its run, whole or not at all.

    Args:
        run: where to.
        detector: fitted.
        learnt: the training clips.
        settings: hash of what decided the model besides them.
        data: hash of them.
        more: JSON files that belong to the model, by name.

    Returns:
        Scores of the training clips: the column `file` and one per scorer.
    """
    training = pd.DataFrame(detector.score_training(learnt))
    training.insert(0, "file", [clip.name for clip in learnt.clips])
    with atomic(run.model) as folder:
        folder.mkdir()
        detector.save(folder)
        training.to_csv(folder / "training_scores.csv", index=False)
        write_json(folder / "facts.json", {**detector.facts(), "front_end": learnt.front_end.description()})
        write_json(folder / FRONT_END_FILE, asdict(learnt.front_end))
        write_json(folder / RECORDED_FILE, kinds(learnt))
        NormalSpectra.of(learnt, detector.context.device).save(folder / SPECTRA_FILE)
        for name, content in (more or {}).items():
            write_json(folder / name, content)
        sections = [clip.section for clip in learnt.clips]
        clip_s = float(np.median(learnt.lengths_samples)) / learnt.sample_rate_hz
        run.seal_model(folder, settings, data, sections, detector.version, clip_s)
    return training


def thresholds_of(detector: Detector, training: pd.DataFrame, config: Run, machine: str) -> dict[str, Threshold]:
    """The decision threshold of each scorer.

    Args:
        detector: fitted.
        training: scores of its training clips, a column per scorer.
        config: how thresholds are found.
        machine: for warnings.
    """
    decision = config.decision.model_dump()
    found = {}
    for scorer in detector.scorers:
        normal = detector.calibration.get(scorer, training[scorer].to_numpy(float))
        found[scorer] = fit_threshold(normal, **decision, scorer=None)
    fallen_back = [scorer for scorer, threshold in found.items() if threshold.fallback]
    if fallen_back:
        first, *others = fallen_back
        more = f"; so it is with {', '.join(others)}" if others else ""
        log.warning("threshold of %s of %s: %s%s", first, machine, found[first].fallback, more)
    return found


def write_job_scores(job: Job, detector: Detector, started_s: float) -> None:
    """Writes a score table per scorer, the thresholds, the list of clips, and DONE.

    Scores of other recordings than the run's own test clips go to a folder of their own, and DONE stays.

    Args:
        job: whose test clips are scored.
        detector: fitted.
        started_s: `time.perf_counter()` when the job began, for the record.
    """
    folder = job.score_folder()
    is_own = folder == job.run.scores
    thresholds = thresholds_of(detector, job.run.training_scores(), job.config, job.run.machine)
    tables: dict[str, pd.DataFrame] = {}
    unscored: dict[str, str] = {}
    if job.test is not None:
        for section in job.scored_data().untrained_sections:
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
    folder.write(
        tables,
        {scorer: threshold.as_dict() for scorer, threshold in thresholds.items()},
        job.scored_data() if job.test is not None else None,
        unscored,
        before=job.run.reopen if is_own else lambda: None,
    )
    if is_own:
        seconds = round(time.perf_counter() - started_s, 3)
        job.run.finish(job.fingerprint, default=detector.scorers[0], scorers=[*tables], seconds=seconds)


def _scored(detector: Detector, test: TestData, *, keep_going: bool) -> tuple[Recordings, Scores, dict[str, str]]:
    """The clips that have scores, their scores, and why the others have none, by file name."""
    unscored = {clip.name: str(error) for clip, error in test.refused}
    if not keep_going:
        return test.recordings, detector.score(test.recordings), unscored
    refused: list[Refused] = []
    left, scores = usable_scores(detector, test.recordings, refused)
    for clip, error in refused:
        log.error("%s gets no score: %s", clip.name, error)
    return left, scores, unscored | {clip.name: str(error) for clip, error in refused}


def detector_of(config: Run, context: RunContext) -> Detector:
    """The detector that the options describe, not fitted yet.

    Args:
        config: options of the run.
        context: device, folders and seed.
    """
    settings = config.detector_settings
    detector = detector_class(config.detector)(context, settings)
    return Windowed(detector, config.window_s, settings.least_samples()) if config.window_s else detector
