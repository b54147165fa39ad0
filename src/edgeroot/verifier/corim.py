"""Endorsements and reference values for PSA devices, as CoRIM files (draft-ietf-rats-corim), read and written.

What is read is bounded: an unsigned CoRIM (CBOR tag 501) of CoMIDs (tag 506) with reference triples and attestation key
triples; other triples are passed over. A class is an implementation id, as bytes (tag 560, or 600 of the older
profile), an instance a UEID (tag 550). A measurement has the key ``psa.software-component``, one digest, a name (the
component's type), a version, and one key: the signer id as bytes (tag 560).

For devices with a TPM the class is any bytes that name their kind, the instance is the attestation key's name as bytes
(tag 560), and a measurement's key is the index of a PCR, without a signer; or, for one event that extends PCR 4, the
text ``tpm.pcr.4.event``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import cbor2
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from edgeroot.evidence.cbor import decode, encode
from edgeroot.evidence.cose import read_cose, verify_sign1
from edgeroot.evidence.errors import AuthenticationError, EvidenceError
from edgeroot.verifier.errors import VerifierError

_CORIM, _COMID, _UEID, _PKIX_KEY, _BYTES, _OLD_IMPLEMENTATION = 501, 506, 550, 554, 560, 600
_ID, _TAGS = 0, 1
_TAG_IDENTITY, _TRIPLES = 1, 4
_REFERENCES, _KEYS = 0, 3
_CLASS, _INSTANCE = 0, 1
_MKEY, _MVAL = 0, 1
_VERSION, _DIGESTS, _NAME, _CRYPTO_KEYS = 0, 2, 11, 13
_COMPONENT: Final = "psa.software-component"
# IANA's "Named Information Hash Algorithm Registry".
_DIGEST_BYTES: Final = {1: 32, 7: 48, 8: 64}
_ALGORITHMS: Final = {size: number for number, size in _DIGEST_BYTES.items()}
_MAX_BYTES: Final = 1 << 20
_UEID_BYTES: Final = 33
_PCR: Final = "PCR "
_EVENT: Final = "event of PCR "
_EVENT_KEY: Final = re.compile(r"tpm\.pcr\.([0-9]{1,2})\.event", re.ASCII)
_PCRS: Final = range(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValue:
    """One component that an implementation may run: its measurement, and the hash of the key that signed it."""

    measurement: bytes
    signer_id: bytes
    name: str | None = None
    version: str | None = None


def pcr_of(reference: ReferenceValue) -> int | None:
    """The index of the PCR whose value the reference value is; None if it is anything else."""
    return _index_behind(_PCR, reference)


def event_pcr_of(reference: ReferenceValue) -> int | None:
    """The index of the PCR that the event extends whose digest the reference value is; None if it is anything else.

    These are never compared with a PCR's value, nor the other way round: who extends a PCR chooses the digest freely.
    """
    return _index_behind(_EVENT, reference)


def pcr_name(index: int) -> str:
    """The name of reference values for this PCR's value."""
    return f"{_PCR}{index}"


def event_name(index: int) -> str:
    """The name of reference values for events that extend this PCR."""
    return f"{_EVENT}{index}"


def _index_behind(prefix: str, reference: ReferenceValue) -> int | None:
    if reference.signer_id or reference.name is None or not reference.name.startswith(prefix):
        return None
    return int(reference.name.removeprefix(prefix))


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """The attestation key of one device."""

    implementation_id: bytes
    instance_id: bytes
    key: ec.EllipticCurvePublicKey


@dataclass(slots=True)
class Endorsements:
    """What is known: keys by instance id, components by implementation id."""

    keys: dict[bytes, VerificationKey] = field(default_factory=dict)
    references: dict[bytes, set[ReferenceValue]] = field(default_factory=dict)

    def key_of(self, instance_id: bytes) -> VerificationKey | None:
        return self.keys.get(instance_id)

    def components_of(self, implementation_id: bytes) -> set[ReferenceValue] | None:
        return self.references.get(implementation_id)

    def device_revoked(self, instance_id: bytes) -> str | None:
        """Never: files endorse, and revoke nothing."""

    def component_revoked(self, reference: ReferenceValue) -> str | None:
        """Never, as of devices."""

    def boot_seen(self, instance_id: bytes, boot_seed: bytes) -> None:
        """Nothing: files remember no boots."""

    def add(self, other: Endorsements) -> None:
        """VerifierError if the other one has a different key for a device that is known, or has PCRs for components."""
        for instance_id, key in other.keys.items():
            known = self.keys.setdefault(instance_id, key)
            if known.key != key.key or known.implementation_id != key.implementation_id:
                raise VerifierError(f"device {instance_id.hex()} is endorsed twice, and not the same way")
        for implementation_id, references in other.references.items():
            values = self.references.setdefault(implementation_id, set())
            values.update(references)
            _check_kind(values)


