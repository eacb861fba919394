"""Which normal recording sounds most like a clip: mean spectra of a model's training clips, and the nearest of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from asd.core.files import load_tensors, save_tensors
from asd.core.runtime import on_threads, progress
from asd.data.recordings import Recordings
from asd.features.clip_statistics import LONG_OVERLAP, OVERLAP, ClipStatistics
from asd.places import spelled
from asd.scoring.neighbours import NeighbourBank

FloatArray = npt.NDArray[np.float64]
Alter = Callable[[npt.NDArray[np.int64], torch.Tensor], torch.Tensor]  # indices (b,), waveforms (b, samples)

LONGEST_S = 60.0  # a recording of more is no clip
SPECTRA_FILE = "normal_spectra.safetensors"  # in the folder of a model
_VIEW = "level_64"  # the clip statistics in which a neighbour is nearest
_BATCH_SAMPLES = 1 << 19  # that one thread works on


def clip_means(values: FloatArray, owner: npt.NDArray[np.int64]) -> FloatArray:
    """Means over the windows of each clip: (windows, ...) -> (clips, ...)."""
    counts = np.bincount(owner)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))


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

    def nearest(self, spectra: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
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
        if (name := _known_as(_VIEW, overlap)) in recordings.known:
            return recordings.known[name]
    windows, owner = recordings.windows(round(LONGEST_S * recordings.sample_rate_hz))  # memory is bounded by these
    spectra = views_of(windows, ClipStatistics([_VIEW], recordings.sample_rate_hz).to(device), device)[_VIEW]
    return spectra if windows is recordings else clip_means(spectra, owner)


def views_of(
    recordings: Recordings,
    extract: ClipStatistics,
    device: torch.device,
    what: str = "mean spectra",
    alter: Alter | None = None,
) -> dict[str, FloatArray]:
    """Clip statistics of recordings of any lengths, kept in `recordings.known` for whoever asks next.

    Args:
        recordings: the clips.
        extract: which views, and how.
        device: where to compute.
        what: is being done, for the progress bar.
        alter: what is done to waveforms (batch, samples) of clips (batch,) before.

    Returns:
        {view: (clips, dims)}.
    """
    names = {view: _known_as(view, extract.overlap) for view in extract.views}
    if alter is None and recordings.known.keys() >= {*names.values()}:
        return {view: recordings.known[name] for view, name in names.items()}
    if alter is None and len((distinct := recordings.distinct())[0]) < len(recordings):
        own = views_of(recordings.subset(distinct[0]), extract, device, what)  # copies are equal to the last bit
        recordings.known.update({names[view]: rows[distinct[1]] for view, rows in own.items()})
        return {view: recordings.known[name] for view, name in names.items()}
    vectors: dict[str, FloatArray] = {}

    def add(indices: npt.NDArray[np.int64]) -> None:
        waveforms = recordings.stacked(indices, device)
        for view, rows in extract(alter(indices, waveforms) if alter else waveforms).items():
            every = vectors.setdefault(view, np.empty((len(recordings), rows.shape[1])))
            every[indices] = rows.double().cpu().numpy()

    batches = recordings.batch_rows(_BATCH_SAMPLES)
    if alter or device.type != "cpu":  # what is drawn has an order, and a GPU takes one batch after the other
        for indices in progress(batches, what):
            add(indices)
    else:
        on_threads(add, batches, what)
    if alter is None:
        recordings.known.update({names[view]: rows for view, rows in vectors.items()})
    return vectors


def _known_as(view: str, overlap: int) -> str:
    """The name under which recordings keep a view."""
    return f"{view}/{overlap}"
