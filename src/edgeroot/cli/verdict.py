"""The device's side of a challenge-response session (Veraison's interface): ask, attest, and hear the verdict."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

from edgeroot.cli.errors import CommandError
from edgeroot.cli.web import post

_NEW_SESSION: Final = "challenge-response/v1/newSession?nonceSize=32"
_SESSION: Final = "application/vnd.veraison.challenge-response-session+json"
_TOKEN: Final = "application/psa-attestation-token"
_QUOTE: Final = "application/vnd.edgeroot.tpm-evidence+cbor"
_COSE_SIGN1: Final = b"\xd2"


def ask_verdict(url: str, attest: Callable[[bytes], bytes], ca_path: Path | None) -> tuple[str, dict[str, str]]:
    """The signed result (EAR in a JWT), and its statuses by submodule. ``attest`` makes evidence of a challenge.

    The result's signature is for the relying party to verify: a device that lies would lie about that, too.
    """
    place = urljoin(url.rstrip("/") + "/", _NEW_SESSION)
    begun = post(place, b"", {"Accept": _SESSION}, ca_path=ca_path)
    # Relative or not, a session is where the verifier is: evidence goes nowhere else.
    session = urljoin(place, begun.location)
    if not begun.location or urljoin(session, "/") != urljoin(url, "/"):
        raise CommandError(f"the verifier {url} began a session elsewhere, or none")
    evidence = attest(_decoded(begun.content.get("nonce")))
    media_type = _TOKEN if evidence.startswith(_COSE_SIGN1) else _QUOTE
    done = post(session, evidence, {"Accept": _SESSION, "Content-Type": media_type}, ca_path=ca_path)
    result = done.content.get("result")
    if done.content.get("status") != "complete" or not isinstance(result, str):
        raise CommandError(f"the verifier {url} gave no result")
    return result, _statuses(result)


def _statuses(result: str) -> dict[str, str]:
    try:
        claims: dict[str, Any] = json.loads(_decoded(result.split(".")[1]))
        return {str(name): str(one["ear.status"]) for name, one in claims["submods"].items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CommandError("the verifier's result is no EAR in a JWT") from error


def _decoded(text: object) -> bytes:
    try:
        return b64decode(str(text) + "=" * (-len(str(text)) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise CommandError("the verifier's answer is not base64url where it should be") from error
