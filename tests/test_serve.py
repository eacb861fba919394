"""The service as callers see it: scores as `predict` gives them, refusals in a sentence, nothing mixed up."""

from __future__ import annotations

import asyncio
import io
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")

import httpx
import uvicorn
from starlette.testclient import TestClient

import asd
from asd.deploy import application as service
from asd.deploy.models import Models, Upload, score_uploads
from asd.deploy.serve import _bound
from asd.deploy.service import RefusalError
from asd.runs import RunDirectory
from asd.settings.stages import Serve
from asd.types import AsdError
from tests.command import refuses
from tests.machines import tone_machine, write_clip

ROOT = Path(__file__).parents[1]
LIMITS = Serve(megabytes=3, recordings=8, seconds=20, rate=6000, concurrency=64, timeout_s=60)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs fans of two machines."""
    place = tmp_path_factory.mktemp("plant")
    for machine in ("fan", "pump"):
        tone_machine(place / "data", machine, n_train=12, n_test=3)
        model = asd.fit(place / "data" / machine / "train", machine=machine, options={"views": ["level_64"]})
        model.save(place / "runs/fans", machine)
    return place


@pytest.fixture(scope="module")
def client(plant: Path) -> Iterator[TestClient]:
    app = service.application(Models(plant / "runs", None, "cpu"), LIMITS)
    with TestClient(app, raise_server_exceptions=False) as caller:
        yield caller


def clips(plant: Path) -> list[Path]:
    return sorted((plant / "data/fan/test").glob("*.wav"))


def as_form(paths: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("recording", (path.name, path.read_bytes())) for path in paths]


def test_health_models_and_the_description_of_the_interface(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "models": 2, "not_served": []}
    fan, pump = client.get("/models").json()
    assert (fan["run"], fan["machine"], pump["machine"]) == ("fans", "fan", "pump")
    assert fan["sample_rate_hz"] == 16000
    assert fan["scorers"][0] in fan["thresholds"]
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/health", "/models", "/score", "/metrics"} == set(paths)
    assert {"audio/*", "multipart/form-data"} == set(paths["/score"]["post"]["requestBody"]["content"])
    assert set(paths["/score"]["post"]["responses"]) == {"200", "default"}
    refusal = paths["/score"]["post"]["responses"]["default"]["content"]["application/json"]["schema"]
    assert set(refusal["properties"]) == set(client.get("/docs").json()) == {"error"}


def test_a_model_that_was_made_anew_is_told_once_in_the_log(
    plant: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = shutil.copytree(plant / "runs", tmp_path / "runs")
    models = Models(runs, None, "cpu")
    models.chosen("fans", "fan")
    assert "made anew" not in caplog.text
    normal = sorted((plant / "data/fan/train").glob("*.wav"))[:6]
    asd.fit(normal, machine="fan", options={"views": ["kurtosis"]}).save(runs / "fans", "fan")
    earlier = models.chosen("fans", "fan")[2]
    models.chosen("fans", "fan")
    models.chosen("fans", "pump")
    assert "level_64" in earlier.scorers
    assert caplog.text.count("was made anew since its model was loaded, and the earlier one answers") == 1
    assert f"{runs}/fans/fan/seed0 was made anew" in caplog.text


def test_the_model_that_answers_is_asked_for_its_sections_and_not_the_run_on_the_disk(
    plant: Path, tmp_path: Path
) -> None:
    runs = shutil.copytree(plant / "runs", tmp_path / "runs")
    with TestClient(service.application(Models(runs, None, "cpu"), LIMITS)) as caller:
        shutil.rmtree(runs)
        assert caller.post("/score?machine=fan&section=0", files=as_form(clips(plant)[:1])).status_code == 200


def closed(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """A folder that may not be looked into, whoever runs the tests."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != place and access(path, mode))


