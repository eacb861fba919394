"""From a folder of recordings to an official score and a package, by the real command."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from asd import pipeline
from asd.challenge.years import get_year
from asd.detectors import AutoencoderSettings
from asd.settings.stages import DEFAULT_DETECTOR
from asd.synthetic import make_machines
from asd.types import SCORE_COLUMNS
from tests.command import Answer, asd, refuses, succeeds, tiny_machines

SEEDS = (0, 1, 2)
LABEL = "Tester_LAB_task2_1"
AUTOENCODER = ("detector=autoencoder", "training.epochs=2", "device=cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ of two machines and runs/pair of three seeds, evaluated; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    tiny_machines(folder / "data", "fan", "valve")
    words = (f"data={folder / 'data'}", f"runs={folder / 'runs'}", "name=pair", "seeds=0,1,2")
    succeeds("train", "machine=fan,valve", *words, *AUTOENCODER)
    succeeds("evaluate", "name=pair", f"runs={folder / 'runs'}")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_lies_as_it_is_described(trained: Path) -> None:
    for machine in ("fan", "valve"):
        for seed in SEEDS:
            run = trained / "runs/pair" / machine / f"seed{seed}"
            names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
            scorers = json.loads((run / "scores/thresholds.json").read_text()).keys()
            assert {"mse", "mahalanobis"} <= scorers
            model = {
                "weights.safetensors",
                "bank.safetensors",
                "fit.json",
                "facts.json",
                "front_end.json",
                "recorded.json",
                "training_scores.csv",
                "normal_spectra.safetensors",
                "windows.json",
            }
            assert names == {
                *("config.yaml", "metrics.jsonl", "DONE"),
                *(f"model/{name}" for name in model),
                *(f"scores/{scorer}.csv" for scorer in scorers),
                "scores/thresholds.json",
                "scores/clips.json",
            }
            stored = yaml.safe_load((run / "config.yaml").read_text())
            assert stored["autoencoder"]["training"]["epochs"] == 2
            assert stored["detector"] == "autoencoder"
            table = pd.read_csv(run / "scores/mse.csv", dtype={"section": str})
            assert tuple(table.columns) == SCORE_COLUMNS
            assert list(table["file"]) == sorted(path.name for path in (trained / "data" / machine / "test").iterdir())
            assert set(table["decision"]) <= {0, 1}


def test_seeds_differ_and_the_default_scorer_is_named(trained: Path) -> None:
    for scorer in ("mse", "mahalanobis"):
        tables = [pd.read_csv(trained / f"runs/pair/fan/seed{seed}/scores/{scorer}.csv") for seed in SEEDS]
        assert len({tuple(table["score"]) for table in tables}) == len(SEEDS)
    done = json.loads((trained / "runs/pair/fan/seed0/DONE").read_text())
    assert done["default"] == "mse"


def auc(table: pd.DataFrame, domain: str | None, max_fpr: float | None = None) -> float:
    """AUC as 2022 and later define it, by scikit-learn: a domain's normal clips, the anomalies of both."""
    table = table if domain is None else table[(table["domain"] == domain) | (table["label"] == "anomaly")]
    return float(roc_auc_score(table["label"] == "anomaly", table["score"], max_fpr=max_fpr))


def test_evaluation_is_means_over_seeds_in_the_form_described(trained: Path) -> None:
    evaluation = json.loads((trained / "runs/pair/evaluation.json").read_text())
    assert {k: evaluation[k] for k in ("year", "default", "seeds")} == {
        "year": 2025,
        "default": "mse",
        "seeds": [0, 1, 2],
    }
    assert next(iter(evaluation["scorers"])) == "mse"
    assert "mahalanobis" in evaluation["scorers"]
    for scorer, result in evaluation["scorers"].items():
        official = []
        cells: dict[tuple[str, str], list[float]] = {}
        for seed in SEEDS:
            values = []
            for machine in ("fan", "valve"):
                table = pd.read_csv(trained / f"runs/pair/{machine}/seed{seed}/scores/{scorer}.csv")
                row = {
                    "auc_source": auc(table, "source"),
                    "auc_target": auc(table, "target"),
                    "pauc": auc(table, None, max_fpr=0.1),
                }
                for name, value in row.items():
                    cells.setdefault((machine, name), []).append(value)
                values += row.values()
            official.append(len(values) / sum(1 / max(v, sys.float_info.epsilon) for v in values))
        assert result["official_score"] == pytest.approx(np.mean(official), abs=1e-12)
        assert result["official_score_std"] == pytest.approx(np.std(official, ddof=1), abs=1e-12)
        assert list(result["machines"]) == ["fan", "valve"]
        for machine, sections in result["machines"].items():
            assert list(sections) == ["00"]
            for name in ("auc_source", "auc_target", "pauc"):
                assert sections["00"][name] == pytest.approx(np.mean(cells[machine, name]), abs=1e-12)


