"""`--keep-going`: a machine or a test clip that fails does not stop the others; the exit code and a list tell of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from asd.core.executors import Finished, attempt
from asd.core.files import read_json
from asd.data.recordings import Recordings
from asd.detectors.base import Scores
from asd.detectors.statistics import Statistics
from asd.features.clip_statistics import ClipStatistics
from asd.features.logmel import LogMel
from asd.stages import running
from tests.command import ONE_VIEW, asd, contents, refuses, succeeds, tiny_machines


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_machines(tmp_path_factory.mktemp("three"), "fan", "pump", "valve")


@pytest.fixture
def place(three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(three, "data")
    clip = next(Path("data/pump/train").glob("*.wav"))
    clip.write_bytes(clip.read_bytes()[:100])
    return tmp_path


def done(place: Path) -> set[str]:
    return {path.parents[1].name for path in place.glob("runs/*/*/seed0/DONE")}


def test_the_others_are_done_and_the_failure_is_listed(place: Path) -> None:
    answer = asd("train", ONE_VIEW, "machine=all", "data=data", "--keep-going")
    assert answer.code == 2
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith("error: 1 failed: pump (")
    assert "is truncated" in last
    assert last.endswith("done: fan, valve")
    assert done(place) == {"fan", "valve"}
    assert asd("score", "machine=all", "data=data", "keep_going=true").code == 2
    refuses("evaluate", saying="runs/statistics is not whole: pump seed 0 was begun and is not complete")


def test_each_seed_is_done_apart_and_what_an_interruption_left_undone_is_known(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_by_one(work: Any, shares: Sequence[Any], *_: Any, **__: Any) -> Iterator[Finished]:  # and in no process
        for i, share in enumerate(shares):
            yield Finished(i, *attempt(work, share))
            if not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt

    interrupted: list[bool] = []
    monkeypatch.setattr(running, "finished", one_by_one)
    words = ("train", "machine=fan,valve", "data=data", "seeds=0,1", "executor=local")
    assert asd(*words, ONE_VIEW).code == 130
    said = refuses("evaluate", saying="not whole: fan seed 1 was begun .*; valve seed 0 was .*; valve seed 1 was")
    assert "pump" not in said  # which was not asked for
    succeeds("train", "machine=valve", "data=data", "seeds=1", "statistics.views=level_16", "overwrite=true")
    answer = asd(*words, ONE_VIEW)
    assert re.search(r"error: 1 failed: valve seed 1 \(.*another configuration.*\); done: fan$", answer.err.strip())
    assert "WARNING: runs/statistics: valve of seed 1 was trained with other options" in answer.err
    assert len([*Path("runs").rglob("DONE")]) == 4


def test_without_it_nothing_is_begun(place: Path) -> None:
    refuses("train", "machine=all", "data=data", saying="copy it again; keep_going=true does the other machines")
    assert done(place) == set()
    alone = asd("train", "machine=pump", "data=data")
    assert "is truncated" in alone.err
    assert "keep_going" not in alone.err
    joint = asd("train", "detector=embedding", "embedding.encoder=bottleneck", "embedding.joint=true", "data=data")
    assert "is truncated" in joint.err
    assert "keep_going" not in joint.err  # as no machine is learnt without the others


def test_it_changes_nothing_where_nothing_fails(place: Path) -> None:
    succeeds("train", ONE_VIEW, "machine=fan,valve", "data=data", "--keep-going")
    assert "is done already" in succeeds("train", ONE_VIEW, "machine=fan", "data=data").err
    next(place.glob("runs/statistics/fan/seed0/model/*.safetensors")).write_bytes(b"damaged")
    saying = "is missing or damaged; remove .*model and train again"
    refuses("train", ONE_VIEW, "machine=fan", "data=data", saying=saying)


def test_the_scores_of_what_was_learnt_have_a_row_per_clip_and_a_column_per_scorer(place: Path) -> None:
    succeeds("train", ONE_VIEW, "machine=fan", "data=data")
    run = place / "runs/statistics/fan/seed0"
    training = pd.read_csv(run / "model/training_scores.csv")
    assert {*training.columns} == {"file", *(path.stem for path in run.glob("scores/*.csv"))}
    assert training["file"].tolist() == sorted(path.name for path in Path("data/fan/train").iterdir())


def test_clips_that_have_scores_are_left_alone_by_train_and_scored_again_by_score(place: Path) -> None:
    words = ("machine=fan", "data=data")
    succeeds("train", ONE_VIEW, *words)
    (table,) = place.glob("runs/statistics/fan/seed0/scores/*level_64.csv")
    before = table.read_bytes()
    edited = pd.read_csv(table, dtype={"section": str}).assign(score=1.0)
    edited.to_csv(table, index=False)
    succeeds("train", ONE_VIEW, *words)
    assert (pd.read_csv(table)["score"] == 1.0).all()
    for more in ((), ("--keep-going",)):
        edited.to_csv(table, index=False)
        succeeds("score", *words, *more)
        assert table.read_bytes() == before


def test_scores_stay_where_a_machine_has_no_test_clips_any_more(place: Path) -> None:
    words = ("train", ONE_VIEW, "machine=fan", "data=data")
    succeeds(*words)
    run = Path("runs/statistics/fan/seed0")
    before = contents(run / "scores")
    shutil.rmtree("data/fan/test")
    told = succeeds(*words).err
    assert f"fan has no test clips any more: the scores in {run}/scores stay as they are" in told
    assert contents(run / "scores") == before


# --- one bad test clip costs its own score, not its machine's ------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def spoil(path: Path, value: float) -> None:
    samples = soundfile.read(path, dtype="float32")[0]
    samples[77] = value
    soundfile.write(path, samples, 16000, subtype="FLOAT")


BAD_CLIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "is truncated"),
    "empty": (lambda path: path.write_bytes(b""), "is not a readable WAV file"),
    "NaN": (lambda path: spoil(path, np.nan), "holds NaN or infinite samples"),
    "absurd": (lambda path: spoil(path, 1e30), "holds a sample of 1e\\+30"),
}


def test_bad_test_clips_cost_their_own_scores(place: Path) -> None:
    words = ("train", ONE_VIEW, "machine=fan", "data=data", "detector=statistics")
    succeeds(*words, "name=whole")
    clips = sorted(Path("data/fan/test").glob("*.wav"))
    bad = dict(zip(clips[3:7], BAD_CLIPS.values(), strict=True))
    for clip, (damage, saying) in reversed(bad.items()):  # the first bad one is named
        damage(clip)
        refuses(*words, "name=refused", saying=rf"{clip.name}.*{saying}")
    for _ in range(2):  # the second time it is done already, and the clips are still without a score
        answer = asd(*words, "name=spoilt", "--keep-going")
        assert answer.code == 2
        each = "".join(rf"\n  runs/spoilt/fan/seed0 {clip.name} \(.*{saying}.*\)" for clip, (_, saying) in bad.items())
        assert re.search(rf"^error: 4 failed:{each}\ndone: fan$", answer.err.strip(), re.MULTILINE)
    assert "is done already" in answer.err
    whole, spoilt = (pd.read_csv(f"runs/{name}/fan/seed0/scores/ensemble.csv") for name in ("whole", "spoilt"))
    names = [clip.name for clip in bad]
    wanted = whole[~whole["file"].isin(names)].reset_index(drop=True)
    pd.testing.assert_frame_equal(spoilt, wanted, rtol=1e-4, atol=1e-4)
    assert [*read_json(Path("runs/spoilt/fan/seed0/scores/unscored.json"))] == names
    assert names[0] in refuses("evaluate", "name=spoilt", saying="missing|no score")
    for clip in bad:
        shutil.copyfile(clips[7], clip)
    succeeds(*words, "name=spoilt", "--keep-going")
    assert not Path("runs/spoilt/fan/seed0/scores/unscored.json").exists()
    assert len(pd.read_csv("runs/spoilt/fan/seed0/scores/ensemble.csv")) == len(whole)


@pytest.mark.parametrize("in_steps", [1, 3])
def test_a_clip_in_other_units_than_the_others_costs_its_own_score(place: Path, in_steps: int) -> None:
    clips = sorted(Path("data/fan/test").glob("*.wav"))
    for path in clips[:in_steps] if in_steps == 1 else clips[1:]:
        samples, rate_hz = soundfile.read(path)
        soundfile.write(path, 32768 * samples, rate_hz, subtype="FLOAT")
    answer = asd("train", ONE_VIEW, "machine=fan", "data=data", "--keep-going")
    assert (answer.code, "holds floats far beyond 1, and" in answer.err) == (2, True)
    assert [*read_json(Path("runs/statistics/fan/seed0/scores/unscored.json"))] == [clips[0].name]
    refuses("train", ONE_VIEW, "machine=fan", "data=data", "name=strict", saying="holds floats far beyond 1, and")


def test_a_score_that_is_not_finite_costs_its_own_clip(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Statistics.score

    def broken(self: Statistics, recordings: Recordings) -> Scores:
        scores = score(self, recordings)
        scores["ensemble"][2] = np.nan
        return scores

    monkeypatch.setattr(Statistics, "score", broken)
    words = ("train", ONE_VIEW, "machine=fan", "data=data", "detector=statistics")
    third = sorted(Path("data/fan/test").glob("*.wav"))[2]
    refuses(*words, "name=refused", saying=f"the score of {third} is nan")
    answer = asd(*words, "name=kept", "--keep-going")
    assert answer.code == 2
    assert f"{third.name} (the score ensemble of {third} is nan" in answer.err
    tables = [*Path("runs/kept/fan/seed0/scores").glob("*.csv")]
    assert {path.stem for path in tables} == {"ensemble", "level_64"}
    for path in tables:
        assert third.name not in set(pd.read_csv(path)["file"])


NETWORKS = [
    ("detector=statistics", "statistics.views=level_64", "statistics.backend=knn"),
    ("detector=statistics", "statistics.views=level_64", "statistics.backend=gaussian"),
    ("detector=embedding", "embedding.encoder=bottleneck", "embedding.epochs=1", "embedding.backends=knn"),
    pytest.param(
        ("detector=embedding", "embedding.faults.networks=1", "embedding.backends=gaussian"), marks=pytest.mark.slow
    ),
    pytest.param(
        ("detector=autoencoder", "autoencoder.training.epochs=1", "autoencoder.n_mels=16"), marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("words", NETWORKS, ids=" ".join)
def test_features_that_are_not_finite_cost_their_own_clip(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    peak = np.float32(0.987)

    def spoilt(forward: Callable[..., Any]) -> Callable[..., Any]:
        def with_nan(self: torch.nn.Module, waveforms: torch.Tensor) -> Any:
            found = forward(self, waveforms)
            bad = waveforms.abs().amax(-1) == float(peak)
            for values in found.values() if isinstance(found, dict) else [found]:
                values[bad] = torch.nan
            return found

        return with_nan

    clips = sorted(Path("data/fan/test").glob("*.wav"))
    spoil(clips[3], peak)
    words = ("train", "machine=fan", "data=data", *words)
    succeeds(*words, "name=whole")
    shutil.rmtree("runs/.cache", ignore_errors=True)
    for kind in (ClipStatistics, LogMel):
        monkeypatch.setattr(kind, "forward", spoilt(kind.forward))
    refuses(*words, "name=refused", saying=clips[3].name)
    answer = asd(*words, "name=kept", "--keep-going")
    assert answer.code == 2
    assert re.search(rf"error: 1 failed: runs/kept/fan/seed0 {clips[3].name} \(.*\); done: fan$", answer.err.strip())
    for path in Path("runs/whole/fan/seed0/scores").glob("*.csv"):
        whole, kept = pd.read_csv(path), pd.read_csv(str(path).replace("whole", "kept"))
        wanted = whole[whole["file"] != clips[3].name].reset_index(drop=True)
        pd.testing.assert_frame_equal(kept, wanted, rtol=1e-3, atol=1e-3)


def test_no_test_clip_that_can_be_used_fails_the_machine(place: Path) -> None:
    for clip in Path("data/fan/test").glob("*.wav"):
        cut(clip)
    answer = asd("train", ONE_VIEW, "machine=fan,valve", "data=data", "--keep-going")
    assert answer.code == 2
    assert re.search(r"1 failed: fan \(none of 12 recordings can be used, as .* is truncated.*done: valve", answer.err)
