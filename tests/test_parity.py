"""`predict`, `listen`, `serve` and the exported graph give the same scores of the same recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import asd
from tests.machines import tone_machine
from tools.parity import COLUMNS, as_markdown, parity


@pytest.mark.slow
def test_all_ways_to_a_score_lead_to_the_same(tmp_path: Path) -> None:
    tone_machine(tmp_path / "data", n_train=16, n_test=2)
    model = asd.fit(tmp_path / "data/fan/train", machine="fan")
    model.save(tmp_path / "runs/parity", "fan")
    clips = sorted((tmp_path / "data/fan/test").glob("*.wav"))
    table = parity(tmp_path, tmp_path / "runs", "parity", "fan", clips)
    assert tuple(table.columns) == COLUMNS
    spread = float(model.normal.scores["ensemble"].std())
    least = np.maximum(table["predict"].abs(), spread)
    for way, tolerance in (("listen", 1e-6), ("serve", 1e-6), ("graph", 1e-4)):  # the last as `export` promises
        assert ((table[way] - table["predict"]).abs() <= tolerance * least).all(), table
    np.testing.assert_allclose(table["predict"], asd.load(tmp_path / "runs/parity").score_files(clips)["score"])
    assert as_markdown(table, spread).count("\n") == len(clips) + 1
