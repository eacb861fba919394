"""A run's own scores stay its own, and an official score is never one over a part without a word."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from asd.challenge.years import get_year
from tests.command import ONE_VIEW, asd, contents, refuses, succeeds, tiny_machines

RUN = Path("runs/statistics")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two machines; to be copied, not changed."""
    return tiny_machines(tmp_path_factory.mktemp("two"), "fan", "pump")


@pytest.fixture
def data(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of them in data/."""
    shutil.copytree(two, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def trained_once(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines, trained and evaluated, in `work`; and all of it once more in `kept`."""
    folder = tmp_path_factory.mktemp("completeness")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "work").mkdir()
        patch.chdir(folder / "work")
        shutil.copytree(two, "data")
        succeeds("train", ONE_VIEW, "data=data")
        succeeds("evaluate")
    shutil.copytree(folder / "work", folder / "kept")
    return folder


@pytest.fixture
def trained(trained_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same two machines as they were, where they were: a run knows the place of its recordings."""
    work = trained_once / "work"
    shutil.rmtree(work)
    shutil.copytree(trained_once / "kept", work)
    monkeypatch.chdir(work)
    return work


def official(name: str = "evaluation") -> float:
    evaluation = json.loads((RUN / f"{name}.json").read_text())
    score: float = evaluation["scorers"][evaluation["default"]]["official_score"]
    return score


def hide_labels(folder: Path, n: int | None = None) -> None:
    """The first test clips of a machine under names that tell nothing."""
    for i, path in enumerate(sorted(folder.glob("*.wav"))[:n]):
        path.rename(path.with_name(f"section_00_{900 + i:04d}.wav"))


@pytest.mark.parametrize("labelled", [True, False])
def test_scores_of_other_recordings_never_replace_those_of_the_run(trained: Path, labelled: bool) -> None:
    before, score = contents(RUN), official()
    tiny_machines(Path("other"), "pump")  # the same machine, other clips
    for path in sorted(Path("other/pump/test").glob("*.wav"))[:4]:
        path.unlink()
    if not labelled:
        hide_labels(Path("other/pump/test"))
    answer = succeeds("score", "data=other", "machine=pump")
    after = contents(RUN)
    assert {name: after.get(name) for name in before} == before
    assert {name.split("/")[2] for name in after.keys() - before.keys()} == {"other"}
    assert "other/other-" in answer.out
    assert ("next: python -m asd evaluate" in answer.out) is labelled
    succeeds("evaluate")
    assert official() == score
    assert json.loads((RUN / "evaluation.json").read_text())["missing"] == []
    if labelled:
        succeeds("evaluate", "data=other", "machine=pump")
        assert official("evaluation_other") != score
        assert official() == score


def test_training_again_beside_other_test_clips_is_refused_or_asked_for(trained: Path) -> None:
    shutil.copytree("data", "copy")
    before = contents(RUN)
    succeeds("train", ONE_VIEW, "data=copy")  # the same clips
    assert contents(RUN) == before
    next(Path("copy/fan/test").glob("*.wav")).unlink()
    refuses(
        "train", ONE_VIEW, "data=copy", saying="fan and its test clips differ from those in copy; score them beside"
    )
    assert contents(RUN) == before
    succeeds("train", ONE_VIEW, "data=copy", "overwrite=true")
    assert len(pd.read_csv(RUN / "fan/seed0/scores/ensemble.csv")) == 11
    Path("copy").rename("moved")
    next(Path("moved/fan/test").glob("*.wav")).unlink()
    succeeds("train", ONE_VIEW, "data=moved")  # the place that the run knew is gone
    assert len(pd.read_csv(RUN / "fan/seed0/scores/ensemble.csv")) == 10


def test_new_test_clips_beside_the_training_clips_are_the_runs_own(trained: Path) -> None:
    next(Path("data/fan/test").glob("*.wav")).unlink()
    succeeds("score")
    assert len(pd.read_csv(RUN / "fan/seed0/scores/ensemble.csv")) == 11
    assert not list(RUN.rglob("other"))


def lose_scores(scorer: str, n: int) -> list[str]:
    """Takes rows out of a score table of the fan."""
    path = RUN / f"fan/seed0/scores/{scorer}.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table[n:].to_csv(path, index=False)
    return table["file"][:n].tolist()


def test_a_machine_that_was_begun_and_is_not_complete_is_named(trained: Path) -> None:
    (RUN / "pump/seed0/DONE").unlink()
    refuses("evaluate", saying=r"pump seed 0 was begun and is not complete .*machine=fan$")
    refuses("submit", "label=A_B_task2_1", saying="pump seed 0 was begun and is not complete")
    refuses("fuse", "members=statistics", saying="pump seed 0 was begun and is not complete")
    refuses("leaderboard", "members=statistics", saying="pump seed 0 was begun and is not complete")
    part = succeeds("evaluate", "machine=fan").out
    assert "This is a part of the run: pump is left out by machine=." in part
    assert json.loads((RUN / "evaluation.json").read_text())["missing"] == ["pump is left out by machine="]
    refuses("evaluate", "machine=", saying="machine= does not fit: it is empty")
    succeeds("leaderboard", "members=statistics", "machine=fan")
    succeeds("fuse", "members=statistics", "machine=fan")
    succeeds("submit", "label=A_B_task2_1", "machine=fan")


def test_a_machine_that_was_asked_for_and_is_gone_is_named(data: Path) -> None:
    succeeds("train", ONE_VIEW, "data=data", "machine=all")
    shutil.rmtree(RUN / "pump")
    saying = "pump was to be trained with the others and is not in the run"
    refuses("evaluate", saying=saying)
    stored = RUN / "fan/seed0/config.yaml"
    stored.write_text(yaml.safe_dump(yaml.safe_load(stored.read_text()) | {"machine": ["fan", "pump"]}))
    refuses("evaluate", saying=saying)
    refuses("submit", "label=A_B_task2_1", saying=saying)
    refuses("fuse", "members=statistics", saying=saying)
    assert "is not whole" not in succeeds("evaluate", "machine=fan").err
    succeeds("train", ONE_VIEW, "data=data", "machine=fan", "name=alone")
    succeeds("evaluate", "name=alone")


def test_a_machine_that_failed_is_named(data: Path) -> None:
    for clip in Path("data/pump/train").glob("*.wav"):
        clip.write_bytes(b"")
    assert asd("train", ONE_VIEW, "data=data", "keep_going=true").code == 2
    refuses("evaluate", saying="pump seed 0 was begun and is not complete")
    succeeds("evaluate", "machine=fan")


def test_damage_of_another_machine_is_told_and_does_not_end_the_command(data: Path) -> None:
    succeeds("train", ONE_VIEW, "data=data")
    (RUN / "pump/seed0/model/fit.json").write_text("{")
    for words in (("train", ONE_VIEW, "data=data"), ("evaluate",)):
        assert re.search(r"WARNING: .*pump/seed0/model/fit\.json", succeeds(*words, "machine=fan").err)


@pytest.mark.slow
def test_machines_of_other_options_are_named(data: Path) -> None:
    words = ("data=data", "name=mixed", ONE_VIEW)
    succeeds("train", "machine=all", *words)
    assert "other options" not in succeeds("evaluate", "name=mixed").err
    said = r"WARNING: runs/mixed: \w+ of seed 0 was trained with other options than \w+"
    assert re.search(said, succeeds("train", "machine=pump", *words, "backend=knn", "overwrite=true").err)
    for stage in ("evaluate", "leaderboard", "report"):
        answer = succeeds(stage, "members=mixed" if stage == "leaderboard" else "name=mixed", "machine=fan,pump")
        assert re.search(said, answer.err), stage


def test_clips_without_a_score_are_named(trained: Path) -> None:
    lost = lose_scores("ensemble", 2)
    sentence = refuses("evaluate", saying=r"fan lacks scores of 2 of 12 test clips .*machine=pump$")
    assert all(name in sentence for name in lost)
    refuses("submit", "label=A_B_task2_1", saying=lost[0])
    refuses("leaderboard", "members=statistics", saying=lost[0])
    refuses("fuse", "members=statistics", saying=lost[0])
    answer = succeeds("evaluate", "machine=fan")
    assert lost[0] in answer.err
    assert "fan lacks scores of 2 of 12" in json.loads((RUN / "evaluation.json").read_text())["missing"][0]
    packaged = asd("submit", "label=A_B_task2_1", "machine=fan")
    assert packaged.code == 1
    assert f"it lacks '{lost[0]}' and 1 more" in packaged.out


def test_scores_of_clips_that_are_no_test_clips_are_named(trained: Path) -> None:
    path = RUN / "fan/seed0/scores/ensemble.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1].replace("_0002", "_0099") + "\n")
    for words in (["evaluate"], ["submit", "label=A_B_task2_1"], ["leaderboard", "members=statistics"]):
        refuses(*words, saying=r"fan has scores that are of none of its test clips: 1 \(section_00_.*_0099")


@pytest.mark.parametrize("edit", ["lose rows", "lose labels", "a section as a number"])
@pytest.mark.parametrize("scorer", ["ensemble", "level_64"])
def test_a_table_of_any_scorer_that_was_edited_is_not_evaluated(trained: Path, scorer: str, edit: str) -> None:
    path = RUN / f"fan/seed0/scores/{scorer}.csv"
    first, *rows = path.read_text().splitlines(keepends=True)
    known = {"lose rows": "", "lose labels": re.sub("(,normal|,anomaly),", ",,", "".join(rows))}
    path.write_text(first + known.get(edit, "".join(rows).replace("fan,00,", "fan,0,")))
    what = {
        "ensemble": "lacks scores of|has no label for",
        "level_64": "has other clips or labels in the scores of level_64",
    }
    saying = f"runs/statistics is not whole: fan ({what[scorer]})"
    refuses("evaluate", saying=saying)
    refuses("leaderboard", f"members=statistics:{scorer}", saying=saying)


def test_clips_without_a_label_are_counted_and_named(trained: Path) -> None:
    hide_labels(Path("data/fan/test"), 3)
    succeeds("score")
    refuses("evaluate", saying=r"fan has no label for 3 of 12 test clips \(section_00_0900.wav, .*machine=pump$")
    assert "no label for 3 of 12" in succeeds("evaluate", "machine=fan").err
    hide_labels(Path("data/fan/test"))
    succeeds("score")
    refuses("evaluate", saying="fan has no label for 12 of 12 test clips")
    hide_labels(Path("data/pump/test"))
    assert "next: python -m asd evaluate" not in succeeds("score").out
    refuses("evaluate", saying="none of the test clips of runs/statistics has a label")


def test_scorers_that_a_machine_lacks_are_named(trained: Path) -> None:
    (RUN / "pump/seed0/scores/ensemble.csv").unlink()
    refuses("evaluate", saying="pump has no scores of scorer=ensemble")


def test_members_of_a_fusion_have_the_same_machines(trained: Path) -> None:
    succeeds("train", ONE_VIEW, "data=data", "machine=fan", "name=one")
    refuses("fuse", "members=statistics,one", saying="one has no pump, .*machine=fan$")
    succeeds("fuse", "members=statistics,one", "machine=fan")
    succeeds("evaluate", "name=fused")
    succeeds("fuse", "members=statistics", "name=both")
    succeeds("fuse", "members=one", "name=both", "overwrite=true")
    assert [path.name for path in Path("runs/both").iterdir() if any(path.glob("*/*"))] == ["fan"]


def test_a_fusion_has_no_model_and_is_not_trained_over(trained: Path) -> None:
    succeeds("fuse", "members=statistics", "name=both")
    before = contents(Path("runs/both"))
    for stage in ("explain", "score"):
        refuses(stage, "name=both", saying="this run is a fusion of statistics and has no model of its own")
    refuses("train", ONE_VIEW, "name=both", "data=data", saying="both/fan/seed0 was trained with another configuration")
    assert contents(Path("runs/both")) == before
    succeeds("train", ONE_VIEW, "name=both", "data=data", "overwrite=true")
    succeeds("score", "name=both")


def test_machines_of_the_challenge_are_known_by_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_machines(Path("data/dcase2025t2/dev_data/raw"), "fan", "valve")
    assert "evaluate name=statistics machine=fan" in succeeds("train", ONE_VIEW, "machine=fan").out
    refuses("evaluate", saying=r"ToyTrain of 2025 is not in the run; bearing .* machine=fan$")
    assert "evaluate name=all machine=fan,valve" in succeeds("train", ONE_VIEW, "machine=all", "name=all").out
    assert "evaluate name=fused machine=fan,valve" in succeeds("fuse", "members=all").out
    tiny_machines(Path("data/dcase2022t2/dev_data/raw"), "fan", "valve")
    succeeds("train", ONE_VIEW, "machine=all", "name=of2022", "year=2022")
    said = succeeds("fuse", "members=of2022", "name=fused2022").out
    assert "evaluate name=fused2022 machine=fan,valve" in said
    succeeds(*shlex.split(said.splitlines()[-1].partition("asd ")[2]))
    shutil.rmtree("runs/all")
    shutil.rmtree("runs/fused")
    assert "valve of 2025 is not in the run" in succeeds("evaluate", "machine=fan").out
    succeeds("train", ONE_VIEW, "machine=valve")
    said = succeeds("evaluate", "machine=fan").out
    assert "valve is left out by machine=" in said
    assert "valve of 2025 is not in the run" not in said


def as_other_section(machine: Path, section: str, split: str) -> None:
    """Half of the clips of each kind under the name of another section."""
    for path in sorted(machine.glob(f"{split}/*.wav"))[::2]:
        path.rename(path.with_name(path.name.replace("section_00", f"section_{section}")))


def test_a_section_never_trained_on_is_named_and_marked(data: Path) -> None:
    as_other_section(Path("data/fan"), "07", "test")
    answer = succeeds("train", ONE_VIEW, "data=data")
    assert "fan section 07 has test clips but was never trained on" in answer.err
    assert "pump section" not in answer.err
    answer = succeeds("evaluate")
    assert "fan was never trained on section 07" in answer.out
    evaluation = json.loads((RUN / "evaluation.json").read_text())
    assert evaluation["untrained_sections"] == {"fan": ["07"]}
    assert "07*" in (RUN / "evaluation.md").read_text()
    rows = pd.read_csv(RUN / "evaluation.csv", dtype={"section": str})
    assert rows[(rows["section"] == "07") & (rows["machine"] == "fan")]["trained"].eq(False).all()
    succeeds("fuse", "members=statistics")
    assert "fan was never trained on section 07" in succeeds("evaluate", "name=fused").out


def test_a_section_that_was_trained_on_and_has_no_test_clips_is_named(data: Path) -> None:
    as_other_section(Path("data/fan"), "07", "train")
    succeeds("train", ONE_VIEW, "data=data")
    refuses("evaluate", saying="fan has no test clips of section 07, which it was trained on; .*machine=pump")


def test_decisions_are_printed_as_scikit_learn_counts_them(trained: Path) -> None:
    from sklearn.metrics import f1_score, precision_score, recall_score

    table = pd.read_csv(RUN / "fan/seed0/scores/ensemble.csv")
    source = table[table["domain"] == "source"]
    truth, called = source["label"] == "anomaly", source["decision"]
    expected = [100 * f(truth, called, zero_division=0) for f in (f1_score, precision_score, recall_score)]
    out = succeeds("evaluate").out.split("Decisions at the threshold")[1]
    row = next(line for line in out.splitlines() if line.startswith("| fan"))
    assert [float(cell.split()[0]) for cell in row.split("|")[3:6]] == pytest.approx(expected, abs=0.006)


def test_what_was_made_of_earlier_scores_is_named(trained: Path) -> None:
    """A fused run, a leaderboard and an evaluation, whose member is scored anew with another result."""
    succeeds("fuse", "members=statistics,statistics:level_64", "name=both")
    succeeds("evaluate", "name=statistics")
    succeeds("leaderboard", "members=statistics,both")
    assert "earlier scores" not in succeeds("evaluate", "name=both").err
    path = RUN / "fan/seed0/scores/ensemble.csv"
    table = pd.read_csv(path, dtype={"section": str})
    table.loc[0, "score"] += 1.0
    table.to_csv(path, index=False)
    scores = "those in runs/statistics/fan/seed0/scores are others since"
    said = succeeds("evaluate", "name=both").err
    assert f"runs/both/fan/seed0 is of earlier scores: {scores}; fuse anew with overwrite=true" in said
    assert f"runs/leaderboard.json is of earlier scores: {scores}; `leaderboard`" in said
    assert "runs/both/evaluation.json is" not in said
    said = succeeds("leaderboard", "members=statistics,both").err
    assert f"runs/statistics/evaluation.json is of earlier scores: {scores}; `evaluate`" in said
    assert "runs/leaderboard.json is" not in said
    assert "earlier scores" in succeeds("submit", "name=both", "label=A_B_task2_1", "machine=fan").err
    succeeds("fuse", "members=statistics,statistics:level_64", "name=both", "overwrite=true")
    succeeds("evaluate", "name=statistics")
    succeeds("leaderboard", "members=statistics,both")
    assert "earlier scores" not in succeeds("evaluate", "name=both").err


def test_a_fusion_that_fails_leaves_the_fused_run_that_is_there(trained: Path) -> None:
    words = ("fuse", "members=statistics,statistics:level_64", "name=both")
    succeeds(*words)
    before = contents(Path("runs/both"))
    (RUN / "pump/seed0/model/training_scores.csv").write_text("file,ensemble\nx.wav,1.0\n")
    assert asd(*words, "overwrite=true").code == 2
    assert contents(Path("runs/both")) == before


@pytest.mark.slow
def test_a_report_and_pictures_of_earlier_scores_are_named(trained: Path) -> None:
    succeeds("report", "machine=fan")
    succeeds("explain", "machine=fan", "worst=1")
    assert "earlier scores" not in succeeds("evaluate", "machine=fan").err
    path = RUN / "fan/seed0/scores/ensemble.csv"
    table = pd.read_csv(path, dtype={"section": str})
    path.write_text(table.assign(score=table["score"][::-1].to_numpy()).to_csv(index=False))
    scores = "those in runs/statistics/fan/seed0/scores are others since"
    said = succeeds("evaluate", "machine=fan").err
    assert f"runs/statistics/report.html is of earlier scores: {scores}; `report`" in said
    assert f"runs/statistics/fan/seed0/explain is of earlier scores: {scores}; `explain`" in said
    succeeds("report", "machine=fan")
    succeeds("explain", "machine=fan", "worst=1")
    assert "earlier scores" not in succeeds("evaluate", "machine=fan").err


@pytest.mark.parametrize("remove", [False, True])
def test_a_copied_seed_is_not_counted(trained: Path, remove: bool) -> None:
    """A folder of seed 0 that was copied, or renamed, to seed 1 is no second training."""
    shutil.copytree(RUN / "fan/seed0", RUN / "fan/seed1")
    if remove:
        shutil.rmtree(RUN / "fan/seed0")
    saying = "fan/seed1 is a copy of a training with another seed"
    refuses("evaluate", "machine=fan", saying=saying)
    refuses("predict", "machine=fan", "audio=data/fan/test", saying=saying)


def test_the_next_command_leaves_out_machines_that_allow_no_evaluation(data: Path) -> None:
    shutil.rmtree(data / "pump/test")
    told = succeeds("train", ONE_VIEW, "data=data").out
    assert "not to be evaluated, without test clips of both labels: pump" in told
    (following,) = re.findall(r"^next: python -m asd (.*)$", told, re.MULTILINE)
    assert "official score" in succeeds(*shlex.split(following)).out


def test_the_next_command_names_the_machine_of_which_a_section_is_not_tested(data: Path) -> None:
    for number, clip in enumerate(sorted((data / "fan/train").iterdir())):
        clip.rename(clip.with_name(clip.name.replace("section_00", f"section_0{number % 2}")))
    told = succeeds("train", ONE_VIEW, "data=data", "machine=fan").out
    assert succeeds(*shlex.split(told.rpartition("next: python -m asd ")[2])).err.count("is not whole") == 1


@pytest.mark.parametrize("stage", ["evaluate", "leaderboard", "fuse", "submit"])
def test_scores_without_the_list_of_their_clips_are_not_taken_for_whole(trained: Path, stage: str) -> None:
    words = {
        "leaderboard": ["members=statistics"],
        "fuse": ["members=statistics"],
        "submit": ["name=statistics", "label=A_B_task2_1", "year=2025"],
    }.get(stage, [])
    (RUN / "fan/seed0/scores/clips.json").unlink()
    for path in (RUN / "fan/seed0/scores").glob("*.csv"):  # as a copy that was broken off
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    refuses(stage, *words, saying="fan lacks .*/scores/clips.json, which lists its test clips; .* with machine=pump$")


def test_what_a_package_declares_is_there_or_missed(trained: Path) -> None:
    succeeds("fuse", "members=statistics", "name=fused")
    for name, saying in (
        ("statistics", r"fan/seed0/model/facts.json is missing or damaged; remove runs/statistics/fan/seed0/model and"),
        ("fused", r"runs/fused/fan/seed0/model/facts.json is missing; fuse anew with overwrite=true"),
    ):
        (RUN.parent / name / "fan/seed0/model/facts.json").unlink()
        refuses("submit", f"name={name}", "label=A_B_task2_1", saying=saying)


def test_what_a_mac_lays_beside_a_score_table_is_no_scorer(trained: Path) -> None:
    for path in RUN.glob("*/seed0/scores/*.csv"):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    succeeds("evaluate")
    succeeds("fuse", "members=statistics", "name=fused")


@pytest.mark.parametrize("machines", [["fan"], ["fan", "pump"]])
def test_a_stray_table_among_the_scores_is_named(trained: Path, machines: list[str]) -> None:
    """Other machines were said to lack a scorer of its name; in all folders it counted as a scorer."""
    for machine in machines:
        shutil.copy(RUN / machine / "seed0/scores/ensemble.csv", RUN / machine / "seed0/scores/old.csv")
    saying = r"not whole: fan has \S+scores/old.csv, which no scorer has written and which would count as one .move it."
    for words in (["evaluate"], ["leaderboard", "members=statistics"], ["fuse", "members=statistics"]):
        assert "scorer=old" not in refuses(*words, saying=saying)
    told = succeeds("score").out
    succeeds(*shlex.split(told.rpartition("next: python -m asd ")[2]))


def test_a_row_that_is_no_test_clip_is_no_score_of_one(trained: Path) -> None:
    table = RUN / "fan/seed0/scores/ensemble.csv"
    table.write_text(table.read_text().replace(",test,", ",train,", 1))
    refuses("evaluate", saying="fan lacks scores of 1 of .* test clips")


def test_a_fusion_of_machines_with_different_seeds_is_refused(trained: Path) -> None:
    succeeds("train", ONE_VIEW, "data=data", "seeds=1", "machine=fan")
    refuses("fuse", "members=statistics", saying=r"different seeds \(fan 0,1; pump 0\)")


@pytest.mark.parametrize("stage", ["fuse", "submit"])
@pytest.mark.parametrize("content", [None, "machine: [fan]\n", "sample_rate_hz: [1]\n"])
def test_a_configuration_that_tells_no_sample_rate_is_named(trained: Path, stage: str, content: str | None) -> None:
    config, words = RUN / "fan/seed0/config.yaml", ["label=A_B_task2_1", "year=2025"]
    succeeds("fuse", "members=statistics", "name=fused")
    before = contents(Path("runs/fused"))
    config.unlink() if content is None else config.write_text(content)
    asked = ["members=statistics", "overwrite=true"] if stage == "fuse" else ["name=statistics", *words]
    refuses(stage, *asked, saying="fan/seed0/config.yaml is missing or damaged .it tells no sample_rate_hz.; copy")
    assert contents(Path("runs/fused")) == before


def test_the_next_command_takes_a_rule_that_works_where_one_domain_has_no_normal_clips(trained: Path) -> None:
    for path in Path("data/fan/test").glob("*target_test_normal*"):
        path.unlink()
    for asked in (["machine=fan"], []):
        told = succeeds("score", "name=statistics", *asked).out
        command = next(line for line in told.splitlines() if line.startswith("next: ")).partition("asd ")[2]
        assert "Rule of 2020" in succeeds(*shlex.split(command)).out


def test_the_rule_is_that_of_the_year_that_a_run_was_trained_with(trained: Path) -> None:
    for machine, year in (("fan", 2021), ("pump", 2021)):
        file = RUN / machine / "seed0/config.yaml"
        file.write_text(file.read_text().replace("year: 2025", f"year: {year}"))
    succeeds("fuse", "members=statistics", "name=fused")
    for name in ("statistics", "fused"):
        assert "Rule of 2021" in succeeds("evaluate", f"name={name}").out
        assert "Rule of 2023" in succeeds("evaluate", f"name={name}", "year=2023").out
    assert "next: python -m asd report name=statistics" in succeeds("evaluate").out  # no evaluation set to package
    file.write_text(file.read_text().replace("year: 2021", "year: 2022"))
    refuses("evaluate", saying="statistics were trained with year=2021 and year=2022; say whose rule holds by year=")
    succeeds("evaluate", "machine=pump")
    succeeds("fuse", "members=statistics", "name=other", "machine=pump")
    assert "year: 2022" in Path("runs/other/pump/seed0/config.yaml").read_text()
    file.write_text(file.read_text().replace("year: 2022", "years: 2022"))  # by hand
    assert "Rule of 2022" in succeeds("evaluate", "machine=pump").out
    file.write_text(file.read_text().replace("years: 2022", "year: 2022"))
    for year in ("[1]", "abc", "1999"):  # what is there stays
        file.write_text(re.sub("year: .*", f"year: {year}", file.read_text()))
        for words in (["evaluate"], ["fuse", "members=statistics", "name=fused", "overwrite=true"]):
            refuses(*words, saying=r"pump/seed0/config.yaml holds year=.*; write one of 2020, .*2026 there")
    assert {*Path("runs/fused").glob("*/seed0/DONE")}
    succeeds("evaluate", "machine=fan")  # whose year is known


def test_members_of_several_years_have_no_rule_of_their_own(trained: Path) -> None:
    """That of 2025 held, without a word."""
    shutil.copytree(RUN, "runs/second")
    for file in Path("runs/second").glob("*/seed0/config.yaml"):
        file.write_text(file.read_text().replace("year: 2025", "year: 2021"))
    told = succeeds("fuse", "members=statistics,second", "name=fused").out
    saying = "members of runs/fused were trained with year=2021 and year=2025; say whose rule holds by year="
    refuses("evaluate", "name=fused", saying=saying)
    refuses("report", "name=fused", "clips=0", saying=saying)
    succeeds("fuse", "members=fused,second", "name=again")
    refuses("evaluate", "name=again", saying="runs/again were trained with year=2021 and year=2025")
    assert "Rule of 2025" in succeeds(*shlex.split(told.rpartition("next: python -m asd ")[2])).out
    assert "fused is left out: members of " in succeeds("leaderboard").err


def test_machines_of_several_years_are_named_with_all_of_them(trained: Path) -> None:
    """The next command was refused, and the warning had the first machine and the latest year."""
    file = RUN / "pump/seed0/config.yaml"
    file.write_text(file.read_text().replace("year: 2025", "year: 2021"))
    shutil.copytree(RUN, "runs/second")
    told = succeeds("fuse", "members=statistics,second", "name=fused").out
    assert "Rule of 2025" in succeeds(*shlex.split(told.rpartition("next: python -m asd ")[2])).out
    said = asd("submit", "label=A_B_task2_1", "year=2022").err
    assert "runs/statistics was trained with year=2021 and year=2025, and this is a package of 2022" in said


@pytest.mark.parametrize("words", [[], ["year=2020"]])
def test_the_machines_that_are_expected_are_those_that_were_published(trained: Path, words: list[str]) -> None:
    """Where the rule of 2020 stood in for that of 2025, a run was to have the machines of 2020."""
    for path in Path("data/fan/test").glob("*target_test_normal*"):
        path.unlink()
    manifest = {"archive": "dev_fan.zip", "record": get_year(2025).records.dev, "md5": None, "files": {}}
    Path("data/fan/manifest_dev.json").write_text(json.dumps(manifest))
    succeeds("score")
    every = "; ".join(f"{machine} of 2025 is not in the run" for machine in sorted({*get_year(2025).dev} - {"fan"}))
    refuses("evaluate", *words, saying=f"not whole: {every}; train")


def test_labels_by_ground_truth_take_the_year_of_the_training(trained: Path) -> None:
    """A section of the development set that lacks clips made it the rule, and the labels, of 2020."""
    for path in Path("data/fan/test").glob("*target_test_normal*"):
        path.unlink()
    succeeds("score")
    refuses("evaluate", "part=eval", saying="no ground truth in data/dcase2025t2/.*: `data year=2025 part=eval`")
    refuses("leaderboard", "members=statistics", "part=eval", saying="no ground truth in data/dcase2025t2/")


def test_the_development_set_of_years_with_the_same_machines_is_packaged_as_a_rehearsal(trained: Path) -> None:
    """It was held against the evaluation set, in a list of all that this lacks."""
    words = ("submit", "label=A_B_task2_1", "year=2021", "out=packages")
    answer = asd(*words)
    assert answer.code == 0
    assert (
        "WARNING: nothing of the evaluation set of 2021 is in the run: packaging a rehearsal of fan, pump" in answer.err
    )
    assert "WARNING: runs/statistics was trained with year=2025, and this is a package of 2021" in answer.err
    assert "this is not the whole evaluation set of 2021, which `validate` and `bundle` expect unless" in answer.out
    assert "next:" not in answer.out
    succeeds("validate", "packages/A_B_task2_1", "year=2021", "data=data")
    assert asd("validate", "packages/A_B_task2_1", "year=2021").code == 1


def test_both_sets_of_2022_in_one_folder_are_evaluated_and_packaged_apart(data: Path) -> None:
    """As their archives are unpacked into one folder: clips without a label are those of the evaluation set."""
    shutil.rmtree(data / "pump")
    for split in ("train", "test"):
        for number, clip in enumerate(sorted((data / "fan" / split).glob("*.wav"))):
            name = clip.name.replace("_00_", "_03_") if split == "train" else f"section_03_{number:04d}.wav"
            shutil.copy(clip, clip.with_name(name))
    succeeds("train", ONE_VIEW, "data=data", "year=2022")
    told = succeeds("evaluate").out
    assert "next: python -m asd submit name=statistics" in told
    found = json.loads((RUN / "evaluation.json").read_text())
    assert [*found["scorers"]["ensemble"]["machines"]["fan"]] == ["00"]
    answer = succeeds("submit", "label=A_B_task2_1", "year=2022", "machine=fan")
    assert "WARNING" not in answer.err
    packaged = sorted(path.name for path in Path("submissions/A_B_task2_1").glob("*.csv"))
    assert packaged == ["anomaly_score_fan_section_03_test.csv", "decision_result_fan_section_03_test.csv"]
    succeeds("validate", "submissions/A_B_task2_1", "year=2022", "data=data")
    unnamed = RUN / "fan/seed0/scores/ensemble.csv"
    unnamed.write_text(unnamed.read_text().replace(",anomaly,", ",,", 1))
    refuses("evaluate", saying="has no label for 1 of ")
    for path in (data / "fan/test").glob("section_00_target_test_normal*"):
        path.unlink()
    succeeds("score")
    told = succeeds("evaluate").out
    assert "Rule of 2020" in told
    assert "next: python -m asd submit name=statistics label=<LastName>_<Institute>_task2_1 year=2022" in told
    (RUN / "fan/seed0/scores/clips.json").unlink()  # the tables tell the sections, too
    answer = asd("submit", "label=A_B_task2_1", "year=2022")
    assert "slider of 2022 is not in the run" in answer.err
    assert "rehearsal" not in answer.err


def test_the_year_of_the_last_command_is_that_of_a_run(trained: Path) -> None:
    """That a folder holds machines of another year is told after the training, so it is said in a second one."""
    for words, year in ((["train", ONE_VIEW, "data=data", "year=2021"], 2021), (["score", "year=2020"], 2020)):
        told = succeeds(*words).out
        command = next(line for line in told.splitlines() if line.startswith("next: ")).partition("asd ")[2]
        assert f"Rule of {year}" in succeeds(*shlex.split(command)).out


@pytest.mark.parametrize("later", ["a copy", "a clock ahead"])
def test_a_recording_that_changed_is_named_whatever_the_times_of_the_run(trained: Path, later: str) -> None:
    clip, other = sorted(Path("data/fan/test").glob("*.wav"))[:2]
    clip.write_bytes(other.read_bytes())
    os.utime(clip, (0, 0))
    for path in RUN.rglob("clips.json"):
        if later == "a copy":
            path.write_bytes(path.read_bytes())
        else:
            os.utime(path, (4e9, 4e9))
    said = f"{clip.name} has changed since the scores of {RUN}/fan were made; `score` makes them anew"
    assert said in succeeds("evaluate").err
    succeeds("score", "name=statistics")
    assert "has changed" not in succeeds("evaluate").err
