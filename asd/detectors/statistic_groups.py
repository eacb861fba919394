"""Groups of clip statistics: which views stand side by side, which bands count alone, and what each group weighs.

And what is known of spectra before any clip: how faults, a tilt and a change of speed move their bands.

Args:
    dims: number of dimensions.
    number: of a band, from 0.
    n_bands: how many bands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.features.spectral_statistics import SPECTRAL
from asd.scoring.references import FloatArray

RELATIVE = {"density": 0.7, "neighbours": 12, "offset": 1.5, "between": 0.2}  # options of the density-relative k-NN
OF_BANDS = {*SPECTRAL, "variation", "kurtosis"}  # statistics with one value for each band, in order of frequency
_FAULT_WIDTH = 0.04  # of the frequency axis: how far bands move together
_FAULT_VARIANCE = 10.0  # of a fault in a band, in units of the variance of normal clips
_OTHER_STATISTIC = 0.3  # correlation of what a fault does to two statistics of the same band
_BAND_ALONE = 0.03  # share of a fault's variance that is each band's own
_OVERLAP = 0.25  # of a band of a local part with each of its neighbours


@dataclass(frozen=True, slots=True)
class Part:
    """One vector per clip, or some bands of it, with a back end of its own."""

    views: tuple[str, ...]  # what the vector consists of, put side by side and whitened together
    shrinkage: float = 3.0  # of the whitening, in multiples of the Ledoit-Wolf intensity
    # Parts of the frequency axis that are scored one by one, of which the highest z score counts: a fault in few bands
    # is not averaged away.
    n_bands: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """Parts of one kind, whose z scores are averaged."""

    parts: tuple[Part, ...]
    weight: float = 0.35  # in the ensemble


# Chosen by leaving one machine out, and by draws from real machines and from synthetic ones (docs/benchmark.md).
# Level, flux and roughness of one resolution tell more side by side, where their correlations within normal clips are
# known, than one by one.
LEVEL = (Part(("level_16",), 5.0), Part(("level_64",), 5.0), Part(("level_128",), 5.0), Part(("level_256",), 5.0))
JOINT = (
    Part(("level_16", "flux_16", "roughness_16"), 2.0),
    Part(("level_64", "flux_64", "roughness_64"), 1.0),
    Part(("level_128", "flux_128", "roughness_128"), 1.0),
    Part(("level_256", "flux_256"), 2.0),
)
LOCAL = (Part(("level_64", "flux_64"), 0.5, n_bands=4), Part(("level_64", "flux_64", "roughness_64"), 0.5, n_bands=6))
GROUPS = {
    "level": Group(LEVEL, weight=1.0),
    "joint": Group(JOINT, weight=1.0),
    "local": Group(LOCAL, weight=0.75),
    "flux": Group((Part(("flux_16",)), Part(("flux_64",))), weight=0.1),
    "skewness": Group((Part(("skewness_16",)), Part(("skewness_64",)))),
    "modulation": Group((Part(("modulation",)),), weight=0.1),
    "variation": Group((Part(("variation",)),), weight=0.1),
    "kurtosis": Group((Part(("kurtosis",)),)),
    "band_correlation": Group((Part(("band_correlation",)), Part(("step_correlation",)))),
    "envelope_spectrum": Group((Part(("envelope_spectrum",)), Part(("envelope_spectrum_fine",)))),
}


def relative_options(part: Part, spreads: Mapping[str, FloatArray], number: int = 0) -> dict[str, Any]:
    """Options of the density-relative k-NN for a band of a part.

    Args:
        part: what is scored.
        spreads: (dims,) by view, that vectors were divided by.
        number: of the band.
    """
    options: dict[str, Any] = {**RELATIVE, "shrinkage": part.shrinkage}
    if all(_statistic(view) in OF_BANDS for view in part.views):
        dims = [len(spreads[view]) for view in part.views]
        slices = [band_slice(n, number, part.n_bands) for n in dims]
        options["faults"] = faults_of_spectra(dims, slices)
        if _statistic(part.views[0]) == "level":
            levels = spreads[part.views[0]]
            options["levels"] = levels[slices[0]]
            options["tilt"] = (np.linspace(-1.0, 1.0, len(levels)) / levels)[slices[0]]
    return options


def fault_covariance(positions: FloatArray, statistics: npt.NDArray[np.int64]) -> FloatArray:
    """How a fault of a machine moves statistics of bands, (dims, dims), in units of their spread in normal clips.

    A fault has a place on the frequency axis and some width: bands beside each other move together, and other
    statistics of the same bands with them. It moves a band further than normal clips differ.

    Args:
        positions: (dims,) of the bands, from 0 to 1 along the frequency axis.
        statistics: (dims,) number of the statistic that each is.

    Example:
        >>> fault_covariance(np.array([0.2, 0.2, 0.9]), np.array([0, 1, 1])).round(1)
        array([[10. ,  2.9,  0. ],
               [ 2.9, 10. ,  0. ],
               [ 0. ,  0. , 10. ]])
    """
    apart = (positions[:, None] - positions) / _FAULT_WIDTH
    alike = np.where(statistics[:, None] == statistics, 1.0, _OTHER_STATISTIC)
    together = (1 - _BAND_ALONE) * alike * np.exp(-0.5 * apart**2)
    return np.asarray(_FAULT_VARIANCE * (together + _BAND_ALONE * np.eye(len(positions))))


def faults_of_spectra(dims: Sequence[int], parts: Sequence[slice] | None = None) -> FloatArray:
    """`fault_covariance` of spectra side by side.

    Args:
        dims: number of bands of each.
        parts: which of them count, of each spectrum; None: all.
    """
    each = [(np.arange(n) / n)[part] for n, part in zip(dims, parts or [slice(None)] * len(dims), strict=True)]
    return fault_covariance(np.concatenate(each), np.repeat(np.arange(len(dims)), [*map(len, each)]))


def band_slice(dims: int, number: int, n_bands: int) -> slice:
    """The dimensions of one of several bands, which overlap their neighbours by a quarter; all of them for one band."""
    if n_bands == 1:
        return slice(0, dims)
    first = max(0, int((number - _OVERLAP) * dims / n_bands))
    return slice(first, min(dims, math.ceil((number + 1 + _OVERLAP) * dims / n_bands)))


def _statistic(view: str) -> str:
    return view.partition("_")[0]
