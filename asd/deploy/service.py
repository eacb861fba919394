"""What stands between a caller and the models: who may ask, how much, how often, and how long it may take.

Everything is refused in one sentence of JSON, and nothing of what a caller sends is taken for a path.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asd.settings.stages import Serve

_ALWAYS = {("GET", "/health"), ("GET", "/metrics")}  # who watches the service asks when it is busy
_CALLERS = 4096  # whose rate is remembered at once


class RefusalError(Exception):
    """A refused request; with `retry_s` 0 the same request would be refused again."""

    def __init__(self, status: int, sentence: str, retry_s: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.retry_s = status, retry_s

    def answer(self) -> JSONResponse:
        """The sentence as JSON."""
        headers = {"retry-after": str(self.retry_s)} if self.retry_s else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status in (413, 504):
            headers["connection"] = "close"  # what is left of the body is not read
        return JSONResponse({"error": str(self)}, self.status, headers)


class Rate:
    """Requests of each caller: a bucket that fills evenly and holds a minute's worth, by a clock in seconds."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._full: OrderedDict[str, float] = OrderedDict()  # caller -> when its bucket is full again

    def wait_s(self, caller: str) -> float:
        """Counts a request of a caller; seconds until it may be made, 0 where it may be made now."""
        now_s, each_s = self._clock(), 60 / self.per_minute
        full_s = max(self._full.pop(caller, now_s), now_s)
        is_over = full_s + each_s - now_s > max(60.0, each_s) + 1e-9  # rounding of the clock refuses nobody
        self._full[caller] = full_s if is_over else full_s + each_s
        if len(self._full) > _CALLERS:
            self._full.popitem(last=False)
        return full_s + each_s - now_s - max(60.0, each_s) if is_over else 0.0


class Guard:
    """An ASGI application around another one, which lets through what is within the limits.

    `GET /health` and `GET /metrics` are answered however many others are worked on; `watch` is told of every answer:
    method, path, status, seconds.
    """

    def __init__(self, app: ASGIApp, limits: Serve, watch: Callable[[str, str, int, float], None]) -> None:
        self.app, self.limits, self.watch = app, limits, watch
        self._rate, self._n_now = Rate(limits.rate), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noting)
        except RefusalError as refusal:
            if status:  # too late to say anything
                raise
            await refusal.answer()(scope, receive, noting)
        finally:
            self.watch(scope["method"], scope["path"], status or 500, time.perf_counter() - started_s)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, asked = dict(scope["headers"]), (scope["method"], scope["path"])
        if asked != ("GET", "/health") and (token := self.limits.token):
            shown = headers.get(b"authorization", b"")
            if not hmac.compare_digest(shown, b"Bearer " + token.encode()):
                raise RefusalError(401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN")
        if asked in _ALWAYS:
            await self.app(scope, receive, send)
            return
        self._check(headers, (scope.get("client") or ("unknown",))[0])
        self._n_now += 1
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                await self.app(scope, _limited(receive, self.limits.megabytes), send)
        except TimeoutError as error:
            raise RefusalError(
                504, f"the request took longer than {self.limits.timeout_s:g} s; send less at once", 1
            ) from error
        except asyncio.CancelledError as error:  # it ends, and waits for no request any longer
            raise RefusalError(503, "the service is being stopped; send the request again later", 1) from error
        finally:
            self._n_now -= 1

    def _check(self, headers: dict[bytes, bytes], caller: str) -> None:
        limits = self.limits
        if wait_s := self._rate.wait_s(caller):
            raise RefusalError(429, f"more than {limits.rate:g} requests in a minute; wait", max(1, round(wait_s)))
        if self._n_now >= limits.concurrency:
            raise RefusalError(503, f"{limits.concurrency} requests are worked on already; try again", 1)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limits.megabytes * 1e6:
            raise _too_large(limits.megabytes)


def _limited(receive: Receive, megabytes: float) -> Receive:
    """The body of a request, which may be longer than its header says."""
    n_read = 0

    async def limited() -> Message:
        nonlocal n_read
        message = await receive()
        n_read += len(message.get("body", b""))
        if n_read > megabytes * 1e6:
            raise _too_large(megabytes)
        return message

    return limited


def _too_large(megabytes: float) -> RefusalError:
    return RefusalError(413, f"the request holds more than {megabytes:g} MB; send fewer or shorter recordings")
