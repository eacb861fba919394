"""The detector of a job: fitted or loaded, with decision thresholds by the scores of its training clips; its scores."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.core.files import atomic, write_json
from asd.core.runtime import file_hash, log, pick_device
from asd.data.recordings import Recordings, Refused
from asd.data.remarks import facts_of
from asd.detectors import detector_class
from asd.detectors.base import Detector, RunContext, Scores
from asd.detectors.windowed import Windowed
from asd.features.normal_spectra import SPECTRA_FILE, NormalSpectra
from asd.places import address_of, is_table, written
from asd.runs import RunDirectory, ScoredData, ScoreFolder, score_table, stamps_of
from asd.scoring.threshold import Threshold, fit_threshold, how_sure, share_limit
from asd.settings.config import Run
from asd.stages.jobs import FRONT_END_FILE, RECORDED_FILE, Job, TestData
from asd.stages.predictions import usable_scores
from asd.types import Clip, FrontEnd

Unscored = dict[str, str]  # why test clips have no score, by file name

_FEW = 10  # normal recordings, of which any may be above a threshold at 10 %
_NAMED = 3  # conditions in a message
_SURE = 0.99  # confidence that a condition is above a threshold more often: there may be many conditions


def fitted(job: Job) -> Detector:
    """The detector of a job: loaded where the run has it, else fitted (or given weights) and saved."""
    known = {"seed": job.run.seed, "front_end": job.front_end, "code": job.code_hash, "supplement": job.supplement}
    known["fingerprint"] = job.model_fingerprint
    detector = _detector(job.config, job.config.runs / ".cache", job.run.path, **known)
    if job.learn is not None:
        job.run.make_way(job.model_fingerprint, overwrite=job.config.overwrite)
    if job.learn is None or job.run.fit_facts():
        job.run.check_model()
        detector.load(job.run.model)
        return detector
    job.run.write_config(job.config.stored())
    if job.config.weights:
        detector.load_weights(job.config.weights)
    else:
        detector.fit(job.learn)
    store_model(job.run, detector, job.learn, job.settings_hash, job.data_hash)
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
    training = training_scores(detector, learnt)  # before `save`, which may write what a detector keeps of it
    n_samples = detector.n_samples if isinstance(detector, Windowed) else None
    window_s = n_samples / learnt.sample_rate_hz if n_samples else None
    with atomic(place or run.model) as folder:
        folder.mkdir()
        detector.save(folder)
        training.to_csv(folder / "training_scores.csv", index=False)
        write_json(folder / "facts.json", {**detector.facts(), "front_end": learnt.front_end.description()})
        write_json(folder / FRONT_END_FILE, asdict(learnt.front_end))
        write_json(folder / RECORDED_FILE, facts_of(learnt, window_s))
        NormalSpectra.of(learnt, detector.context.device).save(folder / SPECTRA_FILE)
        for name, content in (more or {}).items():
            write_json(folder / name, content)
        facts: dict[str, Any] = {"settings": settings, "data": data, "version": detector.version}
        facts |= {"code": detector.context.code} if detector.context.code else {}
        facts |= {"sections": learnt.sections, "clip_s": float(np.median(learnt.durations_s))}
        run.seal_model(folder, facts)


def training_scores(detector: Detector, learnt: Recordings) -> pd.DataFrame:
    """Scores of the training clips, none of which meets itself: `file`, and a column per scorer."""
    return pd.DataFrame({"file": [clip.name for clip in learnt.clips], **detector.score_training(learnt)})


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
        scored = _scored_data(job, job.test)
        for section in scored.untrained_sections:
            what = f"{job.run.machine} section {section} has test clips but was never trained on"
            log.warning("%s: they are scored against the other sections", what)
        recordings, scores, unscored = _scored(detector, job.test, keep_going=job.config.keep_going)
        for scorer, values in scores.items():
            tables[scorer] = score_table(recordings.clips, values, thresholds[scorer].decide(values))
    elif folder.scorers and job.run.done():
        log.warning("%s has no test clips any more: the scores in %s stay as they are", job.run.machine, folder.path)
        return
    limits = {scorer: asdict(threshold) for scorer, threshold in thresholds.items()}
    tell_of_change(job, folder, limits, detector.scorers[0])
    folder.write(tables, limits, scored, unscored, before=job.run.reopen if is_own else lambda: None)
    if job.learn is not None:  # the same training clips may lie in a folder that was moved since
        job.run.write_config(job.config.stored())
    elif is_own and (stored := job.run.config()):  # so it decides and is measured from now on
        job.run.write_config(stored | {name: job.config.stored()[name] for name in ("decision", "year")})
    if is_own:
        seconds = round(time.perf_counter() - started_s, 3)
        job.run.finish(job.fingerprint, default=detector.scorers[0], scorers=[*tables], seconds=seconds)


def _scored_data(job: Job, test: TestData) -> ScoredData:
    """The record of what is scored: test clips, their files and a table of them, and the sections trained on."""
    trained = job.run.fit_facts()["sections"] if job.learn is None else job.learn.sections
    clips = tuple((clip.name, clip.section, clip.domain or "") for clip in test.clips)
    root = job.config.data_root
    tables = [path for path in ([root] if root.is_file() else root.glob("recordings.*")) if is_table(path)]
    hashes = [(path, file_hash(path)) for path in tables]
    hashes += [(sound.path, sound.content) for sound in test.recordings.sounds if sound.path is not None]
    contents = {address_of(path) or str(path.absolute()): found for path, found in hashes}
    stamps = stamps_of(contents)
    return ScoredData(written(root), job.test_hash, tuple(trained), clips, test.layout, contents, stamps)


def _scored(detector: Detector, test: TestData, *, keep_going: bool) -> tuple[Recordings, Scores, Unscored]:
    """The clips that have scores, their scores, and why the others have none, by file name."""
    left, refused = test.recordings, list[Refused]()
    if keep_going:
        left, scores = usable_scores(detector, left, refused)
    else:
        scores = detector.score(left)
    for clip, error in refused:
        log.error("%s gets no score: %s", clip.name, error)
    return left, scores, {clip.name: str(error) for clip, error in (*test.refused, *refused)}


def _detector(config: Run, cache: Path, directory: Path, **more: Any) -> Detector:
    """The detector that the options describe, not fitted yet; `more` are other fields of its `RunContext`."""
    device, settings = pick_device(config.device), config.detector_settings
    context = RunContext(device, cache, directory, sample_rate_hz=config.sample_rate_hz, **more)
    detector = detector_class(config.detector)(context, settings)
    if config.window_s is None and not settings.takes_windows():
        return detector
    return Windowed(detector, config.window_s)


def lone_detector(config: Run, front_end: FrontEnd) -> Detector:
    """A detector to fit or load outside a run, with a place to work in that goes with it."""
    place = Path(tempfile.gettempdir(), f"asd-{uuid.uuid4().hex}")  # made when needed: a killed process leaves none
    known = {"seed": config.seeds[0], "front_end": front_end, "code": config.own_code}
    detector = _detector(config, place / "cache", place / "run", **known, is_outside_run=True)
    weakref.finalize(detector, shutil.rmtree, place, ignore_errors=True)
    return detector


class Condition(NamedTuple):
    """What some clips have in common, and how many of them lie above a threshold."""

    name: str
    n_above: int
    n: int


def thresholds_of(
    detector: Detector, training: pd.DataFrame, config: Run, machine: str, learnt: Recordings | None
) -> dict[str, Threshold]:
    """The decision threshold of each scorer, by the scores of the training clips: `file`, and a column per scorer.

    `learnt` are these clips where they are at hand: conditions that lie above the threshold more often are told then.
    """
    decision, own = config.decision.model_dump(), detector.calibration
    normal = {scorer: own.get(scorer, training[scorer].to_numpy(float)) for scorer in detector.scorers}
    found = {scorer: fit_threshold(scores, **decision, scorer=None) for scorer, scores in normal.items()}
    first = detector.scorers[0]
    default = found[first]
    if fallen_back := [scorer for scorer, threshold in found.items() if threshold.fallback]:
        more = f"; so it is with {', '.join(fallen_back[1:])}" if len(fallen_back) > 1 else ""
        level = logging.WARNING if default.fallback and default.method == "bound" else logging.INFO
        log.log(level, "threshold of %s of %s: %s%s", fallen_back[0], machine, found[fallen_back[0]].fallback, more)
    if len(training) > 1 and training[first].nunique() == 1:
        log.warning(
            f"{machine}: all {len(training)} normal recordings score the same, so nothing tells how far a new one may "
            f"lie: expect each to be above the threshold; give more recordings, or longer ones to enroll"
        )
    elif len(training) < _FEW and config.window_s is None:
        promise, n_recordings = how_sure(len(training), default.false_alarm_bound), training["file"].nunique()
        promise += ", and faults may not be"  # models without a part of so few find every clip strange
        if n_recordings < len(training):  # how windows of one recording scatter tells nothing of another
            promise = f"{len(training)} windows of {n_recordings} normal recordings promise nothing of new ones"
        way = "give more, or set window_s=1 as enroll does, which compares windows of them"
        log.warning("%s: %s; %s", machine, promise, way)
    if learnt is not None and first not in own:
        clips = {clip.name: clip for clip in learnt.clips}
        known = training[training["file"].isin([*clips])]  # without what was confirmed as normal since
        above = default.decide(known[first].to_numpy(float))
        warn_of_conditions([clips[name] for name in known["file"]], above, default, machine)
    return found


def conditions_above(clips: Sequence[Clip], above: npt.NDArray[np.int64], wanted: float) -> list[Condition]:
    """Sections, domains and attributes whose clips lie above a threshold more often than wanted, the worst first.

    The share above is beyond `wanted` with a confidence of 99 % (the lower limit of Clopper and Pearson, see
    `scoring.threshold.share_limit`). What all clips share tells nothing, and of conditions with the same clips
    the first is named. `above` (clips,) is 1 where the held-out score of a normal clip lies above.
    """
    members: dict[str, list[int]] = {}
    for i, clip in enumerate(clips):
        for key, value in (("section", clip.section), ("domain", clip.domain), *clip.attributes.items()):
            members.setdefault(f"{key} {value}", []).append(i)
    first = {tuple(own): name for name, own in reversed(members.items()) if len(own) < len(clips)}
    found = [Condition(name, int(above[list(own)].sum()), len(own)) for own, name in first.items()]
    beyond = [each for each in found if 1 - share_limit(each.n - each.n_above, each.n, _SURE) > wanted]
    return sorted(beyond, key=lambda each: (-each.n_above / each.n, each.name))


def warn_of_conditions(clips: Sequence[Clip], above: npt.NDArray[np.int64], threshold: Threshold, machine: str) -> None:
    """Warns of conditions with false alarms to come."""
    wanted = 1 - threshold.quantile
    if loud := conditions_above(clips, above, wanted):
        option = "lower decision.false_alarm_rate" if threshold.method == "bound" else "higher decision.quantile"
        log.warning(
            f"{machine}: held out, normal recordings lie above the threshold more often than wanted ({wanted:.0%}): "
            f"{_counts(loud)}; expect false alarms there, and give more such recordings or a {option}"
        )


def _counts(conditions: Sequence[Condition]) -> str:
    parts = ", ".join(f"{each.n_above} of {each.n} of {each.name}" for each in conditions[:_NAMED])
    more = f" and {len(conditions) - _NAMED} other conditions" if len(conditions) > _NAMED else ""
    return parts + more


def tell_of_change(job: Job, folder: ScoreFolder, limits: Mapping[str, Mapping[str, Any]], scorer: str) -> None:
    """Says where a threshold is found in another way than before: `train` takes such options anew each time."""
    before = folder.thresholds().get(scorer) if folder.has_thresholds() else None
    now, decision = limits[scorer], job.config.decision
    if not before or _asked(before) == _asked(now):
        return
    way = f"method={decision.method} decision.quantile={decision.quantile:g}"
    if decision.false_alarm_rate is not None:
        way = f"false_alarm_rate={decision.false_alarm_rate:g}"
    log.info(
        f"{job.run.machine}: the threshold of {scorer} was {before['value']:.4g} and is {now['value']:.4g} now, by "
        f"decision.{way}; give train such options each time"
    )


def _asked(stored: Mapping[str, Any]) -> tuple[Any, Any]:
    """The method and quantile that were asked for: a percentile may stand for a gamma fit."""
    method = "gamma" if stored.get("fallback") and stored.get("method") == "percentile" else stored.get("method")
    return method, stored.get("quantile")
