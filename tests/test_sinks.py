"""Events reach a file, a web server and a broker, whatever these do meanwhile."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from asd.deploy.sinks import SIGNATURE, TIMESTAMP, JsonLines, Mqtt, Webhook, signature
from asd.types import AsdError

OPENSSL = shutil.which("openssl")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Hook(ThreadingHTTPServer):
    """Takes requests, and answers the first ones as it is told: a status, or 0 for never."""

    def __init__(self, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.got, self.ended = list(answers), [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/alarms"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.server.got.append((status, dict(self.headers), body))
        if not status:
            self.server.ended.wait(30)
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(*answers: int) -> Iterator[Hook]:
    hook = Hook(*answers)
    thread = threading.Thread(target=hook.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hook
    finally:
        hook.ended.set()
        hook.shutdown()
        thread.join()
        hook.server_close()


def test_a_webhook_gets_signed_events_in_order_until_it_takes_them() -> None:
    with serving(503, 429, 200, 500) as hook:
        sink = Webhook(hook.url, "plant secret", first_wait_s=0.001)
        for i in range(3):
            sink.send({"id": i})
        sink.close(20)
    assert sink.n_lost == 0
    assert [(status, json.loads(body)["id"]) for status, _, body in hook.got] == [
        *[(503, 0), (429, 0), (200, 0), (500, 1), (204, 1), (204, 2)]
    ]
    for _, headers, body in hook.got:
        said = headers[SIGNATURE]
        assert said == signature("plant secret", headers[TIMESTAMP], body)
        assert said != signature("another", headers[TIMESTAMP], body)
        assert said != signature("plant secret", headers[TIMESTAMP], body + b" ")
        assert abs(int(headers[TIMESTAMP]) - time.time()) < 600


def test_the_signature_is_that_of_openssl() -> None:
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", "key"], input=b"17.{}", capture_output=True, check=True
    )
    assert signature("key", "17", b"{}") == "sha256=" + done.stdout.decode().split()[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "ftp://a"), ("NO_PROXY", "[::1"), ("SSL_CERT_FILE", "no.pem"), ("ALL_PROXY", "socks5://a")],
)
def test_an_environment_that_no_webhook_can_use_is_a_sentence(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(name, value)
    with pytest.raises(AsdError, match=r"proxies or SSL_CERT_FILE of the environment cannot be used \(.+unset them"):
        Webhook("https://127.0.0.1:9/x")


@pytest.mark.parametrize(("status", "more"), [(400, ""), (307, " and leads elsewhere; name the address it leads to")])
def test_what_a_webhook_refuses_for_good_is_given_up_and_said(
    caplog: pytest.LogCaptureFixture, status: int, more: str
) -> None:
    with serving(status) as hook, caplog.at_level(logging.INFO):
        sink = Webhook(hook.url, first_wait_s=0.001)
        sink.send({"id": "first"})
        sink.send({"id": "second"})
        sink.close(20)
    assert sink.n_lost == 1
    assert len(hook.got) == 2
    assert SIGNATURE not in hook.got[0][1]
    assert f"never took event first: it answers {status}{more}" in caplog.text
    assert "/alarms" not in caplog.text  # a path may hold a key


@pytest.mark.parametrize("answers", [(0, 0, 0, 0), (500,) * 50])
def test_a_webhook_that_never_answers_holds_up_nothing(answers: tuple[int, ...]) -> None:
    with serving(*answers) as hook:
        sink = Webhook(hook.url, timeout_s=0.05, tries=50, first_wait_s=0.01)
        for i in range(5):
            sink.send({"id": i})
        sink.close(0.1)
    assert 1 <= sink.n_lost <= 5


def test_the_event_that_is_being_sent_at_the_end_is_lost_too() -> None:
    with serving(0) as hook:
        sink = Webhook(hook.url, timeout_s=30)
        for i in range(3):
            sink.send({"id": i})
        sink.close(0.1)
        sink._thread.join(30)
        assert sink.n_lost == 3  # once each


def test_an_answer_that_never_ends_is_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:

        def stream() -> None:
            connection, _ = place.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

        thread = threading.Thread(target=stream, daemon=True)
        thread.start()
        sink = Webhook(f"http://127.0.0.1:{place.getsockname()[1]}/video", tries=1)
        sink.send({"id": "first"})
        sink.close(5)
    assert sink.n_lost == 0
    assert not sink._thread.is_alive()


def test_more_than_can_wait_is_counted_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asd.deploy.sinks.QUEUED", 2)
    with serving(0) as hook:
        sink = Webhook(hook.url, timeout_s=30)
        for i in range(10):
            sink.send({"id": i})
        assert sink.n_lost >= 7
        sink.close(0.1)
        assert sink.n_lost == 10


@pytest.mark.parametrize(
    "url", ["plant.example", "ftp://plant.example/x", "http://", "http:///x", "http://a:b/x", "http://a:99999/x"]
)
def test_an_address_of_a_webhook_that_is_none(url: str) -> None:
    with pytest.raises(AsdError, match="webhook= is no address") as refused:
        Webhook(url)
    assert "plant.example" not in str(refused.value)  # an address may hold a key


def test_lines_are_added_whole_and_a_full_disk_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "alarms.jsonl"
    path.write_text('{"id": 1}\n{"id": 2, "cut o')
    sink = JsonLines(path)
    sink.send({"id": 3})
    assert path.read_text().splitlines()[::2] == ['{"id": 1}', '{"id": 3}']
    full = JsonLines(Path("/dev/full"))
    with caplog.at_level(logging.ERROR, "asd"):
        full.send({"id": 1})
        full.send({"id": 2})
    assert full.n_lost == 2
    assert caplog.text.count("No space left") == 1


@contextmanager
def broker(folder: Path, port: int, anonymous: bool = True, more: str = "") -> Iterator[None]:
    """A real broker, which is there when it answers."""
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous {str(anonymous).lower()}\n{more}")
    process = subprocess.Popen([MOSQUITTO, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None)
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(happened: Any, seconds: float = 30.0) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        try:
            if happened():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        return int(place.getsockname()[1])


@contextmanager
def subscriber(port: int, topic: str) -> Iterator[list[dict[str, Any]]]:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    got: list[dict[str, Any]] = []
    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _, __, message: got.append(json.loads(message.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(30)
    yield got
    client.disconnect()
    client.loop_stop()


needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


@needs_broker
def test_a_broker_gets_events_on_the_topic(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), subscriber(port, "plant/+") as got:
        sink = Mqtt(f"mqtt://127.0.0.1:{port}/plant/fan")
        for i in range(20):
            sink.send({"id": i})
        sink.close(30)
        assert sink.n_lost == 0
        wait_for(lambda: len(got) == 20)
    assert [event["id"] for event in got] == list(range(20))


@needs_broker
@pytest.mark.slow
def test_events_wait_for_a_broker_that_comes_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with caplog.at_level(logging.WARNING, "asd"):
        sink = Mqtt(f"mqtt://127.0.0.1:{port}/plant/fan")
        sink.send({"id": "early"})
        wait_for(lambda: "is not there" in caplog.text)
    with broker(tmp_path, port), subscriber(port, "plant/fan") as got:
        wait_for(lambda: got)
        sink.close(10)
    assert (got, sink.n_lost) == ([{"id": "early"}], 0)


@pytest.mark.slow
@needs_broker
def test_a_broker_that_is_started_again_misses_nothing(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), subscriber(port, "plant/fan") as got:
        sink = Mqtt(f"mqtt://127.0.0.1:{port}/plant/fan")
        sink.send({"id": 0})
        wait_for(lambda: got)
    for i in range(1, 4):
        sink.send({"id": i})
    with broker(tmp_path, port), subscriber(port, "plant/fan") as got:
        sink.close(30)
        wait_for(lambda: {event["id"] for event in got} >= {1, 2, 3})
    assert sink.n_lost == 0


@needs_broker
def test_a_broker_that_knows_us_not_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with broker(tmp_path, port, anonymous=False), caplog.at_level(logging.WARNING, "asd"):
        sink = Mqtt(f"mqtt://fan:wrong@127.0.0.1:{port}/plant/fan")
        sink.send({"id": 0})
        wait_for(lambda: "refuses the connection (Not authorized)" in caplog.text)
        sink.close(0.1)
    assert sink.n_lost == 1
    assert "wrong" not in caplog.text


@pytest.mark.slow
@needs_broker
@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_what_keeps_tls_from_a_broker_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    words = (
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        *subject,
        "-keyout",
        key,
        "-out",
        certificate,
    )
    subprocess.run([OPENSSL, *words], check=True, capture_output=True)
    port, plain = free_port(), free_port()
    saying = {
        f"mqtts://localhost:{port}/fan": r"is not accepted \(self-signed certificate\); name the file of its authority",
        f"mqtt://localhost:{port}/fan": "ended the connection",
        f"mqtts://localhost:{plain}/fan": rf"localhost:{plain} (speaks no TLS|is not there \(Connection reset)",
        f"mqtt://localhost:{free_port()}/fan": r"is not there \(Connection refused\)",
    }
    with (
        broker(tmp_path, port, more=f"certfile {certificate}\nkeyfile {key}\nlistener {plain} 127.0.0.1\nuser root\n"),
        caplog.at_level(logging.WARNING, "asd"),
    ):
        for address, why in saying.items():
            sink = Mqtt(address)
            sink.send({"id": 0})
            wait_for(lambda why=why: re.search(why, caplog.text))
            sink.close(0.1)
            assert sink.n_lost == 1
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sink = Mqtt(f"mqtts://localhost:{port}/fan")
        sink.send({"id": 0})
        sink.close(30)
        assert sink.n_lost == 0


@needs_broker
@pytest.mark.parametrize("topic", ["a?b=1", "a//b;c", "/a", "%C3%BC b"])
def test_any_letter_may_stand_in_a_topic(tmp_path: Path, topic: str) -> None:
    port = free_port()
    with broker(tmp_path, port), subscriber(port, unquote(topic)) as got:
        sink = Mqtt(f"mqtt://127.0.0.1:{port}/{topic}")
        sink.send({"id": 1})
        sink.close(30)
        wait_for(lambda: got == [{"id": 1}])


def test_without_a_broker_events_are_counted_as_lost() -> None:
    sink = Mqtt(f"mqtt://someone:hidden@127.0.0.1:{free_port()}/plant/fan")
    sink.send({"id": 1})
    sink.close(0.05)
    assert sink.n_lost == 1


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "http://127.0.0.1/x", "mqtt://127.0.0.1", "mqtt:///x", "mqtt://h:99999/x", "mqtt://h/a/#"),
        *(
            "mqtt://h..x/a",
            "mqtt://h#x/a",
            "mqtt://h/a%00b",
            "mqtt://h/a%0Ab",
            "mqtt://h/$SYS/a",
            f"mqtt://h/{'x' * 65_536}",
        ),
    ],
)
def test_an_address_of_a_broker_that_is_none(address: str) -> None:
    with pytest.raises(AsdError, match="mqtt="):
        Mqtt(address)
