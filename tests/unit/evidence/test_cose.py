from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from edgeroot.evidence import (
    AuthenticationError,
    CoseAlgorithm,
    CoseMessage,
    EvidenceError,
    MacKey,
    mac0,
    read_cose,
    sign1,
    verify_mac0,
    verify_sign1,
)
from edgeroot.psa import Secret

PROTECTED = bytes.fromhex("a10126")

# RFC 9052, appendix C.2.1, and the key "11" of appendix C.7.1.
RFC9052_SIGN1 = bytes.fromhex(
    "d28443a10126a10442313154546869732069732074686520636f6e74656e742e"
    "58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e"
    "2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36"
)
RFC9052_KEY = ec.EllipticCurvePublicNumbers(
    int("bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff", 16),
    int("20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e", 16),
    ec.SECP256R1(),
).public_key()

# The Mac0 example of the PSA token's specification, with its key.
PSA_MAC0 = bytes.fromhex(
    "d18443a10105a0590117a9190100582101c557bd4fadc83f756fca2cd5ea2dcc8b82159bb4e7453d6a744d4eecd6d0ac60"
    "19095c582000000000000000000000000000000000000000000000000000000000000000000a5820"
    "010101010101010101010101010101010101010101010101010101010101010119095a1a7fffffff"
    "19095e73313233343536373839303132332d313233343519095b19300019010978217461673a7073616365727469666965642e6f72672c"
    "323032333a7073612374666d19095d48000000000000000019095f81a305582004040404040404040404040404040404"
    "040404040404040404040404040404040258200303030303030303030303030303030303030303030303030303030303030303"
    "016450526f545820b36cc7d7d2ed8980ac81c3460cfe2eddc45232ad819339a98e63bde32b9c2534"
)
PSA_MAC0_KEY = MacKey(
    CoseAlgorithm.HMAC_256,
    Secret(
        urlsafe_b64decode("3gOLNKyhJXaMXjNXq40Gs2e5qw1-i-Ek7cpH_gM6W7epPTB_8imqNv8kbBKVlk-s9xq3qm7E_WECt7OYMlWtkg==")
    ),
)
MACS = (CoseAlgorithm.HMAC_256, CoseAlgorithm.HMAC_384, CoseAlgorithm.HMAC_512)

