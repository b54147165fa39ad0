"""The application under uvicorn, and the approver beside it, on one address: with TLS unless only this machine asks."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from lightkube import Client, ConfigError

from edgeroot.edge.enrolment.admission import Rules
from edgeroot.edge.enrolment.approver import Approver
from edgeroot.edge.enrolment.cluster import ApiCluster
from edgeroot.edge.enrolment.desk import ApiServer, Desk
from edgeroot.edge.enrolment.server import Application
from edgeroot.edge.enrolment.sessions import Sessions
from edgeroot.edge.enrolment.verifier import Verifier
from edgeroot.edge.enrolment.web import check_url

_MAX_CONNECTIONS: Final = 512
_KEEP_ALIVE_S: Final = 15
_GRACE_S: Final = 15


class SettingsError(Exception):
    """It cannot start like this; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``certificate`` and ``private_key`` are files in PEM; both or neither.

    ``api_server`` is what devices are told; the service itself asks the API server of its pod, or of ``KUBECONFIG``.
    """

    verifier: str
    verifier_key: ec.EllipticCurvePublicKey
    api_server: ApiServer
    host: str
    port: int
    rules: Rules
    token_life_s: int
    rate_per_s: float
    verifier_ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None


def serve(settings: Settings, listening: Callable[[str], None]) -> None:
    """Until SIGTERM or SIGINT. ``listening`` is told the address when connections are taken.

    SettingsError, RefusedError for an address of a verifier that others could listen in on.
    """
    check_url(settings.verifier)
    _check_transport(settings)
    try:
        client = Client(field_manager="edgeroot-enrolment")
    except (ConfigError, OSError) as error:
        raise SettingsError(f"there is no cluster to be asked: {error}") from error
    with client:
        cluster = ApiCluster(client)
        approver = Approver(cluster)
        desk = Desk(
            sessions=Sessions(os.urandom),
            judge=Verifier(settings.verifier, settings.verifier_ca).judge,
            verifier_key=settings.verifier_key,
            cluster=cluster,
            rules=settings.rules,
            api_server=settings.api_server,
            token_life_s=settings.token_life_s,
            now_s=lambda: int(time.time()),
        )
        application = Application(desk, rate_per_s=settings.rate_per_s, is_well=lambda: approver.is_alive)
        approver.start()
        try:
            _run(application, settings, listening)
        finally:
            approver.stop()
            application.close()


def _run(application: Application, settings: Settings, listening: Callable[[str], None]) -> None:
    config = uvicorn.Config(
        application,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.private_key,
        interface="asgi3",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    try:
        config.load()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=_MAX_CONNECTIONS)
    except OSError as error:
        raise SettingsError(f"certificate, key or address cannot be used: {error}") from error
    with listener:
        scheme = "http" if settings.certificate is None else "https"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        listening(f"{scheme}://{host}:{listener.getsockname()[1]}")
        # uvicorn ends in order and then raises the signal again, for whoever wants to die of it: here nobody.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _check_transport(settings: Settings) -> None:
    if (settings.certificate is None) != (settings.private_key is None):
        raise SettingsError("TLS takes both a certificate and its private key")
    try:
        is_local = ipaddress.ip_address(settings.host).is_loopback
    except ValueError as error:
        raise SettingsError(f"{settings.host!r} is no IP address to listen on") from error
    if settings.certificate is None and not is_local:
        raise SettingsError("credentials go over TLS only: give --tls-certificate and --tls-key, or a loopback address")
