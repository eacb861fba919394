"""Where alarms go: a file of JSON lines, a webhook, an MQTT broker. None of them ever holds up the listening.

A sink takes an event (`send`) and returns at once; what cannot be delivered is tried again from a thread of its own,
and counted (`n_lost`) when it is given up. `close` of the others than the file delivers what is left, as far as that
takes no longer than its timeout. The file is the record that stays: it is written first.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from asd.core.runtime import imported, log
from asd.types import AsdError

Event = Mapping[str, Any]

QUEUED = 1000  # events that may wait for a sink that does not answer
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0
_MOST_TOPIC_BYTES = 65_535
SIGNATURE, TIMESTAMP = "X-Asd-Signature", "X-Asd-Timestamp"


class JsonLines:
    """A file to which one JSON object per line is added; `OSError` where it cannot be written at the beginning.

    A full disk stops nothing: it is said once, and lines are written again as soon as there is room.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.n_lost = path, 0
        self._is_full = False
        with path.open("ab+") as file:
            if file.tell() and (file.seek(-1, 2), file.read())[1] != b"\n":
                file.write(b"\n")  # an earlier line was cut off

    def send(self, event: Event) -> None:
        """Adds a line, whole or not at all."""
        line = json.dumps(event, allow_nan=False).encode() + b"\n"
        try:
            with self.path.open("ab", buffering=0) as file:
                if (written := file.write(line)) != len(line):
                    file.truncate(file.tell() - (written or 0))
                    raise OSError("No space left on device")
            self._is_full = False
        except OSError as error:
            self.n_lost += 1
            if not self._is_full:
                log.error("cannot write %s: %s; listening goes on, free some space", self.path, error)
            self._is_full = True


