"""Which normal recording sounds most like a clip: mean spectra of a model's training clips, and the nearest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch

from asd.core.files import load_tensors, save_tensors
from asd.data.recordings import Recordings
from asd.features.clip_statistics import LONG_OVERLAP, OVERLAP, ClipStatistics, clip_means, computed_name, views_of
from asd.places import spelled
from asd.scoring.neighbours import NeighbourBank
from asd.scoring.references import FloatArray, IntArray

LONGEST_S = 60.0  # a recording of more is no clip
SPECTRA_FILE = "normal_spectra.safetensors"  # in the folder of a model
_VIEW = "level_64"  # the clip statistics in which a neighbour is nearest


@dataclass(frozen=True, eq=False)
class NormalSpectra:
    """Mean spectra of normal clips.

    Attributes:
        paths: where each clip lay when it was learnt.
        spectra: (clips, bands) in dB, without the level of the clip.
    """

    paths: Sequence[str]
    spectra: FloatArray

    @classmethod
    def of(cls, recordings: Recordings, device: torch.device) -> Self:
        """Those of normal recordings, in their order."""
        return cls([spelled(str(clip.path)) for clip in recordings.clips], mean_spectra(recordings, device))

    def nearest(self, spectra: FloatArray) -> tuple[IntArray, FloatArray]:
        """Index of the normal clip nearest to each of the spectra (queries, bands), and its distance: (queries,) each.

        The distance is in dB per band, root mean square.
        """
        found = self._bank.search(spectra, 1)
        return found.rows[:, 0], found.distances[:, 0] / np.sqrt(self.spectra.shape[1])

    @cached_property
    def _bank(self) -> NeighbourBank:
        return NeighbourBank(self.spectra)

    def save(self, path: Path) -> None:
        """Writes a safetensors file."""
        save_tensors(path, {"spectra": torch.from_numpy(self.spectra)}, {"paths": list(self.paths)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote."""
        tensors, facts = load_tensors(path)
        return cls(facts["paths"], tensors["spectra"].numpy())


def mean_spectra(recordings: Recordings, device: torch.device) -> FloatArray:
    """Mean spectra in dB without the level of the clip, (clips, bands); known where `views_of` computed them."""
    for overlap in (OVERLAP, LONG_OVERLAP):
        if (name := computed_name(_VIEW, overlap)) in recordings.computed:
            return recordings.computed[name]
    windows, owner = recordings.windows(round(LONGEST_S * recordings.sample_rate_hz))  # memory is bounded by these
    spectra = views_of(windows, ClipStatistics([_VIEW], recordings.sample_rate_hz).to(device), device)[_VIEW]
    return spectra if windows is recordings else clip_means(spectra, owner)
