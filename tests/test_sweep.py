"""Sweeps: spaces of options, configurations tried without test labels, what mattered, and the best as a file."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml

from asd.challenge.files import list_clips
from asd.challenge.years import get_year
from asd.core.files import read_json, write_json
from asd.data.audio import read_wav
from asd.detectors.statistics import Statistics
from asd.evaluation.comparison import best_elsewhere, importances, score_elsewhere
from asd.pipeline import train
from asd.settings.config import Run
from asd.settings.parsing import parse
from asd.settings.stages import Sweep
from asd.stages import planting
from asd.stages.planting import COPIES, plant
from asd.stages.trials import COMPLETE, Trial, draws, failure, grid, read_space
from asd.types import AsdError, Clip, Label, Split
from tests import loudness
from tests.command import asd, contents, refuses, succeeds
from tests.machines import tone_machine, write_clip
from tests.trees import write_tree

SPACE = """
statistics:
  backend: [knn_relative, knn]
statistics.neighbours: {low: 1, high: 3, step: 2}
detector: statistics
"""
SPACE_KEYS = ("statistics.backend", "statistics.neighbours")


def space_file(folder: Path, text: str = SPACE) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def test_a_grid_is_all_combinations(tmp_path: Path) -> None:
    found = grid(read_space(space_file(tmp_path)))
    keys = ("statistics.backend", "statistics.neighbours")
    assert [tuple(options[key] for key in keys) for options in found] == [
        ("knn_relative", 1), ("knn_relative", 3), ("knn", 1), ("knn", 3)
    ]  # fmt: skip
    assert {options["detector"] for options in found} == {"statistics"}


def test_the_space_that_comes_along_holds_configurations_that_train_takes() -> None:
    every = grid(read_space(Path(__file__).parents[1] / "configs/sweep.yaml"))
    assert len(every) == 9
    for options in every:
        parse(Run, [], options).detector_settings.check_names()


def test_a_range_may_have_numbers_as_people_write_them(tmp_path: Path) -> None:
    text = "{detector: autoencoder, autoencoder.training.learning_rate: {low: 1e-4, high: 1E-2, log: true}}"
    rates = [
        options["autoencoder.training.learning_rate"]
        for options in draws(read_space(space_file(tmp_path, text)), 50, 0)
    ]
    assert 1e-4 <= min(rates) < 2e-4
    assert 5e-3 < max(rates) <= 1e-2


def test_draws_lie_in_their_ranges_and_follow_the_seed(tmp_path: Path) -> None:
    text = "residual: {low: 0.5, high: 0.9}\nstatistics.neighbours: {low: 1, high: 64, log: true}\n"
    space = read_space(space_file(tmp_path, text))
    found = draws(space, 200, seed=1)
    assert found == draws(space, 200, seed=1) != draws(space, 200, seed=2)
    shares = [options["residual"] for options in found]
    assert 0.5 <= min(shares) < 0.52
    assert 0.88 < max(shares) <= 0.9
    counts = [options["statistics.neighbours"] for options in found]
    assert {*counts} <= {*range(1, 65)}
    assert min(counts) == 1
    assert max(counts) > 50
    assert 6 < np.median(counts) < 11  # sqrt(64): uniform in the logarithm
    few = read_space(space_file(tmp_path, "statistics.backend: [knn, gaussian]"))
    assert len(draws(few, 200, seed=1)) == 2


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("", "holds no key: value lines"),
        ("statistics.backend: []", "has no values"),
        ("statistics.bakend: [knn]", "did you mean backend"),
        ("residual: {low: 0.5, high: 7}", "residual=7"),
        ("residual: {low: 0.9, high: 0.5}", "is no range"),
        ("residual: {low: 0.5, high: 0.9}", "without step="),
        ("residual: {low: 0, high: 0.9, log: true}", "low above 0"),
        ("statistics.neighbours: [1, three]", "statistics.neighbours=three does not fit"),
        ("statistics.backend: [knn, magic]", "backend=magic is unknown; there are knn_relative"),
        ("statistics.views: [level, loud]", "statistics.views=loud is unknown; there are"),
        ("{detector: embedding, embedding.backends: [knn, magic]}", "backend=magic is unknown"),
        ("statistics: knn", "statistics"),
        ("- statistics.backend", "holds no key: value lines"),
        ("statistics.neighbours: {low: 1, high: 1000000000, step: 1}", "the grid has 1,000,000,000 configurations"),
        ("statistics.neighbours: {low: 1, high: 3, step: 0}", "is no range"),
        ("statistics.neighbours: {low: 1, high: 3, step: 0.5}", "a range of whole numbers, which step=0.5 leaves"),
        ("detector: {low: 1, high: 3, step: 1}", "detector=1"),
        ("statistics: {}", "holds no options"),
        ("data: [elsewhere]", "data is the same for all configurations of a sweep"),
        ("seeds: [0, 1]\nstatistics.backend: [knn]", "seeds is the same for all"),
        ("executor: [local, ray]", "executor is the same for all"),
        ("statistics.backend: [knn, gaussian, knn]", "statistics.backend has knn twice; keep one"),
        ("statistics.neighbours: [1, 2, '2']", "statistics.neighbours has 2 twice"),
        ("statistics.views: ['level,kurtosis', [level, kurtosis]]", "statistics.views has .* twice"),
        ("statistics.backend: [knn]\nbackend: [gaussian]", "it gives statistics.backend twice; keep one"),
        ("statistics.backend: [knn]\nstatistics: {backend: [gaussian]}", "it gives statistics.backend twice"),
        ("residual: {low: 0.1, high: 0.8, step: 1.0e-12}", "has more than 1,000,000 steps"),
        ("statistics.neighbours: {low: 1, high: 4, log: 'no'}", "is no range"),
        ("decision.quantile: [0.5, 0.9]", "no value of decision.quantile makes scores better; give it one value"),
        ("held_out: {low: 0.1, high: 0.3}", "no value of held_out makes scores better"),
        ("residual: {low: 0.5, high: 0.9, step: .nan}", "is no range"),
        (f"statistics.neighbours: {{low: 1, high: {10**30}, step: 1}}", "is no range"),
        ("{detector: [statistics, autoencoder], backend: knn}", r"\(detector=autoencoder\): backend= is no option of"),
        ("{detector: [autoencoder, statistics], statistics.backend: [knn, magic]}", "backend=magic is unknown"),
    ],
)
def test_a_space_that_is_none_is_a_sentence(tmp_path: Path, text: str, saying: str) -> None:
    words = ("sweep", f"data={tmp_path}", f"space={space_file(tmp_path, text)}", f"runs={tmp_path}/runs")
    tone_machine(tmp_path, n_train=8)
    refuses(*words, saying=saying)
    assert not (tmp_path / "runs").exists()


def test_an_option_fits_by_what_the_space_says_beside_it(tmp_path: Path) -> None:
    text = "{detector: embedding, embedding.epochs: [1, 2], embedding.mixup: {low: 0.0, high: 0.5}, "
    space = read_space(space_file(tmp_path, text + "embedding.encoder: [multires_cnn, resnet_se]}"))
    assert len(space["embedding.epochs"].values) == 2
    for encoders in ("[fault_mlp]", "[multires_cnn, fault_mlp]"):
        with pytest.raises(AsdError, match=r"embedding\.epochs is no option of embedding\.encoder=fault_mlp"):
            read_space(space_file(tmp_path, f"{text}embedding.encoder: {encoders}}}"))


def test_the_name_of_a_sweep_is_the_name_of_a_folder(place: Path) -> None:
    for name in ("../other", "", "a b"):
        refuses("sweep", "data=data", "space=space.yaml", f"name={name}", saying=f"name={name} does not fit")
    assert not Path("runs").exists()


def test_the_seed_of_the_draws_is_not_that_of_the_trainings() -> None:
    config = parse(Sweep, ["data=data", "space=space.yaml", "seed=7"])
    assert (config.seed, config.seeds) == (7, [0])
    assert parse(Run, ["seed=7"]).seeds == [7]
    with pytest.raises(AsdError, match="seed=4294967296 does not fit"):
        parse(Sweep, ["data=data", "space=space.yaml", f"seed={2**32}"])  # which numpy would not take


@pytest.mark.parametrize("method", ["grid", "optuna"])
def test_a_value_that_is_a_list_is_written_with_commas(place: Path, method: str) -> None:
    space_file(place, "statistics.views: [[level_64, kurtosis], level_64]\nstatistics.backend: knn")
    words = ("machine=fan", "space=space.yaml", f"method={method}", "executor=here", "device=cpu")
    said = succeeds("sweep", "data=data", *words).out
    assert "| level_64,kurtosis |" in said
    assert {*pd.read_csv("runs/sweeps/sweep/sweep.csv")["statistics.views"]} == {"level_64,kurtosis", "level_64"}
    follows = "train config=runs/sweeps/sweep/best.yaml data=data machine=fan name=best"  # no more than was tried
    assert said.splitlines()[-1] == f"next: python -m asd {follows}"
    succeeds(*follows.split(), "device=cpu")


@pytest.mark.parametrize("method", ["grid", "optuna"])
def test_configurations_that_fail_are_counted_and_tried_again(place: Path, method: str) -> None:
    space_file(place, "channel: [0, 5]\nstatistics.views: level_64\nstatistics.backend: knn")
    words = ("machine=fan", "space=space.yaml", "executor=here", "device=cpu", "judge=labels")
    assert (
        "1 of 2 configurations failed; the same command tries them again" in succeeds("sweep", "data=data", *words).out
    )


BROKEN = """
from tests.loudness import Loudness

