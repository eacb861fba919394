"""What can be wrong on the way to a submission, by real commands: clips of the evaluation set, checkpoints.

Archives, disks and layouts are in test_obtaining.py and test_obtaining_broken_off.py, recordings in
test_bad_input.py.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from asd.challenge.years import get_year
from asd.data.recordings import Recordings
from asd.detectors.base import Scores
from tests.archive_server import ArchiveServer, serving
from tests.command import ONE_VIEW, asd, contents, refuses, succeeds, tiny_machines
from tests.miniature_year import publish_year
from tests.tiny_encoders import beats_pt, eat_folder

ROOT = get_year(2024).eval_root
YEAR = "year=2024"
TWO = "machine=ToothBrush,Scanner"  # the year has more
TRAIN = ("train", ONE_VIEW, "machine=all", YEAR, f"data={ROOT}")
LABEL = "Tester_LAB_task2_1"
PACKAGE = f"submissions/{LABEL}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveServer]:
    with serving() as archive:
        small = {"train_source": 8, "train_target": 2, "test_per_cell": 2, "duration_s": 0.5}
        publish_year(archive, 2024, tmp_path_factory.mktemp("clips"), evaluation=["ToothBrush", "Scanner"], **small)
        yield archive


@pytest.fixture
def evaluated(server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two evaluation machines of 2024, scored and evaluated by the published labels."""
    monkeypatch.chdir(tmp_path)
    fetch(server)
    succeeds(*TRAIN)
    succeeds("evaluate", YEAR, "part=eval", TWO)
    return tmp_path


def fetch(server: ArchiveServer) -> None:
    succeeds("data", YEAR, "machine=ToothBrush,Scanner", *server.words)


def package_defects() -> str:
    """What `validate` says of a package of the run as it is."""
    shutil.rmtree("submissions", ignore_errors=True)
    words = ("submit", f"label={LABEL}", YEAR)
    refuses(*words, saying=r"3DPrinter of 2024 is not in the run; .* machine=Scanner,ToothBrush$")
    assert asd(*words, "machine=Scanner,ToothBrush").code == 1
    assert "WARNING: machine=all: packaging a rehearsal of Scanner, ToothBrush" in asd(*words, "machine=all").err
    answer = asd("validate", f"path={PACKAGE}", YEAR, f"data={ROOT}")
    assert answer.code == 1
    return answer.out


def test_an_evaluation_clip_that_is_missing(evaluated: Path, server: ArchiveServer) -> None:
    before = contents(Path("runs/statistics"))
    shutil.copytree("data", "whole")
    clip = evaluated / ROOT / "Scanner/test/section_00_0003.wav"
    clip.unlink()
    checked = asd("data-check", YEAR, "machine=Scanner")
    assert (checked.code, checked.out.count("damaged")) == (1, 1)
    assert "1 of 8 files missing or changed, the first test/section_00_0003.wav" in checked.out
    assert re.search("ground truth .* present .* no labels of 3DPrinter, ", checked.out)
    assert "next: python -m asd data year=2024 part=all machine=Scanner" in checked.out
    succeeds("score", YEAR, f"data={ROOT}")
    refuses(
        *("evaluate", YEAR, "part=eval", TWO),
        saying=r"Scanner section 00 has 7 scores for 8 .* section_00_0003\.wav is missing; put it into test/",
    )
    shutil.move("data", "lacking")
    shutil.move("whole", "data")
    assert "has 7 rows in place of 8: it lacks 'section_00_0003.wav'" in package_defects()
    official = [f"submission={PACKAGE}", f"ground_truth={get_year(2024).truth_root}", "out=official"]
    assert "section_00_0003.wav" in refuses("evaluate", YEAR, *official, saying="anomaly_score_Scanner")
    shutil.rmtree("data")
    shutil.move("lacking", "data")
    fetch(server)  # the way out
    succeeds("score", YEAR, f"data={ROOT}")
    succeeds("evaluate", YEAR, "part=eval", TWO)
    after = contents(Path("runs/statistics"))
    told = ("DONE", "clips.json")  # times of the day, and those of the clips, which were unpacked again
    assert {name for name in before if before[name] != after[name]} <= {name for name in before if name.endswith(told)}


