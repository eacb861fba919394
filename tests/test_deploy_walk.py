"""The walk of docs/deploy.md: its commands as they stand, in its order, on a small plant."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asd.data.audio import read_wav
from asd.data.codecs import write_wav
from tests.command import Answer, asd, succeeds
from tests.machines import tone_machine, write_clip
from tests.test_sinks import broker, free_port, needs_broker, serving, subscriber, wait_for

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/deploy.md").read_text()
FOUND = Path("listening/fans/fan")


def commands(title: str) -> list[str]:
    """The lines of a section that are typed; the part before the first section is called Train."""
    text = PAGE.split(f"\n## {title}\n")[1] if title != "Train" else PAGE
    return re.findall(r"^    (?:.*\| )?((?:make|curl) .*?)(?: +#.*)?$", text.split("\n## ")[0], re.MULTILINE)


def words(line: str, **changes: str) -> list[str]:
    """What `make` makes of a line: the words of the stage, some of them with another value."""
    target, *given = shlex.split(line)[1:]
    given = [f"{key}={changes.get(key, value)}" for key, value in (word.split("=", 1) for word in given)]
    given += [f"{key}={value}" for key, value in changes.items() if not any(w.startswith(f"{key}=") for w in given)]
    shown = ["make", "-n", "-C", ROOT, target, *given]
    echo = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    (command,) = re.findall(r"^\S*python -m asd (.*)$", echo, re.MULTILINE)
    return shlex.split(command)


@contextmanager
def running(*given: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "asd", *given]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with recordings of the fan, and a shift with a fault from second 20 to 35."""
    monkeypatch.chdir(tmp_path)
    tone_machine(tmp_path / "plant", n_train=20, n_test=2)
    shift, _ = read_wav(write_clip(Path("shift.wav"), 900, 60.0))
    faulty, _ = read_wav(write_clip(Path("faulty.wav"), 900, 60.0, 3000.0))
    shift[:, 20 * 16000 : 35 * 16000] = faulty[:, 20 * 16000 : 35 * 16000]
    write_wav(Path("shift.wav"), shift, 16000)
    return tmp_path


@pytest.mark.slow
@needs_broker
def test_the_page_from_training_to_the_service(plant: Path) -> None:
    (train,) = commands("Train")
    succeeds(*words(train))
    (export,) = commands("A graph for machines without Python")
    succeeds(*words(export))
    assert Path("fan.onnx").stat().st_size > 1000
    file, folder, card, pipe, told = commands("Listen")
    by_file = _of_a_file(file)
    _of_a_folder(folder)
    if (answer := asd(*words(card))).code:  # no computer of a test has that card
        assert "no sound card" in answer.err
    _of_a_pipe(pipe, by_file)
    _told_elsewhere(told, plant)
    _recalibrated(file, *commands("Recalibrate"))
    serve, *curls = commands("Serve")
    _of_the_service(serve, curls)


def _of_a_file(line: str) -> list[float]:
    answer: Answer = succeeds(*words(line))
    assert "1 alarms" in answer.out
    kinds = [event["event"] for event in lines(FOUND / "alarms.jsonl")]
    assert kinds[:2] == ["alarm", "cleared"]
    alarm = lines(FOUND / "alarms.jsonl")[0]
    assert 17 < alarm["onset_s"] < 21 < alarm["end_s"] < 35
    (sound,) = (FOUND / "recordings").glob("alarm-*.wav")
    assert read_wav(sound)[0].shape[1] == round((alarm["end_s"] - alarm["onset_s"] + 20) * 16000)
    return [line["score"] for line in lines(FOUND / "scores.jsonl")]


def _of_a_folder(line: str) -> None:
    write_clip(Path("incoming/early.wav"), 1, 1.0)
    with running(*words(line, out="watched")) as process:
        wait_for(lambda: len(lines(Path("watched/scores.jsonl"))) == 1, 120)
        write_clip(Path("incoming/late.wav"), 2, 1.0)
        wait_for(lambda: len(lines(Path("watched/scores.jsonl"))) == 2, 120)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def _of_a_pipe(line: str, expected: list[float]) -> None:
    with running(*words(line, out="piped"), stdin=subprocess.PIPE) as process:
        _, err = process.communicate(Path("shift.wav").read_bytes(), timeout=300)
        assert process.returncode == 0, err
    assert [line["score"] for line in lines(Path("piped/scores.jsonl"))] == expected


def _told_elsewhere(line: str, place: Path) -> None:
    port = free_port()
    with serving(503) as hook, broker(place, port), subscriber(port, "fans") as got:
        succeeds(*words(line, webhook=hook.url, mqtt=f"mqtt://127.0.0.1:{port}/fans", out="told"))
        written = lines(Path("told/alarms.jsonl"))
        wait_for(lambda: len(got) == len(written))
    assert got == written
    assert [json.loads(body) for status, _, body in hook.got if status != 503] == written


def _recalibrated(listen: str, confirm: str, undo: str) -> None:
    """What the alarm recorded is declared normal, and then not."""
    alarm = lines(FOUND / "alarms.jsonl")[0]
    recorded, rate = read_wav(Path(alarm["audio"]))
    before = json.loads(Path("runs/fans/fan/seed0/scores/thresholds.json").read_text())
    Path("confirmed").mkdir()
    for second in range(12, 24):
        write_wav(Path(f"confirmed/{second}.wav"), recorded[:, second * rate : (second + 1) * rate], rate)
    succeeds(*words(confirm))
    assert "0 alarms" in succeeds(*words(listen, out="recalibrated")).out
    succeeds(*words(undo))
    assert json.loads(Path("runs/fans/fan/seed0/scores/thresholds.json").read_text()) == before
    assert "1 alarms" in succeeds(*words(listen, out="undone")).out


def _of_the_service(line: str, curls: list[str]) -> None:
    for name, clip in (("a.wav", 0), ("b.flac", 1)):
        write_clip(Path(f"{name}.wav"), clip, 1.0).rename(name)
    port = free_port()
    with running(*words(line, port=str(port))):
        wait_for(lambda: _curl(f"http://127.0.0.1:{port}/health").get("status") == "ok", 120)
        one, several = (_curl(*shlex.split(line.replace(":8000", f":{port}"))[1:]) for line in curls)
    expected = asd_scores([Path("a.wav"), Path("b.flac")])
    np.testing.assert_allclose([row["score"] for row in several["results"]], expected)
    assert [row["score"] for row in one["results"]] == pytest.approx(expected[:1])


def _curl(*given: str) -> dict[str, Any]:
    done = subprocess.run(["curl", "-s", *given], capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.returncode)
    return json.loads(done.stdout)


def asd_scores(paths: list[Path]) -> list[float]:
    from asd.library import load

    return load("runs/fans").score_files(paths)["score"].tolist()
