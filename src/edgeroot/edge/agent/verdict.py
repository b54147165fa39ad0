"""What the verifier said, read as the agent needs it: is the node affirmed, why not, and for how long.

The signature is for the relying party to verify: a device that lies would lie about that, too.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

AFFIRMING: Final = "affirming"
_WORDS_MAX: Final = 300


class VerdictError(ValueError):
    """It is no EAR in a JWT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``status`` is the worst of the submodules'; ``lifetime_s`` None: it does not say when it expires."""

    status: str
    reason: str = ""
    lifetime_s: float | None = None

    @property
    def is_affirming(self) -> bool:
        return self.status == AFFIRMING

    def words(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else self.status


def read_verdict(result: str) -> Verdict:
    """Of an EAR in a JWT; VerdictError."""
    try:
        claims: dict[str, Any] = json.loads(decoded(result.split(".")[1]))
        submodules = list(claims["submods"].values())
        statuses = [str(one["ear.status"]) for one in submodules]
        if not statuses:
            raise ValueError("it has no submodule")
        failed = [words for one in submodules for words in _failed(one)]
        lifetime_s = float(claims["exp"]) - float(claims["iat"]) if "exp" in claims else None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise VerdictError("the verifier's result is no EAR in a JWT") from error
    status = next((one for one in statuses if one != AFFIRMING), AFFIRMING)
    return Verdict(status=one_line(status), reason=one_line(failed[0]) if failed else "", lifetime_s=lifetime_s)


def _failed(submodule: Mapping[str, Any]) -> Iterator[str]:
    """Our verifier's words about checks that did not pass; others have none."""
    for one in submodule.get("ear.veraison.policy-claims", {}).get("checks", ()):
        if one["passed"] is not True:
            yield str(one["words"])


def decoded(text: object) -> bytes:
    """base64url without padding; ValueError."""
    if not isinstance(text, str):
        raise TypeError("it is no text")
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def one_line(text: str) -> str:
    """Printable and not too long, whoever wrote it."""
    line = " ".join(text[: 2 * _WORDS_MAX].split())
    return "".join(one if one.isprintable() else "?" for one in line)[:_WORDS_MAX]
