"""What may vote on a machine, chosen by faults planted in normal clips that are held out.

Every score here is of a training clip, or of a copy of it with a planted fault, by a model that has seen neither. How
faults of the machine sound is not known, so the choice departs from what is best in general only where chance cannot
explain what is found: a group loses its vote where planted faults leave its scores as they are, and another back
end takes over where it finds planted faults better by more than `MARGIN` standard errors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asd.core.files import read_json
from asd.detectors.base import Scores
from asd.metrics import auc
from asd.scoring.references import FloatArray
from asd.types import AsdError

LEVEL = 0.01  # of the test that a group finds planted faults at all
NEAR_CHANCE = 0.55  # AUC below which a group that fails the test has no vote; with few clips, good groups fail it, too
MARGIN = 2.0  # standard errors by which another back end has to be better
LEAST_CLIPS = 20  # with fewer, nothing can be told


@dataclass(frozen=True)
class Choice:
    """What was chosen for a machine, and on what evidence."""

    backend: str  # of all groups
    weights: Mapping[str, float]  # of each group; 0: it does not vote
    found: Mapping[str, float] = field(default_factory=dict)  # by group, AUC of planted faults against the same clips
    backends: Mapping[str, float] = field(default_factory=dict)  # by back end, the same of the mean of all groups
    why: str = ""  # a sentence for each departure from the default, or one that says that there is none


def read_choice(path: Path, groups: Collection[str]) -> Choice:
    """A choice whose fields were written to a file.

    Args:
        path: of the JSON.
        groups: names of the groups, each of which must have a weight.

    Raises:
        AsdError: it is missing, or of another form.
    """
    try:
        choice = Choice(**read_json(path))
    except TypeError:
        raise AsdError(f"{path} is no choice of a model; train the run again") from None
    if choice.weights.keys() != {*groups}:
        raise AsdError(
            f"{path} has weights of {', '.join(choice.weights)}, not of {', '.join(groups)}; train the run again"
        )
    return choice


def choose(
    weights: Mapping[str, float], normal: Mapping[str, Scores], faulty: Mapping[str, Scores], fused: str
) -> Choice:
    """The back end that finds planted faults, and the groups that do with it.

    Args:
        weights: of each group where nothing is known.
        normal: by back end, the default first: scores of held-out clips, (clips,) by group and for `fused`.
        faulty: the same of copies of these clips with a planted fault.
        fused: name of the scores of all groups together.
    """
    from scipy.stats import mannwhitneyu  # takes half a second to import

    default, *others = normal
    backend, why = default, []
    backends = {name: _auc(normal[name][fused], faulty[name][fused]) for name in normal}
    for name in others:
        error = standard_error(*((normal[key][fused], faulty[key][fused]) for key in (name, default)))
        if backends[name] > max(backends[default] + MARGIN * error, backends[backend]):
            backend = name
    if backend != default:
        why.append(f"the back end {backend} finds planted faults better than {default}, beyond chance")
    own, planted = normal[backend], faulty[backend]
    found = {group: _auc(own[group], planted[group]) for group in weights}

    def is_silent(group: str) -> bool:
        p_value = mannwhitneyu(planted[group], own[group], alternative="greater").pvalue
        return bool(p_value > LEVEL and found[group] < NEAR_CHANCE)

    silent = [*filter(is_silent, weights)]
    if len(silent) == len(weights):
        silent = []
        why.append("no group finds planted faults, so all vote")
    elif silent:
        why.append(f"no vote for {', '.join(silent)}: planted faults raise their scores no more than chance does")
    votes = {group: 0.0 if group in silent else weight for group, weight in weights.items()}
    because = "; ".join(why) or "every group finds planted faults, and no other back end more"
    return Choice(backend, votes, found, backends, because)


def _auc(normal: FloatArray, faulty: FloatArray) -> float:
    return auc(np.repeat([False, True], [len(normal), len(faulty)]), np.concatenate([normal, faulty]))


def standard_error(one: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]) -> float:
    """Standard error of the difference of two AUCs of the same clips.

    Source: DeLong et al., "Comparing the areas under two or more correlated ROC curves", Biometrics 1988.

    Args:
        one: scores of normal clips and of faulty ones.
        other: of the same clips.
    """
    (normal, faulty), (other_normal, other_faulty) = one, other
    above = _shares_below(normal, faulty) - _shares_below(other_normal, other_faulty)
    below = _shares_below(-faulty, -normal) - _shares_below(-other_faulty, -other_normal)
    return float(np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)))


def _shares_below(values: FloatArray, queries: FloatArray) -> FloatArray:
    """Share of the values that lies below each query, ties by half."""
    ordered = np.sort(values)
    sides = [np.searchsorted(ordered, queries, side) for side in ("left", "right")]
    return np.mean(sides, axis=0) / len(values)
