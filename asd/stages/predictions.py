"""What a model says of clips, one row each: a table that a person reads from the top, and other programs read whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from asd.addresses import spelled
from asd.data.recordings import Recordings, Refused
from asd.features.normal_spectra import FloatArray, NormalSpectra, mean_spectra
from asd.scoring.threshold import Threshold
from asd.types import AsdError

COLUMNS = ("path", "machine", "score", "threshold", "decision", "rank", "normal_above", "nearest")


@dataclass(frozen=True, eq=False)
class Normal:
    """What the scores of clips are held against.

    Attributes:
        scores: of the normal training clips by each scorer, none of which met itself, a column per scorer.
        spectra: of the same clips; None: the model was stored before there were any.
    """

    scores: pd.DataFrame
    spectra: NormalSpectra | None


def predictions(
    recordings: Recordings, scores: FloatArray, threshold: Threshold, normal: Normal, scorer: str, device: torch.device
) -> pd.DataFrame:
    """Scores of clips with what they mean, in the order of the clips.

    Args:
        recordings: the clips.
        scores: (clips,) finite.
        threshold: that of the scorer.
        normal: what they are held against.
        scorer: whose scores they are.
        device: where to compute.

    Returns:
        One row per clip with `COLUMNS`: decision is 1 above the threshold, rank 1 is the highest score of a machine,
        normal_above is the share of normal training clips with a higher score, nearest the path of the normal
        recording whose mean spectrum is nearest ("" where the model does not know).
    """
    training = np.sort(normal.scores[scorer].to_numpy(float))
    above = len(training) - np.searchsorted(training, scores, side="right")
    table = pd.DataFrame(
        {
            "path": [spelled(str(clip.path)) for clip in recordings.clips],
            "machine": [clip.machine for clip in recordings.clips],
            "score": scores,
            "threshold": threshold.value,
            "decision": threshold.decide(scores),
            "rank": 0,
            "normal_above": above / len(training),
            "nearest": _nearest(recordings, normal.spectra, device),
        }
    )
    return with_ranks(table)


def finite_scores(
    recordings: Recordings, scores: FloatArray, scorer: str, refused: list[Refused] | None = None
) -> tuple[Recordings, FloatArray]:
    """The recordings whose score is finite, and these scores.

    Args:
        recordings: the clips.
        scores: (clips,) one for each.
        scorer: whose scores they are.
        refused: takes the other clips; None: the first one is an error.

    Returns:
        The recordings (clips) and their scores (clips,).

    Raises:
        AsdError: names the first recording whose score is not finite.
    """
    is_finite = np.isfinite(scores)
    for i in np.flatnonzero(~is_finite).tolist():
        clip = recordings.clips[i]
        error = AsdError(f"the score {scorer} of {clip.path} is {scores[i]}; check the recording")
        if refused is None:
            raise error
        refused.append((clip, error))
    good = np.flatnonzero(is_finite)
    return (recordings if is_finite.all() else recordings.subset(good)), scores[good]


def with_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the rank of each clip among those of its machine; the highest score has rank 1."""
    ranks = table.groupby("machine")["score"].rank(method="first", ascending=False)
    return table.assign(rank=ranks.astype(int))


def most_suspicious_first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each machine by rank."""
    return table.sort_values(["machine", "rank"], ignore_index=True)


def _nearest(recordings: Recordings, spectra: NormalSpectra | None, device: torch.device) -> list[str]:
    if spectra is None:
        return [""] * len(recordings)
    indices, _ = spectra.nearest(mean_spectra(recordings, device))
    return [spectra.paths[i] for i in indices]
