"""What a relying party accepts beyond what endorsements say: a small file of TOML.

Without a file the strictest policy holds. Every key is optional::

    lifecycles = ["secured", "non-psa-rot-debug"]   # of RFC 9783, clause 4.3.1
    client_ids = [-2, -3]                           # whose tokens; all, if it is left out
    legacy_profile = false                          # whether PSA_IOT_PROFILE_1 is accepted
    extra_components = false                        # whether a device may run more than is known
    mac_tokens = false                              # whether tokens with an authentication code are accepted
    unsigned_components = "warn"                    # what is measured but not signed, and nobody knows: match, ignore
    least_versions = { "PRoT" = "1.2.0" }           # by a component's type: older ones are refused
    tpm_application = "1000"                        # who asks the service for quotes; left out: tpm2_quote does, itself
    tpm_authenticator = 3                           # how it authenticates (3: Unix peer credentials, also if left out)
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from edgeroot.evidence import Lifecycle
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.version import Version, version_of

_UNIX_PEER_CREDENTIALS: Final = 3
_STATES: Final = {state.words: state for state in Lifecycle}
TRUSTED: Final = frozenset({Lifecycle.SECURED, Lifecycle.NON_PSA_ROT_DEBUG})
"""The states that a verifier may trust (RFC 9783, clause 4.3.1)."""


class UnsignedComponents(StrEnum):
    """What becomes of a component that was measured, that nobody has signed, and that has no reference value."""

    MATCH = "match"
    """It is refused."""
    WARN = "warn"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """See the module. ``client_ids`` None: those of everybody."""

    lifecycles: frozenset[Lifecycle] = TRUSTED
    client_ids: frozenset[int] | None = None
    legacy_profile: bool = False
    extra_components: bool = False
    mac_tokens: bool = False
    unsigned_components: UnsignedComponents = UnsignedComponents.WARN
    least_versions: Mapping[str, Version] = field(default_factory=dict)
    tpm_application: str | None = None
    tpm_authenticator: int = _UNIX_PEER_CREDENTIALS


_KEYS: Final = frozenset(Policy.__dataclass_fields__)


def parse_policy(text: str) -> Policy:
    """VerifierError for anything that is not understood: a policy that was half read would let too much pass."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise VerifierError(f"the policy is not TOML: {error}") from error
    for key in document:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
            raise VerifierError(f"the policy has the unknown key {key!r}; the nearest valid one is {near!r}")
    lifecycles = document.get("lifecycles")
    client_ids = document.get("client_ids")
    return Policy(
        lifecycles=TRUSTED if lifecycles is None else frozenset(_lifecycle(one) for one in _list(lifecycles)),
        client_ids=None if client_ids is None else frozenset(_client_id(one) for one in _list(client_ids)),
        legacy_profile=_truth(document, "legacy_profile"),
        extra_components=_truth(document, "extra_components"),
        mac_tokens=_truth(document, "mac_tokens"),
        unsigned_components=_unsigned(document.get("unsigned_components", UnsignedComponents.WARN.value)),
        least_versions=_least_versions(document.get("least_versions", {})),
        tpm_application=_application(document.get("tpm_application")),
        tpm_authenticator=_authenticator(document.get("tpm_authenticator", _UNIX_PEER_CREDENTIALS)),
    )


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise VerifierError("lifecycles and client_ids of the policy are lists")
    return value


def _lifecycle(name: object) -> Lifecycle:
    if not isinstance(name, str) or name not in _STATES:
        raise VerifierError(f"the policy names the lifecycle {name!r}; there are {', '.join(_STATES)}")
    return _STATES[name]


def _client_id(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise VerifierError(f"the policy has the client id {value!r}, which is no number")
    return value


def _unsigned(value: object) -> UnsignedComponents:
    if not isinstance(value, str) or value not in set(UnsignedComponents):
        raise VerifierError(f"unsigned_components of the policy is one of {', '.join(UnsignedComponents)}")
    return UnsignedComponents(value)


def _least_versions(value: object) -> dict[str, Version]:
    if not isinstance(value, dict):
        raise VerifierError('least_versions of the policy is a table: { "PRoT" = "1.2.0" }')
    versions: dict[str, Version] = {}
    for name, text in value.items():
        version = version_of(text) if isinstance(text, str) else None
        if version is None:
            raise VerifierError(f"least_versions of the policy has {text!r} for {name}, which is no version like 1.2.0")
        versions[name] = version
    return versions


def _application(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise VerifierError("tpm_application of the policy must be text")
    return value


def _authenticator(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
        raise VerifierError("tpm_authenticator of the policy must be a number from 0 to 255")
    return value


def _truth(document: dict[str, object], key: str) -> bool:
    value = document.get(key, False)
    if not isinstance(value, bool):
        raise VerifierError(f"{key} of the policy must be true or false")
    return value