CURVES: dict[CoseAlgorithm, tuple[ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    CoseAlgorithm.ES256: (ec.SECP256R1(), hashes.SHA256(), 32),
    CoseAlgorithm.ES384: (ec.SECP384R1(), hashes.SHA384(), 48),
    CoseAlgorithm.ES512: (ec.SECP521R1(), hashes.SHA512(), 66),
}


def signer(algorithm: CoseAlgorithm) -> tuple[ec.EllipticCurvePublicKey, Callable[[bytes], bytes]]:
    curve, hash_algorithm, width = CURVES[algorithm]
    key = ec.generate_private_key(curve)

    def sign_hash(hash_value: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(hash_value, ec.ECDSA(Prehashed(hash_algorithm))))
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")

    return key.public_key(), sign_hash


def message(protected: object, unprotected: object = None, *, tag: int = 18) -> bytes:
    header = protected if isinstance(protected, bytes) else cbor2.dumps(protected)
    return cbor2.dumps(cbor2.CBORTag(tag, [header, {} if unprotected is None else unprotected, b"payload", bytes(64)]))


def test_example_of_rfc_9052() -> None:
    read = read_cose(RFC9052_SIGN1)
    assert read.algorithm is CoseAlgorithm.ES256
    assert read.unprotected == {4: b"11"}
    assert read.payload == b"This is the content."
    verify_sign1(read, RFC9052_KEY)


def test_mac0_example_of_the_psa_token() -> None:
    read = read_cose(PSA_MAC0)
    assert read.algorithm is CoseAlgorithm.HMAC_256
    verify_mac0(read, PSA_MAC0_KEY)
    with pytest.raises(AuthenticationError, match="not this key's"):
        verify_mac0(read, MacKey(CoseAlgorithm.HMAC_256, Secret(bytes(64))))


@pytest.mark.parametrize("algorithm", MACS)
def test_codes_that_are_written_verify_by_the_rfc(algorithm: CoseAlgorithm) -> None:
    secret = bytes(range(64))
    written = mac0(b"payload", MacKey(algorithm, Secret(secret)))
    protected, unprotected, payload, code = cbor2.loads(written).value
    assert (cbor2.loads(protected), dict(unprotected), payload) == ({1: int(algorithm)}, {}, b"payload")
    structure = cbor2.dumps(["MAC0", protected, b"", b"payload"])
    assert code == hmac.digest(secret, structure, algorithm.hash_algorithm.name)
    read = read_cose(written)
    verify_mac0(read, MacKey(algorithm, Secret(secret)))
    for other in MACS:
        if other is not algorithm:
            with pytest.raises(AuthenticationError, match="does not check"):
                verify_mac0(read, MacKey(other, Secret(secret)))
    with pytest.raises(AuthenticationError, match="not this key's"):
        verify_mac0(replace(read, authenticator=code[:8]), MacKey(algorithm, Secret(secret)))


def test_what_is_no_shared_key() -> None:
    with pytest.raises(EvidenceError, match="which signs"):
        MacKey(CoseAlgorithm.ES256, Secret(bytes(32)))
    for algorithm, size_bytes in zip(MACS, (32, 48, 64), strict=True):
        with pytest.raises(EvidenceError, match=f"has {size_bytes} bytes or more"):
            MacKey(algorithm, Secret(bytes(size_bytes - 1)))


@pytest.mark.parametrize("algorithm", list(CURVES))
def test_what_is_written_verifies_by_the_rfc(algorithm: CoseAlgorithm) -> None:
    key, sign_hash = signer(algorithm)
    written = sign1(b"payload", algorithm=algorithm, sign_hash=sign_hash)
    tagged = cbor2.loads(written)
    protected, unprotected, payload, signature = tagged.value
    assert tagged.tag == 18
    assert cbor2.loads(protected) == {1: int(algorithm)}
    assert (dict(unprotected), payload) == ({}, b"payload")
    _, hash_algorithm, width = CURVES[algorithm]
    r, s = (int.from_bytes(part, "big") for part in (signature[:width], signature[width:]))
    structure = cbor2.dumps(["Signature1", protected, b"", b"payload"])
    key.verify(encode_dss_signature(r, s), structure, ec.ECDSA(hash_algorithm))
    verify_sign1(read_cose(written), key)


def test_a_change_anywhere_is_noticed() -> None:
    for position in range(len(RFC9052_SIGN1)):
        for bit in (1, 0x80):
            changed = bytearray(RFC9052_SIGN1)
            changed[position] ^= bit
            if 6 <= position < 11:
                continue  # the unprotected header
            with pytest.raises(EvidenceError):
                verify_sign1(read_cose(bytes(changed)), RFC9052_KEY)


def test_key_of_another_kind() -> None:
    key, sign_hash = signer(CoseAlgorithm.ES384)
    read = read_cose(sign1(b"", algorithm=CoseAlgorithm.ES384, sign_hash=sign_hash))
    with pytest.raises(AuthenticationError, match="secp256r1 does not sign with ES384"):
        verify_sign1(read, RFC9052_KEY)
    with pytest.raises(AuthenticationError, match="signed"):
        verify_mac0(read, PSA_MAC0_KEY)
    with pytest.raises(AuthenticationError, match="no public key"):
        verify_sign1(read_cose(PSA_MAC0), key)
    with pytest.raises(AuthenticationError, match="has 96 bytes"):
        verify_sign1(read_cose(message({1: -35})), key)
    with pytest.raises(ValueError, match="does not sign"):
        sign1(b"", algorithm=CoseAlgorithm.HMAC_256, sign_hash=sign_hash)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not valid CBOR"),
        (RFC9052_SIGN1[:-1], "not valid CBOR"),
        (RFC9052_SIGN1 + b"\0", "ends after"),
        (RFC9052_SIGN1[1:], "neither"),
        (message({1: -7}, tag=98), "neither"),
        (b"\xd8\x3d" + RFC9052_SIGN1, "neither"),
        (cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b""])), "array of four"),
        (cbor2.dumps(cbor2.CBORTag(18, {1: 2})), "array of four"),
        (cbor2.dumps(cbor2.CBORTag(18, [{1: -7}, {}, b"", b""])), "not a byte string"),
        (cbor2.dumps(cbor2.CBORTag(18, [PROTECTED, {}, None, b""])), "not inside"),
        (cbor2.dumps(cbor2.CBORTag(18, [PROTECTED, {}, b"", "text"])), "signature is not a byte string"),
        (message(b""), "names no algorithm"),
        (message({}, {1: -7}), "names no algorithm"),
        (message([1, -7]), "not a map"),
        (message({1: -7}, []), "not a map"),
        (message({1: -7, 2.5: 0}), "neither integer nor text"),
        (message({1: -8}), "not among"),
        (message({1: "ES256"}), "not among"),
        (message({1: [-7]}), "not among"),
        (message({1: 5}), "does not belong"),
        (message({1: -7}, tag=17), "does not belong"),
        (message({1: -7}, {1: -7}), "both protected and unprotected"),
        (message({1: -7}, {2: [1]}), "not protected"),
        (message({1: -7, 2: []}), "empty"),
        (message({1: -7, 2: [33]}), "critical and not understood"),
        (message({1: -7, 2: [[1]]}), "critical and not understood"),
        (message({1: -7, 2: [4]}), "not in the protected"),
        (message(bytes.fromhex("a201260126")), "[Dd]uplicate"),
        (message(bytes.fromhex("bf0126ff")), "indefinite"),
        (b"\x81" * 30 + b"\0", "depth"),
    ],
)
def test_malformed(data: bytes, says: str) -> None:
    with pytest.raises(EvidenceError, match=says):
        read_cose(data)


def test_understood_critical_header() -> None:
    assert read_cose(message({1: -7, 2: [1, 4], 4: b"key"})).protected[4] == b"key"


def test_tags_stay_tags() -> None:
    # A shared reference and a regular expression, which the library would otherwise resolve and compile.
    for tag in (28, 35):
        read: CoseMessage = read_cose(message({1: -7}, {100: cbor2.CBORTag(tag, "a*")}))
        assert read.unprotected[100] == cbor2.CBORTag(tag, "a*")
