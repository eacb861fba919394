"""Groups of clip statistics: which views stand side by side, which bands count alone, and what each group weighs."""

from __future__ import annotations

from dataclasses import dataclass

from asd.features.spectral_statistics import SPECTRAL

RELATIVE = {"density": 0.6, "neighbours": 2, "offset": 1.5, "between": 0.2}  # options of the density-relative k-NN
OF_BANDS = {*SPECTRAL, "variation", "kurtosis"}  # statistics with one value for each band, in order of frequency


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


@dataclass(frozen=True, slots=True)
class Group:
    """Parts of one kind, whose z scores are averaged.

    Attributes:
        parts: what belongs to it.
        weight: of the group in the ensemble.
    """

    parts: tuple[Part, ...]
    weight: float = 0.35


# Chosen by leaving one of six machines out and by draws from them and from synthetic machines (docs/benchmark.md).
# Level, flux and roughness of one resolution tell more side by side, where their correlations within normal clips are
# known, than one by one.
LEVEL = (Part(("level_16",), 5.0), Part(("level_64",), 5.0), Part(("level_128",), 5.0), Part(("level_256",), 5.0))
JOINT = (
    Part(("level_16", "flux_16", "roughness_16"), 2.0),
    Part(("level_64", "flux_64", "roughness_64"), 1.0),
    Part(("level_128", "flux_128", "roughness_128"), 1.0),
    Part(("level_256", "flux_256"), 2.0),
)
LOCAL = (Part(("level_64", "flux_64"), 1.0, n_bands=4), Part(("level_64", "flux_64", "roughness_64"), 1.0, n_bands=6))
GROUPS = {
    "level": Group(LEVEL, weight=1.0),
    "joint": Group(JOINT, weight=1.0),
    "local": Group(LOCAL, weight=0.75),
    "flux": Group((Part(("flux_16",)), Part(("flux_64",)))),
    "skewness": Group((Part(("skewness_16",)), Part(("skewness_64",)))),
    "modulation": Group((Part(("modulation",)),)),
    "variation": Group((Part(("variation",)),)),
    "kurtosis": Group((Part(("kurtosis",)),)),
    "band_correlation": Group((Part(("band_correlation",)), Part(("step_correlation",)))),
    "envelope_spectrum": Group((Part(("envelope_spectrum",)), Part(("envelope_spectrum_fine",)))),
}
