"""Calibration: cases known by hand, and torchmetrics where the extra `sed` is installed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.sed.cell_metrics import adaptive_calibration_error, brier_score, calibration_error, reliability


def test_bins_by_hand() -> None:
    bins = reliability([0.0, 0.05, 0.1, 0.72, 0.78, 1.0], [0, 1, 0, 1, 0, 1])
    assert bins["n"].tolist() == [2, 1, 0, 0, 0, 0, 0, 2, 0, 1]
    assert bins.loc[0, ["confidence", "frequency"]].tolist() == pytest.approx([0.025, 0.5])
    assert bins.loc[7, ["confidence", "frequency"]].tolist() == pytest.approx([0.75, 0.5])
    assert bins.loc[2:6, ["confidence", "frequency"]].isna().all().all()
    expected = (2 * 0.475 + 1 * 0.1 + 2 * 0.25 + 0) / 6
    assert calibration_error([0.0, 0.05, 0.1, 0.72, 0.78, 1.0], [0, 1, 0, 1, 0, 1]) == pytest.approx(expected)


def test_certainty_that_is_wrong_is_the_worst_there_is() -> None:
    for error in (calibration_error, adaptive_calibration_error, brier_score):
        assert error(np.zeros(8), np.ones(8)) == 1.0  # the code behind seed 000 had no bin for 0 and said 0
        assert error(np.ones(8), np.ones(8)) == 0.0


def test_honest_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    honest = rng.random(200_000)
    heard = rng.random(200_000) < honest
    assert calibration_error(honest, heard) < 0.005
    assert adaptive_calibration_error(honest, heard) < 0.005
    assert calibration_error(honest**2, heard) == pytest.approx(1 / 2 - 1 / 3, abs=0.005)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_it_is_a_distance(cells: list[tuple[float, bool]]) -> None:
    probabilities, targets = map(list, zip(*cells, strict=True))
    for error in (calibration_error, adaptive_calibration_error, brier_score):
        assert 0 <= error(probabilities, targets) <= 1
    bins = reliability(probabilities, targets)
    assert bins["n"].sum() == len(cells)
    filled = bins[bins["n"] > 0]
    assert (filled["confidence"] >= filled["low"] - 1e-12).all()
    assert (filled["confidence"] <= filled["high"] + 1e-12).all()


@pytest.mark.sed
def test_it_equals_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.classification", reason="part of make test-sed")
    import torch

    rng = np.random.default_rng(0)
    targets = rng.random((300, 27)) < 0.1
    probabilities = np.clip(0.5 * targets + rng.beta(1, 8, targets.shape), 0, 0.999).astype(np.float32)
    theirs = classification.BinaryCalibrationError(n_bins=10)(
        torch.from_numpy(probabilities.ravel()), torch.from_numpy(targets.ravel().astype(np.int64))
    )
    assert calibration_error(probabilities, targets) == pytest.approx(float(theirs), abs=1e-6)
