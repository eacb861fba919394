"""Places that cannot be written, models of another configuration, damaged files: refused, and nothing harmed."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from asd.core.files import alone, append_text, read_json, read_yaml
from asd.runs import directory
from asd.types import AsdError
from tests.command import NAME, a_clip, asd, assert_nothing_done, contents, refuses, short_training, start, succeeds


def test_a_place_below_a_file(run: Path) -> None:
    Path("file").write_text("something")
    refuses(*short_training("runs=file/runs"), saying="cannot write file/runs.*Not a directory.*another place")
    refuses("evaluate", NAME, "json=file/x.json", saying="cannot write file/x.json")
    refuses("submit", NAME, "label=A_B_task2_1", "out=file/x", saying="cannot write file/x")
    assert Path("file").read_text() == "something"


def test_a_full_device_stays_a_device(run: Path) -> None:
    refuses("evaluate", NAME, "json=/dev/full", saying="cannot write /dev/full: No space left on device")
    assert Path("/dev/full").is_char_device()
    succeeds("evaluate", NAME, "json=/dev/null")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(AsdError, match="cannot write /dev/full: No space left on device; free some space"):
        append_text(Path("/dev/full"), "a line\n")


def test_scores_that_cannot_be_written_leave_the_configuration(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str, *words: object) -> int:
        raise OSError(28, "No space left on device")

    before = contents(run)
    monkeypatch.setattr(Path, "write_text", full)
    refuses("score", NAME, "decision.quantile=0.5", saying="scores/.*csv: No space left on device; free some space")
    assert contents(run) == before
    monkeypatch.undo()
    monkeypatch.chdir(run.parents[3])
    succeeds("score", NAME, "decision.quantile=0.5")
    assert "quantile: 0.5" in (run / "config.yaml").read_text()


# Grows a memory disk until the training fits: each time before that, one sentence and no trace.
_ON_A_SMALL_DISK = """
import subprocess, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.command import asd, assert_nothing_done

disk, seen = Path("disk"), []
for size_kb in (16, 64, 256, 1024, 3500, 5000, 6000, 7000, 16384):
    subprocess.run(["mount", "-o", f"remount,size={size_kb}k", "disk"], check=True)
    answer = asd("train", "machine=fan", "data=data", "runs=disk/runs", "training.epochs=2",
                 "detector=autoencoder")
    seen.append(answer.code)
    if answer.code == 0:
        break
    last = answer.err.splitlines()[-1]
    assert answer.code == 2 and last.startswith("error: cannot write disk/runs"), answer
    assert "No space left" in last, last
    assert_nothing_done(disk)
    print(size_kb, last)
assert seen.count(2) >= 4 and seen[-1] == 0, seen
Path(sys.argv[1]).write_bytes(Path("disk/runs/autoencoder/fan/seed0/scores/mse.csv").read_bytes())
"""


def in_a_mount(mount: str, script: str, *words: str) -> None:
    """Runs a script of Python where something is mounted that nobody else sees."""
    inside = f'{mount} && exec "$@"'
    if subprocess.run(["unshare", "-m", "sh", "-c", inside, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("it needs the right to mount a disk")
    command = [sys.executable, "-c", script, *words, str(Path(__file__).parents[1])]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_full_disk(place: Path) -> None:
    in_a_mount("mkdir -p disk && mount -t tmpfs -o size=16k tmpfs disk", _ON_A_SMALL_DISK, "scores.csv")
    succeeds(*short_training("training.epochs=2"))
    assert Path("scores.csv").read_bytes() == Path("runs/autoencoder/fan/seed0/scores/mse.csv").read_bytes()


# What reads a run needs no right to write there; what writes says so.
_READ_ONLY = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.command import NAME, refuses, short_training, succeeds

clip = sys.argv[1]
assert "is done already" in succeeds(*short_training()).err
succeeds("predict", f"audio={clip}", NAME, "device=cpu")
succeeds("report", NAME, "clips=1", "explained=1", "out=page.html")
succeeds("listen", NAME, f"input={clip}")
for words in (short_training("name=new"), ("score", NAME), ("evaluate", NAME), ("report", NAME, "clips=0"),
              ("explain", NAME, "worst=1"), ("leaderboard",), ("predict", f"audio={clip}", NAME, "--confirm-normal")):
    refuses(*words, saying="cannot write runs.*Read-only file system; choose another place")
"""


@pytest.mark.slow
def test_a_folder_of_runs_that_cannot_be_written(run: Path) -> None:
    before = contents(Path("runs"))
    in_a_mount("mount --bind runs runs && mount -o remount,bind,ro runs", _READ_ONLY, str(a_clip("test")))
    assert contents(Path("runs")) == before


# --- models that do not belong here, or are damaged ---------------------------------------------------


