"""Measures over seeds: means and spreads as numpy has them, ROC areas, and tables without surprises."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asd.evaluation.markdown import as_markdown
from asd.sed.evaluation import page_of, roc_auc, summarise


def measures(f1: float) -> dict[str, dict[str, dict[str, object]]]:
    """Of a run, with what a table shows."""
    kind = {"f1": f1, "macro_f1": f1 / 2, "roc_auc": 0.5, "macro_roc_auc": 0.5, "map": 0.4, "ece": 0.1}
    kinds = {name: {**kind, "classes": {"dog": {"f1": f1}}} for name in ("frames_half", "frames", "clips")}
    return {"student": kinds, "teacher": kinds}


def test_mean_and_spread_are_over_the_seeds() -> None:
    values = {0: 0.1, 3: 0.2, 4: 0.6}
    summary = summarise({seed: measures(f1) for seed, f1 in values.items()})
    assert summary["seeds"] == [0, 3, 4]
    assert summary["mean"]["teacher"]["clips"]["f1"] == pytest.approx(0.3)
    assert summary["std"]["teacher"]["clips"]["f1"] == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert "classes" not in summary["mean"]["student"]["frames"]
    assert summary["by_seed"]["3"]["student"]["frames"]["classes"]["dog"]["f1"] == 0.2
    text = as_markdown(*page_of({"name": "run", "part": "test", **summary}))
    assert "over seeds 0, 3, 4" in text
    assert "0.300 ± 0.265" in text
    assert "events, tuned thresholds" not in text  # they were not measured


def test_one_seed_has_no_spread() -> None:
    assert summarise({0: measures(0.5)})["std"]["student"]["clips"]["f1"] == 0


def test_roc_areas_are_scikit_learn_s_and_a_class_never_heard_is_left_out() -> None:
    rng = np.random.default_rng(0)
    said, true = rng.random((50, 3)), (rng.random((50, 3)) < 0.3).astype(float)
    true[:, 2] = 0
    areas = roc_auc(said, true)
    assert areas["roc_auc"] == pytest.approx(roc_auc_score(true.ravel(), said.ravel()))
    assert areas["macro_roc_auc"] == pytest.approx(np.mean([roc_auc_score(true[:, k], said[:, k]) for k in (0, 1)]))
    assert np.isnan(roc_auc(said, np.zeros_like(true))["roc_auc"])
    one_always = np.zeros_like(true)
    one_always[:, 0] = 1
    areas = roc_auc(said, one_always)  # no class has both answers, all cells together have
    assert areas["roc_auc"] == pytest.approx(roc_auc_score(one_always.ravel(), said.ravel()))
    assert np.isnan(areas["macro_roc_auc"])