class Broken(Loudness):
    def fit(self, recordings):
        if self.settings.floor_db == -1:
            raise ZeroDivisionError("nothing to\\ndivide by")
        super().fit(recordings)
"""


@pytest.mark.parametrize("method", ["grid", "optuna"])
def test_a_detector_that_breaks_at_one_value_is_named_with_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    Path("broken.py").write_text(BROKEN)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    space_file(place, "detector: broken:Broken\nbroken.floor_db: [-1.0, -100.0, -90.0]\n")
    words = ("machine=fan", "space=space.yaml", "executor=here", "device=cpu", "judge=labels", f"method={method}")
    n_trials = (lambda n: [f"trials={n}"]) if method == "optuna" else (lambda n: [])
    answer = succeeds("sweep", "data=data", *words, *n_trials(3))
    assert "Traceback" in answer.err
    assert re.search(r"\| failed: ZeroDivisionError: nothing to divide by .*\| +-1 \|", answer.out)
    table = pd.read_csv("runs/sweeps/sweep/sweep.csv")
    assert sorted(table["broken.floor_db"]) == [-100, -90, -1]
    space_file(place, "detector: broken:Broken\nbroken.floor_db: -1.0\n")
    answer = asd("sweep", "data=data", *words, *n_trials(1))
    assert answer.code == 2
    assert "error: none of 1 configurations could be tried: failed: ZeroDivisionError" in answer.err
    for path in Path("runs/sweeps/sweep/results").glob("*.json"):
        write_json(path, {"options": read_json(path)["options"]})
    space_file(place, "detector: broken:Broken\nbroken.floor_db: [-1.0, -100.0, -90.0]\n")
    saying = r"results/\w+\.json is damaged \(no machines\); remove it"
    refuses("sweep", "data=data", *words, *n_trials(1), saying=saying)
    refuses("sweep", "data=data", *words[:-1], "trials=2", saying="trials=2 is unread as method=grid tries all")


def test_a_result_that_was_edited_is_named(tmp_path: Path) -> None:
    trial = Trial({}, {"seeds": [0]}, ("fan",), str(tmp_path), "recordings")
    write_json(tmp_path / "results" / f"{trial.key}.json", {"state": "complete"})
    with pytest.raises(AsdError, match=r"results/.*\.json is damaged \(no machines\); remove it"):
        trial.known()


@pytest.mark.parametrize(
    "edit",
    [
        *({"score": score} for score in ("high", True, float("nan"))),
        *({"machines": machines} for machines in ([], {"fan": "x"})),
        *({key: None} for key in ("options", "so_far", "number", "state")),
    ],
)
def test_a_result_of_another_form_is_named(tmp_path: Path, edit: dict[str, Any]) -> None:
    trial = Trial({}, {"seeds": [0]}, ("fan",), str(tmp_path), "recordings")
    result = {**failure({}, ""), "score": 0.9, "state": COMPLETE, "so_far": [0.9], "machines": {"fan": 0.9}}
    write_json(tmp_path / "results" / f"{trial.key}.json", result)
    assert trial.stored() == result
    write_json(tmp_path / "results" / f"{trial.key}.json", result | edit)
    with pytest.raises(AsdError, match=rf"is damaged \(no {next(iter(edit))}\); remove it"):
        trial.stored()


def test_a_result_is_of_the_version_of_its_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial({}, {"seeds": [0]}, ("fan",), "runs/sweeps/sweep", "recordings")
    before = trial.key
    monkeypatch.setattr(Statistics, "version", Statistics.version + 1)
    assert trial.key != before


def test_labels_that_a_judge_needs_are_asked_for_before_anything_is_trained(place: Path) -> None:
    for clip in Path("data/pump/test").glob("*anomaly*"):
        clip.unlink()
    for judge in ("labels", "others"):
        words = ("sweep", "data=data", "space=space.yaml", f"judge={judge}", "executor=here")
        refuses(*words, saying="known to be anomalous, and pump has none; leave it out with machine=")
    refuses("sweep", "data=data", "space=space.yaml", "machine=fna", saying="did you mean fan|fna")
    shutil.copytree("data/fan", "taken/score")
    refuses("sweep", "data=taken", "space=space.yaml", saying="the machine score has the name of another column")
    assert not Path("runs").exists()


@pytest.mark.parametrize(("judge", "part"), [("faults", "*target_*"), ("labels", "*target_test*")])
def test_clips_of_which_the_rule_makes_no_score_are_named_before_anything_is_trained(
    place: Path, judge: str, part: str
) -> None:
    shutil.copytree("data/fan", "source/fan", ignore=shutil.ignore_patterns(part))
    words = ("sweep", "data=source", "space=space.yaml", f"judge={judge}", "executor=here", "device=cpu")
    refuses(*words, saying="fan section 00 has no test clips labelled normal of the target domain.* with year=2020")
    assert not [*Path("runs").glob("sweeps/sweep/*/*/fan/seed0")]


def test_steps_have_no_digits_that_nobody_wrote(tmp_path: Path) -> None:
    space = read_space(space_file(tmp_path, "residual: {low: 0.1, high: 0.8, step: 0.2}"))
    assert [options["residual"] for options in grid(space)] == [0.1, 0.3, 0.5, 0.7]


def test_a_draw_from_a_fine_range_takes_no_time_and_lies_on_its_steps(tmp_path: Path) -> None:
    space = read_space(space_file(tmp_path, "training.epochs: {low: 1, high: 1000000001, step: 10}"))
    found = [options["training.epochs"] for options in draws(space, 50, seed=0)]
    assert len({*found}) == 50
    assert {epochs % 10 for epochs in found} == {1}


def test_held_out_clips_are_kept_and_their_copies_carry_faults(tmp_path: Path) -> None:
    data = tone_machine(tmp_path / "data", n_train=16, n_target=6)
    plant(Run(data=data), "fan", tmp_path / "planted", seed=3)
    plant(Run(data=data), "fan", tmp_path / "again", seed=3)
    assert contents(tmp_path / "planted") == contents(tmp_path / "again")
    train = list_clips(tmp_path / "planted", "fan", Split.TRAIN)
    test = list_clips(tmp_path / "planted", "fan", Split.TEST)
    normal = [clip for clip in test if clip.label is Label.NORMAL]
    assert len(train) + len(normal) == 16
    assert {clip.domain for clip in normal} == {"source", "target"}
    assert len(test) == (1 + COPIES) * len(normal)
    originals = [read_wav(clip.path)[0] for clip in list_clips(data, "fan", Split.TRAIN)]

    def nearest(path: Path) -> float:
        sound = read_wav(path)[0]
        return min(float(abs(sound - other).max()) for other in originals if other.shape == sound.shape)

    assert max(nearest(clip.path) for clip in [*train, *normal]) < 1e-3  # a rounding of 16 bits
    assert min(nearest(clip.path) for clip in test if clip.label is Label.ANOMALY) > 1e-3
    with pytest.raises(AsdError, match="2 target training clips"):
        plant(Run(data=tone_machine(tmp_path / "few", n_target=2)), "fan", tmp_path / "none", seed=0)


@pytest.mark.parametrize(("n_clips", "n_held_out"), [(4, 2), (6, 2), (11, 2), (12, 3), (40, 10)])
def test_a_quarter_of_a_section_is_held_out_from_its_first_clip_to_its_last(n_clips: int, n_held_out: int) -> None:
    clips = [Clip(Path(f"{i}.wav"), "fan", f"{i % 2:02d}", Split.TRAIN) for i in range(2 * n_clips)]
    for section in (0, 1):
        chosen = sorted(i // 2 for i in planting._held_out(clips) if i % 2 == section)
        assert (len(chosen), chosen[0], chosen[-1]) == (n_held_out, 0, n_clips - 1)
        assert np.ptp(np.diff(chosen)) <= 1  # evenly spread


def test_sections_of_any_name_are_numbered_as_far_as_two_digits_go() -> None:
    clips = [Clip(Path(f"{i}.wav"), "fan", f"hall {i:03d}", Split.TRAIN) for i in range(101)]
    assert [clip.section for clip in planting._named(clips[:100])] == [f"{i:02d}" for i in range(100)]
    with pytest.raises(AsdError, match="fan has 101 sections, and faults are planted in 100 at most"):
        planting._named(clips)


def test_faults_are_planted_in_recordings_of_any_section_and_condition(place: Path) -> None:
    """What they are of is what the detector learns from, and no domain is made up."""
    rows = []
    for i in range(16):
        write_clip(Path(f"hall/{i}.wav"), i)
        rows.append((f"hall/{i}.wav", "press", "normal", f"hall {i % 2}", f"1/2 load_{i % 2}"))
    table = pd.DataFrame(rows, columns=["path", "machine", "label", "section", "load"])
    table.to_csv("recordings.csv", index=False)
    space_file(place, "statistics.views: level_64")
    succeeds("sweep", "data=recordings.csv", "space=space.yaml", "executor=here", "device=cpu")
    (planted,) = Path("runs/sweeps/sweep").glob("data-*")
    clips = list_clips(planted, "press", Split.TRAIN)
    known = {(clip.section, clip.domain, *clip.attributes.items()) for clip in clips}
    assert known == {("00", None, ("condition", "c0")), ("01", None, ("condition", "c1"))}
    assert pd.read_csv("runs/sweeps/sweep/sweep.csv")["score"].notna().all()


def test_importance_is_that_of_the_option_which_moves_the_score() -> None:
    rng = np.random.default_rng(0)
    options = pd.DataFrame({"idle": rng.normal(size=40), "name": rng.choice(["a", "b"], 40)})
    scores = (options["name"] == "a") * 1.0 + 0.01 * rng.normal(size=40)
    found = importances(options, scores)
    assert [*found] == ["name", "idle"]
    assert found["name"] > 0.95
    assert sum(found.values()) == pytest.approx(1)
    assert importances(options[:3], scores[:3]) == {"idle": 0, "name": 0}


def test_a_choice_on_the_other_machines() -> None:
    scores = pd.DataFrame({"fan": [0.9, 0.5], "pump": [0.6, 0.7], "valve": [0.6, 0.8]})
    # fan: pump and valve prefer the second (0.5); pump: (0.75, 0.65) the first (0.6); valve: (0.75, 0.6) the first
    assert score_elsewhere(scores, "per_id") == pytest.approx((0.5 + 0.6 + 0.6) / 3)


def test_a_choice_of_one_configuration_alone_is_worth_its_official_score() -> None:
    one = pd.DataFrame({"fan": [0.9], "pump": [0.6], "valve": [0.3]})
    assert score_elsewhere(one, get_year(2025).rule) == pytest.approx(3 / (1 / 0.9 + 1 / 0.6 + 1 / 0.3))
    two = pd.DataFrame({"fan": [0.9, 0.5], "pump": [0.9, 0.5], "valve": [0.3, 0.5]})  # the mean prefers another
    assert best_elsewhere(two, get_year(2025).rule) == {"fan": 1, "pump": 1, "valve": 0}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for machine in ("fan", "pump"):
        tone_machine(Path("data"), machine, n_train=16, n_target=4, n_test=4)
    space_file(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_best_configuration_is_a_file_for_train(place: Path) -> None:
    words = ("sweep", "data=data", "space=space.yaml", "executor=here", "device=cpu")
    said = succeeds(*words).out
    folder = Path("runs/sweeps/sweep")
    table = pd.read_csv(folder / "sweep.csv")
    assert len(table) == 4
    assert table["score"].is_monotonic_decreasing
    assert table["score"].between(0.3, 1).all()
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert best["statistics.backend"] == table["statistics.backend"][0]
    assert (folder / "importance.png").read_bytes()[:4] == b"\x89PNG"
    assert "scores are those of planted faults" in said
    assert "chosen for each machine on the other machines" in said
    assert not [path for path in folder.glob("data-*/*/test/*") if "3000" in path.name]
    succeeds("train", f"config={folder / 'best.yaml'}", "data=data", "machine=fan", "name=best", "device=cpu")
    done = {path: path.stat().st_mtime_ns for path in folder.rglob("DONE")}
    assert len(done) == 8
    assert succeeds(*words).out == said  # nothing is tried again
    assert {path: path.stat().st_mtime_ns for path in done} == done
    labels = succeeds(*words, "judge=labels", "method=random", "trials=2", "name=labels").out
    assert "planted faults" not in labels
    other = succeeds(*words, "judge=others", "name=others").out
    assert "best/ of each machine" in other
    found = pd.read_csv("runs/sweeps/others/sweep.csv")
    for machine, judge in (("fan", "pump"), ("pump", "fan")):
        chosen = yaml.safe_load(Path(f"runs/sweeps/others/best/{machine}.yaml").read_text())
        rows = (found[[*SPACE_KEYS]] == [chosen[key] for key in SPACE_KEYS]).all(axis=1)
        assert found[judge][rows].item() == found[judge].max()
    succeeds(*words, "method=random", "trials=1", "judge=labels", "name=others")
    assert not Path("runs/sweeps/others/best").exists()  # which was of the command before
    file = next((folder / "results").glob("*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"state": "ended early", "score": 0.0}))
    succeeds(*words)  # what another method gave up is tried to the end
    assert sorted(pd.read_csv(folder / "sweep.csv")["score"]) == sorted(table["score"])
    single = succeeds(*words, f"space={space_file(place, 'statistics.backend: knn')}").out
    assert "importance.png" not in single
    assert not (folder / "importance.png").exists()
    refuses(*words, "judge=others", "machine=fan", saying="judges fan by other machines, and there is none")


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["faults", "labels"])
def test_results_are_of_the_recordings_and_of_the_code_that_there_are(
    place: Path, judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    words = ("sweep", "data=data", "space=space.yaml", "executor=here", "device=cpu", f"judge={judge}")
    text = Path(loudness.__file__).read_text()
    Path("mine.py").write_text(text)
    Path("space.yaml").write_text("detector: mine:Loudness\nloudness.floor_db: [-90, -80]\n")
    results = Path("runs/sweeps/sweep/results")

    def known() -> set[str]:
        monkeypatch.delitem(sys.modules, "mine", raising=False)
        importlib.invalidate_caches()
        succeeds(*words)
        return {path.stem for path in results.glob("*.json")}

    first = known()
    assert known() == first
    clips = sorted(Path("data/fan/train").glob("*.wav"))
    clips[0].write_bytes(clips[1].read_bytes())
    second = known() - first
    assert len(second) == 2
    Path("mine.py").write_text(text.replace("np.abs(", "-np.abs("))
    assert len(known() - first - second) == 2


LEVELS = "detector: tests.loudness:Loudness\nloudness.floor_db: "
SEARCH = ("sweep", "data=data", "space=space.yaml", "executor=here", "device=cpu", "judge=labels", "method=optuna")


@pytest.mark.slow
def test_a_search_that_was_stopped_finds_what_it_would_have_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space_file(place, LEVELS + "{low: -120.0, high: 0.0}\n")
    words = (*SEARCH, "trials=8")
    succeeds(*words, "runs=whole")
    whole = pd.read_csv("whole/sweep/sweep.csv").drop(columns="seconds")
    assert {*whole["state"]} == {"complete", "ended early"}
    assert whole["state"][0] == "complete"
    ended = [json.loads(path.read_text()) for path in Path("whole/sweep/results").glob("*.json")]
    assert {len(result["so_far"]) for result in ended if result["state"] == "ended early"} == {1}
    for runs in ("stopped", (place / "bucket").as_uri()):
        steps = iter([False] * 10 + [True])  # in the middle of the sixth configuration, after one that ended early

        def stopped(config: Run, steps: Iterator[bool] = steps) -> None:
            if next(steps):
                raise KeyboardInterrupt
            train(config)

        monkeypatch.setenv("XDG_CACHE_HOME", str(place / "one computer"))
        with monkeypatch.context() as patch:
            patch.setattr("asd.pipeline.train", stopped)
            assert asd(*words, f"runs={runs}").code == 130
        monkeypatch.setenv("XDG_CACHE_HOME", str(place / "another"))
        assert "asd-mirror" not in succeeds(*words, f"runs={runs}").out
        folder = place / runs.rpartition("/")[2] / "sweep"
        assert len([*folder.glob("results/*.json")]) == 8
        pd.testing.assert_frame_equal(pd.read_csv(folder / "sweep.csv").drop(columns="seconds"), whole)


@pytest.mark.slow
def test_a_search_goes_by_what_another_method_tried_and_ends_where_nothing_is_left(place: Path) -> None:
    space_file(place, LEVELS + "[-120.0, -90.0, -6.0, 0.0]\n")
    succeeds(*SEARCH, "method=random", "trials=2")
    done = {path: path.read_bytes() for path in Path("runs/sweeps/sweep/results").glob("*.json")}
    assert len(done) == 2
    write_json(Path("runs/sweeps/sweep/results/other.json"), {"options": [1]})  # not of this search, whatever it is
    succeeds(*SEARCH, "trials=3", "executor=local", "workers=2")
    assert len(pd.read_csv("runs/sweeps/sweep/sweep.csv")) == 3
    succeeds(*SEARCH, "trials=9")
    table = pd.read_csv("runs/sweeps/sweep/sweep.csv")
    assert sorted(table["loudness.floor_db"]) == [-120, -90, -6, 0]
    assert {path: path.read_bytes() for path in done} == done
    space_file(place, LEVELS + "[-120.0, -1.0]\n")
    succeeds(*SEARCH, "trials=2")  # of the results only one fits this space
    assert sorted(pd.read_csv("runs/sweeps/sweep/sweep.csv")["loudness.floor_db"]) == [-120, -1]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("statistics.backend", "[knn, gaussian]"),
        ("statistics.neighbours", "{low: 1, high: 9}"),
        ("statistics.neighbours", "{low: 1, high: 9, step: 2}"),
        ("statistics.neighbours", "{low: 1, high: 900, log: true}"),
        ("residual", "{low: 0.1, high: 0.9}"),
        ("residual", "{low: 0.1, high: 0.7, step: 0.2}"),
        ("residual", "{low: 0.1, high: 0.8, step: 0.3}"),
        ("statistics.neighbours", "{low: 1, high: 10, step: 2}"),
        ("residual", "{low: 0.001, high: 0.9, log: true}"),
    ],
)
def test_what_is_drawn_can_be_told_to_optuna_and_back(tmp_path: Path, option: str, values: str) -> None:
    choice = read_space(space_file(tmp_path, f"{option}: {values}\n"))[option]
    distributions = {option: choice.distribution()}
    for drawn in draws({option: choice}, 30, seed=0):
        params = {option: choice.parameter(drawn[option])}
        told = optuna.trial.create_trial(params=params, distributions=distributions, value=0.0)  # or ValueError
        assert choice.drawn(told.params[option]) == drawn[option]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        found = choice.drawn(study.ask(distributions).params[option])
        assert type(found) in {type(value) for value in choice.values or (choice.low,)}
        if choice.values:
            assert found in choice.values
        else:
            assert choice.low <= found <= choice.high


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["faults", "labels"])
def test_recordings_of_ones_own_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_tree(Path("data"), "mimii")
    space = space_file(tmp_path, "statistics.backend: [knn, gaussian]")
    succeeds("sweep", "data=data", f"space={space}", f"judge={judge}", "device=cpu")
    table = pd.read_csv("runs/sweeps/sweep/sweep.csv")
    assert list(table["state"]) == ["complete"] * 2
    assert table["pump"].between(0, 1).all()