def test_a_finished_run_of_another_configuration(run: Path) -> None:
    before = contents(run)
    way_out = "trained with another configuration .*choose another name=, or train anew with overwrite=true"
    refuses(*short_training("training.learning_rate=0.01"), saying=way_out)
    refuses("score", NAME, "data=data", "autoencoder.n_mels=64", saying=way_out)
    a_clip("train").unlink()
    refuses(*short_training(), saying=way_out)
    assert contents(run) == before
    succeeds(*short_training("overwrite=true"))
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
    assert asd(*short_training("training.epochs=3")).code == 130
    monkeypatch.setattr(trainer, "_epoch", epoch)


def test_half_a_training_of_another_configuration(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_training(monkeypatch, after_epochs=1)
    run = place / "runs/autoencoder/fan/seed0"
    before = contents(run)
    refuses(*short_training("training.epochs=2"), saying="autoencoder/fan/seed0 was trained with another configuration")
    assert contents(run) == before
    succeeds(*short_training("training.epochs=2", "overwrite=true"))
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_half_a_training_that_is_damaged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_training(monkeypatch, after_epochs=1)
    state = place / "runs/autoencoder/fan/seed0/state.safetensors"
    state.write_bytes(state.read_bytes()[:5000])
    saying = r"state\.safetensors is damaged .*remove it, and the same command trains from the beginning"
    refuses(*short_training("training.epochs=3"), saying=saying)
    state.unlink()
    assert "resuming" not in succeeds(*short_training("training.epochs=3")).err


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
@pytest.mark.parametrize("name", ["weights.safetensors", "training_scores.csv"])
def test_a_damaged_model(run: Path, name: str, damage: str) -> None:
    scores = (run / "scores/mse.csv").read_bytes()
    path = run / "model" / name
    path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"")
    if damage == "gone":
        path.unlink()
    saying = rf"seed0/model/{name} is missing or damaged; remove .*seed0/model and train again"
    refuses("score", NAME, "data=data", saying=saying)
    shutil.rmtree(run / "model")  # as it was told
    succeeds(*short_training())
    assert (run / "scores/mse.csv").read_bytes() == scores


@pytest.mark.parametrize("name", ["DONE", "model/fit.json"])
@pytest.mark.parametrize("text", ['{"fing', "[]", ""])
def test_a_damaged_note_of_a_run(run: Path, name: str, text: str) -> None:
    before = contents(run)
    (run / name).write_text(text)
    refuses(*short_training(), saying=rf"seed0/{name} is damaged .*remove it and run the same command again")
    (run / name).unlink()
    succeeds(*short_training())
    assert contents(run).keys() == before.keys()
    assert contents(run)["scores/mse.csv"] == before["scores/mse.csv"]


@pytest.mark.parametrize("name", ["levels.npy", "lengths.npy"])
@pytest.mark.parametrize("bytes_left", [0, 60, 150])
def test_damaged_cached_features(run: Path, name: str, bytes_left: int) -> None:
    scores = (run / "scores/mse.csv").read_bytes()
    (folder,) = Path("runs/.cache").glob("fan-test-*")
    (folder / name).write_bytes((folder / name).read_bytes()[:bytes_left])
    answer = succeeds("score", NAME, "data=data")
    assert f"WARNING: {folder} is damaged" in answer.err
    assert (run / "scores/mse.csv").read_bytes() == scores


def test_damaged_scores_and_configuration(run: Path) -> None:
    table = (run / "scores/mse.csv").read_text()
    (run / "scores/mse.csv").write_text(table[:300])
    refuses("evaluate", NAME, saying=r"scores/mse\.csv is not a readable score table .*`score` writes")
    (run / "scores/mse.csv").write_text("a,b\n1,2\n")
    refuses("evaluate", NAME, saying=r"mse\.csv is not a readable score table \(its columns are a, b\)")
    (run / "config.yaml").write_text("training: [")
    saying = r"^error: runs/.*config\.yaml is not a readable YAML file .*; remove it and train again with the same"
    refuses("score", NAME, "data=data", saying=saying)


@pytest.mark.parametrize("damage", ["unreadable", "gone", "cut", "edited"])
def test_the_same_training_writes_a_damaged_configuration_anew(run: Path, damage: str) -> None:
    path, scores = run / "config.yaml", (run / "scores/mse.csv").read_bytes()
    whole = path.read_text()
    new = {"cut": whole[: whole.index("autoencoder:")], "edited": whole.replace("n_mels: 128", "n_mels: 64")}
    path.write_text(new.get(damage, "training: ["))
    if damage in ("unreadable", "gone"):  # as it was told
        path.unlink()
    succeeds(*short_training())
    assert path.read_text() == whole
    succeeds("score", NAME)
    assert (run / "scores/mse.csv").read_bytes() == scores


