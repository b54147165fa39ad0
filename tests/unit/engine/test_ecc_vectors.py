from __future__ import annotations

from collections.abc import Iterator

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgeroot import engine
from edgeroot.engine.ecc import width_bytes
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyType, PsaError, PsaStatus
from tests.vectors.keys import attributes, generated, imported, refused
from tests.vectors.records import own, packaged

SECP_R1 = {"P-192": 192, "P-224": 224, "P-256": 256, "P-384": 384, "P-521": 521}
HASHES = {f"SHA{dash}{size}": Hash[f"SHA_{size}"] for size in (1, 224, 256, 384, 512) for dash in ("-", "")}
P256 = KeyType.ecc_key_pair(EccFamily.SECP_R1)
P256_PUBLIC = KeyType.ecc_public_key(EccFamily.SECP_R1)
ES256 = Algorithm.ecdsa(Hash.SHA_256)
OFFERED = [(family, bits) for family, sizes in (
    (EccFamily.SECP_R1, (192, 224, 256, 384, 521)),
    (EccFamily.SECP_K1, (256,)),
    (EccFamily.BRAINPOOL_P_R1, (256, 384, 512)),
) for bits in sizes]  # fmt: skip


def point(x: str, y: str, key_bits: int) -> bytes:
    width = 2 * width_bytes(key_bits)
    return bytes.fromhex("04" + x[-width:].rjust(width, "0") + y[-width:].rjust(width, "0"))


def joined(r: int, s: int, key_bits: int) -> bytes:
    return r.to_bytes(width_bytes(key_bits), "big") + s.to_bytes(width_bytes(key_bits), "big")


def outcome(key: engine.EngineKey, alg: Algorithm, message: bytes, signature: bytes) -> bool:
    status = PsaStatus.SUCCESS
    try:
        key.verify_message(alg, message, signature)
    except PsaError as error:
        status = error.status
    assert status in (PsaStatus.SUCCESS, PsaStatus.INVALID_SIGNATURE)
    return status is PsaStatus.SUCCESS


@pytest.mark.parametrize("curve", SECP_R1)
def test_nist_signatures(curve: str) -> None:
    """FIPS 186-3 SigVer: right ones and four kinds of wrong ones."""
    key_bits = SECP_R1[curve]
    results: list[bool] = []
    for vector in packaged("asymmetric/ECDSA/FIPS_186-3/SigVer.rsp", "RESULT"):
        name, _, hash_name = vector["section"].partition(",")
        if name != curve:
            continue
        key = imported(P256_PUBLIC, point(vector["qx"], vector["qy"], key_bits), key_bits)
        signature = joined(int(vector["r"], 16), int(vector["s"], 16), key_bits)
        expected = vector["result"].startswith("P")
        message = bytes.fromhex(vector["msg"])
        assert outcome(key, Algorithm.ecdsa(HASHES[hash_name]), message, signature) is expected
        results.append(expected)
    assert set(results) == {True, False}


def test_secp256k1_signatures() -> None:
    for vector in packaged("asymmetric/ECDSA/SECP256K1/SigGen.txt", "S", every=40):
        alg = Algorithm.ecdsa(HASHES[vector["section"].partition(",")[2]])
        key = imported(KeyType.ecc_key_pair(EccFamily.SECP_K1), int(vector["d"], 16).to_bytes(32, "big"))
        assert key.export_public() == point(vector["qx"], vector["qy"], 256)
        key.verify_message(alg, bytes.fromhex(vector["msg"]), joined(int(vector["r"], 16), int(vector["s"], 16), 256))


def test_brainpool_signatures() -> None:
    for vector in own("ecdsa_brainpool.txt", "Result"):
        key_type = KeyType.ecc_public_key(EccFamily.BRAINPOOL_P_R1)
        key = imported(key_type, bytes.fromhex(vector["public"]), int(vector["bits"]))
        alg, signature = Algorithm.ecdsa(Hash[vector["hash"]]), bytes.fromhex(vector["sig"])
        assert outcome(key, alg, bytes.fromhex(vector["msg"]), signature) is (vector["result"] == "valid")


