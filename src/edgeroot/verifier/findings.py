"""What an appraisal found, as small records that outlive it: checks in words, and each component that was judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from edgeroot.verifier.errors import VerifierError


class Match(StrEnum):
    """How a component compares with what is known of it."""

    MATCHED = "matched"
    NOT_MATCHED = "not-matched"
    """Its kind is known, with another measurement or another signer."""
    EXTRA = "extra"
    """Nobody knows its kind."""
    MISSING = "missing"
    """Its kind is known, and the evidence does not report it. It has no measurement."""
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``words`` say what was found, for people. ``warning``: that it did not pass alone refuses nobody."""

    name: str
    passed: bool
    words: str
    warning: bool = False

    def as_json(self) -> dict[str, object]:
        """``{check, passed, words}``, and ``warning`` if it is one."""
        said: dict[str, object] = {"check": self.name, "passed": self.passed, "words": self.words}
        return {**said, "warning": True} if self.warning else said


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentVerdict:
    """A component in the order of the evidence. ``version`` is the endorsed one, or what the device says of itself."""

    name: str
    match: Match
    measurement: bytes = b""
    signer_id: bytes = b""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """All of it, for whoever keeps it."""

    checks: tuple[Check, ...] = ()
    components: tuple[ComponentVerdict, ...] = ()

    def failed(self) -> tuple[Check, ...]:
        return tuple(one for one in self.checks if not one.passed)

    def why(self) -> str:
        """What failed first, in words: what refuses the device goes before what is only to be looked at."""
        failed = sorted(self.failed(), key=lambda one: one.warning)
        return failed[0].words if failed else ""

    def to_json(self) -> str:
        """``{"checks": [{check, passed, words, warning?}], "components": [...]}``, the same for the same findings."""
        checks = [one.as_json() for one in self.checks]
        return _compact({"checks": checks, "components": [_component_json(one) for one in self.components]})

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """VerifierError for anything that :meth:`to_json` did not write."""
        try:
            document = json.loads(text)
            checks = tuple(
                Check(one["check"], one["passed"], one["words"], one.get("warning", False))
                for one in document["checks"]
            )
            return cls(checks, tuple(_component(one) for one in document["components"]))
        except (ValueError, KeyError, TypeError) as error:
            raise VerifierError(f"findings that were kept are damaged: {error}") from error


NO_FINDINGS: Final = Findings()


def components_to_json(components: tuple[ComponentVerdict, ...]) -> str:
    """As in :meth:`Findings.to_json`, without the checks."""
    return _compact([_component_json(one) for one in components])


def components_from_json(text: str) -> tuple[ComponentVerdict, ...]:
    """VerifierError for anything that :func:`components_to_json` did not write."""
    return Findings.from_json(f'{{"checks": [], "components": {text}}}').components


def _component_json(one: ComponentVerdict) -> dict[str, str]:
    return {
        "name": one.name,
        "match": one.match.value,
        "measurement": one.measurement.hex(),
        "signer_id": one.signer_id.hex(),
        "version": one.version,
    }


def _component(one: dict[str, Any]) -> ComponentVerdict:
    return ComponentVerdict(
        name=one["name"],
        match=Match(one["match"]),
        measurement=bytes.fromhex(one["measurement"]),
        signer_id=bytes.fromhex(one["signer_id"]),
        version=one["version"],
    )


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
