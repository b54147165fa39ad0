"""What the fuzz target of evidence begins with: good inputs, made of published vectors and of our own writers."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot import evidence as e
from edgeroot.evidence.tpm_attest import Attest, Clock, EcdsaSignature, PcrSelection, Quoted
from edgeroot.evidence.tpm_structures import Alg, Curve, EccPublic, ObjectFlags, Public, Scheme
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyOrigin, KeyType, UsageFlags
from edgeroot.verifier.cmw import tag_of
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, event_name, write_corim

_VECTORS: Final = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "psa_token"
_DIGEST: Final = b"\5" * 32
_POINT: Final = ec.derive_private_key(4711, ec.SECP256R1()).public_key()
_CLAIMS: Final = e.PsaClaims(
    nonce=bytes(32),
    instance_id=b"\1" + bytes(32),
    client_id=-2,
    lifecycle=e.Lifecycle.SECURED,
    implementation_id=bytes(32),
    boot_seed=bytes(32),
    software_components=(e.SoftwareComponent(measurement=_DIGEST, signer_id=_DIGEST, measurement_type="BL"),),
)
_STATED: Final = e.StatedKey(
    attributes=KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, Algorithm.ECDSA_ANY),
    lifetime=1,
    origin=KeyOrigin.GENERATED,
    public_key=b"\4" + bytes(64),
)


def taken(target: str) -> list[bytes]:
    """Inputs for the target of this name; all but those of ``signed-corim`` are taken."""
    return _TAKEN[target]


def _sign(_hash_value: bytes) -> bytes:
    return b"\x77" * 64


def _token() -> bytes:
    return e.write_token(_CLAIMS, e.Profile.RFC9783, algorithm=e.CoseAlgorithm.ES256, sign_hash=_sign)


def _published(name: str) -> bytes:
    return bytes.fromhex((_VECTORS / name).read_text())


def _log() -> bytes:
    events = [e.Event(4, kind, ((Alg.SHA256, _DIGEST),), b"BL\0") for kind in (1, 3, 0x80000003)]
    return e.write_event_log(events, algorithms=(e.DigestAlgorithm.SHA256,))


def _public() -> bytes:
    numbers = _POINT.public_numbers()
    detail = EccPublic(
        Curve.NIST_P256, Scheme(Alg.ECDSA, Alg.SHA256), x=numbers.x.to_bytes(32), y=numbers.y.to_bytes(32)
    )
    return bytes(Public(detail, ObjectFlags.FIXED_TPM | ObjectFlags.RESTRICTED | ObjectFlags.SIGN))


def _attest() -> bytes:
    return bytes(
        Attest(
            signer=b"\0\x0b" + _DIGEST,
            extra_data=bytes(32),
            clock=Clock(clock_ms=1, reset_count=2, restart_count=3, safe=True),
            firmware_version=4,
            attested=Quoted(PcrSelection.of(Alg.SHA256, (0, 4)), _DIGEST),
        )
    )


def _quote() -> bytes:
    signature = bytes(EcdsaSignature(Alg.SHA256, _DIGEST, _DIGEST))
    quote = e.TpmEvidence(
        attest=_attest(),
        signature=signature,
        attestation_key=_public(),
        pcrs=(bytes(32), _DIGEST),
        event_log=_log(),
    )
    return e.write_tpm_evidence(quote)


def _corim() -> bytes:
    kind, name = bytes(32), b"\1" + bytes(32)
    references = {
        ReferenceValue(measurement=_DIGEST, signer_id=_DIGEST, name="BL", version="1.0"),
        ReferenceValue(measurement=_DIGEST, signer_id=b"", name="PCR 4"),
        ReferenceValue(measurement=_DIGEST, signer_id=b"", name=event_name(4)),
    }
    # One of each: in the order of their measurements, which are the same, they would come in any.
    keys = {name: VerificationKey(implementation_id=kind, instance_id=name, key=_POINT)}
    per_kind = {
        bytes((number,)) * 32: {one} for number, one in enumerate(sorted(references, key=lambda r: r.name or ""))
    }
    return write_corim("fleet", Endorsements(keys=keys, references=per_kind))


def _wrapped_json() -> bytes:
    content = urlsafe_b64encode(_token()).rstrip(b"=").decode()
    return json.dumps(["application/psa-attestation-token", content, 4]).encode()


def _statement() -> bytes:
    return e.write_key_statement(_CLAIMS, _STATED, algorithm=e.CoseAlgorithm.ES256, sign_hash=_sign)


_LEGACY: Final = e.encode_claims(_CLAIMS, e.Profile.LEGACY)
_TAKEN: Final[dict[str, list[bytes]]] = {
    "cbor": [cbor2.dumps({1: [b"x", "y", -3, None, True, 1.5], "a": cbor2.CBORTag(28, "b")})],
    "cose": [_published("sign1.hex"), _published("mac0.hex")],
    "token": [e.encode_claims(_CLAIMS, e.Profile.RFC9783), _LEGACY],
    "statement": [_statement()],
    "event-log": [_log()],
    "replay": [_log()],
    "tpm": [_quote()],
    "attest": [_attest()],
    "tpm-public": [_public()],
    "tpm-signature": [bytes(EcdsaSignature(Alg.SHA256, _DIGEST, _DIGEST))],
    "shared-key": [(_VECTORS / "hs-iak.json").read_bytes().strip()],
    "corim": [_corim()],
    "signed-corim": [e.sign1(_corim(), algorithm=e.CoseAlgorithm.ES256, sign_hash=_sign)],
    "policy": [b'client_ids = [-2]\nunsigned_components = "match"\nleast_versions = { "BL" = "1.2.3+4" }'],
    "wrapped-json": [_wrapped_json()],
    "wrapped-cbor": [
        cbor2.dumps(["application/psa-attestation-token", _token(), 4]),
        cbor2.dumps(cbor2.CBORTag(tag_of(10003), _token())),
    ],
    "appraised": [_token(), _published("mac0.hex")],
    "quote-appraised": [_quote()],
}
