"""What scores are measured against: vectors of normal training clips, with what is known of each clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.types import AsdError, Clip, Domain

FloatArray = npt.NDArray[np.float64]

# A condition needs so many clips to have a mean of its own; rarer ones share that of their domain.
MIN_CONDITION_CLIPS = 4


@dataclass(frozen=True)
class References:
    """Normal training clips as vectors.

    Attributes:
        vectors: (clips, dims) float64, finite.
        conditions: (clips,) which clips were recorded under the same known condition, numbered from 0.
        is_target: (clips,) which clips are of the target domain.
        sections: (clips,) number of each clip's section; by default all are of one.
    """

    vectors: FloatArray
    conditions: npt.NDArray[np.int64]
    is_target: npt.NDArray[np.bool_]
    sections: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.sections):
            object.__setattr__(self, "sections", np.zeros(len(self.vectors), np.int64))
        bad = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(bad):
            raise AsdError(
                f"the vector of training clip {int(bad[0])} holds NaN or infinity ({len(bad)} of "
                f"{len(self.vectors)} clips do); check the recording or the encoder"
            )
        if len(self.vectors) < 2:
            raise AsdError(
                f"a score needs two training clips or more to compare with, got {len(self.vectors)}; "
                f"give more recordings of the normal machine"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> References:
        """A part of the clips."""
        return References(
            self.vectors[index], self.conditions[index], self.is_target[index], self.sections[index]
        )

    def replace(self, vectors: FloatArray) -> References:
        """The same clips as other vectors."""
        return References(np.asarray(vectors, np.float64), self.conditions, self.is_target, self.sections)

    def facts(self) -> dict[str, npt.NDArray[Any]]:
        """Everything but the vectors, by name: the keyword arguments that make the references again."""
        return {"conditions": self.conditions, "is_target": self.is_target, "sections": self.sections}

    def sorted(self) -> References:
        """The same clips in an order of their own, so that the order of files changes no random draw."""
        return self[np.lexsort(self.vectors.T[::-1])]

    def folds(self, n_folds: int) -> Iterator[npt.NDArray[np.bool_]]:
        """Masks (clips,) of held-out clips: each clip once, every condition spread evenly over the folds.

        Within a condition a fold is a run of clips in the order given. Recordings of a machine come in runs
        too, and a clip whose neighbours in time stay in scores lower than clips of another day will.
        """
        fold = np.empty(len(self), int)
        for number, condition in enumerate(np.unique(self.conditions)):
            own = np.flatnonzero(self.conditions == condition)
            fold[own] = (np.arange(len(own)) * n_folds // len(own) + number) % n_folds
        for k in np.unique(fold):
            yield fold == k


def conditions_of(clips: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """Number of the condition of each clip, (clips,): section x domain x attributes, where known.

    A combination of attributes with fewer than `MIN_CONDITION_CLIPS` clips counts with the others of its
    section and domain that are as rare.
    """
    full = [(c.section, c.domain, tuple(sorted(c.attributes.items()))) for c in clips]
    count = Counter(full)
    keys = [key if count[key] >= MIN_CONDITION_CLIPS else key[:2] for key in full]
    numbers = {key: i for i, key in enumerate(sorted(set(keys), key=str))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def sections_of(clips: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """Number of the section of each clip, (clips,): the two digits of its name."""
    return np.array([int(clip.section) for clip in clips], dtype=np.int64)


def references_of(clips: Sequence[Clip], vectors: FloatArray) -> References:
    """Vectors (clips, dims) of training clips with their conditions and domains."""
    target = np.array([clip.domain is Domain.TARGET for clip in clips], dtype=bool)
    return References(np.asarray(vectors, np.float64), conditions_of(clips), target, sections_of(clips))
