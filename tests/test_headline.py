"""The numbers that the front page stands on. A change that moves one is meant, and named in CHANGELOG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import hmean

from asd.settings.stages import DEFAULT_DETECTOR
from asd.synthetic import make_machines
from tests.command import succeeds

# The default detector and scorer, seed 0: percent of the official score's three terms, per machine.
# They are ranks of clips, so they are the same on every processor. `typical` is the median of all scores.
SYNTHETIC = {
    "fan": {"auc_source": 97.5694, "auc_target": 76.7361, "pauc": 72.9532},
    "gearbox": {"auc_source": 93.0556, "auc_target": 77.4306, "pauc": 72.5877},
    "valve": {"auc_source": 81.9444, "auc_target": 75.6944, "pauc": 76.2427},
}
REAL = {
    "bearing": {"auc_source": 97.4977, "auc_target": 96.5524, "pauc": 90.1933},
    "compressor": {"auc_source": 86.54, "auc_target": 94.22, "pauc": 77.6842},
    "room": {"auc_source": 95.68, "auc_target": 96.84, "pauc": 89.2632},
    "endurance": {"auc_source": 94.7778, "auc_target": 91.9556, "pauc": 76.0234},
    "spindle": {"auc_source": 92.1875, "auc_target": 95.7465, "pauc": 79.9679},
    "toycar_a": {"auc_source": 93.42, "auc_target": 95.84, "pauc": 82.2105},
}
TYPICAL = {"synthetic": 8.45632, "real": 3.55994}


def check(data: Path, pinned: Mapping[str, Mapping[str, float]], typical: float) -> None:
    """Trains and evaluates the default detector and compares with the pinned numbers."""
    succeeds("train", f"machine={','.join(pinned)}", f"data={data}", "name=headline", "device=cpu")
    succeeds("evaluate", "name=headline", "json=found.json")
    evaluation = json.loads(Path("found.json").read_text())
    found = evaluation["scorers"][evaluation["default"]]
    sections = {machine: found["machines"][machine]["00"] for machine in pinned}
    percent = {machine: {name: 100 * sections[machine][name] for name in terms} for machine, terms in pinned.items()}
    assert percent == {machine: pytest.approx(terms, abs=1e-3) for machine, terms in pinned.items()}
    terms = [value / 100 for terms in percent.values() for value in terms.values()]
    assert found["official_score"] == pytest.approx(hmean(terms), abs=1e-12)
    paths = Path("runs/headline").glob(f"*/seed0/scores/{evaluation['default']}.csv")
    scores = pd.concat(map(pd.read_csv, paths))["score"]
    assert scores.median() == pytest.approx(typical, rel=1e-3, abs=1e-4)


def test_the_default_detector_on_synthetic_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = {"train_source": 30, "train_target": 6, "test_per_cell": 12, "duration_s": 1.0, "seed": 1}
    make_machines(Path("data"), tuple(SYNTHETIC), **numbers)
    check(Path("data"), SYNTHETIC, TYPICAL["synthetic"])


@pytest.mark.slow
def test_the_default_detector_on_real_machines(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(shared / "data/machines", REAL, TYPICAL["real"])


def test_the_page_quotes_the_detector_that_is_the_default() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert f"`{DEFAULT_DETECTOR}`, the default" in readme
