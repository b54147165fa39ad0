"""What a token is and what it can do, as far as the service has to know without asking it.

The module is asked once in a process of its own; what it said is kept for the next start, so that a service whose
token is away at that moment still knows what it offers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from edgeroot.psa import EccFamily, Hash

_VERSION = 1


class TokenInfo(NamedTuple):
    """What identifies a token (CK_TOKEN_INFO, v3.0 §3.2); the texts are without their padding."""

    label: str
    serial_number: str
    manufacturer: str
    model: str
    firmware: str
    flags: int


class MechanismInfo(NamedTuple):
    """CK_MECHANISM_INFO. Whether sizes are in bits or in bytes depends on the mechanism."""

    min_size: int
    max_size: int
    flags: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """That the token refused a PIN: its digest, and whether the token itself counts such tries."""

    salt: bytes
    digest: bytes
    is_counted: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """What a token can do: its mechanisms, and what their list does not tell and was tried.

    ``oaep`` and ``pss`` are the hashes that the token takes in these paddings, ``oaep_labels`` whether it takes a
    label, ``lacks`` the functions for making objects, and the attribute of such, that its module does not have.
    ``firmware`` and ``model`` are kept because another firmware may do more.
    """

    serial_number: str
    model: str
    firmware: str
    has_random: bool
    mechanisms: Mapping[int, MechanismInfo] = field(repr=False)
    oaep: frozenset[Hash]
    oaep_labels: bool
    pss: frozenset[Hash]
    curves: frozenset[tuple[EccFamily, int]]
    lacks: frozenset[str]

    def describes(self, info: TokenInfo) -> bool:
        """Whether this is what the token can do, as it is now."""
        return (self.serial_number, self.model, self.firmware) == (info.serial_number, info.model, info.firmware)

    @property
    def makes_by_copy(self) -> bool:
        """Whether an object is made faster, and more nearly in one step, beside the token and copied into it.

        SoftHSM writes a new object's file anew for each of its attributes, 57 times for a pair, but a copy's once.
        """
        return self.model == "SoftHSM v2"

    def has(self, mechanism: int, flag: int) -> bool:
        """Whether the token does this with this mechanism."""
        info = self.mechanisms.get(mechanism)
        return info is not None and bool(info.flags & flag)


@dataclass(frozen=True, slots=True)
class State:
    """What is kept from one start of the service to the next."""

    profile: Profile | None = None
    refusal: Refusal | None = None

    def __bytes__(self) -> bytes:
        document: dict[str, Any] = {"version": _VERSION}
        if self.profile is not None:
            plain = asdict(self.profile)
            plain["mechanisms"] = [[number, *info] for number, info in sorted(self.profile.mechanisms.items())]
            plain["oaep"], plain["pss"] = sorted(self.profile.oaep), sorted(self.profile.pss)
            plain["curves"], plain["lacks"] = sorted(self.profile.curves), sorted(self.profile.lacks)
            document["profile"] = plain
        if self.refusal is not None:
            document["refusal"] = [self.refusal.salt.hex(), self.refusal.digest.hex(), self.refusal.is_counted]
        return json.dumps(document, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, encoded: bytes | None) -> State:
        """The reverse; what another version wrote is as good as nothing, since the token can be asked again."""
        document = json.loads(encoded) if encoded else {}
        if document.get("version") != _VERSION:
            return cls()
        profile = None
        if "profile" in document:
            plain = document["profile"]
            plain["mechanisms"] = {number: MechanismInfo(*info) for number, *info in plain["mechanisms"]}
            plain["oaep"], plain["pss"] = frozenset(map(Hash, plain["oaep"])), frozenset(map(Hash, plain["pss"]))
            plain["curves"] = frozenset((EccFamily(family), bits) for family, bits in plain["curves"])
            plain["lacks"] = frozenset(plain["lacks"])
            profile = Profile(**plain)
        refusal = None
        if "refusal" in document:
            salt, digest, is_counted = document["refusal"]
            refusal = Refusal(bytes.fromhex(salt), bytes.fromhex(digest), is_counted)
        return cls(profile, refusal)
