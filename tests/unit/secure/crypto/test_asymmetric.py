"""Signatures, encryption, agreement and random numbers over packed-c, at once and as slow work."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_public_key

from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.secure.runtime.api import Service, SlowWork
from tests.support.crypto_partition import (
    ALICE,
    CAPACITY_BYTES,
    Context,
    World,
    attributes,
    rpc_status,
    tlv,
    u32,
)

GENERATE, EXPORT, EXPORT_PUBLIC, IMPORT, SIGN, VERIFY = 0x0101, 0x0105, 0x0106, 0x0107, 0x0108, 0x0109
DECRYPT, ENCRYPT, RANDOM, SIGN_MESSAGE, VERIFY_MESSAGE, AGREE = 0x010A, 0x010B, 0x010C, 0x0110, 0x0111, 0x040A
NOT_PERMITTED, INVALID_ARGUMENT, INVALID_HANDLE, TOO_SMALL = -133, -135, -136, -138
EXISTS, INVALID_SIGNATURE = -139, -149
P256, RSA, BRAINPOOL, DH = 0x7112, 0x7001, 0x7130, 0x7203
ECDSA_ANY, ECDSA_SHA256, ECDSA_SHA384, ECDSA_ANY_HASH = 0x06000600, 0x06000609, 0x0600060A, 0x060006FF
RSA_PKCS1V15_RAW, RSA_PKCS1V15_SHA256, OAEP_SHA256, RSA_CRYPT = 0x06000200, 0x06000209, 0x07000309, 0x07000200
ECDH, FFDH, ECDH_HKDF = 0x09020000, 0x09010000, 0x09020109
SIGNING, CRYPTING, DERIVING = 0x3001, 0x0301, 0x4001
HASH = bytes(range(32))


@pytest.fixture
def context() -> Context:
    return World().context()


def generate(
    context: Context, key_type: int = P256, bits: int = 256, usage: int = SIGNING, alg: int = ECDSA_SHA256
) -> bytes:
    return context.ok(GENERATE, attributes(key_type, bits, usage=usage, alg=alg))


def imported(context: Context, private: rsa.RSAPrivateKey, *, usage: int, alg: int) -> bytes:
    der = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return context.ok(IMPORT, attributes(RSA, 0, usage=usage, alg=alg) + tlv(1, der))


@pytest.fixture(scope="module")
def rsa_4096() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 4096)


@pytest.fixture(scope="module")
def rsa_1024() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def is_slow(service: Service, opcode: int, request: bytes) -> bool:
    return isinstance(service.call(ALICE, opcode, request, capacity_bytes=CAPACITY_BYTES), SlowWork)


class TestSignatures:
    def test_a_signature_is_r_and_s_and_verifies_elsewhere(self, context: Context) -> None:
        key_id = generate(context)
        signature = context.ok(SIGN, key_id + u32(ECDSA_SHA256) + tlv(1, HASH))[4:]
        assert len(signature) == 64
        point = context.ok(EXPORT_PUBLIC, key_id)[4:]
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        public.verify(encode_dss_signature(r, s), HASH, ec.ECDSA(Prehashed(hashes.SHA256())))

    def test_a_signature_from_elsewhere_verifies(self, context: Context) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        scalar = private.private_numbers().private_value.to_bytes(32, "big")
        key_id = context.ok(IMPORT, attributes(P256, 256, usage=SIGNING, alg=ECDSA_SHA256) + tlv(1, scalar))
        r, s = decode_dss_signature(private.sign(HASH, ec.ECDSA(Prehashed(hashes.SHA256()))))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert context.ok(VERIFY, key_id + u32(ECDSA_SHA256) + tlv(1, HASH) + tlv(2, signature)) == b""
        wrong = context.call(VERIFY, key_id + u32(ECDSA_SHA256) + tlv(1, HASH[::-1]) + tlv(2, signature))
        assert wrong == (INVALID_SIGNATURE, b"")

    @pytest.mark.parametrize("length", [0, 64, 65, 7000])
    def test_messages_of_any_length(self, context: Context, length: int) -> None:
        key_id = generate(context)
        message = bytes(length)
        signature = context.ok(SIGN_MESSAGE, key_id + u32(ECDSA_SHA256) + tlv(1, message))[4:]
        digest = sha256(message).digest()
        context.ok(VERIFY, key_id + u32(ECDSA_SHA256) + tlv(1, digest) + tlv(2, signature))
        context.ok(VERIFY_MESSAGE, key_id + u32(ECDSA_SHA256) + tlv(1, message) + tlv(2, signature))
        altered = message[:-1] + b"\1"
        status, _ = context.call(VERIFY_MESSAGE, key_id + u32(ECDSA_SHA256) + tlv(1, altered) + tlv(2, signature))
        assert status == INVALID_SIGNATURE

    @pytest.mark.parametrize(
        ("usage", "opcode", "permitted"),
        [
            (0x1000, SIGN, True),
            (0x1000, SIGN_MESSAGE, True),
            (0x0400, SIGN_MESSAGE, True),
            (0x0400, SIGN, False),
            (0x2000, SIGN, False),
            (0x2000, SIGN_MESSAGE, False),
        ],
    )
    def test_usage(self, context: Context, usage: int, opcode: int, permitted: bool) -> None:
        key_id = generate(context, usage=usage)
        for _ in range(2):
            status, _ = context.call(opcode, key_id + u32(ECDSA_SHA256) + tlv(1, HASH))
            assert status == (0 if permitted else NOT_PERMITTED)

    @pytest.mark.parametrize(
        ("alg", "expected"),
        [
            (ECDSA_SHA384, NOT_PERMITTED),
            (RSA_PKCS1V15_SHA256, NOT_PERMITTED),
            (ECDSA_ANY_HASH, INVALID_ARGUMENT),
            (0, INVALID_ARGUMENT),
            (ECDH, INVALID_ARGUMENT),
            (0xFFFFFFFF, INVALID_ARGUMENT),
        ],
    )
    def test_algorithms(self, context: Context, alg: int, expected: int) -> None:
        request = generate(context) + u32(alg) + tlv(1, HASH)
        assert context.call(SIGN, request)[0] == expected
        assert context.call(SIGN_MESSAGE, request)[0] == expected
        assert context.call(VERIFY, request + tlv(2, bytes(64)))[0] == expected

    def test_any_hash_is_permitted_where_the_policy_says_so(self, context: Context) -> None:
        key_id = generate(context, alg=ECDSA_ANY_HASH)
        context.ok(SIGN, key_id + u32(ECDSA_SHA256) + tlv(1, HASH))
        context.ok(SIGN, key_id + u32(ECDSA_SHA384) + tlv(1, bytes(48)))

    def test_a_hash_of_the_wrong_length(self, context: Context) -> None:
        assert context.call(SIGN, generate(context) + u32(ECDSA_SHA256) + tlv(1, HASH[1:]))[0] == INVALID_ARGUMENT

    def test_algorithms_without_a_hash_sign_no_message(self, context: Context) -> None:
        key_id = generate(context, alg=ECDSA_ANY)
        context.ok(SIGN, key_id + u32(ECDSA_ANY) + tlv(1, HASH))
        assert context.call(SIGN_MESSAGE, key_id + u32(ECDSA_ANY) + tlv(1, HASH))[0] == INVALID_ARGUMENT

    def test_a_key_whose_policy_does_not_fit_its_type(self, context: Context) -> None:
        key_id = generate(context, alg=RSA_PKCS1V15_SHA256)
        assert context.call(SIGN, key_id + u32(RSA_PKCS1V15_SHA256) + tlv(1, HASH))[0] == INVALID_ARGUMENT

    def test_a_public_key_does_not_sign(self, context: Context) -> None:
        point = context.ok(EXPORT_PUBLIC, generate(context))[4:]
        public = context.ok(IMPORT, attributes(0x4112, 256, usage=0x3000, alg=ECDSA_SHA256) + tlv(1, point))
        assert context.call(SIGN, public + u32(ECDSA_SHA256) + tlv(1, HASH))[0] == INVALID_ARGUMENT

    def test_a_signature_that_does_not_fit(self, context: Context) -> None:
        request = generate(context) + u32(ECDSA_SHA256) + tlv(1, HASH)
        assert context.call(SIGN, request, capacity_bytes=67) == (TOO_SMALL, b"")
        assert context.call(SIGN, request, capacity_bytes=68)[0] == 0


class TestEncryption:
    def test_rsa_oaep_with_a_label(self, context: Context, rsa_1024: rsa.RSAPrivateKey) -> None:
        key_id = imported(context, rsa_1024, usage=CRYPTING, alg=OAEP_SHA256)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"label")
        ciphertext = rsa_1024.public_key().encrypt(b"secret", oaep)
        plain = context.ok(DECRYPT, key_id + u32(OAEP_SHA256) + tlv(1, ciphertext) + tlv(2, b"label"))
        assert plain == tlv(1, b"secret")
        ours = context.ok(ENCRYPT, key_id + u32(OAEP_SHA256) + tlv(1, b"secret") + tlv(2, b"label"))[4:]
        assert rsa_1024.decrypt(ours, oaep) == b"secret"

    def test_the_label_may_be_left_out(self, context: Context, rsa_1024: rsa.RSAPrivateKey) -> None:
        key_id = imported(context, rsa_1024, usage=CRYPTING, alg=RSA_CRYPT)
        ciphertext = context.ok(ENCRYPT, key_id + u32(RSA_CRYPT) + tlv(1, b""))[4:]
        assert context.ok(DECRYPT, key_id + u32(RSA_CRYPT) + tlv(1, ciphertext)) == tlv(1, b"")

    def test_statuses(self, context: Context, rsa_1024: rsa.RSAPrivateKey) -> None:
        key_id = imported(context, rsa_1024, usage=0x100, alg=RSA_CRYPT)
        request = key_id + u32(RSA_CRYPT) + tlv(1, bytes(128))
        assert context.call(DECRYPT, request)[0] == NOT_PERMITTED
        assert context.call(ENCRYPT, request + tlv(2, b"label"))[0] == INVALID_ARGUMENT
        assert context.call(ENCRYPT, request)[0] == INVALID_ARGUMENT
        assert context.call(ENCRYPT, key_id + u32(OAEP_SHA256) + tlv(1, b""))[0] == NOT_PERMITTED


class TestAgreement:
    def test_both_sides_agree(self, context: Context) -> None:
        key_id = generate(context, usage=DERIVING, alg=ECDH)
        ours = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), context.ok(EXPORT_PUBLIC, key_id)[4:])
        peer = ec.generate_private_key(ec.SECP256R1())
        numbers = peer.public_key().public_numbers()
        point = b"\4" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        secret = context.ok(AGREE, u32(ECDH) + key_id + tlv(1, point))
        assert secret == tlv(1, peer.exchange(ec.ECDH(), ours))

    def test_statuses(self, context: Context) -> None:
        key_id = generate(context, usage=DERIVING, alg=ECDH)
        assert context.call(AGREE, u32(ECDH) + key_id + tlv(1, bytes(65)))[0] == INVALID_ARGUMENT
        assert context.call(AGREE, u32(ECDH_HKDF) + key_id + tlv(1, bytes(65)))[0] == INVALID_ARGUMENT
        assert context.call(AGREE, u32(FFDH) + key_id + tlv(1, bytes(65)))[0] == NOT_PERMITTED
        assert context.call(AGREE, u32(ECDH) + generate(context) + tlv(1, bytes(65)))[0] == NOT_PERMITTED
        assert context.call(AGREE, u32(ECDH, 99) + tlv(1, bytes(65)))[0] == INVALID_HANDLE


class TestRandom:
    def test_as_much_as_was_asked_for(self, context: Context) -> None:
        ones, others = (context.ok(RANDOM, u32(1000)) for _ in range(2))
        assert ones[:4] == others[:4] == u32(0xE8030100)
        assert ones != others
        assert context.ok(RANDOM, u32(0)) == tlv(1, b"")

    def test_bounded_by_the_buffer_alone(self, context: Context) -> None:
        assert len(context.ok(RANDOM, u32(CAPACITY_BYTES - 4))) == CAPACITY_BYTES
        for size in (CAPACITY_BYTES - 3, 0xFFFFFFFF):
            assert rpc_status(context.packed, RANDOM, u32(size)) == RpcStatus.INTERNAL
        assert rpc_status(context.packed, RANDOM, u32(0x10000), capacity_bytes=1 << 20) == RpcStatus.INTERNAL


class TestSlowWork:
    def test_what_is_quick_is_not_slow(self, context: Context) -> None:
        assert not is_slow(context.packed, GENERATE, attributes(P256, 256, usage=SIGNING, alg=ECDSA_SHA256))
        assert not is_slow(context.packed, SIGN, generate(context) + u32(ECDSA_SHA256) + tlv(1, HASH))

    def test_an_rsa_key_is_made_elsewhere(self, context: Context) -> None:
        asked = attributes(RSA, 1024, usage=SIGNING, alg=RSA_PKCS1V15_SHA256, key_id=7)
        assert is_slow(context.packed, GENERATE, asked)
        assert context.call(0x010F, u32(7))[0] == INVALID_HANDLE
        assert context.ok(GENERATE, asked) == u32(7)
        signature = context.ok(SIGN, u32(7, RSA_PKCS1V15_SHA256) + tlv(1, HASH))[4:]
        public = load_der_public_key(context.ok(EXPORT_PUBLIC, u32(7))[4:])
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify(signature, HASH, padding.PKCS1v15(), Prehashed(hashes.SHA256()))

    def test_no_work_is_done_for_an_id_that_is_taken(self, context: Context) -> None:
        asked = attributes(RSA, 1024, usage=SIGNING, alg=RSA_PKCS1V15_SHA256, key_id=7)
        context.ok(GENERATE, attributes(P256, 256, usage=SIGNING, alg=ECDSA_SHA256, key_id=7))
        assert context.call(GENERATE, asked)[0] == EXISTS

    def test_an_id_that_is_taken_while_the_work_is_done(self, context: Context) -> None:
        asked = attributes(RSA, 1024, usage=SIGNING, alg=RSA_PKCS1V15_SHA256, key_id=7)
        answer = context.packed.call(ALICE, GENERATE, asked, capacity_bytes=CAPACITY_BYTES)
        assert isinstance(answer, SlowWork)
        made = context.ok(GENERATE, attributes(P256, 256, usage=SIGNING, alg=ECDSA_SHA256, key_id=7))
        material = context.packed.work(answer.task)
        with pytest.raises(Exception, match="ALREADY_EXISTS"):
            answer.finish(material)
        context.ok(SIGN, made + u32(ECDSA_SHA256) + tlv(1, HASH))

    def test_an_rsa_key_is_imported_and_used_elsewhere(self, context: Context, rsa_4096: rsa.RSAPrivateKey) -> None:
        key_id = imported(context, rsa_4096, usage=SIGNING, alg=RSA_PKCS1V15_SHA256)
        assert context.ok(0x010F, key_id)[4:8] == u32(4096)
        for opcode, data in ((SIGN, sha256(b"message").digest()), (SIGN_MESSAGE, b"message")):
            request = key_id + u32(RSA_PKCS1V15_SHA256) + tlv(1, data)
            assert is_slow(context.packed, opcode, request)
            signature = context.ok(opcode, request)[4:]
            rsa_4096.public_key().verify(signature, b"message", padding.PKCS1v15(), hashes.SHA256())
            verify = {SIGN: VERIFY, SIGN_MESSAGE: VERIFY_MESSAGE}[opcode]
            assert not is_slow(context.packed, verify, request + tlv(2, signature))

    def test_errors_of_the_work(self, context: Context, rsa_4096: rsa.RSAPrivateKey) -> None:
        key_id = imported(context, rsa_4096, usage=SIGNING, alg=RSA_PKCS1V15_SHA256)
        assert context.call(SIGN, key_id + u32(RSA_PKCS1V15_SHA256) + tlv(1, HASH[1:]))[0] == INVALID_ARGUMENT
        asked = attributes(RSA, 0, usage=SIGNING, alg=RSA_PKCS1V15_SHA256)
        assert context.call(IMPORT, asked + tlv(1, b"no key"))[0] == INVALID_ARGUMENT
        asked = attributes(RSA, 1000, usage=SIGNING, alg=RSA_PKCS1V15_SHA256)
        assert context.call(GENERATE, asked)[0] == INVALID_ARGUMENT

    def test_decryption(self, context: Context, rsa_4096: rsa.RSAPrivateKey) -> None:
        key_id = imported(context, rsa_4096, usage=CRYPTING, alg=OAEP_SHA256)
        ciphertext = context.ok(ENCRYPT, key_id + u32(OAEP_SHA256) + tlv(1, b"secret") + tlv(2, b"label"))[4:]
        request = key_id + u32(OAEP_SHA256) + tlv(1, ciphertext) + tlv(2, b"label")
        assert is_slow(context.packed, DECRYPT, request)
        assert context.ok(DECRYPT, request) == tlv(1, b"secret")

    def test_slow_curves(self, context: Context) -> None:
        key_id = generate(context, BRAINPOOL, 512)
        request = key_id + u32(ECDSA_SHA256) + tlv(1, HASH)
        signature = context.ok(SIGN, request)[4:]
        verify = request + tlv(2, signature)
        assert is_slow(context.packed, VERIFY, verify)
        assert context.ok(VERIFY, verify) == b""
        status, _ = context.call(VERIFY, verify[:-1] + bytes([verify[-1] ^ 1]))
        assert status == INVALID_SIGNATURE
        asked = attributes(BRAINPOOL, 0, usage=SIGNING, alg=ECDSA_SHA256)
        again = context.ok(IMPORT, asked + tlv(1, context.ok(EXPORT, key_id)[4:]))
        assert is_slow(context.packed, EXPORT_PUBLIC, again)
        assert context.ok(EXPORT_PUBLIC, again) == context.ok(EXPORT_PUBLIC, key_id)

    def test_finite_field_agreement(self, context: Context) -> None:
        ones, others = (generate(context, DH, 2048, DERIVING, FFDH) for _ in range(2))
        request = u32(FFDH) + ones + tlv(1, context.ok(EXPORT_PUBLIC, others)[4:])
        assert is_slow(context.packed, AGREE, request)
        back = u32(FFDH) + others + tlv(1, context.ok(EXPORT_PUBLIC, ones)[4:])
        assert context.ok(AGREE, request) == context.ok(AGREE, back)