def test_evaluation_in_three_forms_and_where_one_likes(trained: Path, here: Path) -> None:
    answer = succeeds("evaluate", "name=pair", f"runs={trained / 'runs'}", "json=deep/inside/x.json")
    folder = trained / "runs/pair"
    assert (here / "deep/inside/x.json").read_bytes() == (folder / "evaluation.json").read_bytes()
    table, _, where = answer.out.partition("written to ")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert any(line.startswith("| valve   | 00 ") for line in rows)
    assert set(rows) <= set((folder / "evaluation.md").read_text().splitlines())
    assert where.startswith(f"{folder}/evaluation.json, .csv and .md\nnext: python -m asd report name=pair runs=")
    rows = pd.read_csv(folder / "evaluation.csv", dtype={"section": str})
    assert {("mse", "fan", "00"), ("mahalanobis", "valve", "00")} <= set(
        rows[["scorer", "machine", "section"]].itertuples(index=False, name=None)
    )
    Path("page.md").write_text("Before\n<!-- decisions of pair -->\nold\n<!-- end -->\nAfter\n")
    words = ("scorer=mahalanobis", "json=y.json", "page=page.md")
    other = succeeds("evaluate", "name=pair", f"runs={trained / 'runs'}", *words)
    before, table, after = Path("page.md").read_text().split("\n\n")
    assert (before, after) == ("Before\n<!-- decisions of pair -->", "<!-- end -->\nAfter\n")
    assert [line.split()[1] for line in table.splitlines()[2:]] == ["fan", "valve", "mean"]
    assert "mahalanobis (default)" in other.out
    assert json.loads(Path("y.json").read_text())["default"] == "mahalanobis"
    succeeds("evaluate", "name=pair", f"runs={trained / 'runs'}")


@pytest.mark.slow
def test_all_machines(trained: Path, here: Path) -> None:
    """`all`, which is also the default, is the same as naming them, in any order."""
    words = (f"data={trained / 'data'}", *AUTOENCODER)
    for name, machine in (("every", ["machine=all"]), ("none", []), ("named", ["machine=valve,fan"])):
        succeeds("train", *machine, *words, f"name={name}")
        for each in ("fan", "valve"):
            scores = Path(each, "seed0/scores/mse.csv")
            assert (Path("runs", name) / scores).read_bytes() == (trained / "runs/pair" / scores).read_bytes()


def test_default_detector_end_to_end(trained: Path, here: Path) -> None:
    """With as few words as possible; the run is named after the detector."""
    train = succeeds("train", "machine=fan", f"data={trained / 'data'}")
    assert f"runs/{DEFAULT_DETECTOR}/fan/seed0" in train.out
    assert f"next: python -m asd evaluate name={DEFAULT_DETECTOR}" in train.out
    assert "official score" in succeeds("evaluate").out
    succeeds("score", "machine=fan")
    assert "packaged: submissions" in succeeds("submit", f"label={LABEL}").out


def test_config_file_below_the_words(trained: Path, here: Path) -> None:
    Path("own.yaml").write_text(
        f"machine: [valve]\ndata: {trained / 'data'}\nseed: 3\ndetector: autoencoder\n"
        "training: {epochs: 1, batch_size: 64}\ndecision.method: percentile\n"
    )
    succeeds("train", "training.epochs=2", "config=own.yaml", "name=own")
    stored = yaml.safe_load(Path("runs/own/valve/seed3/config.yaml").read_text())
    usual = AutoencoderSettings().training.model_dump()
    assert stored["autoencoder"]["training"] == usual | {"epochs": 2, "batch_size": 64}
    assert stored["decision"]["method"] == "percentile"
    succeeds("train", f"config={Path('runs/own/valve/seed3/config.yaml')}", "name=again")  # a run's own
    assert (
        Path("runs/again/valve/seed3/scores/mse.csv").read_bytes()
        == Path("runs/own/valve/seed3/scores/mse.csv").read_bytes()
    )


def test_score_knows_the_configuration_of_the_run(trained: Path, here: Path) -> None:
    words = ("machine=fan", f"data={trained / 'data'}", *AUTOENCODER, "autoencoder.n_mels=32", "name=small")
    succeeds("train", *words)
    table = Path("runs/small/fan/seed0/scores/mse.csv")
    before = table.read_bytes()
    table.unlink()
    succeeds("score", "machine=fan", "name=small")
    assert table.read_bytes() == before
    refuses("score", "machine=fan", "name=small", "autoencoder.n_mels=64", saying="another configuration")


