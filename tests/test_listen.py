"""The real command `listen`: what it scores, what it leaves, what it refuses."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

import asd
from asd.data.audio import read_sound, read_wav
from asd.data.codecs import write_wav
from asd.deploy import listen as listening
from asd.deploy.application import application
from asd.deploy.listen import RunModel
from asd.deploy.models import Models
from asd.deploy.sources import source_of
from asd.deploy.stream import Piece
from asd.settings.stages import Listen, Serve
from tests.command import ONE_VIEW, refuses, succeeds, train_on_tones
from tests.command import asd as asd_command
from tests.machines import two_sections, write_clip

OUT = Path("listening/fans/fan")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run fans of the machine fan, whose clips take about a second."""
    place = tmp_path_factory.mktemp("plant")
    train_on_tones(place, 16, 2, "name=fans", ONE_VIEW)
    return place


@pytest.fixture
def plant(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shift(from_s: float = 12.0, to_s: float = 20.0, total_s: float = 30.0) -> np.ndarray:
    """A shift of the fan with a tone in the middle, (1, samples) of 16 bits."""
    normal, _ = read_wav(write_clip(Path("normal.wav"), 1001, total_s))
    faulty, _ = read_wav(write_clip(Path("faulty.wav"), 1001, total_s, 3000.0))
    normal[:, int(from_s * 16000) : int(to_s * 16000)] = faulty[:, int(from_s * 16000) : int(to_s * 16000)]
    return normal


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_recording_that_is_cut_off_is_named_as_by_predict(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(Path("cut.wav"), shift(total_s=6.0), 16000)
    Path("cut.wav").write_bytes(Path("cut.wav").read_bytes()[:100_044])
    saying = "is truncated: its header promises 192000 bytes of samples, the file holds 100000; copy it again"
    refuses("listen", "name=fans", "input=cut.wav", saying=f"cut.wav {saying}")
    assert f"cut.wav {saying}" in asd_command("predict", "name=fans", "audio=cut.wav", "machine=fan").err
    with subprocess.Popen(["cat", "cut.wav"], stdout=subprocess.PIPE) as recorder:  # where only the end tells
        assert recorder.stdout
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(recorder.stdout))
        heard = asd_command("listen", "name=fans", "input=-")
    assert heard.code == 1
    assert heard.out.splitlines()[-1] == f"standard input {saying}"
    assert lines(OUT / "scores.jsonl")[-1]["end_s"] == 3.0  # of the 3.1 s that came


def test_every_score_is_that_of_the_model_and_the_fault_is_an_alarm(plant: Path) -> None:
    whole = shift()
    write_wav(Path("shift.wav"), whole, 16000)
    answer = succeeds("listen", "name=fans", "input=shift.wav", "duration_s=2", "drift.per_day=0")
    assert "1 alarms" in answer.out
    model, scores = asd.load("runs/fans"), lines(OUT / "scores.jsonl")
    whole, _ = read_wav(Path("shift.wav"))
    for line in scores[::4]:
        start, end = round(line["start_s"] * 16000), round(line["end_s"] * 16000)
        assert line["score"] == model.score(whole[0, start:end], 16000).score
    fit = json.loads(Path("runs/fans/fan/seed0/model/fit.json").read_text())
    assert scores[0]["end_s"] == fit["clip_s"] == 1.0
    alarm, cleared = lines(OUT / "alarms.jsonl")
    assert (alarm["event"], cleared["event"], alarm["machine"], alarm["run"]) == ("alarm", "cleared", "fan", "fans")
    assert 10 < alarm["onset_s"] < 13 < alarm["end_s"] < 20 < cleared["end_s"] < 24
    recorded, _ = read_wav(Path(alarm["audio"]))
    first = max(0, round((alarm["onset_s"] - 10) * 16000))
    np.testing.assert_allclose(recorded, whole[:, first : first + recorded.shape[1]], atol=1 / 32768)
    assert first + recorded.shape[1] == round((alarm["end_s"] + 10) * 16000)


def piped(content: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "asd", "listen", "name=fans", "input=-", *words]
    return subprocess.run(command, input=content, capture_output=True, check=False)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.mark.slow
def test_wav_and_raw_samples_from_standard_input_score_as_the_file(plant: Path) -> None:
    write_wav(Path("shift.wav"), shift(total_s=6.0, from_s=2.0, to_s=4.0), 16000)
    content = Path("shift.wav").read_bytes()
    succeeds("listen", "name=fans", "input=shift.wav", "out=file")
    for name, sent in (("wav", content), ("raw", content[44:])):
        done = piped(sent, f"out={name}")
        assert done.returncode == 0, done.stderr
        assert [line["score"] for line in lines(Path(name, "scores.jsonl"))] == [
            line["score"] for line in lines(Path("file/scores.jsonl"))
        ]


@pytest.mark.slow
def test_a_broken_header_from_standard_input_is_one_sentence(plant: Path) -> None:
    done = piped(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + bytes(16) + b"data\0\0\0\0")
    assert done.returncode == 2
    *_, sentence = done.stderr.decode().strip().splitlines()
    assert sentence.startswith("error: standard input has a broken WAV header")
    assert b"Traceback" not in done.stderr
    assert not OUT.exists()


def test_what_cannot_be_listened_to_is_refused_before_anything_is_written(plant: Path) -> None:
    path = write_clip(Path("short.wav"), 1, 0.3)
    refuses("listen", "name=fans", "input=nothing-there", saying="no file, no folder and no sound card")
    refuses(
        "listen", "name=fans", f"input={path}", f"out={path}", saying="alarms.jsonl: Not a directory; choose another"
    )
    refuses("listen", "name=fans", "input=", saying="input= does not fit: .*at least 1 character")
    refuses("listen", "name=nobody", f"input={path}", saying="does not exist")
    refuses("listen", "name=fans", "machine=pump", f"input={path}", saying="has no machine pump; it has fan")
    refuses("listen", "name=fans", "scorer=best", f"input={path}", saying="scorer=best is unknown; there are ensemble")
    refuses("listen", "name=fans", "window_s=1", "hop_s=2", f"input={path}", saying="hop_s=2 leaves something out")
    refuses("listen", "name=fans", "window_s=0.001", f"input={path}", saying="shortest input")
    for word in ("window_s=1e9", "duration_s=1e9", "smooth=1000000"):  # more than memory holds
        refuses("listen", "name=fans", word, f"input={path}", saying="does not fit: .* less than or equal to")
    refuses("listen", "name=fans", f"input={path}", "webhook=plant", saying="webhook= is no address")
    refuses("listen", "name=fans", f"input={path}", "mqtt=plant", saying="mqtt= is no address")
    assert not list(plant.rglob("*.jsonl"))


def test_a_recording_shorter_than_a_window_is_one_window(plant: Path) -> None:
    path = write_clip(Path("short.wav"), 1, 0.7)
    succeeds("listen", "name=fans", f"input={path}")
    (line,) = lines(OUT / "scores.jsonl")
    assert line["score"] == asd.load("runs/fans").score(read_wav(path)[0][0], 16000).score


@pytest.mark.slow
def test_a_stream_that_ends_too_early_says_so(plant: Path) -> None:
    done = piped(b"\0\0" * 10)
    assert done.returncode == 2
    assert b"ended after 0.000625 s, before the first score" in done.stderr


def test_a_listening_that_is_stopped_before_anything_comes_is_no_error(
    plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: Any, **options: Any) -> Iterator[Piece]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("asd.deploy.listen.source_of", stopped)
    assert "listened to 0.0 s: 0 scores, 0 alarms, 0.0% of one core" in succeeds("listen", "name=fans", "input=in").out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_listening_that_is_stopped_before_its_pipe_has_anything_is_no_error(plant: Path, number: int) -> None:
    os.mkfifo("pipe")
    process = subprocess.Popen(
        [sys.executable, "-m", "asd", "listen", "name=fans", "input=pipe"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # the tests may run under nohup
    )
    with Path("pipe").open("wb"):  # which waits for the listener
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "listened to 0.0 s: 0 scores" in out
    assert "written" not in out
    assert not OUT.exists()


def test_sound_that_is_stored_otherwise_than_what_was_learnt_from_is_told_once(
    plant: Path, caplog: pytest.LogCaptureFixture
) -> None:
    normal = sorted(Path("data/fan/train").glob("*.wav"))
    assert "learnt from at" not in succeeds("listen", "name=fans", f"input={normal[0]}").err
    write_wav(Path("high.wav"), np.random.default_rng(0).normal(0, 0.1, (1, 96000)), 48000)
    told = succeeds("listen", "name=fans", "input=high.wav").err
    assert "high.wav: 1 of 1 recordings are sampled at 48000 Hz, and those that were learnt from at 16000 Hz" in told

    model = RunModel(Listen(name="fans", input="-", device="cpu"))
    model.model.recorded = {**model.model.recorded, "rates_hz": [48000]}
    handed: list[Piece] = []
    with caplog.at_level("WARNING", logger="asd"):
        for name in ("normal.wav", "other.wav"):
            write_clip(Path(name), 1)
            handed += source_of(name, 16000, tell=model.remark)
        assert handed
        (said,) = caplog.messages  # of a stream at the rate of the model, too
        assert "16000 Hz, and those that were learnt from at 48000 Hz" in said
        waveform, rate_hz = read_wav(normal[0])
        for gain in (0.3, 0.1):
            write_wav(Path("fainter.wav"), gain * waveform, rate_hz)
            model.remark(read_sound(Path("fainter.wav")))
        assert ["quieter than all" in said for said in caplog.messages[1:]] == [True]  # once, of both
    said = succeeds("listen", "name=fans", "input=fainter.wav").err
    assert said.count("quieter than all") == 1  # of the file, and not of its windows besides


@pytest.fixture
def listener(plant: Path) -> Iterator[subprocess.Popen[str]]:
    """One that watches the folder `in`."""
    Path("in").mkdir()
    words = ("listen", "name=fans", "input=in", "smooth=1", "duration_s=0", "before_s=0", "after_s=0")
    process = subprocess.Popen(
        [sys.executable, "-m", "asd", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def wait_for_lines(path: Path, n: int) -> list[dict[str, Any]]:
    end_s = time.monotonic() + 120
    while time.monotonic() < end_s:
        if path.exists() and len(found := lines(path)) >= n:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {n} lines")


@pytest.mark.slow
def test_a_watched_folder_until_it_is_stopped(listener: subprocess.Popen[str]) -> None:
    write_clip(Path("aside/a.wav"), 2001, 1.0).rename("in/a.wav")
    wait_for_lines(OUT / "scores.jsonl", 1)
    refuses("listen", "name=fans", "input=in", saying="another listener writes to listening/fans/fan")
    write_clip(Path("in/b.wav"), 2002, 1.0, 3000.0)
    scores = wait_for_lines(OUT / "scores.jsonl", 2)
    assert [line["recording"] for line in scores] == ["a.wav", "b.wav"]
    expected = asd.load("runs/fans").score_files(["in/a.wav", "in/b.wav"])["score"]
    np.testing.assert_allclose([line["score"] for line in scores], expected, rtol=1e-6)
    os.utime("runs/fans/fan/seed0/DONE")  # as after a recalibration
    write_clip(Path("in/c.wav"), 2003, 1.0)
    wait_for_lines(OUT / "scores.jsonl", 3)
    listener.send_signal(signal.SIGTERM)
    out, err = listener.communicate(timeout=120)
    assert listener.returncode == 0, err
    assert "3 scores, 1 alarms" in out
    assert "the model was recalibrated" in err
    (alarm, *_) = lines(OUT / "alarms.jsonl")
    assert (alarm["event"], alarm["recording"]) == ("alarm", "b.wav")
    assert Path(alarm["audio"]).exists()


@pytest.mark.slow
def test_an_hour_takes_no_more_memory_than_its_first_minutes(plant: Path) -> None:
    """The resident set of the process, while an hour comes through a pipe as fast as it is scored."""
    minute = (shift(total_s=60.0, from_s=20.0, to_s=40.0)[0] * 32767).astype("<i2").tobytes()
    words = ("listen", "name=fans", "input=-", "window_s=2", "hop_s=2", "device=cpu", "drift.windows=5")
    process = subprocess.Popen(
        [sys.executable, "-m", "asd", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin
    used = []
    for _ in range(60):
        process.stdin.write(minute)
        used.append(int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert b"listened to 3600.0 s: 1800 scores, 60 alarms" in out
    assert used[-1] <= max(used[5:15]) + (16 << 20)


@pytest.mark.parametrize(("rate_hz", "views"), [(8000, ["level_64"]), (16000, ["kurtosis"])])
def test_a_run_that_was_made_anew_for_other_sound_or_scorers_is_not_taken_over(
    plant: Path, rate_hz: int, views: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = RunModel(Listen(name="fans", input="-", scorer="level_64", device="cpu"))
    samples = shift(total_s=1.0)
    before = model.score(samples)
    normal = sorted(Path("data/fan/train").glob("*.wav"))
    asd.fit(normal, rate_hz, machine="fan", options={"views": views}, device="cpu").save("runs/fans", "fan")
    assert not model.has_changed()
    assert "the one from before listens on" in caplog.text
    assert model.score(samples) == before


def test_a_run_that_learnt_from_clips_of_another_length_is_not_taken_over(
    plant: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, given = (RunModel(Listen(name="fans", input="-", window_s=s, device="cpu")) for s in (None, 1.0))
    normal = [write_clip(Path(f"long/{i}.wav"), i, 2.0) for i in range(8)]
    asd.fit(normal, machine="fan", options={"views": ["level_64"]}, device="cpu").save("runs/fans", "fan")
    assert not model.has_changed()
    assert "it learnt from clips of 2 s, windows are of 1 s; start listen again" in caplog.text
    assert given.has_changed()  # who chose the windows keeps them


def test_webhook_and_broker_are_closed_at_once(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other they would take longer than a container is given to stop."""
    both = threading.Barrier(2, timeout=30)

    class Slow:
        n_lost = 0

        def __init__(self, *_: object) -> None: ...

        def send(self, event: object) -> None: ...

        def close(self, timeout_s: float) -> None:
            both.wait()  # breaks where the other is closed later
            assert timeout_s < 10

    for kind in ("Webhook", "Mqtt"):
        monkeypatch.setattr(listening, kind, Slow)
    write_wav(plant / "stream.wav", shift(), 16000)
    succeeds("listen", "name=fans", "input=stream.wav", "webhook=http://plant", "mqtt=mqtt://plant/alarms")


def test_each_folder_has_a_mark_of_its_own(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = []
    monkeypatch.setattr("asd.deploy.listen.source_of", lambda *given, mark, **options: marks.append(mark) or iter(()))
    for folder in ("in", "other", "./in"):
        refuses("listen", "name=fans", f"input={folder}", saying="before the first score")
    assert marks[0] == marks[2] != marks[1]


def test_a_stream_is_of_the_section_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    two_sections(Path("data"))
    succeeds("train", "machine=fan", "data=data", "statistics.views=level", "name=fans")
    waveform, _ = read_wav(write_clip(Path("x.wav"), 7))
    model = asd.load("runs/fans", device="cpu")
    expected = {section: model.score(waveform[0], 16000, section=section).score for section in ("00", "03")}
    assert expected["00"] != expected["03"]
    with service(Models(Path("runs"), None, "cpu")) as client:
        for section in ("00", "3"):
            score = expected[section.zfill(2)]
            succeeds("listen", "name=fans", "input=x.wav", f"section={section}", f"out=heard{section}")
            assert lines(Path(f"heard{section}/scores.jsonl"))[0]["score"] == pytest.approx(score)
            succeeds("predict", "name=fans", "audio=x.wav", f"section={section}", f"out={section}")
            assert pd.read_csv(f"{section}/predictions.csv")["score"][0] == pytest.approx(score)
            said = client.post(f"/score?section={section}", content=Path("x.wav").read_bytes()).json()
            assert said["results"][0]["score"] == pytest.approx(score)
            assert "of section" not in succeeds("predict", "name=fans", "audio=x.wav", f"section={section}").err
        said = client.post("/score?section=07", content=Path("x.wav").read_bytes())
    unknown = "section=07 is none that the model of fan was trained on; it has 00, 03"
    assert (said.status_code, said.json()) == (422, {"error": unknown})
    for stage in ("listen", "predict"):
        word = "input" if stage == "listen" else "audio"
        refuses(stage, "name=fans", f"{word}=x.wav", "section=07", saying=unknown)


def service(models: Models) -> TestClient:
    return TestClient(application(models, Serve()))
