"""Who may ask, how much, how often and how long: the guard in front of the models."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Send

from asd.deploy.service import Guard, Rate, RefusalError
from asd.settings.stages import Serve

LIMITS = Serve(megabytes=1e-4, recordings=3, seconds=10, rate=600, concurrency=2, timeout_s=5)
Answer = tuple[int, dict[bytes, bytes], Any]


async def ask(app: Any, *chunks: bytes, path: str = "/score", **headers: str) -> Answer:
    """One request whose body comes in chunks."""
    sent: list[Message] = []
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    method = "POST" if path == "/score" else "GET"
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": named, "client": ("1.2.3.4", 5)}
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(body)


async def reading(scope: Message, receive: Receive, send: Send) -> None:
    """An application that says how much it was sent."""
    n = 0
    while (message := await receive())["more_body"]:
        n += len(message["body"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps({"n": n}).encode()})


def guard(app: Any = reading, **changes: Any) -> tuple[Guard, list[tuple[Any, ...]]]:
    watched: list[tuple[Any, ...]] = []
    return Guard(app, LIMITS.model_copy(update=changes), lambda *facts: watched.append(facts)), watched


def test_what_is_within_the_limits_passes() -> None:
    app, watched = guard()
    status, _, said = asyncio.run(ask(app, b"x" * 60, b"y" * 40))
    assert (status, said) == (200, {"n": 100})
    assert watched[0][:3] == ("POST", "/score", 200)


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [((b"x" * 60, b"y" * 41), {}), ((), {"content_length": "101"}), ((), {"content_length": "-1"})],
)
def test_a_body_that_is_too_large_is_refused_by_its_header_or_as_it_comes(
    chunks: tuple[bytes, ...], headers: dict[str, str]
) -> None:
    app, watched = guard()
    status, answered, said = asyncio.run(ask(app, *chunks, **headers))
    assert status == watched[0][2] == 413
    assert "more than 0.0001 MB" in said["error"]
    assert answered[b"connection"] == b"close"


def test_a_token_is_asked_for_everywhere_but_for_health() -> None:
    app, _ = guard(token="a secret of plants")

    async def several() -> list[Answer]:
        wrong = [{}, {"authorization": "Bearer a secret of plant"}, {"authorization": "a secret of plants"}]
        answers = [await ask(app, **headers) for headers in wrong]
        answers.append(await ask(app, authorization="Bearer a secret of plants"))
        return [*answers, await ask(app, path="/health"), await ask(app, path="/metrics")]

    answers = asyncio.run(several())
    assert [status for status, _, _ in answers] == [401, 401, 401, 200, 200, 401]
    assert answers[0][1][b"www-authenticate"] == b"Bearer"


def test_a_request_that_takes_too_long_ends() -> None:
    async def slow(scope: Message, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    app, _ = guard(slow, timeout_s=0.01)
    status, headers, said = asyncio.run(ask(app))
    assert status == 504
    assert "longer than 0.01 s" in said["error"]
    assert headers[b"retry-after"] == b"1"


def test_more_at_once_than_allowed_are_refused_and_places_become_free_again() -> None:
    async def several() -> list[int]:
        go = asyncio.Event()

        async def waiting(scope: Message, receive: Receive, send: Send) -> None:
            if scope["path"] == "/score":
                await go.wait()
            await reading(scope, receive, send)

        app, _ = guard(waiting)
        tasks = [asyncio.create_task(ask(app)) for _ in range(4)]
        await asyncio.sleep(0.01)
        watching = [(await ask(app, path=path))[0] for path in ("/health", "/metrics", "/models")]
        go.set()
        first = [status for status, _, _ in await asyncio.gather(*tasks)]
        return [*watching, *first, (await ask(app))[0]]

    assert asyncio.run(several()) == [200, 200, 503, 200, 200, 503, 503, 200]


def test_a_refusal_of_the_application_is_told_with_its_status() -> None:
    async def refusing(scope: Message, receive: Receive, send: Send) -> None:
        raise RefusalError(418, "no tea here; ask for coffee")

    app, watched = guard(refusing)
    status, _, said = asyncio.run(ask(app))
    assert (status, said, watched[0][2]) == (418, {"error": "no tea here; ask for coffee"}, 418)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=80), st.integers(1, 20))
def test_a_caller_gets_a_minutes_worth_at_once_and_its_rate_afterwards(pauses: list[float], per_minute: int) -> None:
    now, passed = 0.0, []
    rate = Rate(per_minute, lambda: now)
    for pause in pauses:
        now += pause
        wait_s = rate.wait_s("one")
        if not wait_s:
            passed.append(now)
        else:
            before = now
            now += wait_s + 1e-6
            assert rate.wait_s("one") == 0.0  # as promised
            passed.append(now)
            assert now > before
    assert not rate.wait_s("another")
    for i, start in enumerate(passed):
        for j in range(i, len(passed)):
            assert j - i + 1 <= per_minute * (1 + (passed[j] - start) / 60) + 1e-3


def test_callers_that_are_remembered_do_not_grow_without_end() -> None:
    rate = Rate(1)
    for i in range(10_000):
        rate.wait_s(str(i))
    assert len(rate._full) <= 4096