@pytest.mark.parametrize(
    ("place", "saying"),
    [
        ("pump/seed0/model/bank.safetensors", "is missing or damaged"),
        ("pump/seed0/config.yaml", "is not a readable YAML file"),
        ("pump/seed0/DONE", "is damaged"),
        ("pump/seed0/DONE is gone", "fans/pump holds no complete run; start the same train"),
        ("pump/seed0 is closed", "may not be read; change its permissions"),
        ("pump is closed", "may not be read; change its permissions"),
    ],
)
def test_a_model_that_cannot_be_used_keeps_no_other_from_being_served(
    plant: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    saying: str,
) -> None:
    runs = shutil.copytree(plant / "runs", tmp_path / "runs")
    path, _, what = place.partition(" is ")
    if what == "closed":
        closed(monkeypatch, runs / "fans" / path)
    elif what == "gone":
        (runs / "fans" / path).unlink()
    else:
        (runs / "fans" / path).write_text("junk")
    models = Models(runs, None, "cpu")
    assert [*models.loaded] == [("fans", "fan")]
    assert "fans/pump is not served: " in caplog.text
    assert saying in caplog.text
    with TestClient(service.application(models, LIMITS)) as caller:
        assert caller.get("/health").json() == {"status": "ok", "models": 1, "not_served": ["fans/pump"]}
        files = as_form(clips(plant)[:1])
        assert caller.post("/score?machine=fan", files=files).status_code == 200
        assert caller.post("/score", files=files).status_code == 422  # whose it is nobody has said
        missing = caller.post("/score?machine=pump", files=files)
        assert missing.status_code == 503
        assert saying in missing.json()["error"]
    assert asd.load(runs / "fans", "fan").options.machine == ["fan"]
    with pytest.raises(AsdError, match=saying):
        asd.load(runs / "fans", "pump")


