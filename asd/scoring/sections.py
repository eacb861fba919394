"""A back end per section: a clip is compared with normal clips of its own section.

Which section a clip is of (2020: which machine ID) is known for test clips too, and what is normal for one
machine is no excuse for its neighbour. Within a section nothing is known: not the domain, not the attributes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from asd.scoring.base import Arrays, Backend, held_out_scores, nested, part_of
from asd.scoring.references import FloatArray, References
from asd.types import AsdError

LEAST_CLIPS = 8  # with fewer, a section is too small to stand alone: all sections stand for it

Sections = npt.NDArray[np.int64]

_ALL = -1


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
            masks[_ALL] = np.ones(len(references), dtype=bool)
        self._references: References | None = references
        self._sections = references.sections
        self.parts = {name: replace(self.backend).fit(references[mask]) for name, mask in masks.items()}
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
            own = self._sections == name if name != _ALL else np.ones(len(scores), dtype=bool)
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
        for name in (_ALL, *map(int, np.unique(self._sections))):
            if part := part_of(f"section{name}", arrays):
                self.parts[name] = replace(self.backend).restore(part)
        return self

    def _each(self, queries: FloatArray, sections: Sections, *, standardise: bool) -> FloatArray:
        scores = np.empty(len(queries))
        for name in np.unique(sections):
            mask = sections == name
            scores[mask] = self._nearest_part(queries[mask], int(name), standardise=standardise)
        return scores

    def _nearest_part(self, queries: FloatArray, section: int, *, standardise: bool) -> FloatArray:
        """Scores by the section's own part; by the most forgiving one for a section never trained on."""
        own = [section] if section in self.parts else [_ALL] if _ALL in self.parts else list(self.parts)
        scores = [self.parts[name].score(queries) for name in own]
        if standardise:
            normalizers = [self.parts[name].normalizer for name in own]
            scores = [each.z(values) for each, values in zip(normalizers, scores, strict=True)]
        return np.min(scores, axis=0)

    def _standardised(self, values: FloatArray) -> FloatArray:
        result = np.empty(len(values))
        for name in np.unique(self._sections):
            mask = self._sections == name
            part = int(name) if int(name) in self.parts else _ALL
            result[mask] = self.parts[part].normalizer.z(values[mask])
        return result
