"""The pages of the service, by FastAPI; imported only where something is served."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from asd.core.runtime import log
from asd.deploy.models import Models, Upload, model_name, score_uploads
from asd.deploy.service import Guard, RefusalError
from asd.settings.stages import Serve
from asd.types import AsdError, one_of, section_among

T = TypeVar("T")
ROUTES = ("/health", "/models", "/score", "/metrics", "/openapi.json")
_ASKED = ("run", "machine", "scorer", "section")
_FILE = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "audio/*": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"recording": {"type": "array", "items": _FILE}}}
            },
        },
    }
}
_SENTENCE = {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    "default": {"description": "A refusal in one sentence", "content": {"application/json": _SENTENCE}}
}


class Metrics:
    """What Prometheus is told."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "path", "status")
        self.requests = Counter("asd_requests", "Answers", labels, registry=self.registry)
        self.seconds = Histogram("asd_request_seconds", "Time to an answer", ("path",), registry=self.registry)
        labels = ("run", "machine", "result")
        self.recordings = Counter("asd_recordings", "Recordings by result", labels, registry=self.registry)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Counts an answer; methods and paths that there are not are counted as one."""
        path = path if path in ROUTES else "other"
        self.requests.labels(method if method in ("GET", "POST") else "other", path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def scored(self, run: str, machine: str, rows: Sequence[dict[str, Any]]) -> None:
        """Counts the recordings of a request by the rows of `score_uploads`."""
        for row in rows:
            result = "refused" if "error" in row else ("anomaly" if row["decision"] else "normal")
            self.recordings.labels(run, machine, result).inc()


def application(models: Models, config: Serve) -> Guard:
    """The service as an ASGI application."""
    app = FastAPI(title="asd", docs_url=None, redoc_url=None, redirect_slashes=False, responses=_REFUSALS)
    metrics, pool = Metrics(), ThreadPoolExecutor(config.workers, "score")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the service answers, how many models it has, and which ones it should have."""
        return {"status": "ok", "models": len(models.loaded), "not_served": [*map(model_name, models.left_out)]}

    @app.get("/models")
    async def described() -> list[dict[str, Any]]:
        """The models, what they take and their thresholds."""
        return models.described()

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        """Counters and times for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.post("/score", openapi_extra=_BODY)
    async def score(
        request: Request,
        run: str | None = None,
        machine: str | None = None,
        scorer: str | None = None,
        section: str | None = None,
    ) -> JSONResponse:
        """Scores of recordings: a body of audio, or a form with a file for each of several."""
        _check_asked([key for key, _ in request.query_params.multi_items()])
        run, machine, model = models.chosen(run, machine)
        name = one_of(model.scorers[0] if scorer is None else scorer, model.scorers, "scorer")
        section = None if section is None else section_among(model.sections, section, machine)
        uploads = await _uploads(request, config.recordings)
        loop, ended = asyncio.get_running_loop(), threading.Event()
        given = (model, uploads, name, config.seconds, section, ended.is_set)
        try:
            rows = await _while_asked(request, loop.run_in_executor(pool, score_uploads, *given))
        finally:
            ended.set()  # a request that took too long, or whose caller has gone, takes no more of the others' time
        metrics.scored(run, machine, rows)
        about = {"run": run, "machine": machine, "scorer": name, "threshold": model.thresholds[name].value}
        status = 422 if all("error" in row for row in rows) else 200
        return JSONResponse({**about, "results": rows}, status)

    kinds = (RefusalError, AsdError, RequestValidationError, HTTPException, ClientDisconnect, OSError, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, _refused)
    return Guard(app, config, metrics.answered)


async def _while_asked(request: Request, work: asyncio.Future[T]) -> T:
    """What the work gives; `ClientDisconnect` as soon as the caller has gone, as one does who waits no longer."""
    gone = asyncio.ensure_future(request.receive())  # after its body nothing else comes
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that got none."""
    match error:
        case RefusalError():
            return error.answer()
        case AsdError():
            refusal = RefusalError(422, str(error))
        case RequestValidationError():
            first = error.errors()[0]
            refusal = RefusalError(422, f"{'.'.join(map(str, first['loc'][1:]))} does not fit: {first['msg']}")
        case HTTPException():
            pages = f"there is no such page; there are {', '.join(ROUTES)}"
            known = {404: pages, 405: "this page takes another method"}
            refusal = RefusalError(error.status_code, known.get(error.status_code, str(error.detail)))
        case ClientDisconnect():
            refusal = RefusalError(400, "the caller has gone before the answer")  # to nobody, but it is counted
        case OSError():  # a full disk, as a recording is a file while it is scored
            why = error.strerror or str(error)
            log.error("a request failed (%s): recordings are kept in TMPDIR while they are scored", error)
            refusal = RefusalError(503, f"the server cannot keep a recording now ({why}); try again later", 60)
        case _:
            log.error("a request failed", exc_info=error)
            refusal = RefusalError(500, "the server failed on this request; its log says why")
    return refusal.answer()


