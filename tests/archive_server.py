"""The archive of records and the host of evaluators on this machine, with any fault one likes.

with serving() as server:
    publish_year(server, 2024, tmp_path, dev=["fan"], evaluation=["ToothBrush"])
    server.faults["dev_fan.zip"] = [Fault.status(429, after="0"), Fault.break_off(1000)]
    asd("data", "year=2024", "machine=fan,ToothBrush", *server.words)
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from asd.challenge.years import Repository


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; the ones after it have faults of their own, or none."""

    code: int = 0  # answer with this status
    after: str | None = None  # and this Retry-After
    place: str | None = None  # and this Location
    body_bytes: int | None = None  # close the connection after so many bytes of the body
    announced_bytes: int | None = None  # lie about the length
    ignores_range: bool = False
    pause_s: float = 0.0  # a slow line: so long a pause after every kilobyte

    @classmethod
    def status(cls, code: int, after: str | None = None) -> Fault:
        return cls(code=code, after=after)

    @classmethod
    def redirect(cls, place: str) -> Fault:
        return cls(code=302, place=place)

    @classmethod
    def break_off(cls, body_bytes: int, *, ignores_range: bool = False) -> Fault:
        return cls(body_bytes=body_bytes, ignores_range=ignores_range)

    @classmethod
    def announce(cls, n_bytes: int) -> Fault:
        return cls(announced_bytes=n_bytes)


@dataclass
class ArchiveServer:
    """What is published, what goes wrong, and what was asked for."""

    records: dict[int, dict[str, bytes]] = field(default_factory=dict)
    repositories: dict[str, bytes] = field(default_factory=dict)  # address -> zip file
    faults: dict[str, list[Fault]] = field(default_factory=dict)  # file name or record number -> faults
    lies: dict[str, dict[str, Any]] = field(default_factory=dict)  # file name -> false entries of its record
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # what, and from which byte
    url: str = ""

    @property
    def words(self) -> tuple[str, str]:
        """What to say on the command line to come here."""
        return (f"archive={self.url}", f"evaluators={self.url}")

    def publish(self, record: int, name: str, content: bytes) -> None:
        self.records.setdefault(record, {})[name] = content

    def publish_repository(self, repository: Repository, content: bytes) -> None:
        self.repositories[f"/{repository.name}/zip/{repository.commit}"] = content

    def asked(self, name: str) -> list[str | None]:
        """The ranges of the requests for a file."""
        return [first for what, first in self.requests if what == name]

    def answer(self, number: int) -> dict[str, Any]:
        """A record as Zenodo's API gives it."""
        files = []
        for name, content in self.records[number].items():
            entry = {
                "id": hashlib.sha1(name.encode()).hexdigest(),
                "key": name,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": f"{self.url}/api/records/{number}/files/{name}/content"},
            }
            files.append(entry | self.lies.get(name, {}))
        return {"id": number, "files": files, "metadata": {"title": "a data set"}}

    def find(self, path: str) -> tuple[str, bytes] | None:
        """(what is asked for, content) of an address."""
        if path in self.repositories:
            return path, self.repositories[path]
        match = re.fullmatch(r"/api/records/(\d+)(?:/files/([^/]+)/content)?", path)
        if match is None or int(match[1]) not in self.records:
            return None
        if match[2] is None:
            return match[1], json.dumps(self.answer(int(match[1]))).encode()
        content = self.records[int(match[1])].get(match[2])
        return None if content is None else (match[2], content)


@contextmanager
def serving() -> Iterator[ArchiveServer]:
    """An empty archive, as long as the block lasts."""
    archive = ArchiveServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, archive)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        archive.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield archive
        finally:
            server.shutdown()


def _answer(request: BaseHTTPRequestHandler, archive: ArchiveServer) -> None:
    found = archive.find(request.path)
    if found is None:
        request.send_error(404)
        return
    name, content = found
    wish = request.headers.get("Range")
    archive.requests.append((name, wish))
    faults = archive.faults.get(name, [])
    fault = faults.pop(0) if faults else Fault()
    first = int(wish.removeprefix("bytes=").rstrip("-")) if wish and not fault.ignores_range else 0
    request.close_connection = True
    if fault.code:
        request.send_response(fault.code)
        if fault.after is not None:
            request.send_header("Retry-After", fault.after)
        if fault.place is not None:
            request.send_header("Location", fault.place)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    if first and first >= len(content):
        request.send_error(416)
        return
    request.send_response(206 if first else 200)
    if first:
        request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
    body = content[first:]
    request.send_header("Content-Length", str(fault.announced_bytes or len(body)))
    request.end_headers()
    body = body if fault.body_bytes is None else body[: fault.body_bytes]
    step = 1000 if fault.pause_s else len(body) or 1
    with suppress(ConnectionError):  # the other side may have had enough
        for start in range(0, len(body), step):
            request.wfile.write(body[start : start + step])
            time.sleep(fault.pause_s)