def rfc_6979() -> Iterator[tuple[engine.EngineKey, int, Hash, bytes, bytes]]:
    """Key, size, hash, message and signature of OpenSSL's copy of RFC 6979, appendix A.2, prime curves only."""
    with cryptography_vectors.open_vector_file("asymmetric/ECDSA/RFC6979/evppkey_ecdsa_rfc6979.txt", "r") as file:
        stanzas = file.read().split("\n\n")
    keys: dict[str, tuple[engine.EngineKey, int]] = {}
    for stanza in stanzas:
        lines = [line for line in stanza.strip().splitlines() if not line.startswith("#")]
        if lines and lines[0].startswith("PrivateKey=P-"):
            private = load_pem_private_key("\n".join(lines[1:]).encode(), None)
            assert isinstance(private, ec.EllipticCurvePrivateKey)
            bits = private.key_size
            scalar = private.private_numbers().private_value.to_bytes(width_bytes(bits), "big")
            keys[lines[0].partition("=")[2]] = (imported(P256, scalar, bits), bits)
        values = dict(line.split(" = ", 1) for line in lines if " = " in line)
        if "DigestSign" in values and values.get("Key") in keys and "Result" not in values:
            key, bits = keys[values["Key"]]
            signature = joined(*decode_dss_signature(bytes.fromhex(values["Output"])), bits)
            yield key, bits, HASHES[values["DigestSign"]], values["Input"].strip('"').encode(), signature


def test_deterministic_signatures_of_rfc_6979() -> None:
    seen: set[tuple[int, Hash]] = set()
    for key, bits, hash_alg, message, signature in rfc_6979():
        alg = Algorithm.deterministic_ecdsa(hash_alg)
        assert key.sign_message(alg, message) == signature
        assert key.sign_hash(alg, engine.hash_compute(hash_alg, message)) == signature
        key.verify_message(Algorithm.ecdsa(hash_alg), message, signature)
        seen.add((bits, hash_alg))
    assert {bits for bits, _ in seen} == set(SECP_R1.values())
    assert len(seen) == 25


@pytest.mark.parametrize("hash_alg", [alg for alg in Hash if alg not in (Hash.MD2, Hash.MD4, Hash.ANY)])
def test_the_hash_matters_by_its_value_alone(hash_alg: Hash) -> None:
    """Any two hashes of one length give signatures that stand for each other."""
    key = generated(P256, 256)
    digest = engine.hash_compute(hash_alg, b"message")
    signature = key.sign_message(Algorithm.ecdsa(hash_alg), b"message")
    for same in (alg for alg in Hash if alg.length_bytes == len(digest) and alg not in (Hash.MD2, Hash.MD4)):
        key.verify_hash(Algorithm.ecdsa(same), digest, signature)
        key.verify_hash(Algorithm.deterministic_ecdsa(same), digest, signature)
    key.verify_hash(Algorithm.ECDSA_ANY, digest, signature)
    key.verify_hash(ES256, digest.rjust(32, b"\0")[:32], signature)


