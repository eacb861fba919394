"""Whatever is wrong with what the user gives: one sentence with the value, the file and the way out."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from tests.command import asd, assert_nothing_done, contents, refuses, succeeds, tiny_machines

FAST = ("detector=autoencoder", "training.epochs=1", "device=cpu")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with flawless data/ and a finished run in runs/; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("good")
    tiny_machines(folder / "data", "fan")
    words = (f"data={folder / 'data'}", f"runs={folder / 'runs'}", *FAST)
    succeeds("train", "machine=fan", *words)
    return folder


@pytest.fixture
def place(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of one's own with a copy of the data, as working directory."""
    shutil.copytree(good / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(good: Path, place: Path) -> Path:
    """The finished run, in a place of one's own."""
    succeeds("train", "machine=fan", "data=data", *FAST)
    return place / "runs/autoencoder/fan/seed0"


def train(*words: object) -> tuple[object, ...]:
    """Words of a short training."""
    return ("train", "machine=fan", "data=data", *FAST, *words)


def a_clip(split: str) -> Path:
    return sorted(Path("data/fan", split).glob("*normal*.wav"))[-1]


# --- recordings ---------------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], rate_hz: int = 16000) -> None:
    """Writes the samples anew, changed, as float WAV."""
    samples = change(soundfile.read(path, dtype="float32")[0])
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")


def with_a(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda samples: np.where(np.arange(len(samples)) == 77, np.float32(value), samples)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda p: p.write_bytes(b""), r"\(0 bytes\) is not a readable WAV .*copy it again"),
    "cut in the header": (lambda p: p.write_bytes(p.read_bytes()[:20]), "not a readable WAV"),
    "cut in the samples": (
        lambda p: p.write_bytes(p.read_bytes()[:9000]),
        "truncated: its header promises 32000 bytes of samples, the file holds 8956; copy it again",
    ),
    "header only": (lambda p: rewrite(p, lambda x: x[:0]), "holds no samples; remove it"),
    "another kind of file": (lambda p: p.write_text("ID3 and so on" * 99), "not a readable WAV"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "not a readable WAV"),
    "a link to nowhere": (lambda p: (p.unlink(), p.symlink_to("gone.wav")), "does not exist"),
    "8 kHz": (
        lambda p: rewrite(p, lambda x: x[::2], 8000),
        "sampled at 8000 Hz, not 16000 Hz; resample it, or set sample_rate_hz=8000",
    ),
    "NaN": (lambda p: rewrite(p, with_a(np.nan)), "NaN or infinite samples; repair or remove"),
    "infinity": (lambda p: rewrite(p, with_a(-np.inf)), "NaN or infinite samples"),
    "too short": (
        lambda p: rewrite(p, lambda x: x[:2047]),
        "has 2047 samples, fewer than the 2048 .*remove it",
    ),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_recording_is_named_before_anything_is_trained(place: Path, split: str, defect: str) -> None:
    clip = a_clip(split)
    damage, sentence = BROKEN[defect]
    damage(clip)
    assert str(clip) in refuses(*train(), saying=sentence)
    assert not (place / "runs").exists()


def test_a_broken_test_clip_leaves_earlier_scores_alone(run: Path) -> None:
    before = contents(run)
    a_clip("test").write_bytes(b"RIFF")
    refuses("score", "data=data", saying="not a readable WAV")
    refuses(*train(), saying="not a readable WAV")
    assert contents(run) == before


def test_the_shortest_clip_that_can_be_used_is_used(place: Path) -> None:
    for split in ("train", "test"):
        rewrite(a_clip(split), lambda x: x[:2048])
    succeeds(*train())


def test_a_silent_training_clip_is_refused(place: Path) -> None:
    clip = a_clip("train")
    rewrite(clip, np.zeros_like)
    assert str(clip) in refuses(*train(), saying="is silent .*1 of 15 training clips.* remove it")
    assert not (place / "runs").exists()


def test_a_silent_test_clip_is_scored_with_a_warning(place: Path) -> None:
    clip = a_clip("test")
    rewrite(clip, np.zeros_like)
    answer = succeeds(*train())
    assert re.search(rf"WARNING: {clip} is silent", answer.err)
    table = pd.read_csv("runs/autoencoder/fan/seed0/scores/mse.csv")
    assert len(table) == 12
    assert np.isfinite(table["score"]).all()


def test_a_second_microphone_that_is_not_there(place: Path) -> None:
    refuses(*train("channel=1"), saying=r"has 1 channel\(s\), so there is no channel 1 .*set channel=0")
    assert not (place / "runs").exists()


def test_the_second_of_two_microphones(place: Path) -> None:
    rng = np.random.default_rng(0)
    for clip in Path("data/fan").rglob("*.wav"):
        near = soundfile.read(clip, dtype="float32")[0]
        soundfile.write(clip, np.stack([near, 0.1 * rng.normal(size=len(near))], 1), 16000)
    succeeds(*train("name=near"))
    succeeds(*train("name=far", "channel=1"))
    near, far = (pd.read_csv(f"runs/{name}/fan/seed0/scores/mse.csv")["score"] for name in ("near", "far"))
    assert (near != far).all()


def test_a_sample_rate_of_ones_own(place: Path) -> None:
    for clip in Path("data/fan").rglob("*.wav"):
        rewrite(clip, lambda x: x[::2], 8000)
    succeeds(*train("sample_rate_hz=8000"))


# --- folders and names --------------------------------------------------------------------------------


def test_a_name_outside_the_grammar(place: Path) -> None:
    clip = a_clip("train")
    clip.rename(clip.with_name("fan_0001.wav"))
    refuses(*train(), saying=r"data/fan/train/fan_0001\.wav is outside the file-name grammar: name it like")
    assert not (place / "runs").exists()


def test_an_anomaly_in_training_data(place: Path) -> None:
    clip = next(Path("data/fan/test").glob("*anomaly*"))
    wrong = Path("data/fan/train") / clip.name.replace("_test_", "_train_")
    clip.rename(wrong)
    assert str(wrong) in refuses(*train(), saying="anomaly in training data.*move it to test/")


def test_without_attributes_everything_works_the_same(place: Path, good: Path) -> None:
    Path("data/fan/attributes_00.csv").unlink()
    succeeds(*train())
    scores = "runs/autoencoder/fan/seed0/scores/mse.csv"
    assert Path(scores).read_bytes() == (good / scores).read_bytes()


def test_attributes_that_are_something_else(place: Path) -> None:
    Path("data/fan/attributes_00.csv").write_text("speed;1000\n")
    refuses(*train(), saying=r"attributes_00\.csv begins with 'speed;1000': expected file_name,d1p,d1v")


@pytest.mark.parametrize("domain", ["source", "target"])
def test_training_clips_of_one_domain_only(place: Path, domain: str) -> None:
    for clip in Path("data/fan/train").glob(f"*_{domain}_*"):
        clip.unlink()
    answer = succeeds(*train())
    assert f"WARNING: fan has no {domain} training clips" in answer.err
    succeeds("evaluate")


def test_test_clips_of_one_domain_only(place: Path) -> None:
    for clip in Path("data/fan/test").glob("*_target_*"):
        clip.unlink()
    succeeds(*train())
    refuses("evaluate", saying="fan section 00 has no test clips labelled normal of the target domain")
    assert not Path("runs/autoencoder/evaluation.json").exists()


def test_a_single_training_clip(place: Path) -> None:
    for clip in sorted(Path("data/fan/train").glob("*.wav"))[1:]:
        clip.unlink()
    answer = succeeds(*train())
    assert "gamma fit failed" in answer.err
    assert re.search(
        r'"fallback": "gamma fit failed',
        Path("runs/autoencoder/fan/seed0/scores/thresholds.json").read_text(),
    )


def test_no_training_clips(place: Path) -> None:
    for clip in Path("data/fan/train").iterdir():
        clip.unlink()
    refuses(*train(), saying=r"fan has no train clips: looked for \*\.wav in data/fan/train")
    shutil.rmtree("data/fan/train")
    refuses(*train(), saying="fan has no train clips")


def test_no_test_clips_yet(place: Path) -> None:
    """A machine may be learnt before there is anything to score; an empty folder is a mistake."""
    shutil.move("data/fan/test", "later")
    assert "put clips to score in test/" in succeeds(*train()).out
    refuses("score", "data=data", saying="fan has no test clips")
    refuses("evaluate", saying="no labelled test clips|has labelled test clips")
    Path("data/fan/test").mkdir()
    refuses(*train(), saying="fan has no test clips")
    shutil.rmtree("data/fan/test")
    shutil.move("later", "data/fan/test")
    succeeds(*train())
    succeeds("evaluate")


def test_no_data_folder(place: Path) -> None:
    refuses("train", "machine=fan", "data=nowhere", saying="no data folder .*/nowhere: .*data=DIR")
    refuses("train", "machine=fan", saying="no data folder .*dcase2025t2/dev_data/raw")
    refuses(
        "train", "machine=all", "data=data/fan/train", saying="holds no machine: expected <machine>/train"
    )
    refuses("train", "machine=fan", "data=data/fan/attributes_00.csv", saying="no data folder")


# --- words --------------------------------------------------------------------------------------------

WORDS = {
    "machine=fann": "machine='fann' is not under .*did you mean fan",
    "machine=Fan": "did you mean fan",
    "machine=lathe": "machine='lathe' is not under .*It holds fan",
    "machine=": "machine=''",
    "machine=fan,fann": "'fann'",
    "training.epoch=3": r"unknown key 'training\.epoch': did you mean training\.epochs\?",
    "epochs=3": r"unknown key 'epochs': did you mean training\.epochs\?",
    "machin=fan": "unknown key 'machin': did you mean machine",
    "zzzz=1": "unknown key 'zzzz': known keys: machine, year",
    "training=3": "unknown key 'training'",
    "detector=autoencodr": "detector=autoencodr is unknown; choose one of .*autoencoder",
    "training.epochs=many": "epochs=many does not fit: .*integer",
    "training.epochs=0": "epochs=0 does not fit: .*greater than or equal to 1",
    "training.epochs=": "epochs= does not fit",
    "training.learning_rate=nan": "learning_rate=nan does not fit",
    "decision.method=otsu": "method=otsu does not fit: .*gamma.*percentile",
    "decision.quantile=1": "quantile=1 does not fit",
    "compatible=perhaps": "compatible=perhaps does not fit",
    "seed=-1": "seeds=-1 does not fit",
    "seeds=0,x": "seeds=x does not fit",
    "seeds=": "seeds= does not fit",
    "year=1999": "year=1999 is not in the catalogue: choose one of 2020",
    "name=a/b": "name=a/b does not fit",
    "name=": "name= does not fit",
    "device=quantum": "device=quantum is not a device torch knows",
    "device=mps": "device=mps is not supported; use auto, cpu or cuda",
    "weights=w.pth": "weights=w.pth goes with `score`",
    "fan": "'fan' is not a key=value word",
    "config=none.yaml": r"config=none\.yaml does not exist",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_does_not_fit(place: Path, word: str) -> None:
    refuses(*train(word), saying=WORDS[word])
    assert not (place / "runs").exists()


def test_an_unknown_stage(place: Path) -> None:
    refuses("trian", "machine=fan", saying="unknown stage 'trian': did you mean train?")
    refuses("xyzzy", saying="unknown stage 'xyzzy': stages: train, score")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training: {epoch: 3}", r"c\.yaml: unknown key 'training\.epoch': did you mean training\.epochs"),
        ("training: [", r"c\.yaml is not a readable YAML file"),
        ("just words", r"c\.yaml holds no key: value lines"),
        ("training: {epochs: many}", "epochs=many does not fit"),
    ],
)
def test_a_config_file_that_does_not_fit(place: Path, text: str, sentence: str) -> None:
    Path("c.yaml").write_text(text)
    refuses("train", "machine=fan", "data=data", "config=c.yaml", saying=sentence)


