"""The stage `serve`: scores over HTTP, by FastAPI and uvicorn."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass

from asd.core.runtime import imported, log, stopped_by_termination
from asd.settings.stages import LEAST_TOKEN, Serve
from asd.types import AsdError


@dataclass(frozen=True, slots=True)
class Served:
    """Result of a service that has ended: its address, how many models it had, and which it should have had."""

    address: str
    n_models: int
    missing: str


def serve(config: Serve) -> Served:
    """Answers until Ctrl-C or a termination signal."""
    for name in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
        imported(name, f"serve needs the library {name}; pip install 'asd[serve]'")
    import uvicorn

    from asd.deploy.application import application, settings_of
    from asd.deploy.models import Models

    token = config.token or os.environ.get("ASD_TOKEN", "")
    if token and len(token) < LEAST_TOKEN:
        raise AsdError(f"ASD_TOKEN has {len(token)} characters; give it {LEAST_TOKEN} or more, or remove it")
    if not token and not _is_loopback(config.host):
        raise AsdError(
            f"host={config.host} is reached from other computers, and they have to show a token; give token= or "
            f"ASD_TOKEN, of {LEAST_TOKEN} characters or more"
        )
    config = config.model_copy(update={"token": token})
    with _bound(config.host, config.port) as place:  # before the models are loaded; who comes meanwhile waits
        models = Models(config.runs, config.name, config.device)
        host, port = place.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        log.info("serving %d models at %s%s; Ctrl-C ends it", len(models.loaded), address, models.missing())
        settings = settings_of(application(models, config), 4 * config.concurrency)
        try:
            with stopped_by_termination():  # uvicorn raises the signal again when it has ended
                uvicorn.Server(settings).run(sockets=[place])
        except KeyboardInterrupt:
            log.info("stopped")
    return Served(address, len(models.loaded), models.missing())


def summary(config: Serve, served: Served) -> str:
    """Where it was reached, and that it is over."""
    return f"{served.address} served {served.n_models} models of {config.runs}{served.missing}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        place = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise AsdError(f"host={host} port={port} cannot be used ({error.strerror or error}); choose another") from error
    # Its connections inherit this. Without it the body of an answer waits 40 ms for the client to confirm the header.
    place.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return place
