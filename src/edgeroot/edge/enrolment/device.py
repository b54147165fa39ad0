"""The device's side: prove what it is, and take what makes it a node. Nothing is kept of what did not end well."""

from __future__ import annotations

import json
import random
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot.edge.enrolment.binding import SEED_BYTES, challenge_of, is_node_name
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.request import key_digest, make_request
from edgeroot.edge.enrolment.web import Reply, post
from edgeroot.verifier.media_types import EVIDENCE, QUOTE

Attest: TypeAlias = Callable[[bytes], bytes]
"""Evidence for a challenge."""
_SESSIONS: Final = "enrol/v1/sessions"
_COSE_SIGN1: Final = b"\xd2"
_FIRST_PAUSE_S: Final = 1.0
_PAUSE_MAX_S: Final = 60.0
_SIGNING_TRIES: Final = 5
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What makes the device a node: a client certificate with its key, both in PEM, or else a bootstrap token."""

    node_name: str
    device: str
    api_server: str
    authority: str
    certificate: bytes = b""
    private_key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)


class LostError(AwayError):
    """The service has forgotten the session, as after its restart: it begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """``node_name`` empty: whichever name the cluster has for the device. ``with_key``: a key of its own is made, and
    its certificate is had; otherwise a bootstrap token. ``tell`` is told in words how far it is.
    """

    url: str
    node_name: str
    with_key: bool
    attest: Attest
    tell: Callable[[str], None]
    ca_path: Path | None = None

    def once(self) -> Credential:
        """RefusedError, AwayError."""
        key = ec.generate_private_key(ec.SECP256R1()) if self.with_key else None
        digest = b"" if key is None else key_digest(key.public_key())
        asked = {"nodeName": self.node_name, "publicKeySha256": digest.hex()}
        begun = self._ask("", json.dumps(asked).encode(), "application/json")
        session, seed = _text(begun, "session"), _seed(_text(begun, "seed"))
        if not session.isalnum():
            raise AwayError("the enrolment service does not answer as agreed")
        self.tell("the enrolment service asks for evidence")
        evidence = self.attest(challenge_of(seed, node_name=self.node_name, key_digest=digest))
        media_type = EVIDENCE[0] if evidence.startswith(_COSE_SIGN1) else QUOTE[0]
        proved = self._ask(f"/{session}/evidence", evidence, media_type)
        name = _text(proved, "node")
        if not is_node_name(name) or self.node_name not in ("", name):
            raise AwayError("the enrolment service does not answer as agreed")
        self.tell(f"the device is affirmed, and is node {name}")
        credential = Credential(
            node_name=name,
            device=_text(proved, "device"),
            api_server=_text(proved, "apiServer"),
            authority=_text(proved, "certificateAuthority"),
            token="" if key else _text(proved, "token"),
        )
        return credential if key is None else self._certified(credential, session, key)

    def _certified(self, credential: Credential, session: str, key: ec.EllipticCurvePrivateKey) -> Credential:
        answer = self._signed(f"/{session}/certificate", make_request(credential.node_name, key))
        self.tell("the cluster has signed the node's certificate")
        return Credential(
            node_name=credential.node_name,
            device=credential.device,
            api_server=credential.api_server,
            authority=credential.authority,
            certificate=_text(answer, "certificate").encode(),
            private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def _signed(self, place: str, request: bytes) -> Reply:
        """The same request again while the cluster takes its time: it is the session's only one."""
        for _ in range(_SIGNING_TRIES - 1):
            try:
                return self._ask(place, request, "application/x-pem-file")
            except LostError:
                raise
            except AwayError as error:
                time.sleep(error.retry_after_s or _FIRST_PAUSE_S)
        return self._ask(place, request, "application/x-pem-file")

    def _ask(self, place: str, body: bytes, media_type: str) -> Reply:
        url = f"{self.url.rstrip('/')}/{_SESSIONS}{place}"
        headers = {"Content-Type": media_type, "Accept": "application/json"}
        reply = post(url, body, headers, ca_path=self.ca_path)
        if reply.status == _NOT_FOUND and place:
            raise LostError(reply.detail())
        if not 200 <= reply.status < 300:
            raise RefusedError(f"the enrolment service refuses ({reply.status}): {reply.detail()}")
        return reply

    def until_done(self, retry_for_s: float) -> Credential:
        """Again and again while somebody is away, with pauses that grow and that chance spreads; then AwayError."""
        deadline_s = time.monotonic() + retry_for_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return self.once()
            except AwayError as error:
                wait_s = max(error.retry_after_s, random.uniform(0.0, pause_s))
                if time.monotonic() + wait_s > deadline_s:
                    raise
                self.tell(f"{error}; again in {wait_s:.0f} s")
                time.sleep(wait_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def _text(reply: Reply, name: str) -> str:
    value = reply.content.get(name)
    if not isinstance(value, str) or not value:
        raise AwayError(f"the enrolment service does not answer as agreed: there is no {name}")
    return value


def _seed(text: str) -> bytes:
    try:
        seed = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise AwayError("the enrolment service does not answer as agreed: the seed is not base64url") from error
    if len(seed) != SEED_BYTES:
        raise AwayError(f"the enrolment service does not answer as agreed: a seed has {SEED_BYTES} bytes")
    return seed
