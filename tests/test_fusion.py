"""The stage `fuse` on real runs of a small machine, and the scales on which it averages."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asd import pipeline
from asd.core.files import read_json
from asd.evaluation.fusion import FUSIONS, Member, fuse, fuse_rank, fuse_z
from asd.runs import RunDirectory
from asd.settings.config import Fuse, Run
from asd.settings.stages import Evaluate
from asd.types import AsdError
from tests.command import contents
from tests.machines import tone_machine

RNG = np.random.default_rng(0)
TRAINING = [RNG.gamma(2.0, size=50), 100.0 + 5.0 * RNG.normal(size=50)]
MEMBERS = [RNG.gamma(2.0, size=9), 100.0 + 5.0 * RNG.normal(size=9)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of two seeds and one seed."""
    root = tmp_path_factory.mktemp("fusion")
    data = tone_machine(root / "data")
    shared = {"data": data, "runs": root / "runs"}
    pipeline.train(Run(**shared, name="one", statistics={"views": ["level_16"]}, seeds=[0, 1]))
    pipeline.train(Run(**shared, name="two", statistics={"views": ["kurtosis"], "backend": "knn"}))
    return root / "runs"


def z_scores(runs: Path, name: str, seed: int, scorer: str) -> np.ndarray:
    run = RunDirectory.of(runs, name, "fan", seed)
    training = run.training_scores()[scorer].to_numpy()
    table = run.scores.table(scorer).sort_values(["section", "domain", "file"])
    return (table["score"].to_numpy() - training.mean()) / training.std()


def test_members_count_once_whatever_their_seeds(runs: Path) -> None:
    (fused,) = pipeline.fuse(Fuse(members=["one", "two:kurtosis"], name="both", runs=runs))
    expected = [
        np.mean([z_scores(runs, "one", seed, "ensemble") for seed in (0, 1)], axis=0),
        z_scores(runs, "two", 0, "kurtosis"),
    ]
    np.testing.assert_allclose(fused.scores.table("fused")["score"], np.mean(expected, axis=0))


def test_three_members_are_averaged_test_and_training_clips_alike(runs: Path) -> None:
    """With three members a mean is no median."""
    members = ["one", "two:kurtosis", "two:ensemble"]
    (fused,) = pipeline.fuse(Fuse(members=members, name="three", runs=runs))
    one = np.mean([z_scores(runs, "one", seed, "ensemble") for seed in (0, 1)], axis=0)
    two = [z_scores(runs, "two", 0, scorer) for scorer in ("kurtosis", "ensemble")]
    expected = np.mean([one, *two], axis=0)
    np.testing.assert_allclose(fused.scores.table("fused")["score"], expected)
    training = []
    for name, seeds, scorer in (("one", (0, 1), "ensemble"), ("two", (0,), "kurtosis"), ("two", (0,), "ensemble")):
        every = [RunDirectory.of(runs, name, "fan", seed).training_scores() for seed in seeds]
        values = [table.sort_values("file")[scorer].to_numpy() for table in every]
        training.append(np.mean([(v - v.mean()) / v.std() for v in values], axis=0))
    np.testing.assert_allclose(fused.training_scores()["fused"], np.mean(training, axis=0), atol=1e-12)


def test_a_fused_run_is_a_run(runs: Path) -> None:
    (fused,) = pipeline.fuse(Fuse(members=["one", "two"], name="again", runs=runs))
    evaluation = pipeline.evaluate(Evaluate(name="again", runs=runs))
    assert evaluation["default"] == "fused"
    assert evaluation["scorers"]["fused"]["official_score"] > 0.9
    thresholds = read_json(fused.path / "scores" / "thresholds.json")
    table = fused.scores.table("fused")
    assert (table["decision"] == (table["score"] > thresholds["fused"]["value"])).all()
    assert read_json(fused.model / "facts.json")["ensemble_method_subsystem_count"] == 3


def test_the_same_fusion_has_the_same_fingerprint_and_another_one_its_own(runs: Path) -> None:
    asked = [(["one", "two"], "z"), (["one", "two"], "z"), (["one", "two"], "rank"), (["two", "two:kurtosis"], "z")]
    made = [
        pipeline.fuse(Fuse(members=members, method=method, name=f"f{i}", runs=runs))[0].done()["fingerprint"]
        for i, (members, method) in enumerate(asked)
    ]
    assert made[0] == made[1]
    assert len({*made}) == 3


