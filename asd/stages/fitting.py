"""One job: the detector is fitted or loaded, its scores and thresholds are written, DONE last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
from asd.runs import RunDirectory, ScoredData, score_table, write_json
from asd.scoring.threshold import Threshold, fit_threshold
from asd.settings.config import Run
from asd.stages.jobs import Job
from asd.stages.loading import TestData
from asd.types import AsdError


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
        write_json(folder / FRONT_END_FILE, learnt.front_end.as_dict())
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
        _warn_of_untrained(job, job.scored_data())
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
    """The clips that have scores, their scores, and why the others have none, by file name.

    A clip that the detector refuses, or gives no finite score, is an error; where one bad clip shall not cost the
    others theirs it is left out.
    """
    unscored = {clip.name: str(error) for clip, error in test.refused}
    if not keep_going:
        return test.recordings, detector.score(test.recordings), unscored
    refused: list[Refused] = []
    left, scores = scores_where_possible(detector, test.recordings, refused)
    is_finite = np.isfinite(list(scores.values())).all(0)
    reasons = {clip: str(error) for clip, error in refused}
    for clip in left.subset(np.flatnonzero(~is_finite)).clips:
        reasons[clip] = f"a score of {clip.path} is not finite; listen to it, or remove it"
    for clip, reason in reasons.items():
        log.error("%s gets no score: %s", clip.name, reason)
    unscored |= {clip.name: reason for clip, reason in reasons.items()}
    scores = {name: values[is_finite] for name, values in scores.items()}
    return left.subset(np.flatnonzero(is_finite)), scores, unscored


def scores_where_possible(
    detector: Detector, recordings: Recordings, refused: list[Refused]
) -> tuple[Recordings, Scores]:
    """Scores of the clips that the detector takes: one that it refuses does not cost the others theirs.

    Args:
        detector: fitted.
        recordings: the clips.
        refused: takes those that are refused, with the reason.

    Returns:
        The other clips, and their scores, some of which may not be finite.

    Raises:
        AsdError: every clip is refused; that of the first.
    """
    errors: dict[int, AsdError] = {}
    parts = list(_scores_of_parts(detector, recordings, range(len(recordings)), errors))
    refused += [(recordings.clips[i], error) for i, error in errors.items()]
    if not parts:
        raise next(iter(errors.values()))
    scores = {name: np.concatenate([part[name] for _, part in parts]) for name in detector.scorers}
    return recordings.subset([i for indices, _ in parts for i in indices]), scores


def _scores_of_parts(
    detector: Detector, recordings: Recordings, indices: Sequence[int], refused: dict[int, AsdError]
) -> Iterator[tuple[Sequence[int], Scores]]:
    """Scores of as many clips together as the detector takes: halves are asked until a refused clip is alone.

    The score of a clip does not depend on those beside it.

    Args:
        detector: fitted.
        recordings: all clips.
        indices: which of them.
        refused: takes the error of each clip that is refused.

    Yields:
        Indices, in order, and their scores.
    """
    try:
        yield indices, detector.score(recordings.subset(indices))
    except AsdError as error:
        if len(indices) == 1:
            refused[indices[0]] = error
            return
        for half in (indices[: len(indices) // 2], indices[len(indices) // 2 :]):
            yield from _scores_of_parts(detector, recordings, half, refused)


def _warn_of_untrained(job: Job, data: ScoredData) -> None:
    for section in data.untrained_sections:
        log.warning(
            "%s section %s has test clips but was never trained on: they are scored against the other sections",
            job.run.machine,
            section,
        )


def _detector(job: Job) -> Detector:
    config = job.config
    context = RunContext(
        device=pick_device(config.device),
        cache=config.runs / ".cache",
        directory=job.run.path,
        seed=job.run.seed,
        fingerprint=job.model_fingerprint,
        sample_rate_hz=config.sample_rate_hz,
        supplement=job.supplement,
        front_end=job.front_end,
    )
    return detector_of(config, context)


def detector_of(config: Run, context: RunContext) -> Detector:
    """The detector that the options describe, not fitted yet.

    Args:
        config: options of the run.
        context: device, folders and seed.
    """
    settings = config.detector_settings
    detector = detector_class(config.detector)(context, settings)
    return Windowed(detector, config.window_s, settings.least_samples()) if config.window_s else detector
