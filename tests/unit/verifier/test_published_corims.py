"""Endorsements for PSA devices that Veraison's services are tried with. Source: tests/vectors/psa_token/README.md.

They are templates in JSON, of which Veraison's tools make CoMIDs; :func:`comid` does the same.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.evidence import SoftwareComponent
from edgeroot.verifier.corim import read_corim
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.trust import Status
from tests.unit.verifier.test_appraisal import CLAIMS, IAK, judged, token

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "psa_token" / "corim"
IMPLEMENTATION = b"acme-implementation-id-000000001"
INSTANCE = b64decode("Ac7rrnuJJ6MiflMDz14PH3s0u1Qq1yUKwD+83jbsLxUI")
BAD = {
    "comid-bad-class": "class is not an implementation id",
    "comid-bad-instance": "instance is neither",
    "comid-bad-refval-mkey": "both components and PCRs",
    "comid-bad-refval-mval": "digests of the CoRIM must be an array",
    "comid-bad-refval-instance": "for one instance only",
    "comid-bad-ta-cert": "must have the CBOR tag 554",
    "comid-bad-ta-no-instance": "instance is neither",
}


def tagged(one: dict[str, Any]) -> object:
    """A typed value: ``bytes`` is tag 560, and so on (draft-ietf-rats-corim, and Veraison's older PSA profile)."""
    kind, value = one["type"], one["value"]
    if kind in ("string", "uint"):
        return value
    if kind == "uuid":
        return cbor2.CBORTag(37, UUID(value).bytes)
    number = {"bytes": 560, "psa.impl-id": 600, "ueid": 550, "exact-value": 552}.get(kind)
    if number is None:
        return cbor2.CBORTag({"pkix-base64-key": 554, "pkix-base64-cert": 555}[kind], value)
    return cbor2.CBORTag(number, b64decode(value) if isinstance(value, str) else value)


def environment(one: dict[str, Any]) -> dict[int, object]:
    described: dict[int, object] = {0: tagged(one["class"]["id"])}
    described |= {number: one["class"][name] for number, name in ((1, "vendor"), (2, "model")) if name in one["class"]}
    return {0: described} | ({1: tagged(one["instance"])} if "instance" in one else {})


def measurement(one: dict[str, Any]) -> dict[int, object]:
    values = one["value"]
    found: dict[int, object] = {}
    if "svn" in values:
        found[1] = tagged(values["svn"])
    if "digests" in values:
        found[2] = [[number, urlsafe_b64decode(digest + "=")] for number, digest in values["digests"]]
    if "name" in values:
        found[11] = values["name"]
    if "cryptokeys" in values:
        found[13] = [tagged(key) for key in values["cryptokeys"]]
    return {0: tagged(one["key"]), 1: found}


def comid(name: str) -> bytes:
    document = json.loads((VECTORS / f"{name}.json").read_text())
    triples = document["triples"]
    found: dict[int, object] = {}
    if "reference-values" in triples:
        found[0] = [
            [environment(one["environment"]), [measurement(each) for each in one["measurements"]]]
            for one in triples["reference-values"]
        ]
    if "attester-verification-keys" in triples:
        found[3] = [
            [environment(one["environment"]), [tagged(each) for each in one["verification-keys"]]]
            for one in triples["attester-verification-keys"]
        ]
    identity = UUID(document["tag-identity"]["id"]).bytes
    return cbor2.dumps({0: "en-GB", 1: {0: identity, 1: 0}, 4: found})


def corim(*names: str) -> bytes:
    profile = cbor2.CBORTag(32, "tag:arm.com,2025:psa#1.0.0")
    tags = [cbor2.CBORTag(506, comid(name)) for name in names]
    return cbor2.dumps(cbor2.CBORTag(501, {0: UUID(int=0x65A000000000000).bytes, 1: tags, 3: profile}))


def test_what_is_good() -> None:
    known = read_corim(corim("comid-psa-refval", "comid-psa-ta"))
    assert sorted(one.name or "" for one in known.references[IMPLEMENTATION]) == ["ARoT", "BL", "PRoT"]
    assert len(known.keys) == 2
    assert all(isinstance(one.key.curve, ec.SECP256R1) for one in known.keys.values())
    assert {one.implementation_id for one in known.keys.values()} == {IMPLEMENTATION}


@pytest.mark.parametrize(("name", "says"), BAD.items())
def test_what_is_bad(name: str, says: str) -> None:
    with pytest.raises(VerifierError, match=says):
        read_corim(corim("comid-psa-refval", name))


def test_every_file_is_tried() -> None:
    assert {path.stem for path in VECTORS.iterdir()} == {"comid-psa-refval", "comid-psa-ta", *BAD}


def test_a_device_that_runs_what_they_say_is_affirmed() -> None:
    """But for the key, of which nobody has the private part."""
    known = read_corim(corim("comid-psa-refval", "comid-psa-ta"))
    known.keys[INSTANCE] = replace(known.keys[INSTANCE], key=IAK.public_key())
    components = tuple(
        SoftwareComponent(measurement=one.measurement, signer_id=one.signer_id, measurement_type=one.name)
        for one in sorted(known.references[IMPLEMENTATION], key=lambda one: one.measurement)
    )
    claims = replace(CLAIMS, instance_id=INSTANCE, implementation_id=IMPLEMENTATION, software_components=components)
    assert judged(token(claims), endorsements=known).status is Status.AFFIRMING
