"""One job done: the detector fitted or loaded, its scores and thresholds written, DONE last."""

from __future__ import annotations

import time

import pandas as pd
import yaml

from asd.core.runtime import atomic, pick_device
from asd.data.microphones import FRONT_END_FILE
from asd.detectors import detector_class
from asd.detectors.base import Detector, Workplace
from asd.runs import score_table, write_json, write_scores, write_text
from asd.scoring.threshold import fit_threshold
from asd.stages.jobs import Job


def fitted(job: Job) -> Detector:
    """The detector of a job: loaded where the run has it, else fitted (or given weights) and saved."""
    detector = _detector(job)
    foreign = job.is_foreign()
    if job.learn is None or (job.run.fit_facts() and not foreign):
        job.run.check_model()
        detector.load(job.run.model)
        return detector
    if foreign:
        job.run.clear()
    write_text(
        job.run.path / "config.yaml", yaml.safe_dump(job.config.model_dump(mode="json"), sort_keys=False)
    )
    if job.config.weights:
        detector.load_weights(job.config.weights)
    else:
        detector.fit(job.learn)
    training = pd.DataFrame(detector.score_training(job.learn))
    training.insert(0, "file", [clip.name for clip in job.learn.clips])
    with atomic(job.run.model) as folder:
        folder.mkdir()
        detector.save(folder)
        training.to_csv(folder / "training_scores.csv", index=False)
        write_json(folder / "facts.json", {**detector.facts(), "front_end": job.learn.front_end.words()})
        write_json(folder / FRONT_END_FILE, job.learn.front_end.as_dict())
        job.run.seal_model(folder, job.settings, job.data)
    (job.run.path / "state.safetensors").unlink(missing_ok=True)
    return detector


def write_job_scores(job: Job, detector: Detector, started_s: float) -> None:
    """Writes a score table per scorer, the thresholds, and DONE.

    Args:
        job: whose test clips are scored.
        detector: fitted.
        started_s: `time.perf_counter()` when the job began, for the record.
    """
    (job.run.path / "DONE").unlink(missing_ok=True)
    training = job.run.training_scores()
    thresholds = {}
    for scorer in detector.scorers:
        normal = detector.calibration.get(scorer, training[scorer].to_numpy(float))
        thresholds[scorer] = fit_threshold(normal, job.config.decision.method, job.config.decision.quantile)
    if job.test is not None:
        for scorer, values in detector.score(job.test).items():
            table = score_table(job.test.clips, values, thresholds[scorer].decide(values))
            write_scores(job.run.path / "scores" / f"{scorer}.csv", table)
    write_json(job.run.path / "scores" / "thresholds.json", {k: t.as_dict() for k, t in thresholds.items()})
    seconds = round(time.perf_counter() - started_s, 3)
    job.run.finish(job.fingerprint, detector.scorers[0], seconds)


def _detector(job: Job) -> Detector:
    config = job.config
    workplace = Workplace(
        device=pick_device(config.device),
        cache=config.runs / ".cache",
        directory=job.run.path,
        seed=job.run.seed,
        fingerprint=job.model_fingerprint,
    )
    arguments = config.detector_arguments()
    if job.others is not None:
        arguments["auxiliary"] = job.others
    return detector_class(config.detector)(workplace, **arguments)