class Connection(H11Protocol):
    """A connection that ends where nothing whole comes for a while, or, among too many, to make room for a new one.

    So slow and idle callers keep nobody out. A place is safe only while a request is read or worked on, which `Guard`
    limits in number and time.
    """

    most = 256  # at once
    look_s = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait, in the place of the one that has been idle for longest where there are too many."""
        super().connection_made(transport)
        self._since_s = self.loop.time()
        self.loop.call_later(self.look_s, self._look, None)
        there = [each for each in self.connections if isinstance(each, Connection) and not each.transport.is_closing()]
        idle = [each for each in there if each is not self and each._is_idle()]
        if len(there) > self.most and idle:
            min(idle, key=lambda each: each._since_s).transport.abort()

    def on_response_complete(self) -> None:
        """Begins to wait again."""
        self._since_s = self.loop.time()
        super().on_response_complete()

    def _is_idle(self) -> bool:
        """Whether no request has come, or its answer is there and only has to be taken."""
        return self.cycle is None or self.cycle.response_started

    def _look(self, before: object) -> None:
        """Closes the connection where nothing is worked on, and nothing new has come since the last look."""
        if self.transport.is_closing():
            self.transport.abort()  # an answer that is not taken would keep it
            return
        if self.cycle is before and self._is_idle():
            self.transport.close()
        self.loop.call_later(self.look_s, self._look, self.cycle)


def settings_of(app: Guard, most: int) -> Config:
    """How uvicorn serves the application: to so many connections at once."""
    return Config(
        app,
        http=type("Limited", (Connection,), {"most": most}),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )


def _check_asked(keys: Sequence[str]) -> None:
    """Refuses a request that would be answered as if a part of it was not there."""
    if unknown := [key for key in keys if key not in _ASKED]:
        raise RefusalError(422, f"{unknown[0]}= is unknown; there are {', '.join(_ASKED)}")
    if twice := [key for key in _ASKED if keys.count(key) > 1]:
        raise RefusalError(422, f"{twice[0]}= is given more than once; give it once")


async def _uploads(request: Request, most: int) -> list[Upload]:
    """The recordings of a request."""
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise RefusalError(415, f"content-encoding: {coding} is not undone here; send the recording as it is")
    kind = request.headers.get("content-type", "").lower()
    if not kind.startswith("multipart/form-data"):
        content = await request.body()
        if not content:
            raise RefusalError(422, "the request holds no recording; send one as the body, or several as a form")
        return [Upload("recording", content)]
    async with aclosing(request.stream()) as stream:
        parser = _Form(request.headers, stream, max_files=most, max_fields=len(_ASKED))
        try:
            form = await parser.parse()
        except MultiPartException as error:
            why = error.message.rstrip(".")
            raise RefusalError(400, f"the form does not do ({why}); send up to {most} files as curl -F does") from error
    try:
        if texts := [key for key, value in form.multi_items() if isinstance(value, str)]:
            raise RefusalError(422, f"the form has the field {texts[0]} that is no file; ask as in /score?machine=fan")
        if not parser.has_ended:
            raise RefusalError(400, "the form ends before its last boundary, so a file may be cut off; send it again")
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise RefusalError(422, "the form holds no file; send each recording as a file of the field recording")
        return [Upload(file.filename or "recording", await file.read()) for file in files]
    finally:
        await form.close()


class _Form(MultiPartParser):
    """The files of a form, and whether its end came: without it the last file is missing, and nothing else says so."""

    has_ended = False

    def on_end(self) -> None:
        """Notes the last boundary."""
        self.has_ended = True
