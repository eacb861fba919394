"""`predict`, `listen`, `serve` and the exported graph give the same scores of the same recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import asd
from tests.machines import tone_machine
from tools.parity import COLUMNS, apart, as_markdown, parity


@pytest.mark.slow
def test_all_ways_to_a_score_lead_to_the_same(tmp_path: Path) -> None:
    tone_machine(tmp_path / "data", n_train=16, n_test=2)
    asd.fit(tmp_path / "data/fan/train", machine="fan").save(tmp_path / "runs/parity", "fan")
    clips = sorted((tmp_path / "data/fan/test").glob("*.wav"))
    table = parity(tmp_path, tmp_path / "runs", "parity", "fan", clips)
    assert tuple(table.columns) == COLUMNS
    for _, row in table.iterrows():
        assert apart(row[["predict", "listen", "serve"]].to_numpy()) < 1e-6
        assert apart(row[["predict", "graph"]].to_numpy()) < 1e-4  # as `export` promises
    np.testing.assert_allclose(
        table["predict"], asd.load(tmp_path / "runs/parity").score_files(clips)["score"]
    )
    assert as_markdown(table).count("\n") == len(clips) + 1