def test_a_gpu_that_is_not_there(place: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refuses(*train("device=cuda"), saying="device=cuda was asked for but torch sees no GPU; use device=auto")


def test_stages_that_lack_what_they_need(place: Path) -> None:
    refuses("evaluate", saying="runs/autoencoder does not exist .*none yet.*train first: make train")
    refuses("evaluate", "submission=x", saying="takes all of submission=DIR ground_truth=DIR out=DIR")
    refuses("submit", saying="label= is missing; see python -m asd submit --help")
    refuses("submit", "label=me", saying=r"label='me' is not \[LastName\]_\[Institute\]")
    refuses("submit", "label=A_B_task2_1", saying="runs/autoencoder does not exist")
    refuses("validate", saying="path= is missing")
    refuses("validate", "nowhere", saying="nowhere is neither a folder nor a zip")
    refuses("score", "data=data", saying=r"runs/autoencoder/fan/seed0/model holds no model; first make train")
    assert not (place / "runs").exists()


def test_words_about_a_run_that_has_them_not(run: Path) -> None:
    refuses("evaluate", "scorer=mes", saying="scorer=mes is not among the run's scorers: mahalanobis, mse")
    refuses("evaluate", "name=autoencodre", saying=r"does not exist \(runs there: autoencoder\)")
    package = ("submit", "label=A_B_task2_1")
    refuses(*package, "scorer=mes", saying="no scores of scorer=mes; it has mahalanobis, mse")
    refuses(*package, "seed=5", saying="runs/autoencoder holds no complete run with seed=5")
    refuses(*package, "machine=pump", saying="machine=pump is not in the run; it has fan")
    assert not Path("submissions").exists()


def test_runs_that_do_not_match_each_other(run: Path) -> None:
    tiny_machines(Path("data"), "valve")
    succeeds("train", "machine=valve", "seed=1", "data=data", *FAST)
    refuses("evaluate", saying=r"different seeds \(fan 0; valve 1\); train the missing ones")


# --- places that cannot be written --------------------------------------------------------------------


def test_a_place_below_a_file(run: Path) -> None:
    Path("file").write_text("something")
    refuses(*train("runs=file/runs"), saying="cannot write file/runs.*Not a directory.*another place")
    refuses("evaluate", "json=file/x.json", saying="cannot write file/x.json")
    refuses("submit", "label=A_B_task2_1", "out=file/x", saying="cannot write file/x")
    assert Path("file").read_text() == "something"


def test_a_full_device_stays_a_device(run: Path) -> None:
    refuses("evaluate", "json=/dev/full", saying="cannot write /dev/full: No space left on device")
    assert Path("/dev/full").is_char_device()
    succeeds("evaluate", "json=/dev/null")
    assert Path("/dev/null").is_char_device()


# Grows a memory disk until the training fits: each time before that, one sentence and no trace.
_ON_A_SMALL_DISK = """
import subprocess, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.command import asd, assert_nothing_done

disk, seen = Path("disk"), []
for size_kb in (16, 64, 256, 1024, 3500, 5000, 6000, 7000, 16384):
    subprocess.run(["mount", "-o", f"remount,size={size_kb}k", "disk"], check=True)
    answer = asd("train", "machine=fan", "data=data", "runs=disk/runs", "training.epochs=2")
    seen.append(answer.code)
    if answer.code == 0:
        break
    last = answer.err.splitlines()[-1]
    assert answer.code == 2 and last.startswith("error: cannot write disk/runs"), answer
    assert "No space left" in last or "os error 28" in last, last
    assert_nothing_done(disk)
    print(size_kb, last)
assert seen.count(2) >= 4 and seen[-1] == 0, seen
Path(sys.argv[1]).write_bytes(Path("disk/runs/autoencoder/fan/seed0/scores/mse.csv").read_bytes())
"""


def test_a_full_disk(place: Path) -> None:
    inside = 'mkdir disk && mount -t tmpfs -o size=16k tmpfs disk && exec "$@"'
    if subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, "sh", "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("a small disk needs the right to mount one")
    shutil.rmtree("disk")
    script = [sys.executable, "-c", _ON_A_SMALL_DISK, "scores.csv", str(Path(__file__).parents[1])]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, "sh", *script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    succeeds(*train("training.epochs=2"))
    assert Path("scores.csv").read_bytes() == Path("runs/autoencoder/fan/seed0/scores/mse.csv").read_bytes()


# --- models that do not belong here, or are damaged ---------------------------------------------------


def test_a_finished_run_of_another_configuration(run: Path) -> None:
    before = contents(run)
    way_out = "trained with another configuration .*choose another name=, or train anew with overwrite=true"
    refuses(*train("training.learning_rate=0.01"), saying=way_out)
    refuses("score", "data=data", "autoencoder.n_mels=64", saying=way_out)
    a_clip("train").unlink()
    refuses(*train(), saying=way_out)
    assert contents(run) == before
    succeeds(*train("overwrite=true"))
    assert contents(run)["scores/mse.csv"] != before["scores/mse.csv"]


def stop_training(monkeypatch: pytest.MonkeyPatch, after_epochs: int) -> None:
    """Makes the next training stop as if by Ctrl-C, after some epochs."""
    from asd.core import trainer

    epoch = trainer._epoch

    def interrupted(*arguments: object) -> object:
        if arguments[-1] == after_epochs:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(trainer, "_epoch", interrupted)
    assert asd(*train("training.epochs=3")).code == 130
    monkeypatch.setattr(trainer, "_epoch", epoch)


def test_half_a_training_of_another_configuration(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_training(monkeypatch, after_epochs=1)
    run = place / "runs/autoencoder/fan/seed0"
    before = contents(run)
    refuses(
        *train("training.epochs=2"), saying="autoencoder/fan/seed0 was trained with another configuration"
    )
    assert contents(run) == before
    succeeds(*train("training.epochs=2", "overwrite=true"))
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_half_a_training_that_is_damaged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_training(monkeypatch, after_epochs=1)
    state = place / "runs/autoencoder/fan/seed0/state.safetensors"
    state.write_bytes(state.read_bytes()[:5000])
    saying = r"state\.safetensors is damaged .*remove it, and the same command trains from the beginning"
    refuses(*train("training.epochs=3"), saying=saying)
    state.unlink()
    assert "resuming" not in succeeds(*train("training.epochs=3")).err


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
@pytest.mark.parametrize("name", ["weights.safetensors", "training_scores.csv"])
def test_a_damaged_model(run: Path, name: str, damage: str) -> None:
    scores = (run / "scores/mse.csv").read_bytes()
    path = run / "model" / name
    path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"")
    if damage == "gone":
        path.unlink()
    saying = rf"seed0/model/{name} is missing or damaged; remove .*seed0/model and train again"
    refuses("score", "data=data", saying=saying)
    shutil.rmtree(run / "model")  # as it was told
    succeeds(*train())
    assert (run / "scores/mse.csv").read_bytes() == scores


@pytest.mark.parametrize("name", ["DONE", "model/fit.json"])
@pytest.mark.parametrize("text", ['{"fing', "[]", ""])
def test_a_damaged_note_of_a_run(run: Path, name: str, text: str) -> None:
    before = contents(run)
    (run / name).write_text(text)
    refuses(*train(), saying=rf"seed0/{name} is damaged .*remove it and run the same command again")
    (run / name).unlink()
    succeeds(*train())
    assert contents(run).keys() == before.keys()
    assert contents(run)["scores/mse.csv"] == before["scores/mse.csv"]


@pytest.mark.parametrize("name", ["levels.npy", "lengths.npy"])
@pytest.mark.parametrize("bytes_left", [0, 60, 150])
def test_damaged_cached_features(run: Path, name: str, bytes_left: int) -> None:
    scores = (run / "scores/mse.csv").read_bytes()
    (folder,) = Path("runs/.cache").glob("fan-test-*")
    (folder / name).write_bytes((folder / name).read_bytes()[:bytes_left])
    refuses("score", "data=data", saying=rf"{folder} is damaged .*remove the folder")
    shutil.rmtree(folder)
    succeeds("score", "data=data")
    assert (run / "scores/mse.csv").read_bytes() == scores


def test_damaged_scores_and_configuration(run: Path) -> None:
    table = (run / "scores/mse.csv").read_text()
    (run / "scores/mse.csv").write_text(table[:300])
    refuses("evaluate", saying=r"scores/mse\.csv is not a readable score table .*make score")
    (run / "scores/mse.csv").write_text("a,b\n1,2\n")
    refuses("evaluate", saying=r"mse\.csv is not a readable score table \(its columns are a, b\)")
    (run / "config.yaml").write_text("training: [")
    refuses("score", "data=data", saying=r"config\.yaml is not a readable YAML file")


class _Malice:
    """Unpickled, it leaves a trace."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("executed",)


def official_names(run: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(run / "model/weights.safetensors")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("calibration")}


def test_weights_of_something_else(run: Path) -> None:
    tensors = official_names(run)
    files: dict[str, Callable[[Path], object]] = {
        "narrow.safetensors": lambda p: save_file(tensors | {"encoder.0.weight": torch.zeros(64, 640)}, p),
        "lacking.pth": lambda p: torch.save(
            {name: tensor for name, tensor in tensors.items() if name != "decoder.12.bias"}, p
        ),
        "encoder.pt": lambda p: torch.save({"conv.weight": torch.zeros(3)}, p),
        "list.pth": lambda p: torch.save([1, 2, 3], p),
        "tensor.pth": lambda p: torch.save(torch.zeros(3), p),
        "cut.safetensors": lambda p: p.write_bytes((run / "model/weights.safetensors").read_bytes()[:999]),
        "cut.pth": lambda p: p.write_bytes(b"PK\x03\x04"),
        "empty.pth": lambda p: p.write_bytes(b""),
        "malice.pth": lambda p: torch.save({"encoder.0.weight": _Malice()}, p),
        "malice.pt": lambda p: p.write_bytes(pickle.dumps(_Malice())),
        "folder.pth": lambda p: p.mkdir(),
    }
    for name, make in files.items():
        make(Path(name))
        refuses("score", "data=data", "name=w", f"weights={name}", saying=re.escape(name))
    refuses("score", "data=data", "name=w", "weights=none.pth", saying=r"weights=none\.pth cannot be read")
    assert not Path("executed").exists()
    assert_nothing_done(Path("runs/w"))


def test_given_weights_do_not_touch_a_trained_run(run: Path) -> None:
    save_file(official_names(run), "w.safetensors")
    before = contents(run)
    refuses("score", "data=data", "weights=w.safetensors", saying="was trained with another configuration")
    assert contents(run) == before
    succeeds("score", "data=data", "weights=w.safetensors", "name=w")
    given = Path("runs/w/fan/seed0/scores/mse.csv")
    assert given.read_bytes() == before["scores/mse.csv"]
