"""Whole years of the challenge in small: from the published archives to the organisers' result, by real commands.

local server -> data -> two detectors -> score -> fuse -> submit -> validate -> evaluate with published labels
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from asd.challenge.ground_truth import TrueClip, read_ground_truth
from asd.challenge.submission import output_name
from asd.challenge.years import Unit, Year, get_year
from asd.core.files import read_json
from asd.types import Domain, Label
from tests.archive_server import serving
from tests.command import contents, refuses, succeeds
from tests.made_submission import USER
from tests.miniature_year import publish_year

SMALL = {"train_source": 8, "train_target": 2, "test_per_cell": 2, "duration_s": 0.5}
TEAM = "Tester_LAB"
LABEL = f"{TEAM}_task2_1"
DETECTORS = {"statistics": "", "autoencoder": "training.epochs=2"}


@dataclass(frozen=True)
class Plan:
    """What a year is rehearsed with."""

    year: int
    dev: str
    evaluation: str  # machines, separated by commas
    words: str = ""  # of every training

    @property
    def eval_root(self) -> Path:
        return get_year(self.year).eval_root

    @property
    def suffix(self) -> str:
        """What the names of runs on evaluation machines end with, where these are also in the development set."""
        return "_eval" if self.dev in self.evaluation.split(",") else ""


PLANS = [
    pytest.param(Plan(2020, "fan", "fan"), id="2020: machine IDs"),
    pytest.param(Plan(2021, "pump", "pump"), id="2021: a score per domain"),
    pytest.param(Plan(2024, "fan", "RoboticArm,ToothBrush"), id="2024: machines never seen before"),
    pytest.param(Plan(2026, "fan", "Sander", "frontend=cancel"), id="2026: two microphones"),
]


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_a_year_from_its_archives_to_the_official_score(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fetch(plan)
    members = [train_and_score(plan, detector, words) for detector, words in DETECTORS.items()]
    look_at_the_development_machines(plan)
    fuse(plan, members)
    package(plan)
    evaluate(plan, members)


def fetch(plan: Plan) -> None:
    year, machines = f"year={plan.year}", {plan.dev: None, **dict.fromkeys(plan.evaluation.split(","))}
    names = f"machine={','.join(machines)}"
    with serving() as server:
        publish_year(server, plan.year, Path("clips"), dev=[plan.dev], evaluation=plan.evaluation.split(","), **SMALL)
        refuses("train", "machine=all", year, saying=f"no data folder .*dcase{plan.year}t2/dev_data/raw")
        succeeds("data", year, names, *server.words)
    assert "all there" in succeeds("data-check", year, names).out


def train_and_score(plan: Plan, detector: str, words: str) -> str:
    """One detector on the machines of both sets; returns the run's name on the evaluation machines."""
    trained = f"train machine=all year={plan.year} detector={detector} device=cpu {words} {plan.words}".split()
    evaluation = f"name={detector}{plan.suffix}"
    succeeds(*trained, f"name={detector}")
    succeeds(*trained, evaluation, f"data={plan.eval_root}")
    tables = {path: path.read_bytes() for path in Path("runs", detector + plan.suffix).glob("*/*/scores/*.csv")}
    assert tables
    succeeds("score", evaluation, f"machine={plan.evaluation}", f"data={plan.eval_root}", f"year={plan.year}")
    assert all(path.read_bytes() == content for path, content in tables.items())
    return detector + plan.suffix


def look_at_the_development_machines(plan: Plan) -> None:
    """Evaluations and a board of what is labelled: the development machine, of either detector."""
    for detector in DETECTORS:
        words = ("evaluate", f"name={detector}", f"year={plan.year}")
        refuses(*words, saying=f"of {plan.year} is not in the run.*machine={plan.dev}$")
        succeeds(*words, f"machine={plan.dev}")
        evaluation = read_json(Path("runs", detector, "evaluation.json"))
        default = evaluation["scorers"][evaluation["default"]]
        assert default["machines"].keys() == {plan.dev}
        assert default["machines"][plan.dev].keys() == {*get_year(plan.year).dev[plan.dev]}
    board = succeeds("leaderboard", f"year={plan.year}", f"machine={plan.dev}").out
    assert f"Machines: {plan.dev}." in board
    assert {*re.findall(r"^\| (\w+) +\| +[\d.]+ \|", board, re.MULTILINE)} == {*DETECTORS}