class _Malice:
    """Unpickled, it leaves a trace."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("executed",)


def official_names(run: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(run / "model/weights.safetensors")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("calibration")}


WRONG_WEIGHTS: dict[str, tuple[Callable[[Path, dict[str, torch.Tensor]], object], str]] = {
    "narrow.safetensors": (
        lambda p, own: save_file(own | {"encoder.0.weight": torch.zeros(64, 640)}, p),
        r"another network: 0 tensors missing, 0 unknown, 1 of another shape \(first: encoder\.0\.weight\)",
    ),
    "lacking.pth": (
        lambda p, own: torch.save({k: v for k, v in own.items() if k != "decoder.12.bias"}, p),
        r"another network: 1 tensors missing, .*first: decoder\.12\.bias.* use the configuration",
    ),
    "resnet.pt": (lambda p, own: torch.save({"conv.weight": torch.zeros(3)}, p), "not an autoencoder"),
    "list.pth": (lambda p, own: torch.save([1, 2, 3], p), "holds no named tensors; give the official"),
    "tensor.pth": (lambda p, own: torch.save(torch.zeros(3), p), "holds no named tensors"),
    "words.pth": (lambda p, own: torch.save({"a": "b"}, p), "holds no named tensors"),
    "cut.safetensors": (lambda p, own: p.write_bytes(b"\xff" * 99), "damaged or no safetensors file"),
    "cut.pth": (lambda p, own: p.write_bytes(b"PK\x03\x04"), "not a torch state dict of plain tensors"),
    "empty.pth": (lambda p, own: p.write_bytes(b""), "not a torch state dict of plain tensors"),
    "malice.pth": (lambda p, own: torch.save({"encoder.0.weight": _Malice()}, p), "not a torch state dict"),
    "malice.pt": (lambda p, own: p.write_bytes(pickle.dumps(_Malice(), 2)), "not a torch state dict"),
    "folder.pth": (lambda p, own: p.mkdir(), "cannot be read .*name an existing file"),
    "none.pth": (lambda p, own: None, "cannot be read .*name an existing file"),
}


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
def test_weights_of_something_else(run: Path, name: str) -> None:
    make, sentence = WRONG_WEIGHTS[name]
    make(Path(name), official_names(run))
    words = ("machine=fan", "data=data", "detector=autoencoder", "name=w", f"weights={name}")
    assert name in refuses("score", *words, saying=sentence)
    assert not Path("executed").exists()
    assert_nothing_done(Path("runs/w"))


def test_given_weights_do_not_touch_a_trained_run(run: Path) -> None:
    save_file(official_names(run), "w.safetensors")
    before = contents(run)
    refuses("score", NAME, "data=data", "weights=w.safetensors", saying="was trained with another configuration")
    assert contents(run) == before
    succeeds("score", NAME, "data=data", "weights=w.safetensors", "name=w", "detector=autoencoder")
    given = Path("runs/w/fan/seed0/scores/mse.csv")
    assert given.read_bytes() == before["scores/mse.csv"]


@pytest.mark.slow
def test_two_commands_on_one_run(place: Path) -> None:
    run = Path("runs/autoencoder/fan/seed0")
    with alone(run):
        process = start(*short_training())
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.strip().splitlines()[-1] == f"error: another command works on {run}; wait until it is done"
    succeeds(*short_training())
    assert not list(Path("runs").rglob("*.lock"))


def test_a_run_that_another_command_made_meanwhile_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found the place free; the one that comes second to the lock looks again."""
    run = Path("runs/autoencoder/fan/seed0")

    @contextmanager
    def late(path: Path, busy: str | None) -> Iterator[None]:
        with monkeypatch.context() as first:
            first.setattr(directory, "alone", alone)
            succeeds(*short_training("training.epochs=2"))
        with alone(path, busy=busy):
            yield

    monkeypatch.setattr(directory, "alone", late)
    refuses(*short_training(), saying=f"{run} was trained with another configuration")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert "is done already" in succeeds(*short_training("training.epochs=2")).err


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("runs/autoencoder/fan", ("evaluate", NAME)),
        ("runs/autoencoder/fan", ("predict", NAME, "audio=data/fan/test")),
        ("data/fan/test", short_training()),
    ],
)
def test_a_folder_that_may_not_be_read_is_no_empty_one(
    run: Path, monkeypatch: pytest.MonkeyPatch, folder: str, words: tuple[object, ...]
) -> None:
    access = os.access  # root may read everything, so the answer is made up
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != Path(folder) and access(path, mode))
    refuses(*words, saying=f"{folder} may not be read; change its permissions")


def test_a_file_that_may_not_be_read_is_not_damaged(tmp_path: Path) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    for read in (read_json, read_yaml):
        with pytest.raises(AsdError, match="a may not be read; change its permissions"):
            read(tmp_path / "a", read=denied)