def test_a_detector_that_breaks_keeps_no_other_from_being_served(
    plant: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(path: Path, machine: str, **options: Any) -> asd.Model:
        if machine == "pump":
            raise KeyError("weights")
        return asd.load(path, machine, **options)

    monkeypatch.setattr("asd.deploy.models.load", breaks)
    models = Models(plant / "runs", None, "cpu")
    assert models.left_out == {("fans", "pump"): "it cannot be loaded, and the log says why"}
    assert models.chosen(None, "fan")[:2] == ("fans", "fan")
    assert "KeyError: 'weights'" in caplog.text


def test_a_fusion_has_no_model_to_serve_and_is_named(
    plant: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(RunDirectory, "fused_members", lambda run: ["one", "other"] if run.machine == "pump" else [])
    caplog.set_level("INFO")
    models = Models(plant / "runs", None, "cpu")
    assert ([*models.loaded], models.left_out) == ([("fans", "fan")], {})
    assert f"{plant}/runs/fans/pump/seed0 is a fusion and has no model; it is not served" in caplog.messages


def test_a_run_that_may_not_be_looked_into_is_told_of(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = shutil.copytree(plant / "runs", tmp_path / "runs")
    shutil.copytree(runs / "fans", runs / "more")
    closed(monkeypatch, runs / "more")
    models = Models(runs, None, "cpu")
    assert [*models.left_out] == [("more", "")]
    assert models.chosen("fans", "fan")[:2] == ("fans", "fan")
    models.left_out |= {("old", "fan"): "it is damaged", ("old", "pump"): "it is damaged"}
    with pytest.raises(RefusalError, match=r"^old/fan is not served: it is damaged"):  # no other run fits
        models.chosen("old", None)
    del models.left_out["old", "fan"], models.left_out["old", "pump"]
    with pytest.raises(RefusalError, match="several models fit; name one of run=fans&machine=fan; not served: more"):
        models.chosen(None, "fan")
    with pytest.raises(RefusalError, match=r"more is not served: .*more may not be read"):
        models.chosen("more", "fan")
    with pytest.raises(AsdError, match="more may not be read"):
        Models(runs, "more", "cpu")
    (runs / "fans/fan/seed0/config.yaml").write_text("junk")
    (runs / "fans/pump/seed0/config.yaml").write_text("junk")
    with pytest.raises(AsdError, match=r"holds no model that can be served: .*fan/seed0/config.yaml is not a readable"):
        Models(runs, None, "cpu")
    closed(monkeypatch, runs)
    with pytest.raises(AsdError, match="runs may not be read"):
        Models(runs, None, "cpu")


def test_a_batch_scores_as_predict_does(client: TestClient, plant: Path) -> None:
    paths = clips(plant)[:8]
    answer = client.post("/score?machine=fan", files=as_form(paths))
    assert answer.status_code == 200
    said = answer.json()
    expected = asd.load(plant / "runs/fans", "fan").score_files(paths)
    assert [row["file"] for row in said["results"]] == [path.name for path in paths]
    np.testing.assert_allclose([row["score"] for row in said["results"]], expected["score"], rtol=1e-9)
    assert [row["decision"] for row in said["results"]] == expected["decision"].astype(bool).tolist()
    assert said["threshold"] == expected["threshold"].iloc[0]
    assert (said["run"], said["machine"], said["scorer"]) == ("fans", "fan", "ensemble")


def test_one_recording_may_be_the_body_in_any_format_and_rate(client: TestClient, tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 16000)
    file = io.BytesIO()
    soundfile.write(file, wave, 8000, format="FLAC")
    answer = client.post("/score?machine=pump", content=file.getvalue(), headers={"content-type": "audio/flac"})
    (row,) = answer.json()["results"]
    assert row["file"] == "recording"
    assert np.isfinite(row["score"])


def test_broken_recordings_of_a_batch_are_named_and_the_others_scored(client: TestClient, plant: Path) -> None:
    good = clips(plant)[0]
    long = io.BytesIO()
    soundfile.write(long, np.zeros(16000 * 25), 16000, format="FLAC")  # 25 s in few bytes
    bomb = io.BytesIO()
    soundfile.write(bomb, np.zeros((192000 * 4, 4)), 192000, format="FLAC")  # 12 MB of samples
    wide = io.BytesIO()
    soundfile.write(wide, np.zeros((100, 12)), 16000, format="WAV")
    files = [
        *as_form([good]),
        ("recording", ("noise.wav", b"no sound at all")),
        ("recording", ("cut.wav", good.read_bytes()[:1000])),
        ("recording", ("long.flac", long.getvalue())),
        ("recording", ("wide.wav", wide.getvalue())),
        ("recording", ("bomb.flac", bomb.getvalue())),
        ("recording", ("empty.wav", b"")),
    ]
    answer = client.post("/score?machine=fan", files=files)
    assert answer.status_code == 200
    rows = answer.json()["results"]
    assert "score" in rows[0]
    sayings = [
        *("noise.wav", "cut.wav is truncated", "25 s, more than 20 s", "12 channels"),
        *("bomb.flac holds 3072000 samples, more than 1920000", "empty.wav"),
    ]
    for row, saying in zip(rows[1:], sayings, strict=True):
        assert saying in row["error"]
        assert "score" not in row
        assert "/tmp" not in row["error"]
        assert "asd-serve" not in row["error"]
    assert client.post("/score?machine=fan", files=files[1:]).status_code == 422


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../../../etc/passwd",
        "..",
        ".",
        "a/../../b.wav",
        "x" * 300 + ".wav",
        "\0.wav",
        "été.wav",
        "𐍈" * 90 + ".wav",  # four bytes each
        "",
    ],
)
def test_no_name_of_a_caller_leads_anywhere(client: TestClient, plant: Path, name: str) -> None:
    content = clips(plant)[0].read_bytes()
    boundary = "xyz"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="recording"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
    answer = client.post("/score?machine=fan", content=body, headers=kind)
    assert answer.status_code in (200, 400, 422)
    assert "root:" not in answer.text
    if answer.status_code == 200:
        expected = client.post("/score?machine=fan", content=content).json()["results"][0]["score"]
        assert answer.json()["results"][0]["score"] == expected


_PART = b'--a\r\nContent-Disposition: form-data; name="recording"; filename="a.wav"\r\n\r\nsome twenty bytes...\r\n'
_FORM = 2 * _PART + b"--a--\r\n"


@pytest.mark.parametrize(
    ("words", "given", "status", "saying"),
    [
        ("", {"content": b"x"}, 422, r"several models fit; name one of run=fans&machine=fan, run=fans&machine=pump"),
        ("?machine=valve", {"content": b"x"}, 404, "there is no such model; name one of"),
        ("?machine=../fan", {"content": b"x"}, 404, "there is no such model"),
        ("?machine=fan&scorer=best", {"content": b"x"}, 422, "scorer=best is unknown; there are ensemble"),
        ("?machine=fan&machin=pump", {"content": b"x"}, 422, "machin= is unknown; there are run, machine"),
        ("?machine=fan&machine=pump", {"content": b"x"}, 422, "machine= is given more than once"),
        ("?machine=fan", {}, 422, "holds no recording"),
        ("?machine=fan", {"content": b"x" * 3_000_001}, 413, "more than 3 MB"),
        ("?machine=fan", {"files": [("recording", (f"{i}.wav", b"x")) for i in range(9)]}, 400, "files"),
        ("?machine=fan", {"content": b"junk", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ("?machine=fan", {"content": b"x", "headers": {"content-encoding": "gzip"}}, 415, "gzip is not undone here"),
        ("", {"files": [("recording", ("a.wav", b"x"))], "data": {"machine": "fan"}}, 422, "several models"),
        ("?machine=fan", {"files": [("a", ("a.wav", b"x"))], "data": {"run": "fans"}}, 422, "run that is no file"),
        (
            "?machine=fan",
            {"content": b"junk", "headers": {"content-type": "Multipart/Form-Data; boundary=a"}},
            400,
            "Invalid multipart",
        ),
        (
            "?machine=fan",
            {"content": b"--a--\r\n", "headers": {"content-type": "multipart/form-data; boundary=a"}},
            422,
            "no file",
        ),
        *(
            (
                "?machine=fan",
                {"content": _FORM[:-n_cut], "headers": {"content-type": "multipart/form-data; boundary=a"}},
                400,
                "form ends before its last boundary.*send it again",
            )
            for n_cut in (4, 8, 20, 60)  # in the boundary, before it, in the last file, in its header
        ),
    ],
)
def test_what_is_refused_is_one_sentence_of_json(
    client: TestClient, words: str, given: dict[str, Any], status: int, saying: str
) -> None:
    answer = client.post(f"/score{words}", **given)
    assert answer.status_code == status, answer.text
    (sentence,) = answer.json().values()
    assert re.search(saying, sentence), sentence
    assert "Traceback" not in answer.text


def test_a_recording_without_a_sound_has_a_defect_besides_its_score(client: TestClient) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(16000), 16000, format="WAV")
    (row,) = client.post("/score?machine=fan", content=content.getvalue()).json()["results"]
    assert row["defect"] == "is silent (all samples are zero)"
    assert {"score", "decision"} < row.keys()


def test_other_pages_and_methods_are_refused_alike(client: TestClient) -> None:
    assert client.get("/etc/passwd").status_code == 404
    for page in ("/docs", "/health/", "/models/"):
        answer = client.get(page, follow_redirects=False)
        assert (answer.status_code, answer.json()["error"][:21]) == (404, "there is no such page")
    assert client.get("/score").status_code == 405
    assert client.put("/health").json()["error"]


def test_a_caller_that_hangs_up_is_no_mistake_of_ours(plant: Path, caplog: pytest.LogCaptureFixture) -> None:
    messages = iter([{"type": "http.request", "body": b"RIFF", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"machine=fan", "headers": []}
    app = service.application(Models(plant / "runs", None, "cpu"), LIMITS)
    asyncio.run(app({**scope, "http_version": "1.1", "client": ("127.0.0.1", 1)}, receive, send))
    assert sent[0]["status"] == 400
    assert not caplog.records


def test_what_nobody_waits_for_any_more_is_left(plant: Path) -> None:
    model = asd.load(plant / "runs/fans", "fan", device="cpu")
    uploads = [Upload(f"{i}.wav", path.read_bytes()) for i, path in enumerate(clips(plant)[:3])]
    answers = iter([False, False, True])
    rows = score_uploads(model, uploads, None, 20, is_given_up=lambda: next(answers))
    assert [row["file"] for row in rows] == ["0.wav", "1.wav"]


def test_recordings_of_a_caller_who_has_gone_are_left(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[bool] = []

    def slow(*given: Any) -> list[dict[str, Any]]:
        is_given_up, end_s = given[-1], time.monotonic() + 20
        while not is_given_up() and time.monotonic() < end_s:
            time.sleep(0.01)
        left.append(is_given_up())
        return []

    monkeypatch.setattr(service, "score_uploads", slow)
    with listening(plant, 8) as place:
        address = "http://{}:{}".format(*place)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/score?machine=fan", content=b"x", timeout=0.3)
        end_s = time.monotonic() + 10
        while not left and time.monotonic() < end_s:
            time.sleep(0.01)
        assert left == [True]
        assert 'path="/score",status="400"} 1.0' in httpx.get(f"{address}/metrics").text


@contextmanager
def listening(plant: Path, most: int) -> Iterator[tuple[str, int]]:
    """The service for so many connections, in a thread, and where it listens."""
    app = service.application(Models(plant / "runs", None, "cpu"), LIMITS)
    with _bound("127.0.0.1", 0) as place:
        server = uvicorn.Server(service.settings_of(app, most))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        yield place.getsockname()
        server.should_exit = True
        thread.join(30)


def ended(slow: socket.socket, send: bytes = b"") -> bool:
    """Whether the other side ends a connection within half a minute, while bytes go on coming."""
    with suppress(OSError):
        for _ in range(600):
            slow.sendall(send)
            if slow in select.select([slow], [], [], 0.05)[0] and not slow.recv(65536):
                return True
        return False
    return True


def test_a_connection_without_a_whole_header_ends(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.Connection, "look_s", 0.2)
    with listening(plant, 256) as place, socket.create_connection(place, timeout=30) as slow:
        assert ended(slow, b"G")  # a byte now and then, and never the end


def test_slow_and_idle_connections_keep_nobody_out(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.Connection, "look_s", 1000)
    part = b"POST /score?machine=fan HTTP/1.1\r\nHost: a\r\n"
    kinds = (b"", part, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")  # idle, slow, and answered long ago
    with listening(plant, 8) as (host, port):
        for kind in kinds:
            slow = [socket.create_connection((host, port)) for _ in range(40)]
            for each in slow:
                with suppress(OSError):  # it has ended
                    each.sendall(kind)
            address = f"http://{host}:{port}"
            assert httpx.get(f"{address}/health").json()["status"] == "ok"
            assert httpx.get(f"{address}/metrics").status_code == 200
            assert httpx.post(f"{address}/score?machine=fan", content=clips(plant)[0].read_bytes()).status_code == 200
            assert ended(slow[0])
            for each in slow:
                each.close()


def test_one_connection_too_many_ends_the_one_that_was_idle_for_longest(plant: Path) -> None:
    with listening(plant, 3) as (host, port):
        idle = [socket.create_connection((host, port)) for _ in range(3)]
        assert httpx.get(f"http://{host}:{port}/health").status_code == 200
        assert ended(idle[0])
        assert select.select(idle[1:], [], [], 0.1)[0] == []
        for each in idle:
            each.close()


def test_bodies_that_never_end_leave_health_and_metrics_alone(plant: Path) -> None:
    head = b"POST /score?machine=fan HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n"
    with listening(plant, 256) as place, httpx.Client(base_url="http://{}:{}".format(*place)) as caller:
        slow = [socket.create_connection(place) for _ in range(LIMITS.concurrency)]
        for each in slow:
            each.sendall(head)
        while caller.post("/score?machine=fan", content=b"x").status_code != 503:
            time.sleep(0.02)  # until all of them are read
        assert caller.get("/health").json()["status"] == "ok"
        assert caller.get("/metrics").status_code == 200
        for each in slow:
            each.close()


def test_a_mistake_of_ours_is_a_sentence_and_its_details_stay_here(
    client: TestClient, plant: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(service, "score_uploads", broken)
    answer = client.post("/score?machine=fan", content=b"x")
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "the server failed on this request; its log says why"},
    )
    assert "the secret of the house" in caplog.text


def test_a_full_disk_is_a_sentence_for_the_caller_and_one_for_the_log(
    plant: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*words: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with TestClient(service.application(Models(plant / "runs", None, "cpu"), LIMITS)) as caller:
        answer = caller.post("/score?machine=fan", content=b"x")
    assert answer.status_code == 503
    assert answer.json() == {
        "error": "the server cannot keep a recording now (No space left on device); try again later"
    }
    assert answer.headers["retry-after"] == "60"
    (record,) = (record for record in caplog.records if record.name == "asd")
    assert "are kept in TMPDIR" in record.getMessage()
    assert not record.exc_info


def test_metrics_count_answers_and_recordings(client: TestClient, plant: Path) -> None:
    def value(text: str, name: str) -> float:
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    name = 'asd_recordings_total{machine="fan",result="anomaly",run="fans"}'
    before = client.get("/metrics").text
    paths = [path for path in clips(plant) if "anomaly" in path.name][:4]
    client.post("/score?machine=fan", files=as_form(paths))
    client.get("/a/page/that/is/not/there")
    after = client.get("/metrics").text
    assert value(after, name) - value(before, name) == 4
    asked = 'asd_requests_total{method="POST",path="/score",status="200"}'
    assert value(after, asked) - value(before, asked) == 1
    assert "not/there" not in after


def test_a_service_for_others_needs_a_token_and_a_folder_of_runs(
    tmp_path: Path, plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses("serve", f"runs={plant / 'runs'}", "host=0.0.0.0", saying="host=0.0.0.0 .* token=")
    refuses("serve", f"runs={plant / 'runs'}", "host=::", saying="token=")
    refuses("serve", f"runs={plant / 'runs'}", "token=short", saying="token=")
    refuses("serve", f"runs={tmp_path}", saying="holds no trained run")
    refuses("serve", f"runs={plant / 'runs'}", "name=valves", saying="does not exist")
    monkeypatch.setenv("ASD_TOKEN", "fifteen letters")
    for host in ("127.0.0.1", "0.0.0.0"):
        refuses("serve", f"runs={plant / 'runs'}", f"host={host}", saying="ASD_TOKEN has 15 characters; give it 16")


def test_without_the_libraries_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refuses("serve", saying=r"asd\[serve\]")


@contextmanager
def running(plant: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real service, and its address."""
    command = [sys.executable, "-m", "asd", "serve", f"runs={plant / 'runs'}", "port=0", *words]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=plant, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stderr
    try:
        for line in process.stderr:
            if found := re.search(r"at (http://\S+);", line):
                yield process, found[1]
                break
        else:
            raise AssertionError("the service did not start")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_with_64_clients_nothing_is_lost_or_mixed_up(plant: Path, tmp_path: Path) -> None:
    paths = [write_clip(tmp_path / f"{i:03d}.wav", 5000 + i, 0.5 + 0.01 * i) for i in range(64)]
    expected = asd.load(plant / "runs/fans", "fan").score_files(paths)["score"].tolist()

    async def one(client: httpx.AsyncClient, i: int) -> None:
        for turn in range(3):
            chosen = (i + turn) % 64
            answer = await client.post("/score?machine=fan", files=as_form([paths[chosen]]))
            assert answer.status_code == 200, answer.text
            (row,) = answer.json()["results"]
            assert row["file"] == paths[chosen].name
            assert row["score"] == pytest.approx(expected[chosen], rel=1e-9)

    async def everybody(address: str) -> None:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
            await asyncio.gather(*(one(client, i) for i in range(64)))

    with running(plant, "rate=100000", "timeout_s=300", "workers=2") as (process, address):
        asyncio.run(everybody(address))
        assert 'status="200"} 192.0' in httpx.get(f"{address}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_killed_and_started_again_it_answers(plant: Path) -> None:
    with running(plant) as (process, address):
        port = address.rsplit(":", 1)[1]
        process.kill()
        process.wait()
    with running(plant, f"port={port}") as (_, again):  # the line is said when the models are loaded
        assert again == address
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s:
            try:
                assert httpx.get(f"{again}/health").json()["status"] == "ok"
                return
            except httpx.TransportError:
                time.sleep(0.01)
        raise AssertionError("it never answered")


def test_an_answer_does_not_wait_until_its_header_is_confirmed() -> None:
    with (
        _bound("127.0.0.1", 0) as place,
        socket.create_connection(place.getsockname()),
        place.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_a_sentence_before_models_are_loaded(
    plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asd.deploy.models.Models", None)
    with _bound("127.0.0.1", 0) as place:
        refuses("serve", f"runs={plant / 'runs'}", f"port={place.getsockname()[1]}", saying="cannot be used")


def test_a_request_that_a_service_leaves_when_it_ends_is_refused_in_a_sentence(
    plant: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, has_ended = threading.Event(), threading.Event()

    def slow(*_: Any) -> list[dict[str, Any]]:
        begun.set()
        has_ended.wait(30)
        return []

    monkeypatch.setattr(service, "score_uploads", slow)
    app = service.application(Models(plant / "runs", None, "cpu"), LIMITS)
    answers = []
    with _bound("127.0.0.1", 0) as place:
        settings = service.settings_of(app, 8)
        settings.timeout_graceful_shutdown = 0
        server = uvicorn.Server(settings)
        ending = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        ending.start()
        address = "http://{}:{}/score?machine=fan".format(*place.getsockname())
        asking = threading.Thread(target=lambda: answers.append(httpx.post(address, content=b"x", timeout=30)))
        asking.start()
        assert begun.wait(30)
        server.should_exit = True
        asking.join(30)
        has_ended.set()
        ending.join(30)
    assert answers[0].status_code == 503
    assert "is being stopped" in answers[0].json()["error"]
    assert "Traceback" not in caplog.text
