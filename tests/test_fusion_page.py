"""The document of the fusion study: from a few small networks to sentences, tables and figures."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from asd.evaluation.confidence import difference_interval
from asd.evaluation.markdown import signed
from asd.studies.fusion import cells, findings, headline, run_cell, summarise
from asd.studies.fusion.page import write_report
from tests.test_fusion_training import TINY

pytestmark = pytest.mark.slow

Results = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    config = TINY.model_copy(update={"seeds": [0, 1], "epochs": 3})
    folder, found = tmp_path_factory.mktemp("fusion"), {}
    for name, settings in cells(config).items():
        found[name] = [run_cell({**settings, "seed": seed}, folder / f"{name}/seed{seed}") for seed in (0, 1)]
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def summary_of(results: Results) -> dict[str, Any]:
    return summarise(results, TINY.model_copy(update={"seeds": [0, 1]}))


def interval(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Of a difference of mean losses, both (seeds, sequences)."""
    return difference_interval((a, np.ones_like(a)), (b, np.ones_like(b)))


def test_the_bootstrap_settles_what_is_settled_and_leaves_the_rest() -> None:
    rng = np.random.default_rng(1)
    hard = rng.gamma(2, 1, 80)  # some sequences are harder, for every network
    a, b = (hard + 0.05 * rng.standard_normal((3, 80)) for _ in range(2))
    low, high = interval(a, b)
    assert low < 0 < high
    assert high - low < 0.05  # the pairing takes the hardness out
    low, high = interval(a, b - 0.2)
    assert 0.15 < low < a.mean() - b.mean() + 0.2 < high < 0.25
    assert interval(a, a[:1].repeat(3, 0)) == pytest.approx(interval(a, a[:1]), abs=0.01)


def test_the_bootstrap_knows_that_seeds_differ() -> None:
    flat = np.ones((3, 50))
    low, high = interval(flat + np.array([[-0.3], [0.0], [0.3]]), flat)
    assert low < -0.1
    assert high > 0.1


def test_a_difference_is_rounded_once_and_zero_has_no_sign() -> None:
    assert [signed(x, 3) for x in (0.0004, -0.0004, 0.0, -0.0)] == ["0.000"] * 4
    assert [signed(x, 3) for x in (1.23456, -0.0006)] == ["+1.235", "-0.001"]


def test_means_and_spreads_are_those_of_the_seeds(results: Results) -> None:
    found = summary_of(results)["cells"]["video"]
    totals = [np.mean(run["complete"]["total"]) for run in results["video"]]
    assert found["complete"]["mean"]["total"] == pytest.approx(np.mean(totals))
    assert found["complete"]["std"]["total"] == pytest.approx(np.std(totals, ddof=1))
    assert "all" not in found
    assert found["n_training"] < 24  # sequences without picture teach this network nothing


def test_networks_are_compared_on_the_same_sequences(results: Results) -> None:
    runs = [run for of_cell in results.values() for run in of_cell]
    assert len({len(run["complete"]["total"]) for run in runs}) == 1
    assert len({run["frequencies"]["total"] for run in runs}) == 1


def test_the_findings_follow_the_numbers(results: Results) -> None:
    better = copy.deepcopy(results)
    for run in better["added"]:
        run["complete"]["total"] = [0.001 + 1e-6 * i for i in range(len(run["complete"]["total"]))]
    said = " ".join(findings(summary_of(better)))
    assert "added beats gated" in said
    assert "added beats concatenated" in said
    assert "All modalities, added, lose 0.001" in said
    same = {**results, "added": results["gated"], "concatenated": results["gated"]}
    assert findings(summary_of(same))[0].startswith("Which fusion is best is not settled")
    assert headline(summary_of(results)).count("±") == 6


def test_the_report_has_every_part_and_no_nan(results: Results, tmp_path: Path) -> None:
    summary = summary_of(results)
    write_report(tmp_path, summary)
    text = (tmp_path / "report.md").read_text()
    parts = ["Setup", "Losses on complete test sequences", "Losses on all test sequences", "What is settled"]
    parts += ["Epochs", "Modality coverage", "Modality contributions", "Gates", "Attention", "Worst cases"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == parts
    assert not re.search(r"\bnan\b|-0\.000\b", text)
    for link in re.findall(r"\]\((.*?)\)", text):
        data = (tmp_path / link).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) < 150_000
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    stored = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert stored == json.loads(json.dumps(summary))


def test_the_tables_hold_what_the_page_shows(results: Results, tmp_path: Path) -> None:
    write_report(tmp_path, summary_of(results))
    losses = pd.read_csv(tmp_path / "losses.csv")
    assert list(losses["on"]) == ["complete", "all"] * 3 + ["complete"] * 3
    epochs = pd.read_csv(tmp_path / "epochs.csv")
    assert len(epochs) == 6 * 2 * 3
    assert math.isclose(epochs["learning_rate"].min(), TINY.floor)
    assert len(pd.read_csv(tmp_path / "differences.csv")) == 9
    worst = pd.read_csv(tmp_path / "worst.csv")
    assert worst["total"].is_monotonic_decreasing
    assert {"audio_present", "largest", "music_steps"} <= set(worst.columns)
