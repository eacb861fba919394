"""What was learnt of other data is never taken for what would be learnt of this, whatever it is that changed."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.command import ONE_VIEW, refuses, succeeds, tiny_machines
from tests.machines import tone_machine

SMALL_ENCODER = (
    *(
        "detector=embedding",
        "embedding.encoder=multires_cnn",
        "embedding.epochs=1",
        "embedding.windows_samples=256",
        "embedding.whole=false",
    ),
    *("embedding.width=4", "embedding.n_dims=8", "embedding.segment_samples=8000"),
)


def train(*words: str) -> str:
    """Trains; returns the log."""
    return succeeds("train", "machine=fan", "data=data", "device=cpu", ONE_VIEW, *words).err


def scores(run: str, scorer: str = "ensemble") -> pd.Series:
    return pd.read_csv(f"runs/{run}/fan/seed0/scores/{scorer}.csv").set_index("file")["score"]


def test_edited_attributes_are_other_data(place: Path) -> None:
    table = Path("data/fan/attributes_00.csv")
    table.write_text(re.sub(r"_speed_\d+", "_noAttribute", table.read_text()))  # names that say nothing
    for clip in [*Path("data/fan").glob("*/*_speed_*")]:
        clip.rename(clip.with_name(re.sub(r"_speed_\d+", "_noAttribute", clip.name)))
    train("name=edited")
    before, numbers = scores("edited"), itertools.count()
    table.write_text(re.sub(r"speed,\d+", lambda _: f"speed,{next(numbers) % 2}", table.read_text()))
    words = ("train", "machine=fan", "data=data", "device=cpu", ONE_VIEW, "name=edited")
    refuses(*words, saying="trained with another configuration or on other clips; .* overwrite=true")
    train("name=edited", "overwrite=true")
    train("name=fresh")
    assert scores("edited").equals(scores("fresh"))
    assert (scores("edited") != before).any()


def test_test_clips_that_were_learnt_from_are_told_by_train_and_by_score(place: Path) -> None:
    shutil.copytree("data", "other")
    clip = min(Path("other/fan/train").glob("*source*"))
    shutil.copy(clip, Path("other/fan/test/section_00_source_test_normal_0099.wav"))
    words = ("machine=fan", "name=learnt")
    assert "copies of training clips" not in train("name=learnt")
    assert "copies of training clips" not in succeeds("score", *words).err
    said = succeeds("score", *words, "data=other").err
    assert "fan: 1 of 13 test clips are copies of training clips (section_00_source_test_normal_0099.wav)" in said
    shutil.copy(clip, "data/fan/test/section_00_source_test_normal_0099.wav")
    assert "1 of 13 test clips are copies of training clips" in train("name=again")


def test_a_domain_that_only_the_folder_tells(place: Path) -> None:
    machine = Path("data/fan")
    for domain in ("source", "target"):
        (machine / f"{domain}_test").mkdir()
        for clip in [*(machine / "test").glob(f"*_{domain}_*")]:
            clip.rename(machine / f"{domain}_test" / clip.name)
    clip = min((machine / "source_test").iterdir())
    clip = clip.rename(clip.with_name("section_00_normal_0777.wav"))
    for folder in ("source", "target"):
        clip = clip.rename(machine / f"{folder}_test" / clip.name)
        assert "is done already" not in train("name=folders")
        table = pd.read_csv("runs/folders/fan/seed0/scores/ensemble.csv").set_index("file")
        assert table["domain"][clip.name] == folder


@pytest.mark.parametrize("change", ["content", "attributes"])
def test_a_joint_encoder_is_of_the_clips_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_machines(Path("data"), "fan", "pump")
    words = ("embedding.joint=true", *SMALL_ENCODER)
    train("name=joint", *words)
    encoders = {*Path("runs/.cache").glob("encoder-*")}
    assert len(encoders) == 1
    if change == "content":
        first, second, *_ = sorted(Path("data/pump/train").iterdir())
        facts = first.stat()
        shutil.copyfile(second, first)  # of the same length
        os.utime(first, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    else:
        table = Path("data/pump/attributes_00.csv")
        table.write_text(re.sub(r"(speed,\d+)", r"\1,load,7", table.read_text()))
    train("name=joint", "overwrite=true", *words)
    assert len({*Path("runs/.cache").glob("encoder-*")}) == 2
    train("name=fresh", f"runs={tmp_path}/elsewhere", *words)
    shutil.copytree(tmp_path / "elsewhere/fresh", "runs/fresh")
    assert scores("joint", "knn").equals(scores("fresh", "knn"))


def test_features_are_of_the_clips_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwritten by others of equal size and time of change, as a copying program may leave them."""
    monkeypatch.chdir(tmp_path)
    tone_machine(Path("data"), n_train=12, n_target=4, n_test=2)
    words = ("detector=autoencoder", "training.epochs=1")
    train("name=one", *words)
    normal, anomaly = (sorted(Path("data/fan/test").glob(f"*source*_{k}_*"))[0] for k in ("normal", "anomaly"))
    facts = normal.stat()
    normal.write_bytes(anomaly.read_bytes())
    os.utime(normal, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    train("name=one", *words)
    mse = pd.read_csv("runs/one/fan/seed0/scores/mse.csv").set_index("file")["score"]
    assert mse[normal.name] == mse[anomaly.name]