def fuse(plan: Plan, members: list[str]) -> None:
    """The detectors as one: under the same name where a run has the machines of both sets."""
    succeeds("fuse", f"members={','.join(members)}", f"name=both{plan.suffix}")
    if plan.suffix:
        succeeds("fuse", f"members={','.join(DETECTORS)}", "name=both")
    succeeds("evaluate", "name=both", f"year={plan.year}", f"machine={plan.dev}")


def package(plan: Plan) -> None:
    year, data = f"year={plan.year}", f"data={plan.eval_root}"
    Path("me.yaml").write_text(yaml.safe_dump(USER))
    words = ["submit", f"name=both{plan.suffix}", f"label={LABEL}", year, "authors=me.yaml"]
    refuses(*words, saying=f"of {plan.year} is not in the run")
    words.append(f"machine={plan.evaluation}")
    if plan.suffix:
        refuses(*words, "development=both_eval", saying="development=both_eval has no labelled test clips")
        words.append("development=both")
    assert "nothing was written" in succeeds(*words, "dry_run=true").out
    assert not Path("submissions").exists()
    succeeds(*words)
    assert succeeds("validate", f"submissions/{LABEL}", year, data).out == f"submissions/{LABEL}: valid\n"
    assert succeeds("validate", f"submissions/{LABEL}.zip", year, data).out.endswith(": valid\n")
    bundle = ["bundle", f"team={TEAM}", year, data]
    succeeds(*bundle)
    before = contents(Path("submissions"))
    assert {f"{LABEL}.zip", f"{TEAM}_task2.zip"} < before.keys()
    succeeds(*words)
    succeeds(*bundle)
    assert contents(Path("submissions")) == before
    meta = yaml.safe_load(before[f"{LABEL}/{LABEL}.meta.yaml"])
    assert meta["results"]["development_dataset"].keys() == {plan.dev}


def evaluate(plan: Plan, members: list[str]) -> None:
    """Runs by the published labels; and the package as the organisers do, from its files alone."""
    year, rules = f"year={plan.year}", get_year(plan.year)
    for name in (*members, f"both{plan.suffix}"):
        succeeds("evaluate", f"name={name}", year, "part=eval", f"machine={plan.evaluation}")
    ours = read_json(Path("runs", f"both{plan.suffix}", "evaluation_eval.json"))["scorers"]["fused"]
    words = [f"submission=submissions/{LABEL}", f"ground_truth={rules.truth_root}", "out=official"]
    succeeds("evaluate", year, *words, "json=official.json")
    theirs = read_json(Path("official.json"))["systems"][LABEL]
    assert theirs["official_score"] == pytest.approx(ours["official_score"], abs=1e-12)
    assert theirs["machines"].keys() == ours["machines"].keys() == {*plan.evaluation.split(",")}
    for unit, clips in read_ground_truth(rules.truth_root, rules).items():
        metric = {"per_id": "auc", "per_domain": f"auc_{unit.domain}", "mixed": "auc_source"}[rules.rule]
        found = ours["machines"][unit.machine][unit.section][metric]
        assert found == pytest.approx(auc_by_counting(unit, clips, rules))


def auc_by_counting(unit: Unit, clips: Sequence[TrueClip], year: Year) -> float:
    """Share of pairs in the right order, from the submitted file; since 2022 of source normals and all anomalies."""
    lines = Path("submissions", LABEL, output_name("anomaly_score", unit, year)).read_text().splitlines()
    scores = {name: float(score) for name, score in (line.split(",") for line in lines)}
    assert scores.keys() == {clip.file for clip in clips}
    anomalous = [scores[clip.file] for clip in clips if clip.label is Label.ANOMALY]
    normal = [
        scores[clip.file]
        for clip in clips
        if clip.label is Label.NORMAL and (year.rule != "mixed" or clip.domain is Domain.SOURCE)
    ]
    return float(np.mean([(a > n) + 0.5 * (a == n) for a in anomalous for n in normal]))
