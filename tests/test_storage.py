"""Recordings and runs at addresses: the same results, nothing of recordings on the disk, DONE last, one sentence."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import asd as library
from asd.challenge.ground_truth import read_ground_truth
from asd.challenge.years import get_year
from asd.core import storage
from asd.core.ray_executor import shared_place
from asd.data.codecs import write_wav
from asd.evaluation.labelling import published_truth
from asd.options import Execution
from asd.places import address_of, mirrored, spelled, written
from asd.settings.config import Run
from asd.settings.parsing import run_config
from asd.settings.stages import Predict
from asd.stages import running
from asd.studies.config import Digits
from asd.studies.digits.recordings import load_words
from asd.types import AsdError
from tests.command import ONE_VIEW, contents, refuses, succeeds, tiny_machines
from tests.machines import tone_machine
from tests.sounds import SOUNDSCAPES, write_events
from tests.sounds import TRAIN as TRAIN_EVENTS

PLANT, RUNS = "memory://plant", "memory://runs"
RUN = f"{RUNS}/statistics/fan/seed0"
TRAIN = ("train", f"data={PLANT}", f"runs={RUNS}", "device=cpu", ONE_VIEW)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_machines(tmp_path_factory.mktemp("machines"), "fan", "pump")


@pytest.fixture
def bucket(machines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A storage in memory with the recordings of two machines; mirrors and runs of this computer go with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    shutil.copytree(machines, "data")
    memory.put("data", "/plant", recursive=True)
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def files(memory: Any, root: str = "/runs") -> dict[str, bytes]:
    return {name.removeprefix(root): memory.cat_file(name) for name in memory.find(root)}


def another_computer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path(name).absolute()))


@given(st.lists(st.text("abc-_ é.", min_size=1).filter(lambda part: part not in (".", "..")), min_size=1))
def test_an_address_and_its_mirror_tell_each_other(parts: list[str]) -> None:
    for start in ("s3://", "file:///", "https://"):
        address = start + "/".join(parts)
        path = mirrored(address)
        assert path.is_absolute()
        assert address_of(path) == written(path) == address
    local = Path(*parts)
    assert mirrored(str(local)) == local
    assert address_of(local) is None


def test_a_message_shows_addresses(bucket: Any) -> None:
    text = f"next: runs={mirrored('s3://bucket/runs')}/a, {mirrored('file:///srv/x y.wav')} (data/fan)"
    assert spelled(text) == "next: runs=s3://bucket/runs/a, file:///srv/x y.wav (data/fan)"


@pytest.mark.slow
def test_results_are_those_of_folders_and_recordings_stay_where_they_are(bucket: Any) -> None:
    answer = succeeds(*TRAIN)
    assert "asd-mirror" not in answer.out + answer.err
    assert RUN in answer.out
    succeeds("train", "data=data", "device=cpu", ONE_VIEW)
    here, there = contents(Path("runs/statistics")), files(bucket, "/runs/statistics/")
    assert here.keys() == there.keys()
    named = ("DONE", "config.yaml", "clips.json", "fit.json", "normal_spectra.safetensors")  # seconds and places
    assert {n: c for n, c in here.items() if not n.endswith(named)} == {
        n: c for n, c in there.items() if not n.endswith(named)
    }
    mirror = mirrored(PLANT)
    heard = [path for path in mirror.rglob("*.wav") if path.stat().st_blocks]
    assert len([*mirror.rglob("*.wav")]) == len([*Path("data").rglob("*.wav")])
    assert heard == []
    assert (mirror / "fan/attributes_00.csv").read_bytes() == Path("data/fan/attributes_00.csv").read_bytes()


@pytest.mark.slow
def test_another_computer_goes_on_with_what_is_there(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeds(*TRAIN, "machine=fan")
    done = files(bucket)
    another_computer(monkeypatch, "second")
    answer = succeeds(*TRAIN)
    assert f"{RUN} is done already" in answer.err
    assert done.items() <= files(bucket).items()
    another_computer(monkeypatch, "third")
    official = succeeds("evaluate", f"runs={RUNS}", "machine=fan").out
    assert f"written to {RUNS}/statistics/evaluation.json" in official
    assert json.loads(bucket.cat_file("/runs/statistics/evaluation.json"))["name"] == "statistics"
    assert not [*Path("third").rglob("model")]  # scores are enough
    words = (f"runs={RUNS}", "machine=fan", "device=cpu")
    succeeds("predict", f"audio={PLANT}/fan/test", *words, "out=there")
    succeeds("predict", "audio=data/fan/test", *words, "out=here")
    tables = [pd.read_csv(f"{place}/predictions.csv") for place in ("there", "here")]
    assert {*tables[0]["path"]} == {f"{PLANT}/{path[5:]}" for path in tables[1]["path"]}
    pd.testing.assert_frame_equal(*(table.drop(columns="path") for table in tables))
    assert tables[0]["nearest"].str.startswith(f"{PLANT}/fan/train/").all()
    model = library.load(f"{RUNS}/statistics", "fan", device="cpu")
    one = tables[0]["path"][0]
    assert model.score_files([one])["score"].item() == pytest.approx(tables[0]["score"][0], rel=1e-6)
    before = files(bucket)
    succeeds("score", f"runs={RUNS}", "machine=fan", "device=cpu")
    assert {n: c for n, c in files(bucket).items() if "DONE" not in n} == {
        n: c for n, c in before.items() if "DONE" not in n
    }


def test_a_model_is_saved_at_an_address(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = library.fit("data/fan/train", options={"views": "level_64"}, device="cpu")
    model.save(f"{RUNS}/mine", "fan")
    assert "/mine/fan/seed0/DONE" in files(bucket)
    assert not Path("memory:").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", "another computer")
    clip = sorted(Path("data/fan/test").iterdir())[:1]
    again = library.load(f"{RUNS}/mine", device="cpu")
    assert again.score_files(clip)["score"].item() == model.score_files(clip)["score"].item()


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (Run(data="s3://bucket/plant", runs="s3://bucket/runs"), False),
        (Run(normal="s3://bucket/plant", runs="s3://bucket/runs"), False),
        (Predict(audio="s3://bucket/new", runs="s3://bucket/runs"), False),
        (Run(data="s3://bucket/plant"), True),
        (Run(runs="s3://bucket/runs"), True),  # the year's folder
        (Predict(audio="new", runs="s3://bucket/runs"), True),
        (Execution(), True),
    ],
)
def test_computers_share_a_folder_only_where_a_path_is_named(options: Any, needs: bool) -> None:
    assert shared_place(options) == (str(Path.cwd()) if needs else "")


@pytest.mark.slow
def test_an_overwritten_run_leaves_nothing_of_the_old_one(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    short = (*TRAIN, "machine=fan", "name=x")
    succeeds(*short, "detector=autoencoder", "training.epochs=1")
    another_computer(monkeypatch, "second")
    refuses(*short, saying="memory://runs/x/fan/seed0 was trained with another configuration")
    succeeds(*short, "overwrite=true")
    assert not [name for name in files(bucket) if name.endswith(("mse.csv", "metrics.jsonl"))]
    another_computer(monkeypatch, "third")
    assert "official score" in succeeds("evaluate", f"runs={RUNS}", "name=x", "machine=fan").out


@pytest.mark.slow
def test_every_stage_reads_runs_at_an_address(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on a computer that has nothing yet; what it writes lies at the address, and is found there by the next."""
    for words in ((), ("statistics.backend=knn", "name=other")):
        succeeds(*TRAIN, *words)
        succeeds("train", "data=data", "device=cpu", ONE_VIEW, *words)
    at = f"runs={RUNS}"
    another_computer(monkeypatch, "leaderboard")
    said = succeeds("leaderboard", at)
    succeeds("leaderboard")
    assert "asd-mirror" not in said.out + said.err
    assert bucket.cat_file("/runs/leaderboard.csv") == Path("runs/leaderboard.csv").read_bytes()
    assert not [*Path("leaderboard").rglob("model")]
    another_computer(monkeypatch, "fuse")
    words = ("fuse", "members=statistics,other", "name=both")
    said = succeeds(*words, at)
    succeeds(*words)
    assert f"{RUNS}/both/fan/seed0" in said.out
    scores = "both/fan/seed0/scores/fused.csv"
    assert bucket.cat_file(f"/runs/{scores}") == Path("runs", scores).read_bytes()
    another_computer(monkeypatch, "fuse again")
    refuses(*words, at, saying="memory://runs/both exists; choose another name=")
    succeeds(*words, at, "machine=fan", "overwrite=true")
    assert not [name for name in files(bucket) if "/both/pump" in name]
    bucket.rm("/runs/both", recursive=True)
    another_computer(monkeypatch, "report")
    said = succeeds("report", at, "clips=4", "explained=1", "audio=flac")
    assert f"{RUNS}/statistics/report.html" in said.out
    page = bucket.cat_file("/runs/statistics/report.html")
    assert len(page) > 100_000  # with sounds
    assert b"asd-mirror" not in page
    another_computer(monkeypatch, "explain")
    succeeds("explain", at, "machine=fan", "worst=1")
    assert "/statistics/fan/seed0/explain/explain.csv" in files(bucket)
    succeeds("predict", f"audio={PLANT}/fan/test", at, "machine=fan", "out=p")
    table = pd.read_csv("p/predictions.csv")
    bucket.put("p/predictions.csv", "/runs/new/predictions.csv")
    shown = (f"predictions={RUNS}/new/predictions.csv", at, "machine=fan")
    succeeds("report", *shown, "clips=2", "explained=0", f"out={RUNS}/new/page.html")
    assert table["path"][0].rpartition("/")[2].encode() in bucket.cat_file("/runs/new/page.html")
    another_computer(monkeypatch, "export")
    succeeds("export", at, "machine=fan", "out=fan.onnx")
    assert Path("fan.onnx").stat().st_size
    said = succeeds("listen", at, "machine=fan", f"input={next(Path('data/fan/test').glob('*.wav'))}", "out=heard")
    assert "heard" in said.out


