"""Labels of the organisers on the scores of a run: the same official score as for the same scores submitted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from asd.challenge.evaluator import evaluate_submissions, read_submission
from asd.challenge.ground_truth import GroundTruth, TrueClip, read_ground_truth
from asd.challenge.years import Unit, get_year
from asd.evaluation.labelling import labelled_machines, labelled_scores, with_truth
from asd.runs import RunDirectory, ScoredData
from asd.types import SCORE_COLUMNS, AsdError, Domain, Label
from tests.command import refuses, succeeds

YEAR = get_year(2024)
TRUTH: GroundTruth = {
    Unit("ToothBrush", "00"): [
        TrueClip(f"section_00_{i:04d}.wav", label, domain, f"section_00_{domain}_test_{label}_{i:04d}.wav")
        for i, (label, domain) in enumerate((label, domain) for label in Label for domain in Domain)
    ]
}


def table(*, files: list[str] | None = None, machine: str = "ToothBrush", section: str = "00") -> pd.DataFrame:
    """Scores of a run for clips of which nothing is known."""
    names = [f"section_00_{i:04d}.wav" for i in range(4)] if files is None else files
    rows = [(machine, section, "", "test", "", name, float(i), 0) for i, name in enumerate(names)]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def save(table: pd.DataFrame, name: str) -> None:
    """As a finished run of each of its machines."""
    whole = table.assign(decision=table["decision"].fillna(0).astype(int))  # 2020 asks for none
    for machine, rows in whole.groupby("machine"):
        run = RunDirectory.of(Path("runs"), name, str(machine), 0)
        clips = tuple(rows[["file", "section", "domain"]].itertuples(index=False, name=None))
        run.scores.write({"given": rows}, {}, ScoredData("data", "", (), clips))
        run.finish("of-the-test", default="given", seconds=0.0)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "year", [*(pytest.param(year, marks=pytest.mark.slow) for year in (2020, 2021, 2022, 2023)), 2024]
)
def test_the_official_score_of_a_run_is_that_of_the_same_scores_submitted(golden: Path, year: int) -> None:
    place = golden / f"evaluator/{year}"
    rules = get_year(year)
    submission = place / "submissions/informative"
    submitted = read_submission(submission, read_ground_truth(place, rules), rules)
    hidden = submitted.assign(label="")
    if rules.rule != "per_domain":
        hidden["domain"] = ""
    save(hidden.sample(frac=1, random_state=0), "informative")  # rows of a run come in any order
    succeeds("evaluate", "name=informative", f"year={year}", "part=eval", f"ground_truth={place}")
    found = json.loads(Path("runs/informative/evaluation_eval.json").read_text())["scorers"]["given"]
    expected = evaluate_submissions(submission, place, year, Path("results"))["systems"]["informative"]
    assert found["official_score"] == pytest.approx(expected["official_score"], abs=1e-12)
    for machine, sections in expected["machines"].items():
        for section, metrics in sections.items():
            known = {key: value for key, value in metrics.items() if key.startswith(("auc", "pauc"))}
            ours = {key: found["machines"][machine][section][key] for key in known}
            assert ours == pytest.approx(known, abs=1e-12)
    assert not Path("runs/informative/evaluation.json").exists()


def test_labels_and_domains_are_those_of_the_truth() -> None:
    joined = with_truth(table(), TRUTH, YEAR)
    assert joined["label"].tolist() == ["normal", "normal", "anomaly", "anomaly"]
    assert joined["domain"].tolist() == ["source", "target", "source", "target"]
    assert joined["score"].tolist() == [0, 1, 2, 3]


def test_clips_under_the_name_that_tells_their_label_are_the_same_clips() -> None:
    renamed = table(files=[clip.other_name or "" for clip in TRUTH[Unit("ToothBrush", "00")]])
    pd.testing.assert_frame_equal(with_truth(renamed, TRUTH, YEAR), with_truth(table(), TRUTH, YEAR))


def test_clips_of_2020_have_no_domain() -> None:
    truth = {Unit("fan", "01"): [TrueClip(f"{label}.wav", label, None) for label in Label]}
    joined = with_truth(table(files=["anomaly.wav", "normal.wav"], machine="fan", section="01"), truth, get_year(2020))
    assert joined["label"].tolist() == ["anomaly", "normal"]
    assert joined["domain"].tolist() == ["", ""]


def test_scores_are_labelled_by_names_and_machines_of_the_evaluation_set_are_left_out() -> None:
    known = with_truth(table(), TRUTH, YEAR).assign(machine="fan")
    save(known, "run")
    save(table(), "run")
    found = labelled_scores(Path("runs"), "run", 2024)
    assert found.machines == labelled_machines(Path("runs"), "run") == ["fan"]
    pd.testing.assert_frame_equal(found.tables["given"][0], known)
    asked = labelled_scores(Path("runs"), "run", 2024, ["ToothBrush", "fan"])
    assert any(sentence.startswith("ToothBrush ") for sentence in asked.missing)
    assert asked.machines == ["ToothBrush", "fan"]
    assert {*asked.tables["given"][0]["machine"]} == {"fan"}  # clips without labels count nowhere


@pytest.mark.parametrize(
    ("files", "saying"),
    [
        ([0, 1, 2], r"3 scores for 4 evaluation clips: section_00_0003.wav is missing"),
        ([0, 1, 2, 3, 4], r"5 scores for 4 evaluation clips: section_00_0004.wav is not one of them"),
        ([0, 1, 2, 3, 3], r"section_00_0003.wav is there twice"),
    ],
)
def test_a_clip_that_is_missing_or_extra_is_named(files: list[int], saying: str) -> None:
    with pytest.raises(AsdError, match=saying):
        with_truth(table(files=[f"section_00_{i:04d}.wav" for i in files]), TRUTH, YEAR)


def test_scores_of_the_development_set_are_no_part_of_it() -> None:
    both = pd.concat([table(), table(machine="fan"), table(section="01")])
    assert len(with_truth(both, TRUTH, YEAR)) == 4
    with pytest.raises(AsdError, match="scores of fan 00, none of them in the evaluation set of 2024"):
        with_truth(table(machine="fan"), TRUTH, YEAR)


def test_published_labels_of_other_recordings_that_were_scored() -> None:
    """data= was passed over, and the run's own scores were evaluated under the name of the other recordings."""
    for kind in ("data", "domain"):
        path = Path(f"labels/ground_truth_{kind}/ground_truth_ToothBrush_section_00_test.csv")
        path.parent.mkdir(parents=True)
        codes = [
            (clip.label is Label.ANOMALY, clip.domain is Domain.TARGET) for clip in TRUTH[Unit("ToothBrush", "00")]
        ]
        path.write_text(
            "".join(f"section_00_{i:04d}.wav,{int(code[kind == 'domain'])}\n" for i, code in enumerate(codes))
        )
    save(table(), "run")
    run = RunDirectory.of(Path("runs"), "run", "ToothBrush", 0)
    words = ("evaluate", "name=run", "year=2024", "part=eval", "ground_truth=labels")
    refuses(*words, "data=moved", saying="has no scores of the recordings in moved; `score data=moved` makes them")
    worst = table().assign(score=[3.0, 2.0, 1.0, 0.0])
    clips = tuple(worst[["file", "section", "domain"]].itertuples(index=False, name=None))
    data = ScoredData(str(Path("moved").absolute()), "", (), clips)
    run.other_scores(Path("moved"), "").write({"given": worst}, {}, data)
    scores = {}
    for more in ([], ["data=moved"]):
        succeeds(*words, *more, "json=found.json")
        scores[len(more)] = json.loads(Path("found.json").read_text())["scorers"]["given"]["official_score"]
    assert scores[0] == 1.0
    assert scores[1] < 0.5
    save(table(machine="Scanner"), "run")
    label = Path("labels/ground_truth_data/ground_truth_ToothBrush_section_00_test.csv")
    for path in (label, Path(str(label).replace("data", "domain"))):
        shutil.copy(path, str(path).replace("ToothBrush", "Scanner"))
    refuses(*words, "data=moved", saying="not whole: Scanner has no scores of these recordings; train or score")
    refuses(*words[:-1], "ground_truth=found.json", saying="ground_truth=found.json is a file; name the folder")


