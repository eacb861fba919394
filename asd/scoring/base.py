"""What every back end is: fitted to normal vectors, it scores any vector and saves itself as plain arrays.

Args:
    points: (n, dims).
    weights: factors (n,) of the distances; None: 1.
    prefix: name of a part of what is stored.
    arrays: what is stored, by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from asd.scoring.neighbours import IndexName, NeighbourBank
from asd.scoring.references import FloatArray, Metric, References
from asd.scoring.threshold import ScoreNormalizer
from asd.types import AsdError

N_FOLDS = 5  # parts of the training clips that are scored by a model of the others
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(eq=False, kw_only=True)
class Backend(ABC):
    """A way to score vectors against normal ones: options in the constructor, `fit`, then `score`.

    Conventions: `score` maps (queries, dims) to (queries,), higher = more anomalous, in units of the back
    end's own; a score depends neither on other queries nor on the order of the references.

    A subclass is a dataclass of its options. It implements `_learn` and `score`, names the attributes that
    `_learn` sets in `fitted`, and overrides `leave_one_out` where that takes no second fit.

    Args:
        device: where neighbours are searched, "cpu" or "cuda".
    """

    device: str = "cpu"

    method: ClassVar[str] = "k-NN"  # what a meta file calls it: the organisers' tag where they have one
    fitted: ClassVar[tuple[str, ...]]  # attributes that are arrays: all there is to save

    def fit(self, references: References) -> Self:
        """Fits to training clips and returns itself.

        Raises:
            AsdError: the clips are too few or too much alike.
        """
        self._references: References | None = references
        self._training: FloatArray | None = None
        self._normalizer: ScoreNormalizer | None = None
        self._learn(references)
        self._prepare()
        return self

    @abstractmethod
    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""

    def score_training(self) -> FloatArray:
        """Scores (references,) of the training clips, each by a model that has not seen it nor its neighbours.

        Runs of clips are left out and the rest is fitted anew, see `held_out_scores`: what a threshold should
        be fitted to. Leaving single clips out would leave in what was fitted to them, a whitening say, and the
        clips recorded just before and after, and normal clips of another day would score far above all of it.
        Where too few clips differ for that, single clips are left out.
        """
        if self._training is None:
            assert self._references is not None  # `restore` brings training scores
            try:
                self._training = held_out_scores(self, self._references, self._references.vectors)
            except AsdError:
                others = self.leave_one_out()
                if others is None:
                    raise
                self._training = others
        return self._training

    @property
    def normalizer(self) -> ScoreNormalizer:
        """What brings scores of different back ends to one scale: from single clips left out, where possible."""
        if self._normalizer is None:
            others = self.leave_one_out()
            self._normalizer = ScoreNormalizer.of(self.score_training() if others is None else others)
        return self._normalizer

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that was learnt, as arrays by name."""
        arrays = {name: np.asarray(getattr(self, name)) for name in self.fitted}
        scale = np.array([self.normalizer.mean, self.normalizer.deviation])
        return {**arrays, "training": self.score_training(), "normalizer": scale}

    def restore(self, arrays: Arrays) -> Self:
        """Takes what `state` of a back end with the same options gave, and returns itself.

        Raises:
            AsdError: an array is missing.
        """
        if missing := {*self.fitted, "training", "normalizer"} - arrays.keys():
            raise AsdError(f"the stored back end has no array {sorted(missing)[0]}; train it again")
        for name in self.fitted:
            setattr(self, name, np.asarray(arrays[name]))
        self._references, self._training = None, np.asarray(arrays["training"])
        self._normalizer = ScoreNormalizer(*map(float, arrays["normalizer"]))
        self._prepare()
        return self

    @abstractmethod
    def _learn(self, references: References) -> None:
        """Sets the attributes in `fitted`."""

    def _prepare(self) -> None:  # noqa: B027 - not every back end has something to build
        """Builds from the attributes in `fitted` what scoring needs besides, an index say."""

    def leave_one_out(self) -> FloatArray | None:
        """Scores (references,) of the training clips by what was fitted, each without itself; None: not possible."""
        return None


@dataclass(eq=False, kw_only=True)
class NeighbourBackend(Backend):
    """Base of back ends that search a bank.

    Args:
        neighbours: how many count; all references where there are fewer.
        metric: "euclid" or "cosine".
        index: of `neighbours.NeighbourBank`.
    """

    neighbours: int = 1
    metric: Metric = "euclid"
    index: IndexName = "auto"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise AsdError(f"neighbours={self.neighbours} gives no distance; use 1 or more")

    def bank(self, points: FloatArray, weights: FloatArray | None = None) -> NeighbourBank:
        """A bank of points (n, dims) with the options of the back end; distances are multiplied by weights (n,)."""
        return NeighbourBank(points, metric=self.metric, index=self.index, device=self.device, weights=weights)

    def mean_distance(self, bank: NeighbourBank, queries: FloatArray) -> FloatArray:
        """Mean distance of each query to its nearest rows, (queries,).

        Args:
            bank: with n rows.
            queries: (q, dims).
        """
        return bank.search(queries, min(self.neighbours, len(bank))).distances.mean(1)

    def mean_distance_of_others(self, bank: NeighbourBank) -> FloatArray:
        """Mean distance of each row to its nearest other rows, (rows,); infinite for a lone row."""
        if len(bank) == 1:
            return np.array([np.inf])
        k = min(self.neighbours, len(bank) - 1)
        return bank.search(bank.vectors, k, exclude=np.arange(len(bank))).distances.mean(1)


def held_out_scores(
    backend: Backend, references: References, vectors: FloatArray, n_folds: int = N_FOLDS
) -> FloatArray:
    """Scores of one vector per reference, each by a model that has not seen that reference nor its run.

    Args:
        backend: whose options are fitted.
        references: n training clips, in the order of recording where that is known.
        vectors: (n, dims) the clips themselves, or altered copies of them.
        n_folds: parts that are left out in turn.

    Raises:
        AsdError: without one of its parts the rest is too few or too much alike.
    """
    if len(references) < 3:
        raise AsdError(
            f"{len(references)} training clips are too few for this back end, which leaves parts of them out "
            f"to score them; give three or more, or choose a k-NN back end"
        )
    scores = np.empty(len(references))
    for held_out in references.folds(n_folds):
        try:
            fitted = replace(backend).fit(references[~held_out])
        except AsdError as error:
            raise AsdError(
                f"training scores need models without a part of the {len(references)} training clips, and "
                f"without {held_out.sum()} of them no model is possible ({error})"
            ) from error
        scores[held_out] = fitted.score(vectors[held_out])
    return scores


def nested(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Arrays under `prefix.name`, for the state of a part."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def part_of(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays that `nested` put under a prefix, by their own names."""
    start = f"{prefix}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