def test_a_run_in_the_way_is_kept(runs: Path) -> None:
    pipeline.fuse(Fuse(members=["one"], name="kept", runs=runs))
    with pytest.raises(AsdError, match=r"kept exists; choose another name=, or overwrite=true"):
        pipeline.fuse(Fuse(members=["two"], name="kept", runs=runs))
    with pytest.raises(AsdError, match="is one of the members"):
        pipeline.fuse(Fuse(members=["one", "two"], name="one", runs=runs, overwrite=True))
    (runs / "kept/fan/seed0/config.yaml").unlink()  # the rest is still the work of somebody
    with pytest.raises(AsdError, match=r"kept exists; choose another name=, or overwrite=true"):
        pipeline.fuse(Fuse(members=["two"], name="kept", runs=runs))


@pytest.mark.parametrize("n_done", [0, 1])
def test_a_fusion_that_is_broken_off_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_done: int
) -> None:
    places = {"data": tone_machine(tmp_path / "data"), "runs": tmp_path / "runs"}
    tone_machine(tmp_path / "data", "pump")
    pipeline.train(Run(**places, name="one", statistics={"views": ["level_16"]}))
    pipeline.train(Run(**places, name="two", statistics={"views": ["level_64"]}))
    new = Fuse(members=["one"], name="fused", runs=tmp_path / "runs")
    other = Fuse(members=["one", "two"], name="fused", runs=tmp_path / "runs", overwrite=True)
    finish, done = RunDirectory.finish, list[RunDirectory]()

    def full(run: RunDirectory, *words: Any, **facts: Any) -> None:
        if len(done) == n_done:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(run)
        finish(run, *words, **facts)

    monkeypatch.setattr(RunDirectory, "finish", full)
    with pytest.raises(AsdError, match=r"cannot write .*No space left on device; free some space"):
        pipeline.fuse(new)
    assert contents(tmp_path / "runs/fused") == {}
    monkeypatch.setattr(RunDirectory, "finish", finish)
    pipeline.fuse(new)  # the same command goes on
    before = contents(tmp_path / "runs")
    done.clear()
    monkeypatch.setattr(RunDirectory, "finish", full)
    with pytest.raises(AsdError, match=r"cannot write .*No space left on device; free some space"):
        pipeline.fuse(other)
    assert contents(tmp_path / "runs") == before
    monkeypatch.setattr(RunDirectory, "finish", finish)
    assert {run.fused_members()[-1] for run in pipeline.fuse(other)} == {"two"}


def test_a_missing_scorer_or_run_is_named(runs: Path) -> None:
    with pytest.raises(AsdError, match="no scores of scorer=magic; it has ensemble, level_16"):
        pipeline.fuse(Fuse(members=["one:magic"], name="x", runs=runs))
    with pytest.raises(AsdError, match="runs there: "):
        pipeline.fuse(Fuse(members=["nobody"], name="x", runs=runs))


def test_a_run_and_its_default_scorer_are_one_member(runs: Path) -> None:
    with pytest.raises(AsdError, match="members one and one:ensemble are the same scores, which would count twice"):
        pipeline.fuse(Fuse(members=["one", "two", "one:ensemble"], name="x", runs=runs))
    assert not (runs / "x").exists()


def test_members_of_other_clips_are_refused(runs: Path, tmp_path: Path) -> None:
    data = tone_machine(tmp_path / "data", n_test=3)
    pipeline.train(Run(data=data, runs=runs, name="fewer", statistics={"views": ["level_16"]}))
    with pytest.raises(AsdError, match="scored different test clips"):
        pipeline.fuse(Fuse(members=["one", "fewer"], name="y", runs=runs))


def test_seeds_of_other_clips_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "one", tmp_path / "one")
    seeds = [RunDirectory.of(tmp_path, "one", "fan", seed) for seed in (0, 1)]
    table = seeds[1].scores.path / "ensemble.csv"
    table.write_text(table.read_text().replace("_0000", "_0100"))
    with pytest.raises(AsdError, match="one/fan/seed0 and a run fused with it scored different test clips"):
        fuse([Member(seeds, "ensemble")], "z")


def test_z_is_the_mean_of_standardised_scores() -> None:
    expected = [(s - t.mean()) / t.std() for s, t in zip(MEMBERS, TRAINING, strict=True)]
    np.testing.assert_allclose(fuse_z(MEMBERS, TRAINING), np.mean(expected, axis=0))


