"""Tests of the analysis report: a published table (seed 000), ties and gains known beforehand, files as they are."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from asd.sed.report import _facts, write_report
from asd.sed.report_numbers import Networks, Predictions, summarise
from asd.sed.report_page import _trades
from asd.sed.run import SedRun
from asd.types import AsdError

GOLDEN = Path(__file__).parent / "golden"
CLASSES = ["Speech", "Dog", "Cat", "Dishes"]
N_CLIPS = 300

FloatArray = npt.NDArray[np.float64]


def labels(seed: int = 0) -> FloatArray:
    return (np.random.default_rng(seed).random((N_CLIPS, 4)) < [0.5, 0.1, 0.2, 0.1]).astype(float)


def heard(targets: FloatArray, skill: float, seed: int, n_seeds: int = 2) -> Predictions:
    """Right with the probability `skill`, else a coin."""
    rng = np.random.default_rng(seed)
    right = rng.random((n_seeds, *targets.shape)) < skill
    said = np.where(right, targets, rng.random((n_seeds, *targets.shape)) < 0.2)
    probabilities = np.clip(0.1 + 0.8 * said + rng.uniform(-0.1, 0.1, said.shape), 0, 1)
    return Predictions(probabilities, targets, [f"{k}.wav" for k in range(len(targets))], CLASSES)


def networks() -> dict[str, dict[str, dict[str, Predictions]]]:
    """A baseline, a model that finds far more, and one that is the baseline but for a few clips."""
    found: dict[str, dict[str, dict[str, Predictions]]] = {}
    for seed, (network, skill) in enumerate({"student": 0.6, "teacher": 0.62}.items()):
        found[network] = {"baseline": {}, "cmt_normal": {}, "cmt_neg": {}}
        for k, dataset in enumerate(("desed", "a b/c")):
            baseline = heard(labels(k), skill, seed=10 + seed)
            nearly = baseline.probabilities.copy()
            nearly[:, ::40] = 1 - nearly[:, ::40]
            found[network]["baseline"][dataset] = baseline
            found[network]["cmt_normal"][dataset] = heard(labels(k), skill + 0.3, seed=20 + seed)
            found[network]["cmt_neg"][dataset] = dataclasses.replace(baseline, probabilities=nearly)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    write_report(networks(), place, "baseline", facts={"cmt_neg": {"checkpoint": "runs/neg/model.safetensors"}})
    return place


def published() -> Predictions:
    """Clips whose labels and decisions count as seed 000 says of DESED."""
    rows = pd.read_csv(GOLDEN / "desed_baseline_classes.csv")
    targets, said = np.zeros((2, 1330, len(rows)))
    for k, (n_positive, recall, precision) in enumerate(
        zip(rows["n_positive"], rows["recall"], rows["precision"], strict=True)
    ):
        hits = round(recall * n_positive)
        targets[:n_positive, k] = said[:hits, k] = 1
        said[n_positive : n_positive + round(hits / precision) - hits, k] = 1
    names = [f"{k}.wav" for k in range(1330)]
    return Predictions(0.1 + 0.8 * said[None], targets, names, list(rows["class"]))


def test_the_published_counts_give_the_published_row(tmp_path: Path) -> None:
    write_report({"student": {"baseline": {"desed": published()}}}, tmp_path, "baseline")
    text = (tmp_path / "report.md").read_text()
    (row,) = re.findall(r"^\| baseline \| desed +\|(.*)\|$", text, re.MULTILINE)
    assert [cell.strip() for cell in row.split("|")][1:4] == ["0.9671", "0.7564", "0.8489"]
    expected = pd.read_csv(GOLDEN / "desed_baseline_classes.csv").set_index("class")
    found = pd.read_csv(tmp_path / "classes.csv").set_index("class").loc[expected.index]
    for name in ("n_positive", "precision", "recall", "f1"):
        np.testing.assert_allclose(found[name], expected[name], atol=5e-7, err_msg=name)
    listed = re.findall(r"^\| (\w+) +\| +\d+ \|", text, re.MULTILINE)
    assert listed == list(expected.index)  # by F1, as there, but all of them


def test_gains_and_ties_are_told_apart(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    differences = {(row["network"], row["dataset"], row["model"]): row for row in report["differences"]}
    assert len(differences) == 2 * 2 * 2
    for (_, _, model), row in differences.items():
        assert row["verdict"] == {"cmt_normal": "better", "cmt_neg": "tie"}[model]
        assert row["f1_low"] < row["f1"] < row["f1_high"]
    assert {(best["model"], best["tie"]) for best in report["best"]} == {("cmt_normal", False)}
    text = (folder / "report.md").read_text()
    assert "the clips settle it against every other" in text
    assert re.search(r"cmt_neg .* against baseline.*?a\s+tie\.", text, re.DOTALL)


def test_differences_are_those_of_unrounded_numbers(folder: Path) -> None:
    overall = pd.read_csv(folder / "overall.csv").set_index(["network", "dataset", "model"])
    differences = pd.read_csv(folder / "differences.csv")
    for row in differences.to_dict("records"):
        ours = overall.loc[(row["network"], row["dataset"], row["model"])]
        baseline = overall.loc[(row["network"], row["dataset"], "baseline")]
        for name in ("f1", "map", "ece"):
            assert row[name] == pytest.approx(ours[name] - baseline[name], abs=1e-12)


def test_a_model_equal_to_the_baseline_ties_with_zeros(tmp_path: Path) -> None:
    same = heard(labels(), 0.7, seed=0)
    said = write_report({"student": {"a": {"desed": same}, "b": {"desed": same}}}, tmp_path, "a")
    text = (tmp_path / "report.md").read_text()
    assert not re.search(r"-0\.0+\b(?!\d)", text)
    assert "ties with b" in said
    assert "b decides alike against a (recall 0.0000, precision 0.0000): F1 0.0000" in said


def test_all_files_are_there_and_what_they_claim(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    figures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(figures) == len(set(figures)) == 2 * 2 * 2
    assert "classes_teacher_a-b-c.png" in figures
    assert all((folder / name).read_bytes()[:4] == b"\x89PNG" for name in figures)
    names = {path.name for path in folder.iterdir()} - set(figures)
    assert names == {
        "report.md", "report.json", "overall.csv", "classes.csv", "differences.csv", "networks.csv",
    }  # fmt: skip
    assert max(len(line) for line in text.splitlines() if line[:1] not in "|!") <= 118
    assert "checkpoint: runs/neg/model.safetensors" in text


def test_a_class_nobody_has_is_named_and_undefined(tmp_path: Path) -> None:
    targets = labels()
    targets[:, 1] = 0
    given: Networks = {"student": {"baseline": {"desed": heard(targets, 0.8, seed=0)}}}
    write_report(given, tmp_path, "baseline")
    text = (tmp_path / "report.md").read_text()
    assert "No clip has Dog: left out of macro averages and mAP." in text
    assert re.search(r"^\| Dog +\| +0 \|.*–", text, re.MULTILINE)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert report["found"]["student"]["desed"]["baseline"]["classes"]["Dog"]["ap"] is None


def test_numbers_are_means_over_seeds_with_their_spread() -> None:
    three = heard(labels(), 0.7, seed=0, n_seeds=3)
    alone = [dataclasses.replace(three, probabilities=three.probabilities[[k]]) for k in range(3)]

    def f1(given: Predictions) -> dict[str, float]:
        summary = summarise({"student": {"m": {"d": given}}}, "m")
        return summary["found"]["student"]["d"]["m"]["overall"]["f1"]  # type: ignore[no-any-return]

    each = [f1(one)["mean"] for one in alone]
    assert f1(three) == {"mean": pytest.approx(np.mean(each)), "std": pytest.approx(np.std(each, ddof=1))}
    assert f1(alone[0])["std"] == 0


def test_teacher_and_student_are_compared_seed_by_seed() -> None:
    rows = summarise(networks(), "baseline")["networks"]
    assert {(row["network"], row["model"]) for row in rows} == {
        ("teacher", model) for model in ("baseline", "cmt_normal", "cmt_neg")
    }
    one = heard(labels(), 0.7, seed=3)
    (row,) = summarise({"student": {"m": {"d": one}}, "teacher": {"m": {"d": one}}}, "m")["networks"]
    assert (row["f1"], row["f1_low"], row["f1_high"], row["verdict"]) == (0, 0, 0, "tie")


def spoiled(**change: Any) -> dict[str, dict[str, dict[str, Predictions]]]:
    """A second model whose predictions differ in what is given."""
    good = heard(labels(), 0.7, seed=0)
    return {"student": {"a": {"desed": good}, "b": {"desed": dataclasses.replace(good, **change)}}}


BAD: list[tuple[Networks, str]] = [
    (spoiled(clips=[f"{k}.wav" for k in range(1, N_CLIPS + 1)]), "student b on desed has other clips"),
    (spoiled(targets=labels(7)), "other clips, classes or labels than the baseline"),
]


@pytest.mark.parametrize(("given", "what"), BAD, ids=[what for _, what in BAD])
def test_what_does_not_fit_together_is_said(given: Networks, what: str, tmp_path: Path) -> None:
    with pytest.raises(AsdError, match=what):
        write_report(given, tmp_path / "report", "a")
    assert not (tmp_path / "report").exists()


def test_options_that_came_after_a_run_are_at_their_defaults(tmp_path: Path) -> None:
    run = SedRun(tmp_path / "early/seed0")
    run.write_config({"classes": ["speech"], "loss": {"name": "afl"}})
    assert _facts([run])["settings"] == "{loss.name: afl}"


@pytest.mark.parametrize(
    ("recall", "precision", "how"),
    [
        (0.1, -0.1, "buys recall with precision"),
        (-0.1, 0.1, "buys precision with recall"),
        (0.1, 0.1, "is better in both"),
        (-0.1, -0.1, "is worse in both"),
        (0.1, 0.0, "gains recall alone"),
        (0.0, -0.1, "loses precision alone"),
        (0.00001, -0.00001, "decides alike"),
    ],
)
def test_a_sentence_says_how_recall_and_precision_moved(recall: float, precision: float, how: str) -> None:
    row = {"network": "student", "dataset": "test", "model": "b", "recall": recall, "precision": precision}
    row |= {"f1": 0.0, "f1_low": -0.1, "f1_high": 0.1, "verdict": "tie"}
    (sentence,) = _trades({"differences": [row], "baseline": "a"}, "student", "test")
    assert sentence.startswith(f"b {how} against a (")
