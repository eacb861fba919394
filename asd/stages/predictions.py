"""Scores of clips as a table of predictions, a row each, for people and for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from asd.core.runtime import log
from asd.data.recordings import Recordings, Refused
from asd.detectors.base import Detector, Scores
from asd.features.normal_spectra import NormalSpectra, mean_spectra
from asd.places import spelled
from asd.scoring.references import FloatArray
from asd.scoring.threshold import Threshold
from asd.types import AsdError

COLUMNS = ("path", "machine", "score", "threshold", "decision", "rank", "normal_above", "nearest", "defect", "section")


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Score and decision of a recording by a model.

    Attributes:
        score, threshold, decision: the higher, the more anomalous; above the threshold it is called so.
        scorer: whose score it is.
        defect: what is wrong with the recording itself, such as "is silent (all samples are zero)"; None for most.
    """

    score: float
    threshold: float
    decision: bool
    scorer: str
    defect: str | None = None


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal training clips, which scores of others are compared with."""

    scores: pd.DataFrame  # of the normal training clips by each scorer, none of which met itself, a column per scorer
    spectra: NormalSpectra  # of the same clips


def predictions(
    recordings: Recordings, scores: FloatArray, threshold: Threshold, normal: Normal, scorer: str, device: torch.device
) -> pd.DataFrame:
    """Scores of clips with what they mean, in the order of the clips.

    Args:
        recordings, scores, scorer: n clips, their scores (n,), and whose these are.
        threshold, normal: a score above is called anomalous, and what scores are held against.
        device: where mean spectra are computed.

    Returns:
        One row per clip with `COLUMNS`: decision is 1 above the threshold, rank 1 is the highest score of a machine,
        normal_above is the share of normal training clips with a higher score, nearest the path of the normal
        recording whose mean spectrum is nearest, defect what is wrong with the recording itself, such as "is silent",
        where its score says nothing of the machine, section of which section the recording was taken to be.
    """
    training = np.sort(normal.scores[scorer].to_numpy(float))
    above = len(training) - np.searchsorted(training, scores, side="right")
    nearest, _ = normal.spectra.nearest(mean_spectra(recordings, device))
    table = pd.DataFrame(
        {
            "path": [spelled(str(clip.path)) for clip in recordings.clips],
            "machine": [clip.machine for clip in recordings.clips],
            "score": scores,
            "threshold": threshold.value,
            "decision": threshold.decide(scores),
            "rank": 0,
            "normal_above": above / len(training),
            "nearest": [normal.spectra.paths[i] for i in nearest],
            "defect": [sound.defect or "" for sound in recordings.sounds],
            "section": [clip.section for clip in recordings.clips],
        }
    )
    return with_ranks(table)


def usable_scores(
    detector: Detector, recordings: Recordings, refused: list[Refused] | None = None
) -> tuple[Recordings, Scores]:
    """Scores of the clips that get any: one that is refused, or has no finite score, does not cost the others theirs.

    Args:
        detector, recordings: a fitted one, and any.
        refused: takes the other clips, with the reason; None: the first one is an error.

    Raises:
        AsdError: a clip that gets no score, where `refused` is None; or the detector refuses every clip.
    """
    if refused is None:
        found, scores = recordings, detector.score(recordings)
    else:
        errors: dict[int, AsdError] = {}
        parts = list(_scores_of_parts(detector, recordings, range(len(recordings)), errors))
        refused += [(recordings.clips[i], error) for i, error in errors.items()]
        if not parts:
            raise next(iter(errors.values()))
        scores = {name: np.concatenate([part[name] for _, part in parts]) for name in detector.scorers}
        found = recordings if not errors else recordings.subset([i for indices, _ in parts for i in indices])
    is_finite = np.isfinite(list(scores.values())).all(0)
    if is_finite.all():
        return found, scores
    for i in np.flatnonzero(~is_finite).tolist():
        name = next(name for name, values in scores.items() if not np.isfinite(values[i]))
        error = AsdError(f"the score {name} of {found.clips[i].path} is {scores[name][i]}; check the recording")
        if refused is None:
            raise error
        refused.append((found.clips[i], error))
    good = np.flatnonzero(is_finite)
    return found.subset(good), {name: values[good] for name, values in scores.items()}


def _scores_of_parts(
    detector: Detector, recordings: Recordings, indices: Sequence[int], refused: dict[int, AsdError]
) -> Iterator[tuple[Sequence[int], Scores]]:
    """Indices, in order, and scores of as many clips together as the detector takes.

    Halves are asked until a refused clip is alone: the score of a clip does not depend on those beside it.
    """
    try:
        yield indices, detector.score(recordings.subset(indices))
    except AsdError as error:
        if len(indices) == 1:
            refused[indices[0]] = error
            return
        for half in (indices[: len(indices) // 2], indices[len(indices) // 2 :]):
            yield from _scores_of_parts(detector, recordings, half, refused)


def with_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the rank of each clip among those of its machine; the highest score has rank 1."""
    ranks = table.groupby("machine")["score"].rank(method="first", ascending=False)
    return table.assign(rank=ranks.astype(int))


def warn_of_defects(table: pd.DataFrame) -> None:
    """Names recordings without a usable sound, whose scores look like any others."""
    broken = table[table["defect"].fillna("") != ""]
    if len(broken):
        what, others = f"{broken['path'].iloc[0]} {broken['defect'].iloc[0]}", ""
        if len(broken) > 1:
            others = f" (as have {len(broken) - 1} more of {len(table)}: see the column defect)"
        log.warning(f"{what}: it has a score, but not a meaningful one{others}")
