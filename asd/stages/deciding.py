"""Decision thresholds of a detector by the scores of its training clips, and what they cannot promise."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.core.runtime import log
from asd.data.recordings import Recordings
from asd.detectors.base import Detector
from asd.runs import ScoreFolder
from asd.scoring.threshold import Threshold, fit_threshold, how_sure, share_limit
from asd.settings.config import Run
from asd.stages.jobs import Job
from asd.types import Clip

_FEW = 10  # normal recordings, of which any may be above a threshold at 10 %
_NAMED = 3  # conditions in a message
_SURE = 0.99  # confidence that a condition is above a threshold more often: there may be many conditions


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
    decision = config.decision.model_dump()
    found = {}
    for scorer in detector.scorers:
        normal = detector.calibration.get(scorer, training[scorer].to_numpy(float))
        found[scorer] = fit_threshold(normal, **decision, scorer=None)
    default = found[detector.scorers[0]]
    if fallen_back := [scorer for scorer, threshold in found.items() if threshold.fallback]:
        first, *others = fallen_back
        more = f"; so it is with {', '.join(others)}" if others else ""
        level = logging.WARNING if default.fallback and default.method == "bound" else logging.INFO
        log.log(level, "threshold of %s of %s: %s%s", first, machine, found[first].fallback, more)
    if len(training) > 1 and training[detector.scorers[0]].nunique() == 1:
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
    if learnt is not None and detector.scorers[0] not in detector.calibration:
        clips = {clip.name: clip for clip in learnt.clips}
        known = training[training["file"].isin([*clips])]  # without what was confirmed as normal since
        above = default.decide(known[detector.scorers[0]].to_numpy(float))
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
        "%s: the threshold of %s was %.4g and is %.4g now, by decision.%s; give train such options each time",
        *(job.run.machine, scorer, before["value"], now["value"], way),
    )


def _asked(stored: Mapping[str, Any]) -> tuple[Any, Any]:
    """The method and quantile that were asked for: a percentile may stand for a gamma fit."""
    method = "gamma" if stored.get("fallback") and stored.get("method") == "percentile" else stored.get("method")
    return method, stored.get("quantile")
