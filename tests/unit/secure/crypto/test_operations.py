"""Operations of several parts over packed-c: the reference's exchanges, its statuses, and who keeps what how long."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeroot.secure.runtime.api import Caller, SlowWork
from tests.support.crypto_partition import ALICE, BOB, CAPACITY_BYTES, Context, World, attributes, tlv, u32

GENERATE, DESTROY, EXPORT, EXPORT_PUBLIC, IMPORT, GET_ATTRIBUTES = 0x0101, 0x0102, 0x0105, 0x0106, 0x0107, 0x010F
SHA256, HMAC_SHA256, CTR, CBC_PKCS7, GCM, CCM = 0x02000009, 0x03800009, 0x04C01000, 0x04404100, 0x05500200, 0x05500100
HKDF_SHA256, ECDH_HKDF, FFDH_HKDF, ECDSA_SHA256 = 0x08000109, 0x09020109, 0x09010109, 0x06000609
RAW, HMAC, DERIVE, AES, P256, DH = 0x1001, 0x1100, 0x1200, 0x2400, 0x7112, 0x7203
SALT, SECRET, INFO, SEED, LABEL = 0x0202, 0x0101, 0x0203, 0x0204, 0x0201
PRF_SHA256 = 0x08000209
ENCRYPTING, MACS, DERIVING = 0x0300, 0x3C00, 0x4000
NOT_PERMITTED, NOT_SUPPORTED, INVALID_ARGUMENT, INVALID_HANDLE, BAD_STATE = -133, -134, -135, -136, -137
TOO_SMALL, INSUFFICIENT_DATA, INVALID_SIGNATURE = -138, -143, -149
FIRST = u32(1)
AES_KEY = bytes(range(16))
# Set-ups without a key, or of keys that `context` has: abort, and a call that a fresh operation answers.
FAMILIES = [
    pytest.param(0x0201, u32(SHA256), 0x0204, 0x0202, tlv(1, b"x"), id="hash"),
    pytest.param(0x0301, u32(2, CTR), 0x0307, 0x0303, b"", id="cipher"),
    pytest.param(0x0401, u32(HKDF_SHA256), 0x0408, 0x0402, b"", id="derivation"),
    pytest.param(0x0501, u32(3, HMAC_SHA256), 0x0506, 0x0503, tlv(1, b"x"), id="mac"),
    pytest.param(0x0601, u32(1, GCM), 0x060A, 0x0603, b"", id="aead"),
]


@pytest.fixture
def context() -> Context:
    """With the AES keys 1 (GCM) and 2 (CTR), the HMAC key 3 and the secret 4 of each of two sources."""
    context = World().context()
    for caller in (ALICE, BOB):
        for key_id, key_type, usage, alg, data in (
            (1, AES, ENCRYPTING, GCM, AES_KEY),
            (2, AES, ENCRYPTING, CTR, AES_KEY),
            (3, HMAC, MACS, HMAC_SHA256, b"\x0b" * 32),
            (4, DERIVE, DERIVING, HKDF_SHA256, b"secret"),
        ):
            asked = attributes(key_type, 0, usage=usage, alg=alg, key_id=key_id)
            context.ok(IMPORT, asked + tlv(1, data), caller=caller)
    return context


class TestContexts:
    @pytest.mark.parametrize(("setup", "request_", "abort", "use", "data"), FAMILIES)
    def test_handles_count_up_from_one(
        self, context: Context, setup: int, request_: bytes, abort: int, use: int, data: bytes
    ) -> None:
        assert [context.ok(setup, request_) for _ in range(2)] == [u32(1), u32(2)]
        assert context.ok(setup, request_, caller=BOB) == u32(1)

    @pytest.mark.parametrize(("setup", "request_", "abort", "use", "data"), FAMILIES)
    def test_the_eleventh_gives_up_the_oldest(
        self, context: Context, setup: int, request_: bytes, abort: int, use: int, data: bytes
    ) -> None:
        bobs = context.ok(setup, request_, caller=BOB)
        for handle in range(1, 12):
            assert context.ok(setup, request_) == u32(handle)
        assert context.call(use, u32(1) + data) == (BAD_STATE, b"")
        for handle in range(2, 12):
            context.ok(use, u32(handle) + data)
        context.ok(use, bobs + data, caller=BOB)

    @pytest.mark.parametrize(("setup", "request_", "abort", "use", "data"), FAMILIES)
    def test_an_aborted_operation_is_no_more(
        self, context: Context, setup: int, request_: bytes, abort: int, use: int, data: bytes
    ) -> None:
        handle = context.ok(setup, request_)
        assert context.ok(abort, handle) == b""
        assert context.call(use, handle + data) == (BAD_STATE, b"")
        assert context.ok(abort, handle) == context.ok(abort, u32(99)) == b""

    @pytest.mark.parametrize(("setup", "request_", "abort", "use", "data"), FAMILIES)
    def test_operations_belong_to_source_channel_and_family(
        self, context: Context, setup: int, request_: bytes, abort: int, use: int, data: bytes
    ) -> None:
        handle = context.ok(setup, request_)
        for stranger in (BOB, Caller(ALICE.source_id, 2)):
            assert context.call(use, handle + data, caller=stranger)[0] == BAD_STATE
            context.ok(abort, handle, caller=stranger)
        for other in FAMILIES:
            _, _, _, other_use, other_data = other.values
            assert isinstance(other_use, int)
            assert isinstance(other_data, bytes)
            if other_use != use:
                assert context.call(other_use, handle + other_data)[0] == BAD_STATE
        context.ok(use, handle + data)

    @pytest.mark.parametrize(("setup", "request_", "abort", "use", "data"), FAMILIES)
    def test_a_closed_channel_takes_its_operations_along(
        self, context: Context, setup: int, request_: bytes, abort: int, use: int, data: bytes
    ) -> None:
        mine, bobs = context.ok(setup, request_), context.ok(setup, request_, caller=BOB)
        context.packed.channel_closed(ALICE)
        assert context.call(use, mine + data)[0] == BAD_STATE
        context.ok(use, bobs + data, caller=BOB)

    @pytest.mark.parametrize(("setup", "request_", "abort", "use", "data"), FAMILIES)
    def test_a_failed_set_up_takes_no_place(
        self, context: Context, setup: int, request_: bytes, abort: int, use: int, data: bytes
    ) -> None:
        for _ in range(10):
            context.ok(setup, request_)
        wrong = request_[:-4] + u32(0x0600FFFF)
        assert context.call(setup, wrong)[0] < 0
        assert context.call(setup, request_, capacity_bytes=3)[0] == TOO_SMALL
        context.ok(use, u32(1) + data)


class TestHash:
    def test_the_exchange_of_the_reference(self, context: Context) -> None:
        assert context.ok(0x0201, bytes.fromhex("09000002")) == bytes.fromhex("01000000")
        assert context.ok(0x0202, bytes.fromhex("01000000 0001 0003 616263")) == b""
        expected = bytes.fromhex("0001 0020 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        assert context.ok(0x0203, bytes.fromhex("01000000")) == expected
        assert context.call(0x0203, bytes.fromhex("01000000")) == (BAD_STATE, b"")

    def test_verifying(self, context: Context) -> None:
        digest = sha256(b"abc").digest()
        handle = context.ok(0x0201, u32(SHA256))
        context.ok(0x0202, handle + tlv(1, b"abc"))
        copy = context.ok(0x0206, handle)
        assert copy == u32(2)
        assert context.ok(0x0205, handle + tlv(1, digest)) == b""
        assert context.call(0x0205, handle + tlv(1, digest))[0] == BAD_STATE
        assert context.call(0x0205, copy + tlv(1, digest[::-1]))[0] == INVALID_SIGNATURE

    def test_a_clone_goes_its_own_way(self, context: Context) -> None:
        handle = context.ok(0x0201, u32(SHA256))
        context.ok(0x0202, handle + tlv(1, b"ab"))
        copy = context.ok(0x0206, handle)
        context.ok(0x0202, copy + tlv(1, b"X"))
        context.ok(0x0202, handle + tlv(1, b"c"))
        assert context.ok(0x0203, handle) == tlv(1, sha256(b"abc").digest())
        assert context.ok(0x0203, copy) == tlv(1, sha256(b"abX").digest())
        assert context.call(0x0206, u32(99))[0] == BAD_STATE

    @pytest.mark.parametrize("alg", [HMAC_SHA256, 0, 0x020000FF])
    def test_no_hash(self, context: Context, alg: int) -> None:
        assert context.call(0x0201, u32(alg))[0] == INVALID_ARGUMENT

    def test_unsupported_hash(self, context: Context) -> None:
        assert context.call(0x0201, u32(0x02000001))[0] == NOT_SUPPORTED


class TestMac:
    def test_the_exchange_of_the_reference(self, context: Context) -> None:
        asked = bytes.fromhex("00110000 00010000 01000000 79000000 003c0000 09008003")
        key_id = context.ok(IMPORT, asked + tlv(1, b"\x0b" * 32))
        assert key_id == u32(0x79)
        handle = context.ok(0x0501, key_id + u32(HMAC_SHA256))
        context.ok(0x0503, handle + tlv(1, b"hello"))
        mac = context.ok(0x0504, handle)
        assert mac == tlv(1, hmac.digest(b"\x0b" * 32, b"hello", "sha256"))
        assert mac.startswith(bytes.fromhex("00010020 7ea37d20"))

    def test_a_failed_verification_leaves_the_operation(self, context: Context) -> None:
        mac = hmac.digest(b"\x0b" * 32, b"hello", "sha256")
        for given, status in ((mac, 0), (mac[::-1], INVALID_SIGNATURE)):
            handle = context.ok(0x0502, u32(3, HMAC_SHA256))
            context.ok(0x0503, handle + tlv(1, b"hel"))
            context.ok(0x0503, handle + tlv(1, b"lo"))
            assert context.call(0x0505, handle + tlv(1, given)) == (status, b"")
            assert context.call(0x0503, handle + tlv(1, b"x"))[0] == BAD_STATE
            context.ok(0x0506, handle)

    def test_statuses(self, context: Context) -> None:
        assert context.call(0x0501, u32(99, HMAC_SHA256))[0] == INVALID_HANDLE
        assert context.call(0x0501, u32(1, HMAC_SHA256))[0] == NOT_PERMITTED
        assert context.call(0x0501, u32(3, 0x0380000A))[0] == NOT_PERMITTED
        asked = attributes(HMAC, 256, usage=0x400, alg=HMAC_SHA256)
        assert context.call(0x0502, context.ok(GENERATE, asked) + u32(HMAC_SHA256))[0] == NOT_PERMITTED

    def test_signing_is_not_verifying(self, context: Context) -> None:
        sign, verify = (context.ok(setup, u32(3, HMAC_SHA256)) for setup in (0x0501, 0x0502))
        assert context.call(0x0504, verify)[0] == BAD_STATE
        assert context.call(0x0505, sign + tlv(1, bytes(32)))[0] == BAD_STATE


class TestCipher:
    def test_encryption_and_decryption(self, context: Context) -> None:
        plaintext = bytes(range(37))
        handle = context.ok(0x0301, u32(2, CTR))
        iv = context.ok(0x0303, handle)[4:]
        assert len(iv) == 16
        ciphertext = context.ok(0x0305, handle + tlv(1, plaintext))[4:]
        assert context.ok(0x0306, handle) == bytes.fromhex("00010000")
        reference = Cipher(algorithms.AES(AES_KEY), modes.CTR(iv)).decryptor()
        assert reference.update(ciphertext) == plaintext
        handle = context.ok(0x0302, u32(2, CTR))
        assert context.ok(0x0304, handle + tlv(1, iv)) == b""
        assert context.ok(0x0305, handle + tlv(1, ciphertext)) == tlv(1, plaintext)
        context.ok(0x0306, handle)
        assert context.call(0x0306, handle)[0] == BAD_STATE

    def test_finish_gives_the_last_block(self, context: Context) -> None:
        asked = attributes(AES, 0, usage=ENCRYPTING, alg=CBC_PKCS7)
        key_id = context.ok(IMPORT, asked + tlv(1, AES_KEY))
        handle = context.ok(0x0301, key_id + u32(CBC_PKCS7))
        context.ok(0x0304, handle + tlv(1, bytes(16)))
        first = context.ok(0x0305, handle + tlv(1, b"hello"))[4:]
        last = context.ok(0x0306, handle)[4:]
        reference = Cipher(algorithms.AES(AES_KEY), modes.CBC(bytes(16))).encryptor()
        assert first + last == reference.update(b"hello" + bytes([11]) * 11)

    def test_statuses(self, context: Context) -> None:
        assert context.call(0x0301, u32(99, CTR))[0] == INVALID_HANDLE
        assert context.call(0x0301, u32(1, CTR))[0] == NOT_PERMITTED
        assert context.call(0x0301, u32(1, GCM))[0] == INVALID_ARGUMENT
        handle = context.ok(0x0302, u32(2, CTR))
        assert context.call(0x0303, handle)[0] == BAD_STATE  # an IV for a decryption is not made up
        handle = context.ok(0x0301, u32(2, CTR))
        assert context.call(0x0305, handle + tlv(1, b"x"))[0] == BAD_STATE
        handle = context.ok(0x0301, u32(2, CTR))
        assert context.call(0x0304, handle + tlv(1, bytes(15)))[0] == INVALID_ARGUMENT


class TestAead:
    def test_the_exchange_of_the_reference(self, context: Context) -> None:
        asked = attributes(AES, 0, usage=ENCRYPTING, alg=GCM, key_id=0x78)
        context.ok(IMPORT, asked + tlv(1, AES_KEY))
        assert context.ok(0x0601, bytes.fromhex("78000000 00025005")) == bytes.fromhex("01000000")
        assert context.ok(0x0604, bytes.fromhex("01000000 0001000c") + bytes(12)) == b""
        assert context.ok(0x0606, bytes.fromhex("01000000 00010002 6164")) == b""
        update = context.ok(0x0607, bytes.fromhex("01000000 00010005 68656c6c6f"))
        assert update == bytes.fromhex("00010005 21b3eb3ff6")
        finish = context.ok(0x0608, FIRST)
        assert finish == bytes.fromhex("00010000 00020010 1f4a7e24ebfc54d4e8fb0b8b35a14f46")
        assert context.call(0x0608, FIRST)[0] == BAD_STATE

    @pytest.mark.parametrize(
        ("tag", "status"), [("1f4a7e24ebfc54d4e8fb0b8b35a14f46", 0), ("00" * 16, INVALID_SIGNATURE)]
    )
    def test_decryption(self, context: Context, tag: str, status: int) -> None:
        handle = context.ok(0x0602, u32(1, GCM))
        context.ok(0x0604, handle + tlv(1, bytes(12)))
        context.ok(0x0606, handle + tlv(1, b"ad"))
        plaintext = context.ok(0x0607, handle + tlv(1, bytes.fromhex("21b3eb3ff6")))[4:]
        answered, tail = context.call(0x0609, handle + tlv(1, bytes.fromhex(tag)))
        assert answered == status
        if status == 0:
            assert plaintext + tail[4:] == b"hello"
        assert context.call(0x0607, handle + tlv(1, b""))[0] == BAD_STATE

    def test_a_nonce_is_made(self, context: Context) -> None:
        handle = context.ok(0x0601, u32(1, GCM))
        assert len(context.ok(0x0603, handle)) == 4 + 12

    def test_ccm_with_lengths(self, context: Context) -> None:
        asked = attributes(AES, 0, usage=ENCRYPTING, alg=CCM)
        key_id = context.ok(IMPORT, asked + tlv(1, AES_KEY))
        sealed = AESCCM(AES_KEY, 16).encrypt(bytes(12), b"hello", b"ad")
        for setup, text, result in ((0x0601, b"hello", sealed[:5]), (0x0602, sealed[:5], b"hello")):
            handle = context.ok(setup, key_id + u32(CCM))
            assert context.call(0x0604, handle + tlv(1, bytes(12)))[0] == BAD_STATE
            context.ok(0x0605, handle + u32(2, 5))
            context.ok(0x0604, handle + tlv(1, bytes(12)))
            context.ok(0x0606, handle + tlv(1, b"ad"))
            assert context.ok(0x0607, handle + tlv(1, text)) == tlv(1, result)
            if setup == 0x0601:
                assert context.ok(0x0608, handle) == tlv(1, b"") + tlv(2, sealed[5:])
            else:
                assert context.ok(0x0609, handle + tlv(1, sealed[5:])) == tlv(1, b"")

    def test_statuses(self, context: Context) -> None:
        assert context.call(0x0601, u32(99, GCM))[0] == INVALID_HANDLE
        assert context.call(0x0601, u32(2, GCM))[0] == NOT_PERMITTED
        assert context.call(0x0601, u32(2, CTR))[0] == INVALID_ARGUMENT
        handle = context.ok(0x0601, u32(1, GCM))
        assert context.call(0x0607, handle + tlv(1, b"x"))[0] == BAD_STATE


class TestDerivation:
    def begun(self, context: Context, *, with_key: bool = True, info: bytes = b"ab") -> bytes:
        handle = context.ok(0x0401, u32(HKDF_SHA256))
        context.ok(0x0404, handle + u32(SALT) + tlv(1, b"salt"))
        if with_key:
            context.ok(0x0405, handle + u32(SECRET, 4))
        else:
            context.ok(0x0404, handle + u32(SECRET) + tlv(1, b"secret"))
        context.ok(0x0404, handle + u32(INFO) + tlv(1, info))
        return handle

    @pytest.mark.parametrize("with_key", [False, True])
    def test_the_exchange_of_the_reference(self, context: Context, with_key: bool) -> None:
        handle = self.begun(context, with_key=with_key)
        assert context.ok(0x0402, handle) == u32(8160)
        output = context.ok(0x0406, handle + u32(16))
        assert output == tlv(1, bytes.fromhex("94fd9fcdc7318c64ecd99ccd2d5edc6b"))
        assert context.ok(0x0402, handle) == u32(8144)

    def test_capacity(self, context: Context) -> None:
        handle = self.begun(context)
        context.ok(0x0403, handle + u32(20))
        assert context.call(0x0403, handle + u32(21))[0] == INVALID_ARGUMENT
        context.ok(0x0406, handle + u32(16))
        assert context.call(0x0406, handle + u32(5))[0] == INSUFFICIENT_DATA

    def test_output_that_does_not_fit_is_not_used_up(self, context: Context) -> None:
        handle = self.begun(context)
        assert context.call(0x0406, handle + u32(16), capacity_bytes=19) == (TOO_SMALL, b"")
        assert context.call(0x0406, handle + u32(0x10000), capacity_bytes=1 << 20)[0] == TOO_SMALL
        assert context.ok(0x0402, handle) == u32(8160)

    def test_a_derived_key_belongs_to_the_source(self, context: Context) -> None:
        expected = HKDF(hashes.SHA256(), 32, b"salt", b"ab").derive(b"secret")
        handle = self.begun(context)
        asked = attributes(AES, 256, usage=0x1 | ENCRYPTING, alg=GCM, key_id=0x55)
        assert context.ok(0x0407, handle + asked) == u32(0x55)
        assert context.ok(EXPORT, u32(0x55)) == tlv(1, expected)
        assert context.call(EXPORT, u32(0x55), caller=BOB)[0] == INVALID_HANDLE
        assert context.ok(0x0402, handle) == u32(8128)

    def test_no_key_comes_from_a_secret_that_was_no_key(self, context: Context) -> None:
        handle = self.begun(context, with_key=False)
        asked = attributes(AES, 256, usage=ENCRYPTING, alg=GCM)
        assert context.call(0x0407, handle + asked)[0] == NOT_PERMITTED

    def test_impossible_keys(self, context: Context) -> None:
        handle = self.begun(context)
        for asked, status in (
            (attributes(AES, 0, usage=0, alg=0), INVALID_ARGUMENT),
            (attributes(AES, 256, usage=0, alg=0, key_id=0x40000000), INVALID_ARGUMENT),
            (attributes(AES, 256, usage=0, alg=0, key_id=4), -139),
        ):
            assert context.call(0x0407, handle + asked)[0] == status

    def test_a_curve_key_is_one_of_its_curve(self, context: Context) -> None:
        asked = attributes(P256, 256, usage=0x3000, alg=ECDSA_SHA256)
        ones, others = (context.ok(0x0407, self.begun(context) + asked) for _ in range(2))
        assert context.ok(EXPORT_PUBLIC, ones) == context.ok(EXPORT_PUBLIC, others)

    @pytest.mark.parametrize("bits", [0, 255, 0xFFF8])
    def test_a_curve_that_does_not_exist_is_not_searched_for(self, context: Context, bits: int) -> None:
        asked = attributes(DERIVE, 0, usage=DERIVING, alg=PRF_SHA256)
        secret = context.ok(IMPORT, asked + tlv(1, b"secret"))
        handle = context.ok(0x0401, u32(PRF_SHA256))
        context.ok(0x0404, handle + u32(SEED) + tlv(1, b"seed"))
        context.ok(0x0405, handle + u32(SECRET) + secret)
        context.ok(0x0404, handle + u32(LABEL) + tlv(1, b"label"))
        capacity = context.ok(0x0402, handle)  # 4 GiB of output, in which nothing would be found
        assert capacity == u32(0xFFFFFFFF)
        assert context.call(0x0407, handle + attributes(P256, bits, usage=0, alg=0))[0] == INVALID_ARGUMENT
        assert context.ok(0x0402, handle) == capacity

    def test_keys_need_the_usage_and_the_algorithm(self, context: Context) -> None:
        for usage, alg in ((0x3000, HKDF_SHA256), (DERIVING, 0x0800010A)):
            handle = context.ok(0x0401, u32(HKDF_SHA256))
            key_id = context.ok(GENERATE, attributes(DERIVE, 256, usage=usage, alg=alg))
            assert context.call(0x0405, handle + u32(SECRET) + key_id)[0] == NOT_PERMITTED
        handle = context.ok(0x0401, u32(HKDF_SHA256))
        assert context.call(0x0405, handle + u32(SECRET, 99))[0] == INVALID_HANDLE

    @pytest.mark.parametrize("alg", [SHA256, 0, 0x09020000])
    def test_no_derivation(self, context: Context, alg: int) -> None:
        assert context.call(0x0401, u32(alg))[0] == INVALID_ARGUMENT

    def test_an_agreement_gives_the_secret(self, context: Context) -> None:
        asked = attributes(P256, 256, usage=DERIVING, alg=ECDH_HKDF)
        key_id = context.ok(GENERATE, asked)
        ours = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), context.ok(EXPORT_PUBLIC, key_id)[4:])
        peer = ec.generate_private_key(ec.SECP256R1())
        numbers = peer.public_key().public_numbers()
        point = b"\4" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
        handle = context.ok(0x0401, u32(ECDH_HKDF))
        assert context.ok(0x0409, handle + u32(SECRET) + key_id + tlv(1, point)) == b""
        context.ok(0x0404, handle + u32(INFO) + tlv(1, b"info"))
        secret = peer.exchange(ec.ECDH(), ours)
        expected = HKDF(hashes.SHA256(), 16, None, b"info").derive(secret)
        assert context.ok(0x0406, handle + u32(16)) == tlv(1, expected)

    def test_a_slow_agreement(self, context: Context) -> None:
        asked = attributes(DH, 2048, usage=DERIVING, alg=FFDH_HKDF)
        ones, others = (context.ok(GENERATE, asked) for _ in range(2))
        outputs: list[bytes] = []
        for mine, yours in ((ones, others), (others, ones)):
            public = context.ok(EXPORT_PUBLIC, yours)[4:]
            handle = context.ok(0x0401, u32(FFDH_HKDF))
            request = handle + u32(SECRET) + mine + tlv(1, public)
            assert context.ok(0x0409, request) == b""
            context.ok(0x0404, handle + u32(INFO) + tlv(1, b""))
            outputs.append(context.ok(0x0406, handle + u32(16)))
        assert outputs[0] == outputs[1]

    def test_an_operation_that_is_gone_before_the_work_is_done(self, context: Context) -> None:
        key_id = context.ok(GENERATE, attributes(DH, 2048, usage=DERIVING, alg=FFDH_HKDF))
        public = context.ok(EXPORT_PUBLIC, key_id)[4:]
        handle = context.ok(0x0401, u32(FFDH_HKDF))
        request = handle + u32(SECRET) + key_id + tlv(1, public)
        answer = context.packed.call(ALICE, 0x0409, request, capacity_bytes=CAPACITY_BYTES)
        assert isinstance(answer, SlowWork)
        context.ok(0x0408, handle)
        with pytest.raises(Exception, match="BAD_STATE"):
            answer.finish(context.packed.work(answer.task))

    def test_agreement_statuses(self, context: Context) -> None:
        key_id = context.ok(GENERATE, attributes(P256, 256, usage=DERIVING, alg=ECDH_HKDF))
        handle = context.ok(0x0401, u32(HKDF_SHA256))
        assert context.call(0x0409, handle + u32(SECRET) + key_id + tlv(1, bytes(65)))[0] == INVALID_ARGUMENT
        other = context.ok(GENERATE, attributes(P256, 256, usage=0x3000, alg=ECDSA_SHA256))
        handle = context.ok(0x0401, u32(ECDH_HKDF))
        assert context.call(0x0409, handle + u32(SECRET) + other + tlv(1, bytes(65)))[0] == NOT_PERMITTED
        assert context.call(0x0409, u32(99, SECRET) + key_id + tlv(1, bytes(65)))[0] == BAD_STATE


def test_an_operation_outlives_its_key(context: Context) -> None:
    handle = context.ok(0x0501, u32(3, HMAC_SHA256))
    context.ok(DESTROY, u32(3))
    context.ok(0x0503, handle + tlv(1, b"hello"))
    assert context.ok(0x0504, handle) == tlv(1, hmac.digest(b"\x0b" * 32, b"hello", "sha256"))
    assert context.call(GET_ATTRIBUTES, u32(3))[0] == INVALID_HANDLE


class TestMinimalLengths:
    """Policies that permit a MAC or a tag of some length and every longer one."""

    @pytest.mark.parametrize(
        ("key_type", "usage", "policy", "setup", "permitted", "refused"),
        [
            pytest.param(
                HMAC,
                MACS,
                0x03908009,
                0x0501,
                [HMAC_SHA256, 0x03900009, 0x03910009],
                [0x038F0009, 0x0380000A],
                id="hmac",
            ),
            pytest.param(AES, MACS, 0x03C88200, 0x0501, [0x03C00200, 0x03C80200], [0x03C40200, 0x03C00100], id="cmac"),
            pytest.param(AES, ENCRYPTING, 0x05488100, 0x0601, [CCM, 0x05480100], [0x05460100, GCM, CTR], id="ccm"),
        ],
    )
    def test_what_is_long_enough_is_permitted(
        self, key_type: int, usage: int, policy: int, setup: int, permitted: list[int], refused: list[int]
    ) -> None:
        context = World().context()
        key = context.ok(IMPORT, attributes(key_type, 0, usage=usage, alg=policy) + tlv(1, AES_KEY))
        for alg in permitted:
            context.ok(setup, key + u32(alg))
        for alg in refused:
            assert context.call(setup, key + u32(alg))[0] in (NOT_PERMITTED, INVALID_ARGUMENT)
        assert context.call(setup, key + u32(policy))[0] == INVALID_ARGUMENT
        assert context.call(setup, key + u32(refused[0]))[0] == NOT_PERMITTED

    def test_a_shortened_mac_is_the_beginning_of_the_whole_one(self) -> None:
        context = World().context()
        key = context.ok(IMPORT, attributes(HMAC, 0, usage=MACS, alg=0x03908009) + tlv(1, AES_KEY))
        handle = context.ok(0x0501, key + u32(0x03900009))
        context.ok(0x0503, handle + tlv(1, b"text"))
        assert context.ok(0x0504, handle) == tlv(1, hmac.digest(AES_KEY, b"text", sha256)[:16])


def test_an_operation_that_outlives_its_key_ends_with_that_key_and_no_other(context: Context) -> None:
    handle = context.ok(0x0501, u32(3, HMAC_SHA256))
    context.ok(DESTROY, u32(3))
    another = attributes(HMAC, 0, usage=MACS, alg=HMAC_SHA256, key_id=3)
    context.ok(IMPORT, another + tlv(1, b"\x0c" * 32))
    context.ok(0x0503, handle + tlv(1, b"text"))
    assert context.ok(0x0504, handle) == tlv(1, hmac.digest(b"\x0b" * 32, b"text", sha256))
    handle = context.ok(0x0501, u32(3, HMAC_SHA256))
    context.ok(0x0503, handle + tlv(1, b"text"))
    assert context.ok(0x0504, handle) == tlv(1, hmac.digest(b"\x0c" * 32, b"text", sha256))
