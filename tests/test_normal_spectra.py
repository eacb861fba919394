from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from asd.data.recordings import Recordings, in_memory
from asd.features import clip_statistics, normal_spectra
from asd.features.clip_statistics import ClipStatistics, views_of
from asd.features.normal_spectra import NormalSpectra, mean_spectra

CPU = torch.device("cpu")


def noises(*seeds: int) -> Recordings:
    """Clips of noise of two lengths."""
    sizes = [4000 + 500 * (seed % 2) for seed in seeds]
    return in_memory(
        [0.1 * np.random.default_rng(s).standard_normal(n, np.float32) for s, n in zip(seeds, sizes, strict=True)],
        16000,
    )


def test_views_come_in_the_order_of_the_clips_whatever_their_lengths() -> None:
    extract = ClipStatistics(["level_16", "flux_64"])
    found = views_of(noises(1, 2, 3), extract, CPU)
    for i, seed in enumerate((1, 2, 3)):
        alone = views_of(noises(seed), extract, CPU)
        for view in ("level_16", "flux_64"):
            np.testing.assert_array_equal(found[view][i], alone[view][0])


def test_what_is_drawn_for_batches_is_drawn_in_their_order(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_statistics, "_BATCH_SAMPLES", 4500)  # a clip each
    seen: list[tuple[int, int]] = []

    def note(indices: npt.NDArray[np.int64], waveforms: torch.Tensor) -> torch.Tensor:
        seen.append((int(indices[0]), threading.get_ident()))
        return 2.0 * waveforms

    clips, extract = noises(1, 2, 3, 4, 5), ClipStatistics(["level_16"])
    views_of(clips, extract, CPU, alter=note)
    assert seen == [(i, threading.get_ident()) for i in (0, 2, 4, 1, 3)]  # the longest first, on this thread


def test_spectra_that_a_detector_has_computed_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = noises(1, 2)
    views_of(clips, ClipStatistics(["level_64"]), CPU, alter=lambda _, waveforms: waveforms.flip(1))
    assert not clips.computed  # these are spectra of other sounds
    views = views_of(clips, ClipStatistics(["level_64", "modulation"]), CPU)
    fresh = mean_spectra(noises(3, 2), CPU)  # other clips: computed
    assert not np.allclose(fresh[0], views["level_64"][0])
    np.testing.assert_array_equal(fresh[1], views["level_64"][1])
    np.testing.assert_array_equal(mean_spectra(clips.subset([1]), CPU), views["level_64"][1:])
    monkeypatch.setattr(normal_spectra, "ClipStatistics", None)
    np.testing.assert_array_equal(mean_spectra(clips.subset([0, 1]), CPU), views["level_64"])


def test_views_of_the_same_clips_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, wanted, more = noises(4, 5), ClipStatistics(["flux_16"]), ClipStatistics(["level_16", "flux_16"])
    alone = views_of(clips, wanted, CPU)["flux_16"]
    found = views_of(clips, more, CPU)  # has another view: computed
    altered = views_of(clips, more, CPU, alter=lambda _, waveforms: waveforms.flip(1).square())["flux_16"]
    monkeypatch.setattr(ClipStatistics, "forward", None)
    again = views_of(clips, wanted, CPU)
    assert [*again] == ["flux_16"]
    np.testing.assert_array_equal(again["flux_16"], alone)
    np.testing.assert_array_equal(found["flux_16"], alone)
    assert not np.allclose(altered, alone)
    with pytest.raises(TypeError):
        views_of(clips.subset([1, 0]), wanted, CPU)


def test_copies_have_the_same_statistics_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed once: in another place of a batch they may differ by a rounding."""
    clips, extract, forward, rows = noises(1, 3, 1, 2, 3, 1), ClipStatistics(["level_16"]), ClipStatistics.forward, []

    def counted(self: ClipStatistics, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
        rows.append(len(waveforms))
        return {view: vectors + sum(rows) for view, vectors in forward(self, waveforms).items()}

    monkeypatch.setattr(ClipStatistics, "forward", counted)
    found = views_of(clips, extract, CPU)["level_16"]
    assert sum(rows) == 3
    np.testing.assert_array_equal(found[[2, 5, 4]], found[[0, 0, 1]])
    assert len(np.unique(found[:, 0])) == 3
    np.testing.assert_array_equal(views_of(clips, extract, CPU)["level_16"], found)
    assert sum(rows) == 3
    views_of(clips, extract, CPU, alter=lambda _, waveforms: waveforms)
    assert sum(rows) == 9  # what is drawn differs from copy to copy
    halves, owner = clips.windows(2250)
    assert len(halves.distinct()[0]) == 6
    assert [len(views_of(halves, extract, CPU)["level_16"]), len(owner)] == [12, 12]


def test_the_nearest_normal_clip_is_the_clip_itself() -> None:
    clips = noises(1, 2, 3)
    spectra = NormalSpectra.of(clips, CPU)
    indices, apart_db = spectra.nearest(mean_spectra(clips.subset([2, 0]), CPU))
    assert indices.tolist() == [2, 0]
    assert apart_db.max() == 0


def test_what_was_learnt_is_read_as_it_was_written(tmp_path: Path) -> None:
    spectra = NormalSpectra.of(noises(1, 2, 3), CPU)
    named = replace(spectra, paths=["b.wav", "a.wav", "c.wav"])
    named.save(tmp_path / "spectra.safetensors")
    again = NormalSpectra.load(tmp_path / "spectra.safetensors")
    assert again.paths == named.paths
    np.testing.assert_array_equal(again.spectra, spectra.spectra)
    shifted, apart_db = again.nearest(spectra.spectra[[1]] + 3.0)
    assert shifted.tolist() == [1]
    np.testing.assert_allclose(apart_db, 3.0)  # in every band
