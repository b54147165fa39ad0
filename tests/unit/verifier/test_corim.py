from __future__ import annotations

from base64 import b64encode

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, read_corim, write_corim
from edgeroot.verifier.errors import VerifierError

IMPLEMENTATION = bytes(range(32))
INSTANCE = b"\1" + bytes(range(32, 64))
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
BOOT = ReferenceValue(measurement=b"\3" * 32, signer_id=b"\4" * 32, name="BL", version="1.2.3")
REST = ReferenceValue(measurement=b"\5" * 64, signer_id=b"\6" * 48)
DEVICE = VerificationKey(implementation_id=IMPLEMENTATION, instance_id=INSTANCE, key=KEY)
KNOWN = Endorsements(keys={INSTANCE: DEVICE}, references={IMPLEMENTATION: {BOOT, REST}})


def corim(triples: object, *, tag: int = 501, comid_tag: int = 506) -> bytes:
    comid = cbor2.dumps({1: {0: "comid"}, 4: triples})
    return cbor2.dumps(cbor2.CBORTag(tag, {0: "corim", 1: [cbor2.CBORTag(comid_tag, comid)]}))


def environment(tag: int = 560) -> dict[int, object]:
    return {0: {0: cbor2.CBORTag(tag, IMPLEMENTATION)}}


def measurement(**changes: object) -> dict[int, object]:
    values: dict[int, object] = {
        0: {0: "1.2.3"},
        2: [[1, b"\3" * 32]],
        11: "BL",
        13: [cbor2.CBORTag(560, b"\4" * 32)],
    }
    values |= {int(number): value for number, value in changes.items()}
    return {0: "psa.software-component", 1: values}


def test_what_is_written_is_read() -> None:
    read = read_corim(write_corim("fleet", KNOWN))
    assert read.references == KNOWN.references
    assert read.keys[INSTANCE] == DEVICE


def test_the_hand_made_form() -> None:
    for tag in (560, 600):
        assert read_corim(corim({0: [[environment(tag), [measurement()]]]})).references == {IMPLEMENTATION: {BOOT}}
    assert read_corim(corim({2: [["another kind of triple"]]})) == Endorsements()


def test_nothing_to_endorse() -> None:
    with pytest.raises(VerifierError):
        write_corim("fleet", Endorsements())


def test_files_are_taken_together_unless_they_contradict_each_other() -> None:
    together = Endorsements()
    together.add(Endorsements(references={IMPLEMENTATION: {BOOT}}))
    together.add(KNOWN)
    together.add(KNOWN)
    assert together.references == KNOWN.references
    other = VerificationKey(
        implementation_id=IMPLEMENTATION, instance_id=INSTANCE, key=ec.generate_private_key(ec.SECP256R1()).public_key()
    )
    with pytest.raises(VerifierError, match="endorsed twice"):
        together.add(Endorsements(keys={INSTANCE: other}))


@pytest.mark.parametrize(
    "triples",
    [
        None,
        {0: 5},
        {0: [[environment()]]},
        {0: [[environment(37), [measurement()]]]},
        {0: [[{}, [measurement()]]]},
        {0: [[environment(), measurement()]]},
        {0: [[environment() | {1: cbor2.CBORTag(550, INSTANCE)}, [measurement()]]]},
        {0: [[environment(), [{0: "another", 1: {}}]]]},
        {0: [[environment(), [measurement(**{"2": []})]]]},
        {0: [[environment(), [measurement(**{"2": [[1, b"\3" * 32], [8, b"\3" * 64]]})]]]},
        {0: [[environment(), [measurement(**{"2": [[1, b"\3" * 48]]})]]]},
        {0: [[environment(), [measurement(**{"2": [[99, b"\3" * 32]]})]]]},
        {0: [[environment(), [measurement(**{"13": []})]]]},
        {0: [[environment(), [measurement(**{"13": [b"\4" * 32]})]]]},
        {0: [[environment(), [measurement(**{"13": [cbor2.CBORTag(560, b"short")]})]]]},
        {0: [[environment(), [measurement(**{"11": 5})]]]},
        {0: [[environment(), [measurement(**{"0": {0: 5}})]]]},
        {0: [[environment(), [{0: 32, 1: {2: [[1, b"\3" * 32]]}}]]]},
        {0: [[environment(), [{0: True, 1: {2: [[1, b"\3" * 32]]}}]]]},
        {0: [[environment(), [{0: 7, 1: {2: [[1, b"\3" * 32]], 13: [cbor2.CBORTag(560, b"\4" * 32)]}}]]]},
        {3: [[environment() | {1: cbor2.CBORTag(560, INSTANCE)}, []]]},
        {3: [[environment() | {1: cbor2.CBORTag(550, INSTANCE + b"x")}, []]]},
        {3: [[environment(), [cbor2.CBORTag(554, "no key")]]]},
        {3: [[environment() | {1: cbor2.CBORTag(550, INSTANCE)}, [cbor2.CBORTag(554, "no key")]]]},
        {3: [[environment() | {1: cbor2.CBORTag(550, INSTANCE)}, [cbor2.CBORTag(555, "no key")]]]},
        {3: [[environment() | {1: INSTANCE}, []]]},
    ],
)
def test_what_would_be_understood_in_part(triples: object) -> None:
    with pytest.raises(VerifierError):
        read_corim(corim(triples))


def test_a_key_on_a_curve_that_nobody_knows() -> None:
    der = KEY.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    other = der.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030177"))
    assert other != der
    pem = f"-----BEGIN PUBLIC KEY-----\n{b64encode(other).decode()}\n-----END PUBLIC KEY-----\n"
    with pytest.raises(VerifierError, match="no public key"):
        read_corim(corim({3: [[environment() | {1: cbor2.CBORTag(550, INSTANCE)}, [cbor2.CBORTag(554, pem)]]]}))


def test_other_files() -> None:
    good = {0: [[environment(), [measurement()]]]}
    for data in (
        b"",
        b"\xff",
        corim(good, tag=18),
        corim(good, comid_tag=505),
        corim(good) + b"\0",
        bytes((1 << 20) + 1),
    ):
        with pytest.raises(VerifierError):
            read_corim(data)


@given(st.binary(max_size=200))
def test_anything_else(data: bytes) -> None:
    with pytest.raises(VerifierError):
        read_corim(data)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_still_a_corim(at: int, difference: int) -> None:
    data = bytearray(write_corim("fleet", KNOWN))
    data[at % len(data)] ^= difference
    try:
        assert isinstance(read_corim(bytes(data)), Endorsements)
    except VerifierError:
        pass
