"""A fleet for a verifier: devices with keys, endorsements of them, and genuine tokens from chosen times."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.evidence import CoseAlgorithm, Lifecycle, Profile, PsaClaims, SoftwareComponent, write_token
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, write_corim
from edgeroot.verifier.desk import Desk
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.store import SqliteStorage, open_store

TOKEN_TYPE: Final = "application/psa-attestation-token"
CORIM_TYPE: Final = "application/corim-unsigned+cbor"
GATEWAY: Final = sha256(b"gateway").digest()
SENSOR: Final = sha256(b"sensor").digest()
MAKER: Final = sha256(b"maker").digest()
NOBODY: Final = bytes(32)
PLATFORM: Final = ("kernel", "loader", "interpreter", "boot-stage")
SIGNED: Final = ("manager", "storage", "crypto", "attestation", "firmware-update")


def measured(name: str, version: str = "") -> bytes:
    return sha256(f"{name} {version}".encode()).digest()


def component(name: str, version: str = "", *, measurement: bytes | None = None) -> SoftwareComponent:
    """What a device runs; without a version it is part of the platform, which nobody signs."""
    return SoftwareComponent(
        measurement=measurement or measured(name, version),
        signer_id=MAKER if version else NOBODY,
        measurement_type=name,
        version=version or None,
    )


def firmware(version: str) -> tuple[SoftwareComponent, ...]:
    return (*(component(one) for one in PLATFORM), *(component(one, version) for one in SIGNED))


def references(parts: Sequence[SoftwareComponent]) -> set[ReferenceValue]:
    return {
        ReferenceValue(
            measurement=one.measurement, signer_id=one.signer_id or b"", name=one.measurement_type, version=one.version
        )
        for one in parts
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDevice:
    """A device with its attestation key."""

    implementation_id: bytes = GATEWAY
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def instance_id(self) -> bytes:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return b"\1" + sha256(point).digest()

    def endorsement(self) -> VerificationKey:
        return VerificationKey(
            implementation_id=self.implementation_id, instance_id=self.instance_id, key=self.key.public_key()
        )

    def token(
        self, nonce: bytes, parts: Sequence[SoftwareComponent], lifecycle: Lifecycle = Lifecycle.SECURED
    ) -> bytes:
        claims = PsaClaims(
            nonce=nonce,
            instance_id=self.instance_id,
            client_id=-2,
            lifecycle=lifecycle,
            implementation_id=self.implementation_id,
            software_components=tuple(parts),
        )
        return write_token(claims, Profile.RFC9783, algorithm=CoseAlgorithm.ES256, sign_hash=self._sign)

    def _sign(self, hash_value: bytes) -> bytes:
        r, s = decode_dss_signature(self.key.sign(hash_value, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return r.to_bytes(32) + s.to_bytes(32)


@dataclass(slots=True)
class FleetMaker:
    """A store that is filled as a verifier fills it, at whatever time it is told to be."""

    storage: SqliteStorage
    now_s: int
    policy: Policy = field(default_factory=Policy)
    _count: int = 0

    def desk(self) -> Desk:
        return Desk(
            storage=self.storage,
            policy=self.policy,
            policy_id="strictest",
            sign=json.dumps,
            now_s=lambda: self.now_s,
            random=self._random,
        )

    def _random(self, size_bytes: int) -> bytes:
        self._count += 1
        return sha256(self._count.to_bytes(8)).digest()[:size_bytes]

    def endorse(self, *devices: FleetDevice, known: dict[bytes, set[ReferenceValue]] | None = None) -> None:
        keys = {one.instance_id: one.endorsement() for one in devices}
        corim = write_corim("fleet", Endorsements(keys=keys, references=known or {}))
        self.desk().provision(CORIM_TYPE, corim, who="factory")

    def attest(
        self,
        device: FleetDevice,
        parts: Sequence[SoftwareComponent],
        *,
        at_s: int,
        lifecycle: Lifecycle = Lifecycle.SECURED,
    ) -> None:
        now_s, self.now_s = self.now_s, at_s
        desk = self.desk()
        session = desk.new_session()
        desk.submit(session.session_id, TOKEN_TYPE, device.token(session.nonce, parts, lifecycle))
        self.now_s = now_s


@contextmanager
def made_fleet(path: Path, now_s: int) -> Iterator[FleetMaker]:
    with open_store(path, create=True) as storage:
        yield FleetMaker(storage, now_s)