class Webhook:
    """Events as HTTP POST requests with a signed body, tried again until the other side takes them.

    The signature is HMAC-SHA256 (RFC 2104) over `<timestamp>.<body>` with the shared secret, in hexadecimal behind
    `sha256=`; without a secret there is none. An event may arrive twice where an answer was lost; its `id` is the same
    then. The pause before the second try doubles with each further one.
    """

    def __init__(
        self,
        url: str,
        secret: str = "",
        *,
        tries: int = 8,
        timeout_s: float = 10.0,
        first_wait_s: float = _FIRST_WAIT_S,
    ) -> None:
        httpx = imported("httpx", "webhook= needs the library httpx; pip install 'asd[stream]'")
        parts, port = _parts(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise AsdError("webhook= is no address; write http:// or https://, a host and a path")
        self.n_lost, self._n_queued, self._n_taken = 0, 0, 0
        self._place = f"{parts.scheme}://{parts.hostname}"  # without a password or a key, for messages
        self._url, self._secret, self._tries, self._wait_s = url, secret, tries, first_wait_s
        try:
            self._client = httpx.Client(timeout=timeout_s)
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            why = f"the proxies or SSL_CERT_FILE of the environment cannot be used ({error})"
            raise AsdError(f"webhook=: {why}; correct the variables, such as ALL_PROXY, or unset them") from error
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the whole address, with its key
        self._failures = (httpx.HTTPError, httpx.InvalidURL)
        self._queue: queue.Queue[Event | None] = queue.Queue(QUEUED)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="webhook")
        self._thread.start()

    def send(self, event: Event) -> None:
        """Queues an event."""
        try:
            self._queue.put_nowait(event)
            self._n_queued += 1
        except queue.Full:
            self.n_lost += 1

    def close(self, timeout_s: float) -> None:
        """Sends what is queued; what is left after the timeout is lost."""
        end_s = time.monotonic() + timeout_s
        with suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(max(0.0, end_s - time.monotonic()))
        if self._thread.is_alive():
            self._closing.set()
            self._thread.join(1.0)
        self.n_lost += self._n_queued - self._n_taken  # with the one that is being sent
        self._client.close()

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            self._n_taken += self._deliver(event)
            if self._closing.is_set():
                return

    def _deliver(self, event: Event) -> bool:
        """Whether the other side took the event in the end."""
        body = json.dumps(event, allow_nan=False).encode()
        wait_s, why = self._wait_s, ""
        for number in range(self._tries):
            if number:
                if self._closing.wait(wait_s):
                    break
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            try:
                with self._client.stream("POST", self._url, content=body, headers=self._headers(body)) as answer:
                    pass  # what it says beside its status may never end, as at the address of a camera
                if answer.is_success:
                    return True
                why = f"it answers {answer.status_code}"
                if answer.is_redirect:
                    why += " and leads elsewhere; name the address it leads to with webhook="
                    break
                if answer.is_client_error and answer.status_code not in (408, 425, 429):
                    break  # the same again would get the same answer
            except self._failures as error:
                why = str(error) or type(error).__name__
            if not number:
                log.warning("the webhook at %s does not take an event (%s); trying again", self._place, why)
        log.error("the webhook at %s never took event %s: %s", self._place, event.get("id"), why)
        return False

    def _headers(self, body: bytes) -> dict[str, str]:
        moment = str(int(time.time()))
        headers = {"Content-Type": "application/json", TIMESTAMP: moment}
        return headers | ({SIGNATURE: signature(self._secret, moment, body)} if self._secret else {})


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What the header `X-Asd-Signature` holds, "sha256=" and 64 hexadecimal digits, for that of `X-Asd-Timestamp`."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Mqtt:
    """Events as messages of an MQTT topic, delivered at least once (QoS 1).

    The address is mqtt://[user:password@]host[:port]/topic, or mqtts:// with TLS. The library connects again by itself,
    and keeps events for that time.
    """

    def __init__(self, address: str) -> None:
        mqtt = imported("paho.mqtt.client", "mqtt= needs the library paho-mqtt; pip install 'asd[stream]'")
        host, port, topic, user, password, is_tls = _broker(address)
        self.n_lost, self._topic, self._place = 0, topic, f"{host}:{port}"
        self._is_quiet = False  # what is known already is not said again
        self._n_sent, self._n_taken = 0, 0
        self._client, self._full = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2), mqtt.MQTT_ERR_QUEUE_SIZE
        self._client.max_queued_messages_set(QUEUED)
        self._client.reconnect_delay_set(1, int(_LONGEST_WAIT_S))
        self._client.on_publish = self._taken
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._not_there
        self._client.on_disconnect = self._ended
        if is_tls:
            self._client.tls_set()
        if user:
            self._client.username_pw_set(user, password)
        self._client.connect_async(host, port)
        self._client.loop_start()

    def send(self, event: Event) -> None:
        """Hands an event to the library."""
        message = self._client.publish(self._topic, json.dumps(event, allow_nan=False), qos=1)
        if message.rc == self._full:
            self.n_lost += 1
        else:
            self._n_sent += 1

    def close(self, timeout_s: float) -> None:
        """Waits until the broker has everything; what it does not have after the timeout is lost."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s and self._n_taken < self._n_sent:
            time.sleep(0.02)
        self._is_quiet = True
        self.n_lost += self._n_sent - self._n_taken
        self._client.disconnect()
        self._client.loop_stop()

    def _taken(self, *about: Any) -> None:
        self._n_taken += 1

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, *more: Any) -> None:
        if reason.is_failure:
            self._say(f"the MQTT broker at {self._place} refuses the connection ({reason}); events wait for it")
        else:
            if self._is_quiet:
                log.info("the MQTT broker at %s is there", self._place)
            self._is_quiet = False

    def _not_there(self, *about: Any) -> None:
        """Says why; the library calls this while it handles the error."""
        error = sys.exc_info()[1]
        if isinstance(error, ssl.SSLCertVerificationError):
            self._say(
                f"the certificate of the MQTT broker at {self._place} is not accepted ({error.verify_message}); name "
                f"the file of its authority in the environment variable SSL_CERT_FILE; events wait for it"
            )
        elif isinstance(error, ssl.SSLError):
            self._say(
                f"what listens at {self._place} speaks no TLS (mqtt:// is without); events wait for the MQTT broker"
            )
        else:
            why = getattr(error, "strerror", None) or str(error)
            self._say(f"the MQTT broker at {self._place} is not there ({why}); events wait for it")

    def _ended(self, *about: Any) -> None:
        self._say(f"the MQTT broker at {self._place} ended the connection; events wait for it")

    def _say(self, sentence: str) -> None:
        if not self._is_quiet:
            log.warning("%s", sentence)
        self._is_quiet = True


def _broker(address: str) -> tuple[str, int, str, str | None, str | None, bool]:
    """Host, port, topic, user, password and whether TLS is meant."""
    parts, port = _parts(address)
    port = (8883 if parts.scheme == "mqtts" else 1883) if port is None else port
    topic = unquote(address.partition("://")[2].partition("/")[2])  # ? and ; are letters of a topic like any other
    is_host = parts.scheme in ("mqtt", "mqtts") and _names_a_host(parts.hostname)
    if not is_host or not parts.path[1:] or not port:
        raise AsdError("mqtt= is no address of a broker with a topic; write mqtt://host:1883/plant/fan")
    if set(topic) & {"+", "#"}:
        raise AsdError(f"mqtt= names the topic {topic}; + and # are for who listens to several, name one")
    if len(topic.encode()) > _MOST_TOPIC_BYTES or not topic.isprintable() or topic.startswith("$SYS/"):
        raise AsdError(
            f"mqtt= names the topic {topic[:40]!r}; brokers take up to {_MOST_TOPIC_BYTES:,} bytes without control "
            f"characters, and keep $SYS/ for themselves"
        )
    user, password = (unquote(word) if word else None for word in (parts.username, parts.password))
    return str(parts.hostname), port, topic, user, password, parts.scheme == "mqtts"


def _names_a_host(name: str | None) -> bool:
    """Whether a name can be looked for: h..x cannot."""
    try:
        return bool(name) and bool(str(name).encode("idna"))
    except UnicodeError:
        return False


def _parts(address: str) -> tuple[SplitResult, int | None]:
    """The parts of an address, and its port: None where it names none, 0 where that is no port."""
    try:
        return (parts := urlsplit(address)), parts.port
    except ValueError:
        return urlsplit(address.split(":")[0] + "://"), 0
