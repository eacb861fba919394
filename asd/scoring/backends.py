"""Back ends by name, what each of them is, and one fitted to each section.

A back end is fitted to vectors of normal training clips. It scores any vector, in units of its own, higher for what is
more anomalous, and gives itself as plain arrays. A score depends neither on other queries nor on the order of the
references. To add one, write a `Backend` in a module beside this one and name it in `BACKENDS`.

Args:
    name: of a back end, a key of `BACKENDS`.
    options: of the back end; they win over those the name stands for.
    references: normal training clips, in the order of recording where that is known.
    queries: vectors (queries, dims).
    sections: number of the section of each, (queries,).
    vectors: one for each reference, (references, dims): of the clip itself, or of an altered copy.
    arrays: what is stored, by name; those of a part under its `prefix`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from asd.scoring.references import FloatArray, IntArray, References
from asd.scoring.threshold import ScoreNormalizer
from asd.types import AsdError

_PLAIN = {"whiten": False, "offset_clips": None}
# name -> module and class, and the options that the name stands for
BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "knn_relative": ("nearest:RelativeNearest", {}),
    "knn": ("nearest:Nearest", {}),
    "knn_cosine": ("nearest:Nearest", {"metric": "cosine"}),
    "knn_whitened": ("nearest:RelativeNearest", {"density": 0.0, "offset_clips": None}),
    "knn_density": ("nearest:RelativeNearest", _PLAIN | {"density": 1.0, "neighbours": 4}),
    "knn_varmin": ("nearest:RelativeNearest", _PLAIN | {"density": None}),
    "knn_domain_median": ("variants:DomainNearest", {"statistic": "median"}),
    "knn_domain_z": ("variants:DomainNearest", {"statistic": "z"}),
    "knn_smote": ("variants:NearestOfMade", {"made": "smote"}),
    "knn_memmixup": ("variants:NearestOfMade", {"made": "memmixup"}),
    # one covariance within conditions, twice the Ledoit-Wolf shrinkage
    "gaussian": ("gaussian:Mahalanobis", {"means": "condition", "shrinkage": 2.0}),
    "mahalanobis": ("gaussian:Mahalanobis", {"means": "all"}),
    "mahalanobis_within": ("gaussian:Mahalanobis", {"means": "domain"}),
    "mahalanobis_selective": ("variants:SelectiveMahalanobis", {}),
    "gmm": ("variants:Mixture", {}),
    "kmeans": ("variants:NearestOfMade", {"made": "kmeans"}),
    "bandwise": ("variants:Bandwise", {}),
}

N_FOLDS = 5  # parts of the training clips that are scored by a model of the others
LEAST_CLIPS = 8  # with fewer, a section is too small to stand alone: all sections stand for it
ALL = -1  # key of the part that is fitted to all sections together
Arrays = Mapping[str, npt.NDArray[Any]]


def backend_named(name: str, **options: Any) -> Backend:
    """A registered back end, not fitted yet; `AsdError` where there is none of that name, or it has no such option.

    Example:
        >>> backend_named("knn", neighbours=2).neighbours
        2
    """
    if name not in BACKENDS:
        raise AsdError(f"backend={name} is unknown; there are {', '.join(BACKENDS)}")
    place, usual = BACKENDS[name]
    module, _, kind = place.partition(":")
    found = getattr(import_module(f"asd.scoring.{module}"), kind)
    known = [field.name for field in fields(found)]
    if unknown := [option for option in options if option not in known]:
        raise AsdError(f"the back end {name} has no option {unknown[0]}=; it has {', '.join(known)}")
    return found(**usual | options)


@dataclass(eq=False, kw_only=True)
class Backend(ABC):
    """A way to score vectors against normal ones: options in the constructor, `fit`, then `score`.

    A subclass is a dataclass of its options. It implements `_learn` and `score`, names the attributes that
    `_learn` sets in `fitted`, and overrides `leave_one_out` where that takes no second fit.

    Args:
        device: where neighbours are searched, "cpu" or "cuda".
    """

    device: str = "cpu"

    method: ClassVar[str] = "k-NN"  # what a meta file calls it: the organisers' tag where they have one
    fitted: ClassVar[tuple[str, ...]]  # attributes that are arrays: all there is to save

    def fit(self, references: References) -> Self:
        """Fits to training clips and returns itself; `AsdError` where they are too few or too much alike."""
        self._references: References | None = references
        self._training: FloatArray | None = None
        self._normalizer: ScoreNormalizer | None = None
        self._learn(references)
        self._prepare()
        return self

    @abstractmethod
    def _learn(self, references: References) -> None:
        """Sets the attributes in `fitted`."""

    def _prepare(self) -> None:  # noqa: B027 - not every back end has something to build
        """Builds from the attributes in `fitted` what scoring needs besides, an index say."""

    @abstractmethod
    def score(self, queries: FloatArray) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims)."""

    def leave_one_out(self) -> FloatArray | None:
        """Scores (references,) of the training clips by what was fitted, each without itself; None: not possible."""
        return None

    def score_training(self) -> FloatArray:
        """Scores (references,) of the training clips, as a threshold should be fitted to: see `held_out_scores`.

        Leaving single clips out would leave in what was fitted to them, a whitening say, and the clips recorded
        just before and after; normal clips of another day would score far above all of it. Only where too few clips
        differ for runs to be left out, single clips are.
        """
        if self._training is None:
            assert self._references is not None  # `restore` brings training scores
            try:
                self._training = held_out_scores(self, self._references, self._references.vectors)
            except AsdError:
                self._training = self.leave_one_out()
                if self._training is None:
                    raise
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
        """Takes what `state` of the same options gave, and returns itself; `AsdError` where an array is missing."""
        if missing := {*self.fitted, "training", "normalizer"} - arrays.keys():
            raise AsdError(f"the stored back end has no array {sorted(missing)[0]}; train it again")
        for name in self.fitted:
            setattr(self, name, np.asarray(arrays[name]))
        self._references, self._training = None, np.asarray(arrays["training"])
        self._normalizer = ScoreNormalizer(*map(float, arrays["normalizer"]))
        self._prepare()
        return self