def test_an_evaluation_clip_too_many(evaluated: Path) -> None:
    shutil.copytree("data", "whole")
    clip = evaluated / ROOT / "Scanner/test/section_00_0003.wav"
    shutil.copy(clip, clip.with_name("section_00_0099.wav"))
    succeeds("score", YEAR, f"data={ROOT}")
    refuses(
        *("evaluate", YEAR, "part=eval", TWO),
        saying=r"has 9 scores for 8 .* section_00_0099\.wav is not one of them; is it the data of that year",
    )
    shutil.rmtree("data")
    shutil.move("whole", "data")
    assert "lists 'section_00_0099.wav', which is not a clip of Scanner 00" in package_defects()


@pytest.fixture
def two_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_machines(Path("data"), "fan", "pump")


def beats(checkpoint: Path, *words: str) -> list[str]:
    chosen = ["detector=embedding", "embedding.encoder=beats", f"embedding.checkpoint={checkpoint}"]
    return ["train", "machine=all", "data=data", *chosen, *words]


def test_a_checkpoint_of_another_model(two_machines: Path, tmp_path: Path) -> None:
    other = eat_folder(tmp_path)
    refuses(*beats(other), saying=r"is a checkpoint of another model than Beats")
    refuses(*beats(Path("gone.pt")), saying=r"gone\.pt does not exist; wanted is .* published at")
    assert not list(Path("runs").rglob("DONE"))


def test_another_checkpoint_than_the_run_was_trained_with(two_machines: Path, tmp_path: Path) -> None:
    checkpoint = beats_pt(tmp_path)
    succeeds(*beats(checkpoint))
    before = contents(Path("runs/embedding"))
    beats_pt(tmp_path, seed=1)
    refuses("score", "detector=embedding", saying=r"another checkpoint|other weights|another encoder")
    assert contents(Path("runs/embedding")) == before


def test_embeddings_that_are_not_finite(two_machines: Path, tmp_path: Path) -> None:
    checkpoint = beats_pt(tmp_path)
    content = torch.load(checkpoint, weights_only=True)
    next(iter(content["model"].values())).fill_(torch.nan)
    torch.save(content, tmp_path / "damaged.pt")
    words = beats(tmp_path / "damaged.pt", "name=damaged")
    sentence = refuses(*words, saying=r"embedding of data/fan/train/\S+\.wav holds NaN or infinity")
    assert "fetch embedding.checkpoint again" in sentence
    answer = asd(*words, "--keep-going")
    assert answer.code == 2
    assert re.search(r"error: 2 failed: fan \(.*; pump \(.*; done: none$", answer.err.strip())
    assert not list(Path("runs/damaged").rglob("DONE"))


def test_scoring_machines_of_several_folders_asks_which(two_machines: Path, tmp_path: Path) -> None:
    tiny_machines(Path("elsewhere"), "valve")
    succeeds("train", ONE_VIEW, "machine=fan", "data=data", "name=mixed")
    succeeds("train", ONE_VIEW, "machine=valve", "data=elsewhere", "name=mixed")
    refuses("score", "name=mixed", saying=r"trained from several folders \(data, elsewhere\); say which with data=")
    succeeds("score", "name=mixed", "machine=valve")
    succeeds("score", "name=mixed", "machine=fan", "data=data")


def test_a_score_that_is_not_finite_is_not_written(two_machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asd.detectors.statistics import Statistics

    def broken(self: Statistics, recordings: Recordings) -> Scores:
        return {scorer: np.full(len(recordings), np.nan) for scorer in self.scorers}

    monkeypatch.setattr(Statistics, "score", broken)
    refuses(
        "train", ONE_VIEW, "machine=fan", "data=data", saying=r"the score of data/fan/test/\S+\.wav is nan \(12 of 12"
    )
    assert not list(Path("runs").rglob("DONE"))
    assert not list(Path("runs").rglob("scores/*.csv"))