def test_recordings_of_ones_own_are_of_no_evaluation_set() -> None:
    """Those without a label were passed over where their machine and section are called as in 2020."""
    known = table(machine="fan").assign(label=["normal", "normal", "anomaly", "anomaly"])
    unknown = table(machine="fan", section="03").assign(file=[f"{i}.wav" for i in range(4)])
    for machine, scores in (("fan", pd.concat([known, unknown])), ("pump", table(machine="pump"))):
        clips = tuple(scores[["file", "section", "domain"]].itertuples(index=False, name=None))
        run = RunDirectory.of(Path("runs"), "run", machine, 0)
        run.scores.write({"given": scores}, {}, ScoredData("data", "", (), clips, layout="table"))
        run.finish("of-the-test", default="given", seconds=0.0)
    said = succeeds("evaluate", "name=run").out
    assert "fan has no label for 4 of 8 test clips" in said
    assert "pump has no label for 4 of 4 test clips" in said


def test_without_ground_truth_the_command_that_fetches_it_is_named() -> None:
    save(table(), "run")
    refuses("evaluate", "name=run", "year=2024", "part=eval", saying="`data year=2024 part=eval`")
    refuses("evaluate", "name=run", "year=2024", saying="say part=eval if they are those of an evaluation set")


def test_a_part_of_the_evaluation_set_is_evaluated_only_on_demand(golden: Path) -> None:
    place = golden / "evaluator/2024"
    truth = read_ground_truth(place, YEAR)
    submitted = read_submission(place / "submissions/informative", truth, YEAR)
    save(submitted[submitted["machine"] != "Scanner"].assign(label="", domain=""), "run")
    words = ("evaluate", "name=run", "year=2024", "part=eval", f"ground_truth={place}")
    sentence = refuses(*words, saying="Scanner of 2024 is not in the run")
    rest = re.search(r"machine=(\S+)$", sentence)[1]  # type: ignore[index]
    assert "Scanner" not in rest
    assert "evaluation_eval.json" in succeeds(*words, f"machine={rest}").out
    save(table(machine="fan"), "run")  # a development machine, say
    refuses(
        *words, f"machine={rest},fan", saying="machine=fan has no labels in .*; it has those of 3DPrinter, .*Scanner"
    )


def test_a_machine_of_the_evaluation_set_without_labels_is_named(golden: Path) -> None:
    place = golden / "evaluator/2024"
    save(read_submission(place / "submissions/informative", read_ground_truth(place, YEAR), YEAR), "run")
    shutil.copytree(place, "truth", ignore=shutil.ignore_patterns("*Scanner*"))
    words = ("evaluate", "name=run", "year=2024", "part=eval", "ground_truth=truth")
    refuses(*words, saying="not whole: Scanner has no labels in truth, or not of every section; .* machine=3DPrinter")
    succeeds(*words, "machine=3DPrinter")


def test_a_section_of_the_evaluation_set_without_scores_is_named(golden: Path) -> None:
    place = golden / "evaluator/2022"
    rules = get_year(2022)
    submitted = read_submission(place / "submissions/informative", read_ground_truth(place, rules), rules)
    is_left_out = (submitted["machine"] == "fan") & (submitted["section"] == submitted["section"].max())
    save(submitted[~is_left_out].assign(label="", domain=""), "run")
    refuses(
        *("evaluate", "name=run", "year=2022", "part=eval", f"ground_truth={place}"),
        saying=f"fan has no scores of section {submitted['section'].max()}",
    )
