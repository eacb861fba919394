from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from asd.detectors.encoders.recipe import Recipe
from asd.detectors.encoders.training import balanced_weights, class_name, classes_of, pseudo_classes
from asd.types import AsdError, Clip, Domain, Split


def clips(domain: Domain | None, n: int, machine: str = "fan", **attributes: str) -> list[Clip]:
    path = Path(f"{machine}.wav")
    return [Clip(path, machine, "00", Split.TRAIN, domain, attributes=attributes) for _ in range(n)]


def blobs(n_each: int, n_blobs: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(20 * k, 1, (n_each, 5)) for k in range(n_blobs)])


def never(indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    raise AssertionError("there are real classes enough")


def test_machine_section_domain_and_attributes_make_a_class() -> None:
    everything = [
        *clips(Domain.SOURCE, 3, speed="1"),
        *clips(Domain.SOURCE, 2, speed="2"),
        *clips(Domain.TARGET, 1, speed="2"),
        *clips(None, 2, machine="pump", volume="1"),
        *clips(None, 2, machine="pump", volume="2"),
        *clips(None, 2, machine="pump", volume="3"),
    ]
    names, index = classes_of(everything, never, Recipe(), 0)
    assert names == [
        "fan 00 source speed=1",
        "fan 00 source speed=2",
        "fan 00 target speed=2",
        "pump 00 volume=1",
        "pump 00 volume=2",
        "pump 00 volume=3",
    ]
    assert [names[i] for i in index] == [class_name(clip) for clip in everything]


def test_too_few_classes_are_split_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    everything = [*clips(Domain.SOURCE, 30), *clips(Domain.TARGET, 5)]
    vectors = np.concatenate([blobs(10, 3), np.zeros((5, 5))])
    with caplog.at_level(logging.WARNING, "asd"):
        names, index = classes_of(everything, lambda indices: vectors[indices], Recipe(), 0)
    assert names == ["fan 00 source #0", "fan 00 source #1", "fan 00 source #2", "fan 00 target"]
    assert [len(set(index[10 * k : 10 * k + 10])) for k in range(3)] == [1, 1, 1]
    assert "fan 00 has 2 real class(es), too few to train an encoder: split into 4 pseudo" in caplog.text


@pytest.mark.parametrize(("most", "expected"), [(3, 2), (8, 5)])
def test_the_number_of_pseudo_classes_is_capped(most: int, expected: int) -> None:
    everything = [*clips(Domain.SOURCE, 80), *clips(Domain.TARGET, 5)]
    vectors = np.concatenate([blobs(16, 5), np.zeros((5, 5))])
    names, _ = classes_of(everything, lambda indices: vectors[indices], Recipe(most_classes=most), 0)
    assert len(names) == expected + 1


def test_one_class_that_cannot_be_split_is_an_error() -> None:
    everything = clips(Domain.SOURCE, 9)
    with pytest.raises(AsdError, match=r"all 9 training clips are of one class \(fan 00 source\)"):
        classes_of(everything, lambda indices: blobs(9, 1)[indices], Recipe(), 0)
    with pytest.raises(AsdError, match="nothing to tell apart"):
        classes_of(clips(None, 40), lambda indices: np.zeros((len(indices), 5)), Recipe(), 0)


def test_clusters_are_found_and_the_seed_fixes_them() -> None:
    vectors = blobs(20, 4)
    found = pseudo_classes(vectors, most=8, seed=3)
    assert [len(set(found[20 * k : 20 * k + 20])) for k in range(4)] == [1, 1, 1, 1]
    assert len(set(found)) == 4
    assert np.array_equal(found, pseudo_classes(vectors, most=8, seed=3))


def test_balance_goes_from_clips_alike_to_classes_alike() -> None:
    index = np.repeat([0, 1], [990, 10])
    for balance, share in ((0.0, 0.01), (0.5, 1 / (1 + 99**0.5)), (1.0, 0.5)):
        weights = balanced_weights(index, balance)
        assert weights[990:].sum() / weights.sum() == pytest.approx(share)