@pytest.mark.parametrize("length_bytes", [1, 20, 31, 32, 33, 47, 64, 66, 67, 100])
@pytest.mark.parametrize("key_bits", [192, 256, 521])
def test_ecdsa_any_takes_the_leftmost_bits(length_bytes: int, key_bits: int) -> None:
    key = generated(P256, key_bits)
    long_hash = bytes(range(1, 101))[:length_bytes]
    signature = key.sign_hash(Algorithm.ECDSA_ANY, long_hash)
    key.verify_hash(Algorithm.ECDSA_ANY, long_hash, signature)
    if length_bytes * 8 > key_bits and key_bits % 8 == 0:
        key.verify_hash(Algorithm.ECDSA_ANY, long_hash[: key_bits // 8], signature)
    with pytest.raises(PsaError):
        key.verify_hash(Algorithm.ECDSA_ANY, b"\xff" + long_hash[1:], signature)


@pytest.mark.parametrize("key_bits", [192, 256, 521])
def test_no_bytes_are_a_hash_as_well_and_stand_for_zero(key_bits: int) -> None:
    key = generated(P256, key_bits)
    signature = key.sign_hash(Algorithm.ECDSA_ANY, b"")
    for zero in (b"", b"\0", bytes(32)):
        key.verify_hash(Algorithm.ECDSA_ANY, zero, signature)
    with pytest.raises(PsaError) as caught:
        key.verify_hash(Algorithm.ECDSA_ANY, b"\1", signature)
    assert caught.value.status is PsaStatus.INVALID_SIGNATURE


@pytest.mark.parametrize(("family", "key_bits"), OFFERED)
def test_fixed_width_with_leading_zeros(family: EccFamily, key_bits: int) -> None:
    """One in 128 signatures has an r or s that is shorter than the curve (one in two on P-521)."""
    key = generated(KeyType.ecc_key_pair(family), key_bits)
    width, short = width_bytes(key_bits), 0
    alg = Algorithm.deterministic_ecdsa(Hash.SHA_256)
    for counter in range(2000):
        digest = engine.hash_compute(Hash.SHA_256, counter.to_bytes(2, "big"))
        signature = key.sign_hash(alg, digest)
        assert len(signature) == 2 * width
        if signature[0] == 0 or signature[width] == 0:
            key.verify_hash(alg, digest, signature)
            short += 1
            if short == 3:
                break
    assert short == 3


@pytest.mark.parametrize("length_bytes", [0, 63, 65, 70])
def test_signature_of_wrong_length(length_bytes: int) -> None:
    with pytest.raises(PsaError) as caught:
        generated(P256, 256).verify_hash(ES256, bytes(32), bytes(length_bytes))
    assert caught.value.status is PsaStatus.INVALID_SIGNATURE


# Agreement


def test_nist_agreements() -> None:
    file = "asymmetric/ECDH/KASValidityTest_ECCStaticUnified_NOKC_ZZOnly_init.fax"
    bits_of = dict(zip(("EA", "EB", "EC", "ED", "EE"), SECP_R1.values(), strict=True))
    agreed, failed = set(), set()
    for vector in packaged(file, "Result"):
        bits = bits_of[vector["section"].partition(" ")[0]]
        scalar = int(vector["dsiut"], 16).to_bytes(width_bytes(bits), "big")
        peer = point(vector["qscavsx"], vector["qscavsy"], bits)
        if vector["result"].startswith("P"):
            secret = imported(P256, scalar, bits).raw_key_agreement(Algorithm.ECDH, peer)
            assert secret == bytes.fromhex(vector["z"]).rjust(width_bytes(bits), b"\0")
            agreed.add(bits)
        elif vector["result"].startswith("F (1"):
            with refused(PsaStatus.INVALID_ARGUMENT):
                imported(P256, scalar, bits).raw_key_agreement(Algorithm.ECDH, peer)
            failed.add(bits)
    assert agreed == set(SECP_R1.values())
    assert failed


def test_brainpool_agreements() -> None:
    for vector in packaged("asymmetric/ECDH/brainpool.txt", "y_Z"):
        bits = int(vector["curve"].removeprefix("brainpoolP").removesuffix("r1"))
        key = imported(KeyType.ecc_key_pair(EccFamily.BRAINPOOL_P_R1), bytes.fromhex(vector["da"]), bits)
        assert key.export_public() == point(vector["x_qa"], vector["y_qa"], bits)
        secret = key.raw_key_agreement(Algorithm.ECDH, point(vector["x_qb"], vector["y_qb"], bits))
        assert secret == bytes.fromhex(vector["x_z"])


def test_secp256k1_agreements() -> None:
    for vector in own("ecdh_secp256k1.txt", "Shared"):
        key = imported(KeyType.ecc_key_pair(EccFamily.SECP_K1), bytes.fromhex(vector["private"]))
        assert key.raw_key_agreement(Algorithm.ECDH, bytes.fromhex(vector["public"])).hex() == vector["shared"]


@pytest.mark.parametrize(("name", "key_bits"), [("X25519", 255), ("X448", 448)])
def test_montgomery_agreements(name: str, key_bits: int) -> None:
    vectors = packaged(f"asymmetric/{name}/rfc7748.txt", "OUTPUT_U")
    assert vectors
    for vector in vectors:
        key = imported(KeyType.ecc_key_pair(EccFamily.MONTGOMERY), bytes.fromhex(vector["input_scalar"]))
        assert key.attributes.key_bits == key_bits
        secret = key.raw_key_agreement(Algorithm.ECDH, bytes.fromhex(vector["input_u"]))
        assert secret == bytes.fromhex(vector["output_u"])


@pytest.mark.parametrize(("key_bits", "length_bytes"), [(255, 32), (448, 56)])
def test_montgomery_scalars_are_kept_clamped(key_bits: int, length_bytes: int) -> None:
    wanted = attributes(KeyType.ecc_key_pair(EccFamily.MONTGOMERY))
    zeros = engine.import_material(wanted, bytes(length_bytes))[1]
    ones = engine.import_material(wanted, b"\xff" * length_bytes)[1]
    clamped = {32: ("00", "40", "f8", "7f"), 56: ("00", "80", "fc", "ff")}[length_bytes]
    assert (zeros[:1] + zeros[-1:] + ones[:1] + ones[-1:]).hex() == "".join(clamped)
    made = engine.generate(attributes(wanted.key_type, key_bits))
    assert engine.import_material(wanted, made)[1] == made


def test_agreement_on_zero_is_refused() -> None:
    with pytest.raises(PsaError) as caught:
        generated(KeyType.ecc_key_pair(EccFamily.MONTGOMERY), 255).raw_key_agreement(Algorithm.ECDH, bytes(32))
    assert caught.value.status is PsaStatus.INVALID_ARGUMENT


# What is refused


ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    ("key_type", "key_bits", "data"),
    [
        (P256, 0, b""),
        (P256, 256, bytes(32)),
        (P256, 256, ORDER_OF_P256.to_bytes(32, "big")),
        (P256, 384, (1).to_bytes(32, "big")),
        (P256, 256, (1).to_bytes(33, "big")),
        (P256_PUBLIC, 256, b"\4" + bytes(64)),
        (P256_PUBLIC, 256, b"\2" + bytes(32)),
        (P256_PUBLIC, 0, b"\4" + bytes(63)),
        (KeyType.ecc_key_pair(EccFamily.MONTGOMERY), 255, bytes(31)),
        (KeyType.ecc_key_pair(EccFamily.MONTGOMERY), 448, bytes(32)),
    ],
)
def test_malformed_key(key_type: KeyType, key_bits: int, data: bytes) -> None:
    with pytest.raises(PsaError) as caught:
        engine.import_material(attributes(key_type, key_bits), data)
    assert caught.value.status is PsaStatus.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("family", "key_bits", "status"),
    [
        (EccFamily.SECP_R1, 255, "INVALID_ARGUMENT"),
        (EccFamily.SECP_R1, 0, "INVALID_ARGUMENT"),
        (EccFamily.MONTGOMERY, 256, "INVALID_ARGUMENT"),
        (EccFamily.SECP_K1, 192, "NOT_SUPPORTED"),
        (EccFamily.BRAINPOOL_P_R1, 320, "NOT_SUPPORTED"),
        (EccFamily.SECT_K1, 163, "NOT_SUPPORTED"),
        (EccFamily.SECT_R1, 233, "NOT_SUPPORTED"),
        (EccFamily.SECT_R2, 163, "NOT_SUPPORTED"),
        (EccFamily.SECP_R2, 160, "NOT_SUPPORTED"),
        (EccFamily.FRP, 256, "NOT_SUPPORTED"),
    ],
)
def test_curve_that_is_not_there(family: EccFamily, key_bits: int, status: str) -> None:
    for act in (engine.generate, lambda wanted: engine.import_material(wanted, bytes(range(1, 33)))):
        if status == "INVALID_ARGUMENT" and key_bits == 0 and act is not engine.generate:
            continue
        with pytest.raises(PsaError) as caught:
            act(attributes(KeyType.ecc_key_pair(family), key_bits))
        assert caught.value.status is PsaStatus[status]


