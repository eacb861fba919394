"""Groups of clip statistics: which views stand side by side, which bands count alone, and what each group weighs."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from asd.features.clip_statistics import POOLED_VIEWS, VIEWS, WINDOWS_MS
from asd.features.spectral_statistics import SPECTRAL
from asd.scoring.backends import PerSectionScorer, Sections
from asd.scoring.base import Arrays, Backend, nested, part_of
from asd.scoring.covariance import fault_covariance
from asd.scoring.nearest import RelativeNearest
from asd.scoring.references import FloatArray, References
from asd.types import AsdError

RELATIVE = {"density": 0.6, "neighbours": 2, "offset": 1.5}  # options of the density-relative k-NN
_OVERLAP = 0.25  # of a band of a local part with each of its neighbours
_OF_BANDS = {*SPECTRAL, "variation", "kurtosis"}  # statistics with one value for each band, in order of frequency


@dataclass(frozen=True, slots=True)
class Part:
    """One vector per clip, or some bands of it, with a back end of its own.

    Attributes:
        views: what the vector consists of, put side by side and whitened together.
        shrinkage: of the whitening, in multiples of the Ledoit-Wolf intensity.
        n_bands: parts of the frequency axis that are scored one by one, and the highest z score counts: a fault in
            few bands is not averaged away. 1: the whole axis.
    """

    views: tuple[str, ...]
    shrinkage: float = 3.0
    n_bands: int = 1

    @property
    def name(self) -> str:
        """For the arrays of its back ends."""
        return f"{'+'.join(self.views)}/{self.n_bands}/{self.shrinkage:g}"


@dataclass(frozen=True, slots=True)
class Group:
    """Parts of one kind, whose z scores are averaged.

    Attributes:
        parts: what belongs to it.
        weight: of the group in the ensemble.
    """

    parts: tuple[Part, ...]
    weight: float = 0.35


def _single(*views: str, shrinkage: float = 3.0, weight: float = 0.35) -> Group:
    return Group(tuple(Part((view,), shrinkage) for view in views), weight)


# Chosen by leaving one of six machines out and by draws from them and from synthetic machines (docs/benchmark.md).
# Level, flux and roughness of one resolution tell more side by side, where their correlations within normal clips are
# known, than one by one.
GROUPS: dict[str, Group] = {
    "level": _single(*(f"level_{ms}" for ms in WINDOWS_MS), shrinkage=5.0, weight=1.0),
    "joint": Group(
        (
            Part(("level_16", "flux_16", "roughness_16"), 2.0),
            Part(("level_64", "flux_64", "roughness_64"), 1.0),
            Part(("level_128", "flux_128", "roughness_128"), 1.0),
            Part(("level_256", "flux_256"), 2.0),
        ),
        weight=1.0,
    ),
    "local": Group(
        (Part(("level_64", "flux_64"), 1.0, n_bands=4), Part(("level_64", "flux_64", "roughness_64"), 1.0, n_bands=6)),
        weight=0.75,
    ),
    "flux": _single("flux_16", "flux_64"),
    "skewness": _single("skewness_16", "skewness_64"),
    "modulation": _single("modulation"),
    "variation": _single("variation"),
    "kurtosis": _single("kurtosis"),
    "band_correlation": _single("band_correlation", "step_correlation"),
    "envelope_spectrum": _single("envelope_spectrum", "envelope_spectrum_fine"),
}


def groups_named(names: Sequence[str]) -> dict[str, Group]:
    """Groups by name; a single view is a group of one part.

    Raises:
        AsdError: there is none of that name.
    """
    if list(names) == ["all"]:
        return GROUPS
    views = (*VIEWS, *POOLED_VIEWS)
    if unknown := [name for name in names if name not in {*GROUPS, *views}]:
        known = ", ".join([*GROUPS, *(view for view in views if view not in GROUPS)])
        raise AsdError(f"statistics.views={unknown[0]} is unknown; there are {known}")
    return {name: GROUPS.get(name, _single(name, weight=1.0)) for name in names}


class PartScorer:
    """The back ends of one part: one, or one for each of its bands.

    Args:
        part: which views and bands.
        backend: whose options are fitted, once for each band and section.
        knows_faults: whether density-relative neighbours of statistics of bands are told how faults move these, see
            `covariance.fault_covariance`.
    """

    def __init__(self, part: Part, backend: Backend, *, knows_faults: bool = False) -> None:
        self.part = part
        self.knows_faults = knows_faults and all(view.partition("_")[0] in _OF_BANDS for view in part.views)
        self.bands: list[PerSectionScorer] = [PerSectionScorer(backend) for _ in range(part.n_bands)]

    def fit(self, vectors: Mapping[str, FloatArray], references: References) -> Self:
        """Fits to vectors of training clips, {view: (clips, dims)}, and returns itself.

        Args:
            vectors: (clips, dims) by view.
            references: what is known of the clips.
        """
        dims = [vectors[view].shape[1] for view in self.part.views]
        for band, (scorer, columns) in enumerate(zip(self.bands, self._columns(vectors), strict=True)):
            if self.knows_faults and isinstance(scorer.backend, RelativeNearest):
                scorer.backend = replace(scorer.backend, faults=self._faults(dims, band))
            scorer.fit(references.replace(columns))
        return self

    def z(self, vectors: Mapping[str, FloatArray], sections: Sections) -> FloatArray:
        """Scores (clips,) in deviations above the mean of training scores.

        Args:
            vectors: (clips, dims) by view.
            sections: of the clips, (clips,).
        """
        bands = zip(self.bands, self._columns(vectors), strict=True)
        return functools.reduce(np.maximum, [scorer.z(columns, sections) for scorer, columns in bands])

    def z_training(self) -> FloatArray:
        """Training scores on the same scale, each by models that have not seen the clip."""
        return np.max([scorer.z_training() for scorer in self.bands], axis=0)

    def held_out(self, vectors: Mapping[str, FloatArray]) -> FloatArray:
        """The same of one vector for each training clip, {view: (clips, dims)}: of an altered copy, say."""
        bands = zip(self.bands, self._columns(vectors), strict=True)
        return np.max([scorer.held_out(columns) for scorer, columns in bands], axis=0)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that was learnt, as arrays by name."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for band, scorer in enumerate(self.bands):
            arrays |= nested(f"band{band}", scorer.state())
        return arrays

    def restore(self, arrays: Arrays) -> Self:
        """Takes what `state` gave, and returns itself."""
        for band, scorer in enumerate(self.bands):
            scorer.restore(part_of(f"band{band}", arrays))
        return self

    def _faults(self, dims: Sequence[int], band: int) -> FloatArray:
        """Covariance of what faults add to the vectors of a band, of views of so many dimensions each."""
        slices = [band_slice(n, band, self.part.n_bands) for n in dims]
        positions = [(np.arange(n) / n)[own] for n, own in zip(dims, slices, strict=True)]
        return fault_covariance(np.concatenate(positions), np.repeat(np.arange(len(dims)), [*map(len, positions)]))

    def _columns(self, vectors: Mapping[str, FloatArray]) -> list[FloatArray]:
        """The views side by side, (clips, dims), for each band."""
        views = [vectors[view] for view in self.part.views]
        return [
            np.concatenate([view[:, band_slice(view.shape[1], band, self.part.n_bands)] for view in views], axis=1)
            for band in range(self.part.n_bands)
        ]


def band_slice(dims: int, band: int, n_bands: int) -> slice:
    """Dimensions of one of `n_bands` bands, which overlap their neighbours by a quarter; all of them for one band.

    Args:
        dims: number of dimensions.
        band: which one, from 0.
        n_bands: how many.
    """
    if n_bands == 1:
        return slice(0, dims)
    first = max(0, int((band - _OVERLAP) * dims / n_bands))
    return slice(first, min(dims, math.ceil((band + 1 + _OVERLAP) * dims / n_bands)))
