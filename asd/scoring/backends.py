"""Back ends by name, and one fitted to each section. To add one, write a `base.Backend` and name it here.

Which section a clip is of (2020: which machine ID) is known for test clips too, and what is normal for one machine
need not be normal for another. Within a section nothing is known: not the domain, not the attributes.

Args:
    queries: vectors (queries, dims).
    sections: number of the section of each, (queries,).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from asd.scoring.base import Arrays, Backend, NeighbourBackend, held_out_scores, nested, part_of
from asd.scoring.gaussian import Mahalanobis, Mixture, SelectiveMahalanobis
from asd.scoring.nearest import Nearest, RelativeNearest
from asd.scoring.nearest_variants import Bandwise, DomainNearest, NearestOfMade
from asd.scoring.neighbours import IndexName
from asd.scoring.references import FloatArray, References
from asd.types import AsdError

BACKENDS: dict[str, Callable[..., Backend]] = {
    "knn_relative": RelativeNearest,
    "knn": Nearest,
    "knn_cosine": functools.partial(Nearest, metric="cosine"),
    "knn_whitened": functools.partial(RelativeNearest, density=0.0, offset_clips=None),
    "knn_density": functools.partial(RelativeNearest, whiten=False, density=1.0, neighbours=4, offset_clips=None),
    "knn_varmin": functools.partial(RelativeNearest, whiten=False, density=None, offset_clips=None),
    "knn_domain_median": functools.partial(DomainNearest, statistic="median"),
    "knn_domain_z": functools.partial(DomainNearest, statistic="z"),
    "knn_smote": functools.partial(NearestOfMade, made="smote"),
    "knn_memmixup": functools.partial(NearestOfMade, made="memmixup"),
    # one covariance within conditions, twice the Ledoit-Wolf shrinkage
    "gaussian": functools.partial(Mahalanobis, means="condition", shrinkage=2.0),
    "mahalanobis": functools.partial(Mahalanobis, means="all"),
    "mahalanobis_within": functools.partial(Mahalanobis, means="domain"),
    "mahalanobis_selective": SelectiveMahalanobis,
    "gmm": Mixture,
    "kmeans": functools.partial(NearestOfMade, made="kmeans"),
    "bandwise": Bandwise,
}

LEAST_CLIPS = 8  # with fewer, a section is too small to stand alone: all sections stand for it
Sections = npt.NDArray[np.int64]
ALL = -1  # key of the part that is fitted to all sections together


def backend_named(name: str, **options: Any) -> Backend:
    """A registered back end, not fitted yet.

    Args:
        name: a key of `BACKENDS`.
        options: of the back end, `neighbours=2` for "knn", say; they win over those the name stands for.

    Raises:
        AsdError: there is none of that name, or it has no such option.

    Example:
        >>> backend_named("knn", neighbours=2).neighbours
        2
    """
    if name not in BACKENDS:
        raise AsdError(f"backend={name} is unknown; there are {', '.join(BACKENDS)}")
    factory = BACKENDS[name]
    known = [field.name for field in fields(factory())]
    if unknown := [option for option in options if option not in known]:
        raise AsdError(f"the back end {name} has no option {unknown[0]}=; it has {', '.join(known)}")
    return factory(**options)


def search_options(
    names: Sequence[str], *, device: str = "cpu", neighbours: int | None = None, index: IndexName = "auto"
) -> dict[str, dict[str, Any]]:
    """Options for `backend_named` by name: how each is to search neighbours, where it does.

    Args:
        names: keys of `BACKENDS`.
        device: where to search.
        neighbours: how many count; None: what each name stands for.
        index: of `neighbours.NeighbourBank`.

    Raises:
        AsdError: there is none of a name, or neighbours or an index are wanted and none of them searches.
    """
    wanted: dict[str, Any] = {} if neighbours is None else {"neighbours": neighbours}
    wanted |= {} if index == "auto" else {"index": index}
    searching = [name for name in names if isinstance(backend_named(name), NeighbourBackend)]
    if wanted and not searching:
        option, value = next(iter(wanted.items()))
        raise AsdError(f"{option}={value} is for k-NN back ends, and {', '.join(names)} searches no neighbours")
    return {name: {"device": device, **(wanted if name in searching else {})} for name in names}


class PerSectionScorer:
    """A back end fitted to each section of the references, and z scores on the scale of each.

    Args:
        backend: whose options are fitted, once for each section.

    Attributes:
        parts: fitted back end by section; -1: by all sections together.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.parts: dict[int, Backend] = {}

    def fit(self, references: References) -> Self:
        """Fits to training clips of one or several sections and returns itself."""
        names, counts = np.unique(references.sections, return_counts=True)
        big = [int(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_CLIPS]
        masks = {name: references.sections == name for name in big}
        if len(big) < len(names):
            masks[ALL] = np.ones(len(references), dtype=bool)
        self._references: References | None = references
        self._sections = references.sections
        own = {name: references if mask.all() else references[mask] for name, mask in masks.items()}
        self.parts = {name: replace(self.backend).fit(some) for name, some in own.items()}
        return self

    def score(self, queries: FloatArray, sections: Sections) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims) of sections (queries,), in units of the back end."""
        return self._each(queries, sections, standardise=False)

    def z(self, queries: FloatArray, sections: Sections) -> FloatArray:
        """The same in deviations above the mean of the section's training scores."""
        return self._each(queries, sections, standardise=True)

    def score_training(self) -> FloatArray:
        """Scores (references,) of the training clips, see `Backend.score_training`."""
        scores = np.empty(len(self._sections))
        for name in sorted(self.parts):  # all sections first, then each that stands alone
            own = self._sections == name if name != ALL else np.ones(len(scores), dtype=bool)
            scores[own] = self.parts[name].score_training()
        return scores

    def z_training(self) -> FloatArray:
        """Training scores on the scale of `z`."""
        return self._standardised(self.score_training())

    def held_out(self, vectors: FloatArray) -> FloatArray:
        """`z` of one vector per reference, (references, dims), by models that have not seen the reference.

        Raises:
            AsdError: the scorer was restored, so it has no references to fit to.
        """
        if self._references is None:
            raise AsdError("a restored scorer holds no training clips to leave out; fit it")
        values = np.empty(len(self._references))
        for name in np.unique(self._sections):
            mask = self._sections == name
            values[mask] = held_out_scores(self.backend, self._references[mask], vectors[mask])
        return self._standardised(values)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that was learnt, as arrays by name."""
        arrays: dict[str, npt.NDArray[Any]] = {"sections": self._sections}
        for name, part in self.parts.items():
            arrays |= nested(f"section{name}", part.state())
        return arrays

    def restore(self, arrays: Arrays) -> Self:
        """Takes what `state` of a scorer with the same back end gave, and returns itself.

        Raises:
            AsdError: an array is missing.
        """
        if "sections" not in arrays:
            raise AsdError("the stored scorer has no array sections; train it again")
        self._references, self._sections = None, np.asarray(arrays["sections"])
        self.parts = {}
        for name in (ALL, *map(int, np.unique(self._sections))):
            if part := part_of(f"section{name}", arrays):
                self.parts[name] = replace(self.backend).restore(part)
        return self

    def _each(self, queries: FloatArray, sections: Sections, *, standardise: bool) -> FloatArray:
        names = sorted(set(sections.tolist()))
        if len(names) == 1:
            return self._nearest_part(queries, names[0], standardise=standardise)
        scores = np.empty(len(queries))
        for name in names:
            mask = sections == name
            scores[mask] = self._nearest_part(queries[mask], name, standardise=standardise)
        return scores

    def _nearest_part(self, queries: FloatArray, section: int, *, standardise: bool) -> FloatArray:
        """Scores by the section's own part; by the part that gives the lowest score for a section never trained on."""
        own = [section] if section in self.parts else [ALL] if ALL in self.parts else list(self.parts)
        scores = [self.parts[name].score(queries) for name in own]
        if standardise:
            normalizers = [self.parts[name].normalizer for name in own]
            scores = [each.z(values) for each, values in zip(normalizers, scores, strict=True)]
        return functools.reduce(np.minimum, scores)

    def _standardised(self, values: FloatArray) -> FloatArray:
        result = np.empty(len(values))
        for name in np.unique(self._sections):
            mask = self._sections == name
            part = int(name) if int(name) in self.parts else ALL
            result[mask] = self.parts[part].normalizer.z(values[mask])
        return result