@pytest.mark.parametrize(
    ("alg", "length_bytes", "status"),
    [
        (ES256, 31, "INVALID_ARGUMENT"),
        (ES256, 0, "INVALID_ARGUMENT"),
        (Algorithm.ecdsa(Hash.ANY), 32, "INVALID_ARGUMENT"),
        (Algorithm.ecdsa(Hash.MD4), 16, "NOT_SUPPORTED"),
        (Algorithm.rsa_pss(Hash.SHA_256), 32, "INVALID_ARGUMENT"),
        (Algorithm.NONE, 32, "INVALID_ARGUMENT"),
    ],
)
def test_hash_or_algorithm_that_does_not_fit(alg: Algorithm, length_bytes: int, status: str) -> None:
    key = generated(P256, 256)
    for call in (lambda: key.sign_hash(alg, bytes(length_bytes)),
                 lambda: key.verify_hash(alg, bytes(length_bytes), bytes(64))):  # fmt: skip
        with pytest.raises(PsaError) as caught:
            call()
        assert caught.value.status is PsaStatus[status]


def test_ecdsa_any_signs_no_message() -> None:
    with pytest.raises(PsaError) as caught:
        generated(P256, 256).sign_message(Algorithm.ECDSA_ANY, b"message")
    assert caught.value.status is PsaStatus.INVALID_ARGUMENT
