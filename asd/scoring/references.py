"""What scores are measured against: vectors of normal training clips, with what is known of each clip.

Metrics: "euclid", and "cosine" = 1 - cos in [0, 2]. A zero vector has no direction: its cosine distance is 0 to other
zero vectors and 1 to everything else. `to_euclidean` gives coordinates in which both are Euclidean.

Args:
    vectors: (clips, dims), of any shape (..., dims) for `to_euclidean`.
    metric: "euclid" or "cosine".
    what: one of the vectors is, for messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt

from asd.types import AsdError, Clip, Domain

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.floating[Any]]
Metric = Literal["euclid", "cosine"]

MIN_TARGET_CLIPS = 3  # fewer do not show how the target domain differs (docs/benchmark.md)
MIN_CONDITION_CLIPS = 4  # a condition with fewer has no mean of its own and shares that of its domain
LARGEST_VALUE = 1e100  # squares of what is smaller stay finite in float64
BLOCK_BYTES = 32 * 2**20  # of float64 values held at a time


@dataclass(frozen=True)
class References:
    """Normal training clips as vectors.

    Attributes:
        vectors: (clips, dims) float64, finite.
        conditions: (clips,) which clips were recorded under the same known condition, numbered from 0.
        is_target: (clips,) which clips are of the target domain.
        sections: (clips,) number of each clip's section; by default all are of one.
        shift_is_known: (clips,) whether those of a clip's section show how domains differ, or are not known to be of
            domains at all; by default all do.
    """

    vectors: FloatArray
    conditions: IntArray
    is_target: npt.NDArray[np.bool_]
    sections: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    shift_is_known: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))

    def __post_init__(self) -> None:
        for name, value in (("sections", np.int64(0)), ("shift_is_known", np.True_)):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.full(len(self.vectors), value))
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

    def __getitem__(self, index: IntArray | npt.NDArray[np.bool_]) -> References:
        """A part of the clips."""
        return References(*(getattr(self, field.name)[index] for field in fields(self)))

    def replace(self, vectors: FloatArray) -> References:
        """The same clips as other vectors."""
        return replace(self, vectors=np.asarray(vectors, np.float64))

    def sorted(self) -> References:
        """The same clips in an order of their own, so that the order of files changes no random draw."""
        return self[np.lexsort(self.vectors.T[::-1])]

    def distinct(self) -> tuple[IntArray, IntArray]:
        """Clips whose vectors differ: where each occurs first, and which of them every clip is a copy of."""
        if len(np.unique(self.vectors[:, 0])) == len(self):  # as of nearly all recordings
            return np.arange(len(self)), np.arange(len(self))
        numbers: dict[bytes, int] = {}
        number_of = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in self.vectors + 0.0])  # -0 is 0
        return np.unique(number_of, return_index=True)[1], number_of

    def folds(self, n_folds: int) -> Iterator[npt.NDArray[np.bool_]]:
        """Masks (clips,) of held-out clips: each clip once, every condition spread evenly over the folds.

        Within a condition a fold is a run of clips in the order given. Recordings of a machine come in runs
        too, and a clip whose neighbours in time stay in scores lower than clips of another day will. So does one
        whose copy stays in: copies are of one fold.
        """
        first, copy_of = self.distinct()
        fold, conditions = np.empty(len(first), int), self.conditions[first]
        for number, condition in enumerate(np.unique(conditions)):
            own = np.flatnonzero(conditions == condition)
            fold[own] = (np.arange(len(own)) * n_folds // len(own) + number) % n_folds
        fold = fold[copy_of]
        for k in np.unique(fold):
            yield fold == k


def conditions_of(clips: Sequence[Clip]) -> IntArray:
    """Number of the condition of each clip, (clips,): section x domain x attributes, where known.

    A combination of attributes with fewer than `MIN_CONDITION_CLIPS` clips counts with the others of its
    section and domain that are as rare.
    """
    full = [(c.section, c.domain, tuple(sorted(c.attributes.items()))) for c in clips]
    count = Counter(full)
    keys = [key if count[key] >= MIN_CONDITION_CLIPS else key[:2] for key in full]
    numbers = {key: i for i, key in enumerate(sorted(set(keys), key=str))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def sections_of(clips: Sequence[Clip]) -> IntArray:
    """Number of the section of each clip, (clips,): the two digits of its name, a hash of any other text."""
    return np.array([section_number(clip.section) for clip in clips], np.int64)


def section_number(name: str) -> int:
    """Number of a section by its name, see `sections_of`."""
    return int(name) if name.isdecimal() else crc32(name.encode())


def references_of(clips: Sequence[Clip], vectors: FloatArray) -> References:
    """Vectors (clips, dims) of training clips with their conditions and domains."""
    target = np.array([clip.domain is Domain.TARGET for clip in clips], dtype=bool)
    vectors = np.asarray(vectors, np.float64)
    return References(vectors, conditions_of(clips), target, sections_of(clips), _shift_is_known(clips))


def _shift_is_known(clips: Sequence[Clip]) -> npt.NDArray[np.bool_]:
    """False, (clips,), where a section has clips said to be of the source domain and hardly any of the target."""
    n_target = Counter(clip.section for clip in clips if clip.domain is Domain.TARGET)
    unknown = {c.section for c in clips if c.domain is Domain.SOURCE and n_target[c.section] < MIN_TARGET_CLIPS}
    return np.array([clip.section not in unknown for clip in clips], dtype=bool)


def to_euclidean(vectors: Vectors, metric: Metric) -> FloatArray:
    """Points (..., dims or dims + 1) float64 whose squared Euclidean distance is d² or twice the cosine's.

    For "cosine" these are unit vectors, and one more axis on which only zero vectors lie: at a right angle
    to every other vector, hence at distance 1.
    """
    points = vectors.astype(np.float64, copy=False)
    if metric == "euclid":
        return points
    norms = np.sqrt(np.square(points).sum(-1, keepdims=True))
    zero = norms == 0
    return np.concatenate([points / np.where(zero, 1.0, norms), zero], axis=-1)


def to_distance(squared: FloatArray, metric: Metric) -> FloatArray:
    """Distances from squared Euclidean distances of the points of `to_euclidean`."""
    return np.sqrt(squared) if metric == "euclid" else np.minimum(0.5 * squared, 2.0)


def blocks(count: int, values_each: int) -> Iterator[slice]:
    """Slices that cover `count` items of so many float64 values within `BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // (8 * values_each))
    return (slice(start, start + step) for start in range(0, count, step))


def checked(vectors: Vectors, what: str) -> Vectors:
    """The vectors (rows, dims), contiguous, float32 or float64; `AsdError` for another shape or one not finite."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise AsdError(f"expected one {what} per row, (rows, dimensions), got an array of shape {vectors.shape}")
    if vectors.dtype not in (np.float32, np.float64):
        vectors = vectors.astype(np.float64)
    vectors = np.ascontiguousarray(vectors)
    for block in blocks(len(vectors), vectors.shape[1]):
        if float(np.abs(vectors[block]).max(initial=0.0)) < LARGEST_VALUE:  # False for NaN
            continue
        sound = (np.abs(vectors[block].astype(np.float64)) < LARGEST_VALUE).all(1)
        raise AsdError(
            f"{what} {block.start + int(np.argmin(sound))} holds NaN, infinity or a value beyond "
            f"{LARGEST_VALUE:g}; find the clip it comes from and check the encoder"
        )
    return vectors
