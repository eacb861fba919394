"""Several runs to one: their scores on one scale by their training scores, averaged per clip.

Test scores are never used to scale: a clip's fused score does not depend on which other clips are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from asd.runs import RunDirectory
from asd.scoring.fuse import FUSIONS
from asd.types import AsdError

FloatArray = npt.NDArray[np.float64]

_CLIP = ["section", "domain", "file"]  # names a clip within a machine


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a fusion and the scorer taken from it; several seeds of a run are one member."""

    runs: Sequence[RunDirectory]
    scorer: str


def fuse(members: Sequence[Member], method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fused scores of one machine.

    Args:
        members: at least one; seeds of a member are averaged first, so that each member counts once.
        method: "z" or "rank", see `scoring.fuse`.

    Returns:
        The score table of the test clips (decisions still those of the first member) and a table of the
        training clips with the columns file and score.

    Raises:
        AsdError: members that scored different clips, or a scorer that a member lacks.
    """
    fused = [_averaged(member, method) for member in members]
    first_test, first_training = fused[0]
    for test, training in fused[1:]:
        for one, other, what in ((first_test, test, "test"), (first_training, training, "training")):
            if list(one["file"]) != list(other["file"]):
                raise AsdError(
                    f"{members[0].runs[0].path} and a run fused with it scored different {what} clips; "
                    f"train and score all members on the same data"
                )
    test, training = first_test.copy(), first_training.copy()
    test["score"] = np.mean([t["score"] for t, _ in fused], axis=0)
    training["score"] = np.mean([t["score"] for _, t in fused], axis=0)
    return test, training


def _averaged(member: Member, method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test and training scores of one member on the common scale, mean over its seeds."""
    combine = FUSIONS[method]
    tests, trainings = [], []
    for run in member.runs:
        tables = run.tables()
        if member.scorer not in tables:
            raise AsdError(
                f"{run.path} has no scores of scorer={member.scorer}; it has {', '.join(tables) or 'none'}"
            )
        tests.append(tables[member.scorer].sort_values(_CLIP, ignore_index=True))
        training = run.training_scores()[["file", member.scorer]]
        trainings.append(training.sort_values("file", ignore_index=True))
    scales = [table[member.scorer].to_numpy(float) for table in trainings]
    test, training = tests[0].copy(), trainings[0].set_axis(["file", "score"], axis=1)
    test["score"] = combine([table["score"].to_numpy(float) for table in tests], scales)
    training["score"] = combine(scales, scales)
    return test, training