# --- submission ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the evaluation machines of 2025 and one development machine, one clip per cell."""
    folder = tmp_path_factory.mktemp("rehearsed")
    machines = (*get_year(2025).eval, "ToyCar")
    counts = {"train_source": 4, "train_target": 1, "test_per_cell": 1}
    make_machines(folder / "data", machines, **counts, duration_s=0.5)
    for machine in get_year(2025).eval:  # evaluation clips tell no labels
        for number, clip in enumerate(sorted((folder / "data" / machine / "test").iterdir())):
            clip.rename(clip.with_name(f"section_00_{number:04d}.wav"))
    words = (f"data={folder / 'data'}", f"runs={folder / 'runs'}", "name=eval")
    succeeds("train", *words, "detector=autoencoder", "training.epochs=1", "device=cpu")
    return folder


def submit(rehearsed: Path, *words: object) -> Answer:
    """A package with fewer clips than the year has: it is written, and its defects make the exit code 1."""
    answer = asd("submit", "name=eval", f"runs={rehearsed / 'runs'}", f"label={LABEL}", *words)
    assert answer.code == 1, answer.err
    return answer


def test_submit_and_validate(rehearsed: Path, here: Path) -> None:
    answer = submit(rehearsed, "year=2025")
    assert f"packaged: submissions/{LABEL} and submissions/{LABEL}.zip" in answer.out
    folder = here / "submissions" / LABEL
    names = {path.name for path in folder.iterdir()}
    machines = tuple(get_year(2025).eval)
    assert names == {
        f"{LABEL}.meta.yaml",
        *(f"{kind}_{m}_section_00_test.csv" for kind in ("anomaly_score", "decision_result") for m in machines),
    }
    with zipfile.ZipFile(f"{folder}.zip") as archive:
        assert {Path(name).name for name in archive.namelist()} == names
    scores = pd.read_csv(
        folder / f"anomaly_score_{machines[0]}_section_00_test.csv", header=None, names=["file", "score"]
    )
    table = pd.read_csv(rehearsed / "runs/eval" / machines[0] / "seed0/scores/mse.csv")
    assert list(scores["file"]) == [f"section_00_{i:04d}.wav" for i in range(4)]
    assert list(scores["score"]) == list(table["score"])
    meta = yaml.safe_load((folder / f"{LABEL}.meta.yaml").read_text())
    assert meta["submission"]["label"] == LABEL
    figures = meta["results"]["development_dataset"]["ToyCar"]
    evaluation = succeeds("evaluate", "name=eval", f"runs={rehearsed / 'runs'}", "json=dev.json")
    assert "ToyCar" in evaluation.out  # the machines without labels are left out
    assert "next: python -m asd submit name=eval runs=" in evaluation.out
    metrics = json.loads(Path("dev.json").read_text())["scorers"]["mse"]["machines"]["ToyCar"]["00"]
    assert {key.rpartition("harmonic_mean_")[2]: value for key, value in figures.items()} == pytest.approx(
        {name: 100 * metrics[name] for name in ("auc_source", "auc_target", "pauc")}
    )
    official = asd("validate", f"submissions/{LABEL}", "year=2025")
    assert official.code == 1
    assert official.out.count("has 4 rows in place of 200") == 2 * len(machines)


def test_a_dry_run_shows_the_package_and_writes_nothing(rehearsed: Path, here: Path) -> None:
    answer = submit(rehearsed, "dry_run=true")
    assert f"dry run: submissions/{LABEL}.zip would hold" in answer.out
    assert f"task2/{LABEL}/{LABEL}.meta.yaml" in answer.out
    assert not (here / "submissions").exists()
    (sha256,) = re.findall("sha256 (.*)", answer.out)
    submit(rehearsed)
    written = Path(f"submissions/{LABEL}.zip").read_bytes()
    assert hashlib.sha256(written).hexdigest() == sha256


def test_validate_tells_by_its_exit_code(rehearsed: Path, here: Path) -> None:
    data = here / "data"  # without the development machine
    data.mkdir()
    for machine in get_year(2025).eval:
        (data / machine).symlink_to(rehearsed / "data" / machine)
    submit(rehearsed)
    folder = here / "submissions" / LABEL
    for path in (folder, f"{folder}.zip", folder.parent):
        answer = asd("validate", f"path={path}", f"data={data}")
        assert answer.code == 0, answer.out
        assert f"{path}: valid" in answer.out
    (folder / f"anomaly_score_{next(iter(get_year(2025).eval))}_section_00_test.csv").unlink()
    answer = asd("validate", folder, f"data={data}")
    assert answer.code == 1
    assert "1 defects" in answer.out
    assert "section_00_test.csv is missing" in answer.out