def write_corim(name: str, endorsements: Endorsements) -> bytes:
    """An unsigned CoRIM with one CoMID of this name."""
    references = [
        [
            _environment(implementation_id),
            [_measurement(one) for one in sorted(values, key=lambda one: one.measurement)],
        ]
        for implementation_id, values in sorted(endorsements.references.items())
    ]
    keys = [
        [
            _environment(key.implementation_id)
            | {_INSTANCE: cbor2.CBORTag(_UEID if len(instance_id) == _UEID_BYTES else _BYTES, instance_id)},
            [cbor2.CBORTag(_PKIX_KEY, key.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())],
        ]
        for instance_id, key in sorted(endorsements.keys.items())
    ]
    triples = {number: found for number, found in ((_REFERENCES, references), (_KEYS, keys)) if found}
    if not triples:
        raise VerifierError("there is nothing to endorse")
    comid = encode({_TAG_IDENTITY: {0: name}, _TRIPLES: triples})
    return encode(cbor2.CBORTag(_CORIM, {_ID: name, _TAGS: [cbor2.CBORTag(_COMID, comid)]}))


def _environment(implementation_id: bytes) -> dict[int, object]:
    return {_CLASS: {0: cbor2.CBORTag(_BYTES, implementation_id)}}


def _measurement(reference: ReferenceValue) -> dict[int, object]:
    values: dict[int, object] = {_DIGESTS: [[_ALGORITHMS[len(reference.measurement)], reference.measurement]]}
    if reference.signer_id:
        values[_CRYPTO_KEYS] = [cbor2.CBORTag(_BYTES, reference.signer_id)]
    if reference.version is not None:
        values[_VERSION] = {0: reference.version}
    if (index := pcr_of(reference)) is not None:
        return {_MKEY: index, _MVAL: values}
    if (index := event_pcr_of(reference)) is not None:
        return {_MKEY: f"tpm.pcr.{index}.event", _MVAL: values}
    if reference.name is not None:
        values[_NAME] = reference.name
    return {_MKEY: _COMPONENT, _MVAL: values}


def read_signed_corim(data: bytes, signers: Iterable[ec.EllipticCurvePublicKey]) -> Endorsements:
    """The CoRIM inside a COSE_Sign1, whose ``corim-meta`` is not looked at.

    VerifierError if none of the signers signed it.
    """
    _check_size(data)
    try:
        message = read_cose(data)
    except EvidenceError as error:
        raise VerifierError(f"it is no signed CoRIM: {error}") from error
    for key in signers:
        try:
            verify_sign1(message, key)
        except AuthenticationError:
            continue
        return read_corim(message.payload)
    raise VerifierError("the CoRIM is signed by none of the signers that are trusted")


def read_corim(data: bytes) -> Endorsements:
    """VerifierError for what is no CoRIM, and for a triple that would be understood only in part."""
    _check_size(data)
    try:
        corim = _map(_tagged(decode(data, "the CoRIM"), _CORIM), "the CoRIM")
        endorsements = Endorsements()
        for tag in _array(corim.get(_TAGS), "its tags"):
            comid = _map(decode(_octets(_tagged(tag, _COMID), "a CoMID"), "a CoMID"), "a CoMID")
            _read_triples(_map(comid.get(_TRIPLES), "its triples"), endorsements)
    except EvidenceError as error:
        raise VerifierError(str(error)) from error
    return endorsements


def _check_size(data: bytes) -> None:
    if len(data) > _MAX_BYTES:
        raise VerifierError(f"the CoRIM has {len(data)} bytes; {_MAX_BYTES} are the most")


def _read_triples(triples: Mapping[object, object], endorsements: Endorsements) -> None:
    for triple in _array(triples.get(_REFERENCES, []), "the reference triples"):
        environment, measurements = _pair(triple)
        if _INSTANCE in _map(environment, "an environment"):
            raise VerifierError("a reference triple is for one instance only, which is not understood here")
        found = {_reference(one) for one in _array(measurements, "measurements")}
        known = endorsements.references.setdefault(_class_of(environment), set())
        known.update(found)
        _check_kind(known)
    for triple in _array(triples.get(_KEYS, []), "the key triples"):
        environment, keys = _pair(triple)
        instance_id = _instance(_map(environment, "an environment").get(_INSTANCE))
        for one in _array(keys, "keys"):
            key = VerificationKey(
                implementation_id=_class_of(environment), instance_id=instance_id, key=_key(_tagged(one, _PKIX_KEY))
            )
            endorsements.add(Endorsements(keys={instance_id: key}))