def held_out_scores(backend: Backend, references: References, vectors: FloatArray) -> FloatArray:
    """Scores (references,) of vectors, each by a model that has not seen that reference nor its run.

    Raises:
        AsdError: without one of its parts the rest is too few or too much alike.
    """
    if len(references) < 3:
        raise AsdError(
            f"{len(references)} training clips are too few for this back end, which leaves parts of them out "
            f"to score them; give three or more, or choose a k-NN back end"
        )
    scores = np.empty(len(references))
    for held_out in references.folds(N_FOLDS):
        try:
            fitted = replace(backend).fit(references[~held_out])
        except AsdError as error:
            raise AsdError(
                f"training scores need models without a part of the {len(references)} training clips, and "
                f"without {held_out.sum()} of them no model is possible ({error})"
            ) from error
        scores[held_out] = fitted.score(vectors[held_out])
    return scores


class PerSectionScorer:
    """A back end fitted to each section of the references, and z scores on the scale of each.

    Which section a clip is of (2020: which machine ID) is known for test clips too, and what is normal for one machine
    need not be normal for another. Within a section nothing is known: not the domain, not the attributes.

    Args:
        backend: whose options are fitted, once for each section.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.parts: dict[int, Backend] = {}  # by section; -1: of all sections together

    def fit(self, references: References) -> Self:
        """Fits to training clips of one or several sections and returns itself."""
        self._references: References | None = references
        self._sections = references.sections
        names, counts = np.unique(references.sections, return_counts=True)
        big, is_one = names[counts >= LEAST_CLIPS], len(names) == 1
        own = {int(name): references if is_one else references[references.sections == name] for name in big}
        if len(own) < len(names):
            own[ALL] = references
        self.n_least = min(len(some) for some in own.values())  # training clips of the smallest part
        self.parts = {name: replace(self.backend).fit(some) for name, some in own.items()}
        return self

    def score(self, queries: FloatArray, sections: IntArray) -> FloatArray:
        """Scores (queries,) in units of the back end."""
        return self._lowest(sections, lambda part, own: part.score(queries[own]))

    def z(self, queries: FloatArray, sections: IntArray) -> FloatArray:
        """The same in deviations above the mean of the section's training scores."""
        return self._lowest(sections, lambda part, own: part.normalizer.z(part.score(queries[own])))

    def score_training(self) -> FloatArray:
        """Scores (references,) of the training clips, see `Backend.score_training`."""

        def of_section(section: int, own: Any) -> FloatArray:
            (part,) = self._parts_of(section)
            return part.score_training() if section in self.parts else part.score_training()[own]

        return _by_section(self._sections, of_section)

    def z_training(self) -> FloatArray:
        """Training scores on the scale of `z`."""
        return self._standardised(self.score_training())

    def held_out(self, vectors: FloatArray) -> FloatArray:
        """`z` (references,) of vectors, each by models without its reference; `AsdError` for a restored scorer."""
        references = self._references
        if references is None:
            raise AsdError("a restored scorer holds no training clips to leave out; fit it")
        scores = _by_section(
            self._sections, lambda _, own: held_out_scores(self.backend, references[own], vectors[own])
        )
        return self._standardised(scores)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that was learnt, as arrays by name."""
        arrays: dict[str, npt.NDArray[Any]] = {"sections": self._sections}
        for name, part in self.parts.items():
            arrays |= nested(f"section{name}", part.state())
        return arrays

    def restore(self, arrays: Arrays) -> Self:
        """Takes what `state` of the same back end gave, and returns itself; `AsdError` where an array is missing."""
        if "sections" not in arrays:
            raise AsdError("the stored scorer has no array sections; train it again")
        self._references, self._sections = None, np.asarray(arrays["sections"])
        stored = {name: part_of(f"section{name}", arrays) for name in (ALL, *map(int, np.unique(self._sections)))}
        self.parts = {name: replace(self.backend).restore(part) for name, part in stored.items() if part}
        return self

    def _parts_of(self, section: int) -> list[Backend]:
        """Its own part, or that of all sections; every part for a section never trained on where there is no such."""
        part = self.parts.get(section, self.parts.get(ALL))
        return [part] if part else [*self.parts.values()]

    def _lowest(self, sections: IntArray, score: Callable[[Backend, Any], FloatArray]) -> FloatArray:
        """The lowest score by the parts of a section, given the part and which clips are the section's."""
        return _by_section(
            sections, lambda name, own: np.min([score(part, own) for part in self._parts_of(name)], axis=0)
        )

    def _standardised(self, values: FloatArray) -> FloatArray:
        """Values of the training clips, (references,), on the scale of their sections."""
        return self._lowest(self._sections, lambda part, own: part.normalizer.z(values[own]))


def _by_section(sections: IntArray, of_section: Callable[[int, Any], FloatArray]) -> FloatArray:
    """Values (clips,) put together from those of each section, given its number and which clips are its own."""
    names = np.unique(sections)
    if len(names) == 1:
        return of_section(int(names[0]), slice(None))
    values = np.empty(len(sections))
    for name in names:
        values[sections == name] = of_section(int(name), sections == name)
    return values


def nested(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Arrays under `prefix.name`, for the state of a part."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def part_of(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The arrays that `nested` put under a prefix, by their own names."""
    start = f"{prefix}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
