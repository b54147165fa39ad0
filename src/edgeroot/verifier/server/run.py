"""The application under uvicorn, on one address, with TLS unless only this machine can reach it."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.psa import Secret
from edgeroot.verifier.desk import Desk
from edgeroot.verifier.ear import sign_ear, sign_ear_cwt
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.fleet import RESULT_LIFETIME_DEFAULT_S, WINDOW_DEFAULT_S
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.app import Application
from edgeroot.verifier.server.fleet import Fleet
from edgeroot.verifier.store import KEEP_RESULTS, SqliteStorage, open_store

TOKEN_MIN_CHARACTERS: Final = 32
_MAX_CONNECTIONS: Final = 1024
_KEEP_ALIVE_S: Final = 15
_GRACE_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``certificate`` and ``private_key`` are files in PEM; both or neither.

    ``window_s``: for how long a device counts as seen after its last result; ``keep_results``: how many of each;
    ``result_lifetime_s``: for how long one may be relied on.
    """

    store: Path
    host: str
    port: int
    key: ec.EllipticCurvePrivateKey
    policy: Policy
    policy_id: str
    corim_signers: Sequence[ec.EllipticCurvePublicKey] = ()
    certificate: Path | None = None
    private_key: Path | None = None
    provisioning_token: Secret | None = None
    viewer_token: Secret | None = None
    window_s: int = WINDOW_DEFAULT_S
    keep_results: int = KEEP_RESULTS
    result_lifetime_s: int = RESULT_LIFETIME_DEFAULT_S
    rate_per_s: float = 100.0


def check_token(text: bytes) -> Secret:
    """The token that a file holds; VerifierError for one that could be guessed or not be sent."""
    token = text.strip()
    if len(token) < TOKEN_MIN_CHARACTERS or not token.isascii() or len(token.split()) != 1:
        raise VerifierError(
            f"a token is one line of at least {TOKEN_MIN_CHARACTERS} ASCII characters: `openssl rand -hex 32` makes one"
        )
    return Secret(token)


def serve(settings: Settings, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. ``listening`` is told the address when connections are taken. VerifierError."""
    _check_transport(settings)
    _check_tokens(settings)
    with open_store(settings.store, create=True, keep_results=settings.keep_results) as storage:
        desk = Desk(
            storage=storage,
            policy=settings.policy,
            policy_id=settings.policy_id,
            sign=lambda claims: sign_ear(claims, settings.key),
            sign_cwt=lambda claims: sign_ear_cwt(claims, settings.key),
            now_s=lambda: int(time.time()),
            random=os.urandom,
            corim_signers=settings.corim_signers,
            result_lifetime_s=settings.result_lifetime_s,
        )
        application = Application(
            desk,
            verification_key=public_jwk(settings.key.public_key()),
            provisioning_token=settings.provisioning_token,
            fleet=_fleet(settings, storage),
            rate_per_s=settings.rate_per_s,
        )
        try:
            _run(application, settings, listening)
        finally:
            application.close()


def _fleet(settings: Settings, storage: SqliteStorage) -> Fleet:
    """Shown to whoever has the viewer's token; without one to this machine, if nobody else can reach the verifier."""
    access = Access(
        words="the fleet is shown to whoever has the verifier's viewer token",
        closed="the fleet is shown to nobody: start the verifier with --viewer-token-file",
        token=settings.viewer_token,
        open_to_loopback=ipaddress.ip_address(settings.host).is_loopback,
    )
    return Fleet(
        records=storage, feed=storage, access=access, now_s=lambda: int(time.time()), window_s=settings.window_s
    )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, application: Application) -> None:
        super().__init__(config)
        self._application = application

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn waits for requests in progress: those that only wait would take up the whole grace."""
        self._application.dismiss()
        await super().shutdown(sockets)


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
    except OSError as error:
        raise VerifierError(f"the certificate or its key cannot be used: {error}") from error
    with listen(settings.host, settings.port) as listener:
        scheme = "http" if settings.certificate is None else "https"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        listening(f"{scheme}://{host}:{listener.getsockname()[1]}")
        # uvicorn ends in order and then raises the signal again, for whoever wants to die of it: here nobody.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            _Server(config, application).run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; VerifierError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_MAX_CONNECTIONS)
    except OSError as error:
        raise VerifierError(f"the verifier cannot listen on {host} port {port}: {error}") from error
    # Connections inherit it. Without, an answer's body waits 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _check_transport(settings: Settings) -> None:
    if (settings.certificate is None) != (settings.private_key is None):
        raise VerifierError("TLS takes both a certificate and its private key")
    try:
        local = ipaddress.ip_address(settings.host).is_loopback
    except ValueError as error:
        raise VerifierError(f"{settings.host!r} is no IP address to listen on") from error
    if settings.certificate is None and not local:
        raise VerifierError(
            f"without TLS the verifier listens on this machine only, not on {settings.host}: "
            "give --tls-certificate and --tls-key"
        )


def _check_tokens(settings: Settings) -> None:
    if settings.viewer_token is not None and settings.viewer_token == settings.provisioning_token:
        raise VerifierError("the viewer's token is the provisioning token: who may look could hand in CoRIMs")


def public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The key in RFC 7517's form, as discovery hands it out."""
    found: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)
    return {**found, "alg": "ES256", "use": "sig"}
