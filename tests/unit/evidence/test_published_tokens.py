"""Tokens and claim sets that others have published, good and bad. Their sources: tests/vectors/psa_token/README.md."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.evidence import (
    CoseAlgorithm,
    EvidenceError,
    Profile,
    decode_claims,
    read_shared_key,
    read_token,
    verify_mac0,
    verify_sign1,
)
from tests.support.diagnostic import parse

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "psa_token"
BAD = {
    "FAIL_BootSeed_too_big": "boot seed of 33",
    "FAIL_BootSeed_too_small": "boot seed of 7",
    "FAIL_ImplementationID_missing": "claim 2396 is missing",
    "FAIL_ImplementationID_wrong_format": "implementation id of 8",
    "FAIL_InstanceID_missing": "claim 256 is missing",
    "FAIL_InstanceID_wrong_format": "instance id that is not 01 and 32 bytes",
    "FAIL_SoftwareComponent_Measurement_missing": "claim 2 is missing",
    "P1ClaimsMissingMandatoryNonce": "claim -75008 is missing",
    "P2ClaimsInvalidMultiNonce": "claim 10 is list",
    "P2ClaimsMissingMandatoryNonce": "claim 10 is missing",
}
FILES = {path.stem: path for path in sorted(VECTORS.glob("*/*.diag"))}
GOOD = sorted(FILES.keys() - BAD)


def claims_of(name: str) -> dict[int, object]:
    return cast("dict[int, object]", parse(FILES[name].read_text()))


def token(name: str) -> bytes:
    return bytes.fromhex((VECTORS / name).read_text())


def jwk(name: str) -> dict[str, bytes]:
    key: Mapping[str, str] = json.loads((VECTORS / name).read_text())
    return {part: urlsafe_b64decode(key[part] + "=") for part in ("x", "y")}


def test_the_sign1_token_verifies() -> None:
    read = read_token(token("sign1.hex"))
    x, y = (int.from_bytes(jwk("es-iak.json")[part]) for part in "xy")
    verify_sign1(read.message, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    assert (read.profile, read.message.algorithm) == (Profile.RFC9783, CoseAlgorithm.ES256)
    assert (read.claims.client_id, read.claims.lifecycle) == (2147483647, 0x3000)


def test_the_mac0_token_verifies() -> None:
    read = read_token(token("mac0.hex"))
    verify_mac0(read.message, read_shared_key((VECTORS / "hs-iak.json").read_bytes()).key)
    assert (read.profile, read.message.algorithm) == (Profile.RFC9783, CoseAlgorithm.HMAC_256)
    assert read.claims.certification_reference == "1234567890123-12345"
    assert read.claims.software_components[0].measurement_type == "PRoT"


def test_every_case_is_here() -> None:
    assert len(FILES) == 21
    assert FILES.keys() > BAD.keys()


@pytest.mark.parametrize("name", GOOD)
def test_good_claims(name: str) -> None:
    entries = claims_of(name)
    profile, claims = decode_claims(cbor2.dumps(entries))
    legacy = name.startswith("P1")
    assert profile is (Profile.LEGACY if legacy else Profile.RFC9783)
    seeds = (entries.get(label) for label in (-75004, 268, 2397))
    assert claims.boot_seed == next((seed for seed in seeds if seed is not None), None)
    components = cast("list[object]", entries.get(-75006 if legacy else 2399, []))
    assert len(claims.software_components) == len(components)


@pytest.mark.parametrize(("name", "says"), BAD.items())
def test_bad_claims(name: str, says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        decode_claims(cbor2.dumps(claims_of(name)))


# By the names of psatoken's JSON cases: which claim is changed, by its labels in the two profiles, and to what.
COMPONENT = {2: bytes(32), 5: bytes(32)}
CHANGED: dict[str, tuple[tuple[int, int], object]] = {
    "boot-seed-invalid-long": ((-75004, 268), bytes(33)),
    "boot-seed-invalid-short": ((-75004, 268), bytes(7)),
    "client-id-invalid-missing": ((-75001, 2394), None),
    "hardware-version-invalid": ((-75005, 2398), "12345678901"),
    "implementation-id-invalid-missing": ((-75003, 2396), None),
    "instance-id-invalid-euid-type": ((-75009, 256), b"\2" + bytes(32)),
    "instance-id-invalid-long": ((-75009, 256), b"\1" + bytes(33)),
    "instance-id-invalid-missing": ((-75009, 256), None),
    "instance-id-invalid-short": ((-75009, 256), b"\1" + bytes(31)),
    "nonce-invalid-long": ((-75008, 10), bytes(65)),
    "nonce-invalid-missing": ((-75008, 10), None),
    "nonce-invalid-short": ((-75008, 10), bytes(31)),
    "profile-invalid-unknown": ((-75000, 265), "PSA_IOT_PROFILE_99"),
    "security-lifecycle-invalid-missing": ((-75002, 2395), None),
    "security-lifecycle-invalid-state": ((-75002, 2395), 0x7000),
    "sw-component-and-no-sw-measurements-missing": ((-75006, 2399), None),
    "sw-component-measurement-value-invalid-missing": ((-75006, 2399), [{5: bytes(32)}]),
    "sw-component-measurement-value-invalid-short": ((-75006, 2399), [{**COMPONENT, 2: bytes(31)}]),
    "sw-component-signer-id-invalid-short": ((-75006, 2399), [{**COMPONENT, 5: bytes(31)}]),
    "sw-components-empty": ((-75006, 2399), []),
}
ONE_PROFILE: dict[str, tuple[str, int, object]] = {
    "boot-seed-invalid-missing": ("P1ClaimsAll", -75004, None),
    "sw-components-invalid-combo": ("P1ClaimsAll", -75007, 1),
    "implementation-id-invalid-long": ("RFC9783ClaimsAll", 2396, bytes(33)),
    "implementation-id-invalid-short": ("RFC9783ClaimsAll", 2396, bytes(31)),
    "profile-invalid-missing": ("RFC9783ClaimsAll", 265, None),
    "sw-component-signer-id-invalid-missing": ("RFC9783ClaimsAll", 2399, [{2: bytes(32)}]),
    "draft-boot-seed-invalid-long": ("P2ClaimsAll", 2397, bytes(33)),
    "draft-boot-seed-invalid-short": ("P2ClaimsAll", 2397, bytes(7)),
}
FURTHER = [(name, base, label, value) for name, (base, label, value) in ONE_PROFILE.items()] + [
    (name, base, labels[number], value)
    for name, (labels, value) in CHANGED.items()
    for number, base in enumerate(("P1ClaimsAll", "RFC9783ClaimsAll"))
]


@pytest.mark.parametrize(("name", "base", "label", "value"), FURTHER)
def test_bad_claims_by_the_names_of_the_json_cases(name: str, base: str, label: int, value: object) -> None:
    entries = claims_of(base)
    decode_claims(cbor2.dumps(entries))
    entries[label] = value
    if value is None:
        del entries[label]
    with pytest.raises(EvidenceError):
        decode_claims(cbor2.dumps(entries))