def _reference(measurement: object) -> ReferenceValue:
    entries = _map(measurement, "a measurement")
    key, values = entries.get(_MKEY), _map(entries.get(_MVAL), "a measurement's values")
    measured, version = _digest(values.get(_DIGESTS)), values.get(_VERSION)
    said = None if version is None else _text(_map(version, "a version").get(0), "a version")
    if isinstance(key, int) and not isinstance(key, bool):
        return _unsigned(_PCR, key, values, measured, said)
    if isinstance(key, str) and (found := _EVENT_KEY.fullmatch(key)):
        return _unsigned(_EVENT, int(found[1]), values, measured, said)
    if key != _COMPONENT:
        raise VerifierError(f"a measurement has neither the key {_COMPONENT} nor a PCR's")
    signers = _array(values.get(_CRYPTO_KEYS), "a component's signer")
    if len(signers) != 1:
        raise VerifierError("a component has one signer")
    signer_id = _octets(_tagged(signers[0], _BYTES), "a signer")
    if len(signer_id) not in _ALGORITHMS:
        raise VerifierError(f"a signer id has 32, 48 or 64 bytes, not {len(signer_id)}")
    name = _text(values.get(_NAME), "a component's name")
    return ReferenceValue(measurement=measured, signer_id=signer_id, name=name, version=said)


def _check_kind(references: set[ReferenceValue]) -> None:
    """A device with a TPM reports no components, and a PSA device no PCRs: what has both could never be affirmed."""
    if len({bool(one.signer_id) for one in references}) > 1:
        raise VerifierError("a class has both components and PCRs as reference values")


def _unsigned(
    prefix: str, index: int, values: Mapping[object, object], measured: bytes, version: str | None
) -> ReferenceValue:
    if index not in _PCRS or _CRYPTO_KEYS in values:
        raise VerifierError(f"a measurement has the key {index}, which is no PCR's, or a PCR has a signer")
    return ReferenceValue(measurement=measured, signer_id=b"", name=f"{prefix}{index}", version=version)


def _digest(value: object) -> bytes:
    digests = _array(value, "digests")
    if len(digests) != 1:
        raise VerifierError("a component has one digest")
    algorithm, digest = _pair(digests[0])
    measured = _octets(digest, "a digest")
    if not isinstance(algorithm, int) or _DIGEST_BYTES.get(algorithm) != len(measured):
        raise VerifierError(f"a digest of algorithm {algorithm!r} with {len(measured)} bytes is not used here")
    return measured


def _instance(value: object) -> bytes:
    if isinstance(value, cbor2.CBORTag) and value.tag in (_UEID, _BYTES):
        found = _octets(value.value, "an instance")
        if (value.tag == _UEID) == (len(found) == _UEID_BYTES):
            return found
    raise VerifierError("an instance is neither a UEID of 33 bytes nor an attestation key's name")


def _class_of(environment: object) -> bytes:
    identifier = _map(_map(environment, "an environment").get(_CLASS), "a class").get(0)
    if isinstance(identifier, cbor2.CBORTag) and identifier.tag in (_BYTES, _OLD_IMPLEMENTATION):
        return _octets(identifier.value, "an implementation id")
    raise VerifierError("a class is not an implementation id")


def _key(pem: object) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(str(pem).encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise VerifierError("a verification key is no public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise VerifierError("a verification key is not one on an elliptic curve")
    return key


def _tagged(value: object, tag: int) -> object:
    if not isinstance(value, cbor2.CBORTag) or value.tag != tag:
        raise VerifierError(f"where the CoRIM must have the CBOR tag {tag}, it has not")
    found: object = value.value
    return found


def _map(value: object, what: str) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise VerifierError(f"{what} of the CoRIM must be a map")
    return value


def _array(value: object, what: str) -> list[object]:
    if not isinstance(value, list | tuple):
        raise VerifierError(f"{what} of the CoRIM must be an array")
    return list(value)


def _pair(value: object) -> Iterable[object]:
    pair = _array(value, "a triple")
    if len(pair) != 2:
        raise VerifierError("a triple of the CoRIM must have two parts")
    return pair


def _octets(value: object, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise VerifierError(f"{what} of the CoRIM must be bytes")
    return value


def _text(value: object, what: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise VerifierError(f"{what} of the CoRIM must be text")
    return value