@pytest.mark.parametrize("method", sorted(FUSIONS))
def test_every_member_moves_the_result_by_its_share(method: str) -> None:
    """A mean, not a median: a third member that rises lifts the fused score however the others stand."""
    training = [*TRAINING, RNG.normal(size=50)]
    low, high = [np.full(4, np.quantile(training[2], q)) for q in (0.1, 0.9)]
    first, second = (s[:4] for s in MEMBERS)
    fused = [FUSIONS[method]([first, second, third], training) for third in (low, high)]
    alone = [FUSIONS[method]([third], training[2:]) for third in (low, high)]
    np.testing.assert_allclose(fused[1] - fused[0], (alone[1] - alone[0]) / 3)


def test_members_that_cut_long_recordings_into_others_windows_are_averaged_by_recording(tmp_path: Path) -> None:
    for folder, n_clips in (("normal", 4), ("abnormal", 2)):
        (tmp_path / folder).mkdir()
        for i in range(n_clips):
            soundfile.write(tmp_path / folder / f"{i}.wav", RNG.normal(0, 0.1 * (1 + i), 496_000), 8000)
    shared: dict[str, Any] = {name: str(tmp_path / name) for name in ("normal", "abnormal")}
    shared |= {"machine": ["pump"], "held_out": 0.5}
    shared |= {"runs": tmp_path / "runs", "sample_rate_hz": 8000, "statistics": {"views": ["level_16"]}}
    pipeline.train(Run(**shared, name="long"))
    pipeline.train(Run(**shared, name="short", window_s=5))
    (fused,) = pipeline.fuse(Fuse(members=["long", "short"], name="both", runs=tmp_path / "runs"))
    own = [RunDirectory.of(tmp_path / "runs", name, "pump", 0).training_scores() for name in ("long", "short")]
    z = [t["ensemble"].sub(t["ensemble"].mean()).div(t["ensemble"].std(ddof=0)).groupby(t["file"]).mean() for t in own]
    assert [len(table) for table in own] == [14, 2]
    found = fused.training_scores().set_index("file")["fused"]
    np.testing.assert_allclose(found, (z[0] + z[1]) / 2)


@given(st.floats(0.01, 100.0), st.floats(-100.0, 100.0), st.sampled_from(sorted(FUSIONS)))
def test_units_of_a_member_change_nothing(factor: float, shift: float, method: str) -> None:
    fuse = FUSIONS[method]
    scaled = [factor * MEMBERS[0] + shift, MEMBERS[1]], [factor * TRAINING[0] + shift, TRAINING[1]]
    np.testing.assert_allclose(fuse(*scaled), fuse(MEMBERS, TRAINING), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", sorted(FUSIONS))
def test_a_clip_does_not_depend_on_the_others(method: str) -> None:
    together = FUSIONS[method](MEMBERS, TRAINING)
    alone = FUSIONS[method]([s[4:5] for s in MEMBERS], TRAINING)
    np.testing.assert_allclose(alone, together[4:5])


def test_ranks_are_robust_to_one_wild_member() -> None:
    wild = [MEMBERS[0].copy(), MEMBERS[1]]
    wild[0][0] = 1e9
    assert fuse_rank(wild, TRAINING)[0] < 1e4
    assert fuse_z(wild, TRAINING)[0] > 1e6


def test_order_beyond_all_training_scores_is_kept_by_rank() -> None:
    far = np.array([1e3, 2e3, 3e3])
    assert (np.diff(fuse_rank([far], [TRAINING[0]])) > 0).all()


def test_equal_training_scores_do_not_divide_by_zero() -> None:
    assert np.isfinite(fuse_z([np.array([4.0])], [np.full(5, 3.0)])).all()


def test_members_that_know_other_labels_and_seeds_of_other_clips_are_refused(runs: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(runs, tmp_path / "runs"))
    for path in (copy / "two/fan/seed0/scores/kurtosis.csv", copy / "one/fan/seed1/scores/ensemble.csv"):
        before = path.read_text()
        assert ",anomaly," in before
        path.write_text(before.replace(",anomaly,", ",,", 1))
        with pytest.raises(AsdError, match=r"scored different test clips, or know other labels of them"):
            pipeline.fuse(Fuse(members=["one", "two:kurtosis"], name="z", runs=copy))
        path.write_text(before)
