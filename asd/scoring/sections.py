"""A back end per section: a clip is compared with normal clips of its own section.

Which section a clip is of (2020: which machine ID) is known for test clips too, and what is normal for one
machine is no excuse for its neighbour. Within a section nothing is known: not the domain, not the attributes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from asd.scoring.backends import Backend, held_out_scores, training_scores
from asd.scoring.fuse import Scale
from asd.scoring.references import FloatArray, References

LEAST_CLIPS = 8  # with fewer, a section is too small to stand alone: all sections stand for it

Sections = npt.NDArray[np.int64]

_ALL = -1


class Sectioned:
    """A back end fitted to each section of the references.

    Args:
        backend: what to fit.
        references: training clips of one or several sections.

    Attributes:
        training: (references,) scores of the references, each without itself.
    """

    def __init__(self, backend: Backend, references: References) -> None:
        names, counts = np.unique(references.sections, return_counts=True)
        big = [int(name) for name, count in zip(names, counts, strict=True) if count >= LEAST_CLIPS]
        masks = {name: references.sections == name for name in big}
        if len(big) < len(names) or not big:
            masks[_ALL] = np.ones(len(references), dtype=bool)
        self._backend, self._references = backend, references
        self.parts = {name: backend(references[mask]) for name, mask in masks.items()}
        scores = {name: training_scores(backend, references[mask]) for name, mask in masks.items()}
        self._scales = {name: Scale.of(values) for name, values in scores.items()}
        self.training = np.empty(len(references))
        for name in sorted(masks):  # all sections first, then each that stands alone
            self.training[masks[name]] = scores[name]

    def score(self, queries: FloatArray, sections: Sections) -> FloatArray:
        """Scores (queries,) of vectors (queries, dims) of sections (queries,), in units of the back end."""
        return self._each(queries, sections, standardise=False)

    def z(self, queries: FloatArray, sections: Sections) -> FloatArray:
        """The same in deviations above the mean of the section's training scores."""
        return self._each(queries, sections, standardise=True)

    def training_z(self) -> FloatArray:
        """Training scores on the scale of `z`."""
        return self._standardised(self.training, self._references.sections)

    def held_out(self, vectors: FloatArray) -> FloatArray:
        """`z` of one vector per reference, (references, dims), by models that have not seen the reference."""
        values = np.empty(len(self._references))
        for name in np.unique(self._references.sections):
            mask = self._references.sections == name
            values[mask] = held_out_scores(self._backend, self._references[mask], vectors[mask])
        return self._standardised(values, self._references.sections)

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
            scores = [self._scales[name].z(values) for name, values in zip(own, scores, strict=True)]
        return np.min(scores, axis=0)

    def _standardised(self, values: FloatArray, sections: Sections) -> FloatArray:
        result = np.empty(len(values))
        for name in np.unique(sections):
            mask = sections == name
            scale = self._scales[int(name) if int(name) in self._scales else _ALL]
            result[mask] = scale.z(values[mask])
        return result
