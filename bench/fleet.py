"""A made-up fleet: devices by number, their keys and tokens, and what a verifier is told of them.

Everything of a device follows from its number, so that the process that endorses the fleet and the one that plays it
need not tell each other anything. Its keys protect nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from edgeroot.evidence import CoseAlgorithm, Lifecycle, Profile, PsaClaims, SoftwareComponent, write_token
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey
from edgeroot.verifier.store import open_store

COMPONENTS: Final = (
    "kernel",
    "loader",
    "interpreter",
    "boot-stage",
    "manager",
    "libraries",
    "storage",
    "crypto",
    "attestation",
    "firmware-update",
)
"""Those that the token of a verified secure world lists."""
PLAYED_DEVICES: Final = 5000
"""So many have a key of their own; the others are endorsed with one that nobody uses."""
_IMPLEMENTATION: Final = sha256(b"bench implementation").digest()
_SIGNER: Final = sha256(b"bench signer").digest()
_CLIENT: Final = -2
_ES256: Final = ec.ECDSA(Prehashed(hashes.SHA256()))
_ENDORSED_AT_ONCE: Final = 5000


@lru_cache(maxsize=PLAYED_DEVICES)
def device_key(number: int) -> ec.EllipticCurvePrivateKey:
    """The attestation key of a device. The scalar has 31 bytes: below the curve's order, and above zero."""
    scalar = int.from_bytes(sha256(b"bench key %d" % number).digest()[1:])
    return ec.derive_private_key(scalar, ec.SECP256R1())


def instance_id(number: int) -> bytes:
    """Of 33 bytes, a UEID of the type RAND."""
    return b"\x01" + sha256(b"bench device %d" % number).digest()


def device_token(number: int, nonce: bytes) -> bytes:
    """What the device answers to a challenge, signed for this one (ES256)."""
    claims = PsaClaims(
        nonce=nonce,
        instance_id=instance_id(number),
        client_id=_CLIENT,
        lifecycle=Lifecycle.SECURED,
        implementation_id=_IMPLEMENTATION,
        boot_seed=sha256(b"bench boot %d" % number).digest(),
        software_components=_components(),
    )
    key = device_key(number)

    def sign_hash(digest: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(digest, _ES256))
        return r.to_bytes(32) + s.to_bytes(32)

    return write_token(claims, Profile.RFC9783, algorithm=CoseAlgorithm.ES256, sign_hash=sign_hash)


@lru_cache(maxsize=1)
def _components() -> tuple[SoftwareComponent, ...]:
    return tuple(
        SoftwareComponent(
            measurement=sha256(name.encode()).digest(), signer_id=_SIGNER, measurement_type=name, version="1.0.0"
        )
        for name in COMPONENTS
    )


def references_of(components: tuple[SoftwareComponent, ...]) -> set[ReferenceValue]:
    """Reference values that say: as it is now, so it is good. AssertionError for a component without a signer."""
    found = set()
    for one in components:
        assert one.signer_id is not None
        found.add(
            ReferenceValue(
                measurement=one.measurement, signer_id=one.signer_id, name=one.measurement_type, version=one.version
            )
        )
    return found


def endorsements(devices: int) -> Iterator[Endorsements]:
    """Of the devices 0 to ``devices`` - 1, some thousand at once; the first have the reference values, too."""
    unused = device_key(PLAYED_DEVICES).public_key()
    references = {_IMPLEMENTATION: references_of(_components())}
    for first in range(0, devices, _ENDORSED_AT_ONCE):
        keys = {}
        for number in range(first, min(first + _ENDORSED_AT_ONCE, devices)):
            key = device_key(number).public_key() if number < PLAYED_DEVICES else unused
            instance = instance_id(number)
            keys[instance] = VerificationKey(implementation_id=_IMPLEMENTATION, instance_id=instance, key=key)
        yield Endorsements(keys=keys, references=references)
        references = {}


def endorse(store: Path, devices: int) -> None:
    """Make a verifier's store that knows the devices."""
    with open_store(store, create=True) as storage:
        for one in endorsements(devices):
            with storage.transaction():
                storage.add_endorsements(one)
