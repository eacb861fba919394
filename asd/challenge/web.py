"""HTTP requests, repeated where a failure may be temporary; standard library only.

What may pass by itself (a busy server, a broken line) is tried again after a growing pause, or after the one
that the server asks for; what will not (a missing page, a wrong certificate) is an error at once.

Source: RFC 9110, sections 10.2.3 (Retry-After) and 14 (Range); Zenodo's X-RateLimit-Reset.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from asd.core.runtime import log
from asd.types import AsdError

T = TypeVar("T")

_MAY_PASS = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE_S = 60.0


class PassingError(Exception):
    """What may pass by itself; `wait_s` is how long the server asks to wait, where it says."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class RangeRefusedError(PassingError):
    """The server has no such bytes: what is there is not the beginning of its file."""


@dataclass(frozen=True)
class Patience:
    """How long to keep trying."""

    attempts: int = 6  # failures in a row, none of them with a new byte, after which it is given up
    longest_wait_s: float = 600.0  # a server that asks for more is not waited for
    timeout_s: float = 30.0  # silence after which a connection counts as broken
    sleep: Callable[[float], object] = time.sleep  # how to wait; takes seconds


def patiently(attempt: Callable[[], T], url: str, patience: Patience, gained: Callable[[], int] = int) -> T:
    """What `attempt` returns, once it no longer ends in `PassingError`.

    More bytes `gained` so far than ever before are a success on the way.
    """
    failures, best = 0, gained()
    while True:
        try:
            return attempt()
        except PassingError as trouble:
            failures = 1 if gained() > best else failures + 1
            best = max(best, gained())
            if failures >= patience.attempts:
                raise AsdError(
                    f"{url} {trouble}, {failures} times in a row; what has been received is kept: "
                    f"run the same command again later"
                ) from trouble
            wait_s = min(2.0 ** (failures - 1), _LONGEST_PAUSE_S) if trouble.wait_s is None else trouble.wait_s
            if wait_s > patience.longest_wait_s:
                raise AsdError(
                    f"{url} {trouble} and asks to wait {wait_s:.0f} s; what has been received is kept: "
                    f"run the same command again after that"
                ) from trouble
            log.info("%s %s; trying again in %.0f s", url, trouble, wait_s)
            patience.sleep(wait_s)


def open_url(url: str, patience: Patience, first_byte: int = 0) -> http.client.HTTPResponse:
    """The answer to a request, from `first_byte` on where the server can do that (status 206, not 200).

    `PassingError` where the request may succeed later, `AsdError` where it will not.
    """
    if not url.startswith(("http://", "https://")):
        raise AsdError(f"{url!r} is not an http:// or https:// address: check archive= and evaluators=")
    headers = {"User-Agent": "asd", "Accept-Encoding": "identity"}
    if first_byte:
        headers["Range"] = f"bytes={first_byte}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=patience.timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise RangeRefusedError("has no more bytes than there are already") from error
        reason = f"answers {error.code} {_line(error.reason)}"
        if error.code in _MAY_PASS:
            raise PassingError(reason, _asked_to_wait_s(error.headers)) from error
        raise AsdError(f"{url} {reason}: it has moved or is not public; see the year's task page") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise AsdError(f"{url} has no valid certificate ({error.reason}): check clock and proxy") from error
        raise PassingError(f"cannot be reached ({_line(error.reason)})") from error
    except (http.client.InvalidURL, ValueError) as error:  # a host a..b, a port x, a redirection to such
        raise AsdError(f"{url} is or leads to no address ({_line(error)}): check archive= and evaluators=") from error
    except (OSError, http.client.HTTPException) as error:
        raise PassingError(f"cannot be reached ({_line(error)})") from error


def _line(reason: object) -> str:
    """A reason in one line."""
    return " ".join(str(reason).split())


def read_json(url: str, patience: Patience) -> Any:
    """The JSON document at an address."""

    def attempt() -> bytes:
        with open_url(url, patience) as response:
            try:
                return response.read()
            except (OSError, http.client.HTTPException) as error:
                raise PassingError(f"broke off ({error})") from error

    try:
        return json.loads(patiently(attempt, url, patience))
    except (ValueError, RecursionError) as error:
        raise AsdError(f"{url} does not answer with JSON ({error}): check archive=") from error


def _asked_to_wait_s(headers: Message) -> float | None:
    """Seconds until the server wants to be asked again; None where it does not say."""
    after, reset = headers.get("Retry-After"), headers.get("X-RateLimit-Reset")
    try:
        if after is not None:
            return float(after) if after.strip().isdigit() else _until_s(parsedate_to_datetime(after).timestamp())
        return None if reset is None else _until_s(float(reset))
    except ValueError:
        return None


def _until_s(moment_s: float) -> float:
    return max(0.0, moment_s - time.time())
