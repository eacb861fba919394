"""First shot: one configuration for all machines, attributes hidden, ten target clips, nothing of the test set."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from asd.core.files import read_json
from asd.detectors import REGISTRY
from asd.synthetic import make_machines
from tests.command import succeeds

MACHINES = ("fan", "valve")  # valve hides its attributes, as a third of the machines do
# Words that keep a training short; the same for every machine, as everything is.
QUICK = {
    "auto": ["auto.copies=1"],
    "autoencoder": ["training.epochs=2"],
    "embedding": [
        "embedding.encoder=multires_cnn",
        "embedding.epochs=2",
        "embedding.width=4",
        "embedding.windows_samples=512",
    ],
}
EACH = [pytest.param(name, marks=[pytest.mark.slow] * (name in QUICK)) for name in sorted(REGISTRY)]


def hide_attributes(machine: Path) -> None:
    """Training clips say section, domain and number; test clips not even a domain."""
    (machine / "attributes_00.csv").unlink()
    for clip in sorted((machine / "train").iterdir()):
        name = re.sub(r"(_normal_\d+)_.*", r"\1_noAttribute.wav", clip.name)
        clip.rename(clip.with_name(name))
    for i, clip in enumerate(sorted((machine / "test").iterdir())):
        clip.rename(clip.with_name(f"section_00_{i:04d}.wav"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("first_shot")
    make_machines(root, MACHINES, train_source=40, train_target=10, test_per_cell=2, duration_s=0.6)
    hide_attributes(root / "valve")
    return root


@pytest.fixture
def place(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(recorded, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(detector: str, *words: str) -> str:
    """Trains all machines with one command; returns the log."""
    quick = QUICK.get(detector, [])
    return succeeds("train", "machine=all", "data=data", "device=cpu", f"detector={detector}", *quick, *words).err


def model(name: str, machine: str) -> dict[str, bytes]:
    """What was learnt of a machine, apart from the note that says where its clips lie."""
    folder = Path("runs", name, machine, "seed0/model")
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("detector", EACH)
def test_one_configuration_fits_every_machine(place: Path, detector: str) -> None:
    train(detector)
    configurations = [
        yaml.safe_load(Path("runs", detector, machine, "seed0/config.yaml").read_text()) for machine in MACHINES
    ]
    assert configurations[0] == configurations[1]
    for machine in MACHINES:
        for path in Path("runs", detector, machine, "seed0/scores").glob("*.csv"):
            table = pd.read_csv(path)
            assert len(table) == 8
            assert table["score"].notna().all()
            assert {*table["decision"]} <= {0, 1}
    hidden = pd.read_csv(next(Path("runs", detector, "valve/seed0/scores").glob("*.csv")))
    assert hidden[["domain", "label"]].isna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("detector", EACH)
def test_test_clips_decide_nothing_about_the_model(place: Path, detector: str) -> None:
    train(detector)
    for machine in MACHINES:
        shutil.rmtree(place / "data" / machine / "test")
    train(detector, "name=without")
    for machine in MACHINES:
        with_tests, without = model(detector, machine), model("without", machine)
        assert with_tests == without
        thresholds = [
            read_json(Path("runs", name, machine, "seed0/scores/thresholds.json")) for name in (detector, "without")
        ]
        assert thresholds[0] == thresholds[1]


@pytest.mark.slow
def test_machines_alone_or_jointly(place: Path) -> None:
    """Alone, a machine without attributes is clustered; jointly, the other machines are what to tell it from."""
    log = train("embedding", "name=alone")
    assert re.search(r"valve 00 has 2 real class\(es\).*split into \d pseudo-classes by k-means", log)
    assert "fan 00 has" not in log
    train("embedding", "name=joint", "embedding.joint=true")
    alone, joint = (
        pd.read_csv(Path("runs", name, "valve/seed0/scores/knn.csv"))["score"] for name in ("alone", "joint")
    )
    assert (alone != joint).any()