def test_published_labels_may_lie_at_an_address(bucket: Any, golden: Path) -> None:
    place = golden / "evaluator/2024"
    bucket.put(str(place), "/truth", recursive=True)
    _, truth = published_truth(mirrored("memory://truth"), 2024, ["all"])
    assert truth == read_ground_truth(place, get_year(2024))


@pytest.mark.slow
def test_methods_and_configurations_are_compared_at_an_address(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.pipe("/space.yaml", b"statistics.backend: [knn_relative, knn]\n")
    Path("methods.yaml").write_text("first: statistics.backend=knn_relative\nsecond: statistics.backend=knn\n")
    words = ("benchmark", "methods=methods.yaml", "seeds=0", "executor=here")
    succeeds(*words, f"data={PLANT}", f"runs={RUNS}/methods")
    succeeds(*words, "data=data")
    tables = [json.loads(content) for content in (
        bucket.cat_file("/runs/methods/benchmark.json"), Path("runs/benchmark/benchmark.json").read_bytes()
    )]  # fmt: skip
    for table in tables:
        for row in table["rows"]:
            del row["seconds"]
    assert tables[0] == tables[1]
    for machine in ("fan", "pump"):
        tone_machine(Path("clips"), machine, n_train=16, n_target=4, n_test=4)
    bucket.put("clips", "/clips", recursive=True)
    for judge in ("faults", "others"):
        sweep = ("sweep", f"judge={judge}", f"name={judge}", "executor=here", "device=cpu")
        there = (*sweep, "data=memory://clips", "space=memory://space.yaml", f"runs={RUNS}/sweeps")
        said = succeeds(*there)
        assert "asd-mirror" not in said.out + said.err
        Path("space.yaml").write_bytes(bucket.cat_file("/space.yaml"))
        succeeds(*sweep, "data=clips", "space=space.yaml")
        found = files(bucket, f"/runs/sweeps/{judge}/")
        here = pd.read_csv(f"runs/sweeps/{judge}/sweep.csv").drop(columns="seconds")
        at_address = pd.read_csv(io.BytesIO(found["sweep.csv"])).drop(columns="seconds")
        pd.testing.assert_frame_equal(here, at_address)
        assert found["importance.png"][:4] == b"\x89PNG"
        another_computer(monkeypatch, f"{judge} again")
        again = succeeds(*there)
        assert again.out == said.out  # nothing is tried again
        assert "done already" not in again.err
        assert files(bucket, f"/runs/sweeps/{judge}/")["sweep.csv"] == found["sweep.csv"]
    assert {"best/fan.yaml", "best/pump.yaml"} <= found.keys()
    succeeds(*there, "judge=labels")
    assert not any(name.startswith("best/") for name in files(bucket, "/runs/sweeps/others/"))
    next_command = [word for word in said.out.splitlines()[-1].split() if "=" in word and "name=" not in word]
    succeeds("train", *next_command, f"runs={RUNS}", "name=best", "machine=fan", "device=cpu")


@pytest.mark.slow
def test_events_are_detected_at_an_address(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage on a computer that has nothing yet, beside the same stages in folders."""
    words = (f"events={write_events(Path('events'))}", *SOUNDSCAPES)
    succeeds("sed", "make-soundscapes", *words, "background=events", "out=scenes")
    bucket.put("events", "/events", recursive=True)
    there = ("events=memory://events", "background=memory://events")
    assert "asd-mirror" not in succeeds("sed", "make-soundscapes", *words, *there, "out=the same").out
    same, scenes = contents(Path("the same")), contents(Path("scenes"))
    assert {n: c for n, c in same.items() if n != "soundscapes.json"} == {
        n: c for n, c in scenes.items() if n != "soundscapes.json"
    }
    assert b'"memory://events"' in same["soundscapes.json"]
    assert b"asd-mirror" not in same["soundscapes.json"]
    at_address = ("make-soundscapes", *words, "background=events", "out=memory://scenes")
    assert "next: python -m asd sed train data=memory://scenes" in succeeds("sed", *at_address).out
    assert files(bucket, "/scenes/") == scenes
    another_computer(monkeypatch, "third")
    assert "there already" in succeeds("sed", *at_address).out
    refuses("sed", *at_address, "seed=7", saying="out=memory://scenes holds something else")
    bucket.pipe("/scenes/of/another.wav", b"1")
    bucket.rm("/scenes/soundscapes.json")
    refuses("sed", *at_address, saying="out=memory://scenes holds something else")
    succeeds("sed", *at_address, "overwrite=true")
    assert files(bucket, "/scenes/") == scenes
    said = {}
    for at, data in (("runs=runs", "scenes"), (f"runs={RUNS}", "memory://scenes")):
        for stage in (
            ("train", f"data={data}", *TRAIN_EVENTS),
            ("score", f"audio={data}/train_weak", "device=cpu"),
            ("evaluate", "events=false"),
            ("report", "members=sed", f"out={at[5:]}/report"),
        ):
            another_computer(monkeypatch, stage[0])
            said[at] = succeeds("sed", *stage, at).out
            assert "asd-mirror" not in said[at]
    here, there = contents(Path("runs")), files(bucket, "/runs/")
    assert here.keys() == there.keys()
    same = [name for name in here if name.endswith((".tsv", "evaluation_test.json", "decoding.json"))]
    assert len(same) > 50
    assert {name: here[name] for name in same} == {name: there[name] for name in same}
    assert not [path for path in Path("train").rglob("*.wav") if path.stat().st_blocks]


@pytest.mark.slow
def test_a_study_at_an_address_goes_on_elsewhere(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("seeds=0", "snrs_db=0", "detectors=nearest", "executor=here", "device=cpu")
    small += ("train_source=8", "train_target=2", "test_per_cell=2", "duration_s=0.6")
    said = succeeds("study", "microphones", f"runs={RUNS}", *small)
    assert "asd-mirror" not in said.out + said.err
    succeeds("study", "microphones", *small)
    assert bucket.cat_file("/runs/microphones/table.md") == Path("runs/studies/microphones/table.md").read_bytes()
    another_computer(monkeypatch, "second")
    assert succeeds("study", "microphones", f"runs={RUNS}", *small).out == said.out


def test_words_of_the_digits_study_are_read_at_an_address(bucket: Any) -> None:
    rng = np.random.default_rng(0)
    for word, speaker in (("one", "ann"), ("one", "bob"), ("two", "ann"), ("two", "bob")):
        write_wav(Path("a.wav"), 0.1 * rng.standard_normal((1, 2000)).astype(np.float32), 8000)
        bucket.put_file("a.wav", f"/words/recordings/{word}_{speaker}_0.wav")
    words = load_words(mirrored("memory://words"), Digits(duration_s=0.3), torch.device("cpu"))
    assert words.classes == ("one", "two")
    assert words.waveforms.abs().amax(-1).min() > 0.1


def test_score_starts_from_the_options_of_a_run_at_an_address(bucket: Any) -> None:
    options = yaml.safe_dump(Run(sample_rate_hz=8000).stored())
    bucket.pipe_file("/runs/statistics/fan/seed0/config.yaml", options.encode())
    assert run_config([f"runs={RUNS}", "machine=fan"])["sample_rate_hz"] == 8000


def test_a_run_is_withdrawn_from_its_address(bucket: Any) -> None:
    bucket.pipe({f"/runs/{name}": b"1" for name in ("x/fan/seed0/DONE", "x/fan/seed0/model/a", "x/pump/seed0/DONE")})
    storage.withdraw(mirrored(f"{RUNS}/x/fan/seed0"))
    assert [*files(bucket)] == ["/x/pump/seed0/DONE"]
    storage.withdraw(Path("data/fan"))
    assert Path("data/fan").is_dir()


def test_done_goes_last_and_a_full_storage_is_a_sentence(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = mirrored(f"{RUNS}/x/fan/seed0")
    for name in ("model/a", "scores/b.csv", "DONE"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(f"first {name}")
    order: list[str] = []
    put, full = bucket.put_file, False

    def note(path: str, file: str, **words: Any) -> None:
        if full and file.endswith("b.csv"):
            raise OSError(28, "No space left on device")
        order.append(file.rpartition("/")[2])
        put(path, file, **words)

    monkeypatch.setattr(type(bucket), "put_file", lambda _, *args, **words: note(*args, **words))
    storage.publish(run)
    assert sorted(order) == ["DONE", "a", "b.csv"]
    assert order[-1] == "DONE"
    order.clear()
    storage.publish(run)
    assert order == []  # all of it is in step
    (run / "scores/b.csv").write_text("second")
    (run / "DONE").write_text("second")
    full = True
    with pytest.raises(AsdError, match=r"memory://runs/x/fan/seed0 cannot be used .*No space left"):
        storage.publish(run)
    assert "/x/fan/seed0/DONE" not in files(bucket)  # what is half there does not count
    full = False
    storage.publish(run)
    assert files(bucket)["/x/fan/seed0/DONE"] == b"second"
    shutil.rmtree(run)
    storage.fetch(run)
    assert {name: content.decode() for name, content in contents(run).items()} == {
        "model/a": "first model/a",
        "scores/b.csv": "second",
        "DONE": "second",
    }


def test_a_training_under_way_here_is_not_touched(bucket: Any) -> None:
    bucket.pipe({"/runs/x/fan/seed0/config.yaml": b"there", "/runs/x/fan/seed0/other": b"there"})
    run = mirrored(f"{RUNS}/x/fan/seed0")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("here")
    (run / "state.safetensors").write_text("here")
    storage.fetch(run)
    assert contents(run) == {"config.yaml": b"here", "state.safetensors": b"here", "other": b"there"}
    storage.publish(run)
    assert files(bucket)["/x/fan/seed0/config.yaml"] == b"there"  # nothing is published before it is whole


def test_a_run_that_another_computer_has_brought_meanwhile_is_not_replaced(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", f"data={PLANT}", "machine=fan", f"runs={RUNS}", "name=x", "device=cpu")
    real = running.write_job_scores

    def meanwhile(*given: Any) -> None:
        monkeypatch.setattr(running, "write_job_scores", real)
        with monkeypatch.context() as patch:
            another_computer(patch, "other")
            succeeds(*words, "views=level_64")
        real(*given)

    monkeypatch.setattr(running, "write_job_scores", meanwhile)
    refuses(*words, "views=modulation", saying="x/fan/seed0 was trained with another configuration or on other clips")
    assert b"- level_64" in files(bucket)["/x/fan/seed0/config.yaml"]
    refuses(*words, "views=modulation", saying="x/fan/seed0 was trained with another configuration or on other clips")
    succeeds(*words, "views=modulation", "overwrite=true")
    assert b"- modulation" in files(bucket)["/x/fan/seed0/config.yaml"]


def test_a_run_whose_publishing_was_broken_off_is_brought_anew(bucket: Any) -> None:
    succeeds(*TRAIN)
    whole = files(bucket)
    for content in (b"", b'{"settings": "', b"{}"):
        bucket.rm_file("/runs/statistics/fan/seed0/DONE")
        bucket.pipe_file("/runs/statistics/fan/seed0/model/fit.json", content)
        succeeds(*TRAIN)
        assert files(bucket) == whole


def test_names_follow_the_address(bucket: Any) -> None:
    bucket.rm("/plant", recursive=True)
    bucket.pipe({"/plant/fan/a.wav": b"12345", "/plant/fan/old/b.wav": b"1", "/plant/list.csv": b"path\n"})
    mirror = mirrored(PLANT)
    storage.list_names(mirror, "one")
    assert {name: len(content) for name, content in contents(mirror).items()} == {
        ".listed": 3, "fan/a.wav": 5, "fan/old/b.wav": 1, "list.csv": 5
    }  # fmt: skip
    bucket.rm("/plant/fan/old/b.wav")
    bucket.pipe("/plant/fan/a.wav", b"123")
    storage.list_names(mirror, "one")
    assert (mirror / "fan/old/b.wav").exists()  # the same command lists once, whatever the clocks say
    storage.list_names(mirror, "two")
    assert (mirror / "fan/a.wav").stat().st_size == 3
    assert not (mirror / "fan/old").exists()


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (("data=memory://nothing", f"runs={RUNS}"), "memory://nothing holds no files; check the address"),
        (("data=nowhere://bucket/a", f"runs={RUNS}"), "nowhere://bucket/a cannot be used .*not known: nowhere"),
        (("data=memory://", f"runs={RUNS}"), "memory:// is no address of a folder"),
        (("data=memory://plant/../x", f"runs={RUNS}"), "is no address of a folder"),
        (("data=ftp://a:secret@host/x", f"runs={RUNS}"), r"error: data=ftp://a:\*\*\*@host/x does not .* password"),
        (("data=data", "runs=MEMORY://"), "MEMORY:// is no address of a folder"),
        (("data=data", "weights=memory://plant/w"), "this option takes a folder or file of this computer"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_sentence(bucket: Any, words: tuple[str, ...], saying: str) -> None:
    refuses("train", *words, saying=saying)
    assert not Path("runs").exists()
    assert files(bucket) == {}


@pytest.mark.parametrize("words", [("export", "out=memory://fan.onnx"), ("listen", "input=-", "out=memory://heard")])
def test_what_takes_a_folder_of_this_computer_only_says_so(bucket: Any, words: tuple[str, ...]) -> None:
    option = words[-1].partition("=")[0]
    refuses(*words, saying=rf"{option}.*takes a folder or file of this computer, not an address")


def test_a_missing_library_is_named(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    refuses(*TRAIN, saying="memory://plant needs a library that is not installed: Install s3fs to access S3")


def test_a_recording_that_is_damaged_or_gone_is_named_by_its_address(bucket: Any) -> None:
    clip = next(name for name in bucket.find("/plant/fan/train"))
    whole = bucket.cat_file(clip)
    bucket.pipe(clip, whole[:100])
    said = refuses(*TRAIN, "machine=fan", saying=f"memory:/{clip} .*(truncated|not a readable|holds no)")
    assert "asd-mirror" not in said
    assert files(bucket) == {}


def test_a_bank_at_an_address_is_not_changed(bucket: Any) -> None:
    refuses("predict", "audio=data", f"runs={RUNS}", "--confirm-normal", saying="do it in a folder of this computer")