def test_submit_another_seed_scorer_and_machine(trained: Path, here: Path) -> None:
    words = ("name=pair", f"runs={trained / 'runs'}", f"label={LABEL}", "machine=valve")
    answer = succeeds("submit", *words, "seed=2", "scorer=mahalanobis")
    folder = here / "submissions" / LABEL
    assert len(list(folder.glob("*.csv"))) == 2
    packaged = pd.read_csv(folder / "anomaly_score_valve_section_00_test.csv", header=None)
    table = pd.read_csv(trained / "runs/pair/valve/seed2/scores/mahalanobis.csv").sort_values("file")
    assert list(packaged[1]) == list(table["score"])
    assert "to do: " in answer.out  # authors are not known to a run


# --- the official baseline ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_official_weights_give_the_official_scores(shared: Path, here: Path, kind: str) -> None:
    reference = shared / "reference/baseline_ae/bearing"
    weights = reference / "weights.safetensors"
    if kind == "pth":
        weights = here / "official.pth"
        torch.save(load_file(reference / "weights.safetensors"), weights)
    data = shared / "data/machines"
    words = (f"data={data}", "detector=autoencoder", "compatible=true", f"weights={weights}", "name=RUN")
    succeeds("score", "machine=bearing", *words)
    evaluated = succeeds("evaluate", "name=RUN", "json=evaluation.json")
    assert "official score" in evaluated.out
    scorers = json.loads(Path("evaluation.json").read_text())["scorers"]
    for scorer, official, tolerance in (("mse", "mse", 1e-4), ("mahalanobis", "mahala", 1e-3)):
        table = pd.read_csv(f"runs/RUN/bearing/seed0/scores/{scorer}.csv").set_index("file")["score"]
        wanted = pd.read_csv(reference / f"anomaly_score_{official}.csv", header=None, index_col=0)[1]
        assert sorted(table.index) == sorted(wanted.index)
        np.testing.assert_allclose(table[wanted.index], wanted, rtol=tolerance)
        section = pd.read_csv(reference / f"result_{official}.csv", dtype={"section": str}).iloc[0]
        found = scorers[scorer]["machines"]["bearing"]["00"]
        columns = {"auc_source": "AUC (source)", "auc_target": "AUC (target)", "pauc": "pAUC"}
        for name, column in columns.items():
            assert found[name] == pytest.approx(section[column], abs=1e-12)


@pytest.mark.parametrize("year", [2020, pytest.param(2024, marks=pytest.mark.slow)])
def test_submissions_as_the_organisers_evaluate_them(golden: Path, here: Path, year: int) -> None:
    """Here the words and the files; cell for cell it is in test_evaluator."""
    reference = golden / f"evaluator/{year}"
    words = (f"submission={reference / 'submissions'}", f"ground_truth={reference}", f"year={year}")
    answer = succeeds("evaluate", *words, "out=results", "json=results.json")
    systems = json.loads(Path("results.json").read_text())["systems"]
    assert systems.keys() == {path.name for path in (reference / "submissions").iterdir()}
    for name, found in systems.items():
        file = f"result_{name}.csv" if year == 2020 else f"{name}_result.csv"
        assert (here / "results" / file).is_file()
        assert f"  {name}: official score {100 * found['official_score']:.2f}\n" in answer.out
    assert answer.out.endswith("result files: results\n")
    refuses("evaluate", *words, "out=results.json/x", saying=r"cannot write results\.json/x.*Not a directory")


# --- demo ---------------------------------------------------------------------------------------------


def test_demo(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def few(root: Path) -> list[Path]:
        return make_machines(root, ("fan", "gearbox"), train_source=8, train_target=2, test_per_cell=2, duration_s=0.5)

    monkeypatch.setattr(pipeline, "make_machines", few)
    answer = succeeds("demo")
    for place in ("data/demo/fan/train", "runs/demo/evaluation.md", "submissions/Demo_ASD_task2_1.zip"):
        assert Path(place).exists()
        assert place.rsplit("/", 1)[0].removesuffix("/fan") in answer.out
    assert "| gearbox | 00 " in answer.out
    assert answer.out.splitlines()[-1].startswith("next: python -m asd train machine=fan data=")
    again = succeeds("demo")
    assert again.err.count("is done already") == 2
    assert again.out == answer.out
