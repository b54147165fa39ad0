"""Operations in several parts: equal to those in one, right by published vectors, and strict about the order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from edgeroot import engine
from edgeroot.engine import EngineKey
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags

chunked = st.lists(st.binary(max_size=70), max_size=6)
SHA256 = Algorithm.from_hash(Hash.SHA_256)


def key(key_type: KeyType, material: bytes, alg: Algorithm) -> EngineKey:
    attributes = KeyAttributes(key_type, 8 * len(material), UsageFlags(sum(UsageFlags)), alg)
    return engine.load(attributes, Secret(material))


def refused(status: PsaStatus) -> pytest.RaisesExc[PsaError]:
    return pytest.raises(PsaError, check=lambda error: error.status is status)


def feed(update: Callable[[bytes], object], chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        update(chunk)


class TestHash:
    @given(chunks=chunked)
    def test_any_pieces_give_the_same_hash(self, chunks: list[bytes]) -> None:
        operation = engine.hash_setup(SHA256)
        feed(operation.update, chunks)
        copy = operation.clone()
        assert operation.finish() == hashlib.sha256(b"".join(chunks)).digest() == copy.finish()

    def test_nothing_comes_after_the_end(self) -> None:
        operation = engine.hash_setup(SHA256)
        operation.finish()
        for call in (operation.finish, operation.clone, lambda: operation.update(b""), lambda: operation.verify(b"")):
            with refused(PsaStatus.BAD_STATE):
                call()

    def test_another_hash_is_no_match(self) -> None:
        engine.hash_setup(SHA256).verify(hashlib.sha256(b"").digest())
        with refused(PsaStatus.INVALID_SIGNATURE):
            engine.hash_setup(SHA256).verify(bytes(32))

    def test_what_is_no_hash(self) -> None:
        for alg in (Algorithm.GCM, Algorithm.NONE, Algorithm.from_hash(Hash.ANY)):
            with refused(PsaStatus.INVALID_ARGUMENT):
                engine.hash_setup(alg)
        for alg in (Algorithm.from_hash(Hash.MD2), Algorithm(0x020000FE)):
            with refused(PsaStatus.NOT_SUPPORTED):
                engine.hash_setup(alg)


MACS = [
    (KeyType.HMAC, Algorithm.hmac(Hash.SHA_256)),
    (KeyType.HMAC, Algorithm.hmac(Hash.SHA_256).truncated_mac(10)),
    (KeyType.AES, Algorithm.CMAC),
    (KeyType.AES, Algorithm.CBC_MAC),
    (KeyType.CAMELLIA, Algorithm.CMAC),
]


class TestMac:
    @pytest.mark.parametrize(("key_type", "alg"), MACS, ids=repr)
    @given(chunks=chunked)
    def test_any_pieces_give_the_same_mac(self, key_type: KeyType, alg: Algorithm, chunks: list[bytes]) -> None:
        loaded = key(key_type, bytes(range(32)), alg)
        whole = loaded.mac_compute(alg, b"".join(chunks))
        operation = engine.mac_setup(loaded, alg, sign=True)
        feed(operation.update, chunks)
        assert operation.sign_finish() == whole
        verifying = engine.mac_setup(loaded, alg, sign=False)
        feed(verifying.update, chunks)
        verifying.verify_finish(whole)

    def test_hmac_of_rfc_4231(self) -> None:
        """Test case 2."""
        operation = engine.mac_setup(key(KeyType.HMAC, b"Jefe", MACS[0][1]), MACS[0][1], sign=True)
        feed(operation.update, [b"what do ya want ", b"for nothing?"])
        assert operation.sign_finish().hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    def test_the_direction_and_the_end_are_kept(self) -> None:
        loaded = key(KeyType.AES, bytes(16), Algorithm.CMAC)
        operation = engine.mac_setup(loaded, Algorithm.CMAC, sign=True)
        with refused(PsaStatus.BAD_STATE):
            operation.verify_finish(bytes(16))
        operation.sign_finish()
        with refused(PsaStatus.BAD_STATE):
            operation.update(b"")
        with refused(PsaStatus.INVALID_SIGNATURE):
            engine.mac_setup(loaded, Algorithm.CMAC, sign=False).verify_finish(bytes(16))

    def test_keys_and_algorithms_that_do_not_fit(self) -> None:
        for loaded, alg in (
            (key(KeyType.RAW_DATA, bytes(16), Algorithm.NONE), Algorithm.CMAC),
            (key(KeyType.AES, bytes(16), Algorithm.CMAC), Algorithm.hmac(Hash.SHA_256)),
            (key(KeyType.AES, bytes(16), Algorithm.CMAC), Algorithm.GCM),
        ):
            with refused(PsaStatus.INVALID_ARGUMENT):
                engine.mac_setup(loaded, alg, sign=True)


CIPHERS = [
    (KeyType.AES, 16, Algorithm.CTR),
    (KeyType.AES, 32, Algorithm.CFB),
    (KeyType.AES, 16, Algorithm.OFB),
    (KeyType.AES, 16, Algorithm.CBC_PKCS7),
    (KeyType.CAMELLIA, 16, Algorithm.CBC_PKCS7),
    (KeyType.CHACHA20, 32, Algorithm.STREAM_CIPHER),
]


class TestCipher:
    @pytest.mark.parametrize(("key_type", "size", "alg"), CIPHERS, ids=repr)
    @given(chunks=chunked)
    def test_any_pieces_come_back(self, key_type: KeyType, size: int, alg: Algorithm, chunks: list[bytes]) -> None:
        loaded = key(key_type, bytes(range(size)), alg)
        plaintext = b"".join(chunks)
        encrypting = engine.cipher_setup(loaded, alg, encrypt=True)
        iv = encrypting.generate_iv()
        ciphertext = b"".join(map(encrypting.update, chunks)) + encrypting.finish()
        assert loaded.cipher_decrypt(alg, iv + ciphertext) == plaintext
        decrypting = engine.cipher_setup(loaded, alg, encrypt=False)
        decrypting.set_iv(iv)
        pieces = [ciphertext[at : at + 7] for at in range(0, len(ciphertext), 7)]
        assert b"".join(map(decrypting.update, pieces)) + decrypting.finish() == plaintext

    def test_whole_blocks_where_there_is_no_padding(self) -> None:
        loaded = key(KeyType.AES, bytes(16), Algorithm.ECB_NO_PADDING)
        operation = engine.cipher_setup(loaded, Algorithm.ECB_NO_PADDING, encrypt=True)
        assert len(operation.update(bytes(17))) == 16
        with refused(PsaStatus.INVALID_ARGUMENT):
            operation.finish()

    def test_wrong_padding(self) -> None:
        loaded = key(KeyType.AES, bytes(16), Algorithm.CBC_PKCS7)
        for ciphertext, status in ((bytes(16), PsaStatus.INVALID_PADDING), (b"", PsaStatus.INVALID_ARGUMENT)):
            operation = engine.cipher_setup(loaded, Algorithm.CBC_PKCS7, encrypt=False)
            operation.set_iv(bytes(16))
            operation.update(ciphertext)
            with refused(status):
                operation.finish()

    def test_the_iv_comes_first_and_once(self) -> None:
        loaded = key(KeyType.AES, bytes(16), Algorithm.CTR)
        operation = engine.cipher_setup(loaded, Algorithm.CTR, encrypt=True)
        with refused(PsaStatus.BAD_STATE):
            operation.update(b"x")
        with refused(PsaStatus.INVALID_ARGUMENT):
            operation.set_iv(bytes(15))
        operation.set_iv(bytes(16))
        with refused(PsaStatus.BAD_STATE):
            operation.set_iv(bytes(16))
        operation.finish()
        with refused(PsaStatus.BAD_STATE):
            operation.update(b"x")
        with refused(PsaStatus.BAD_STATE):
            engine.cipher_setup(loaded, Algorithm.CTR, encrypt=False).generate_iv()

    def test_a_mode_that_nobody_has_and_one_that_is_not_the_keys(self) -> None:
        for alg, status in (
            (Algorithm(0x04C01300), PsaStatus.NOT_SUPPORTED),  # PSA_ALG_CCM_STAR_NO_TAG
            (Algorithm.STREAM_CIPHER, PsaStatus.INVALID_ARGUMENT),
        ):
            with refused(status):
                engine.cipher_setup(key(KeyType.AES, bytes(16), alg), alg, encrypt=True)


class TestAead:
    @given(ad=chunked, text=chunked, tag_bytes=st.sampled_from([4, 8, 12, 16]))
    def test_gcm(self, ad: list[bytes], text: list[bytes], tag_bytes: int) -> None:
        alg = Algorithm.GCM.with_tag_length(tag_bytes)
        whole = AESGCM(bytes(16)).encrypt(bytes(12), b"".join(text), b"".join(ad))
        expected = whole[: len(whole) - 16 + tag_bytes]
        self.check(key(KeyType.AES, bytes(16), alg), alg, ad=ad, text=text, expected=expected)

    @given(ad=chunked, text=chunked)
    def test_chacha20_poly1305(self, ad: list[bytes], text: list[bytes]) -> None:
        alg = Algorithm.CHACHA20_POLY1305
        expected = ChaCha20Poly1305(bytes(32)).encrypt(bytes(12), b"".join(text), b"".join(ad))
        self.check(key(KeyType.CHACHA20, bytes(32), alg), alg, ad=ad, text=text, expected=expected)

    @given(ad=chunked, text=chunked, tag_bytes=st.sampled_from([4, 8, 16]))
    def test_ccm(self, ad: list[bytes], text: list[bytes], tag_bytes: int) -> None:
        alg = Algorithm.CCM.with_tag_length(tag_bytes)
        expected = AESCCM(bytes(16), tag_bytes).encrypt(bytes(12), b"".join(text), b"".join(ad))
        self.check(key(KeyType.AES, bytes(16), alg), alg, ad=ad, text=text, expected=expected)

    def check(self, loaded: EngineKey, alg: Algorithm, *, ad: list[bytes], text: list[bytes], expected: bytes) -> None:
        lengths = len(b"".join(ad)), len(b"".join(text))
        encrypting = engine.aead_setup(loaded, alg, encrypt=True)
        encrypting.set_lengths(*lengths)
        encrypting.set_nonce(bytes(12))
        feed(encrypting.update_ad, ad)
        ciphertext = b"".join(map(encrypting.update, text))
        rest, tag = encrypting.finish()
        assert ciphertext + rest + tag == expected
        for given_tag in (tag, bytes(byte ^ 1 for byte in tag)):
            decrypting = engine.aead_setup(loaded, alg, encrypt=False)
            decrypting.set_lengths(*lengths)
            decrypting.set_nonce(bytes(12))
            feed(decrypting.update_ad, ad)
            assert decrypting.update(ciphertext) == b"".join(text)
            if given_tag == tag:
                assert decrypting.verify(given_tag) == b""
            else:
                with refused(PsaStatus.INVALID_SIGNATURE):
                    decrypting.verify(given_tag)

    def test_rfc_8439(self) -> None:
        """Clause 2.8.2."""
        text = (
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
            b"sunscreen would be it."
        )
        loaded = key(KeyType.CHACHA20, bytes(range(0x80, 0xA0)), Algorithm.CHACHA20_POLY1305)
        operation = engine.aead_setup(loaded, Algorithm.CHACHA20_POLY1305, encrypt=True)
        operation.set_nonce(bytes.fromhex("070000004041424344454647"))
        operation.update_ad(bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
        ciphertext = operation.update(text[:50]) + operation.update(text[50:])
        assert ciphertext.hex().startswith("d31a8d34648e60db7b86afbc53ef7ec2")
        assert operation.finish()[1].hex() == "1ae10b594f09e26a7e902ecbd0600691"

    def test_ccm_of_sp_800_38c(self) -> None:
        """Example 1 of NIST SP 800-38C."""
        alg = Algorithm.CCM.with_tag_length(4)
        operation = engine.aead_setup(key(KeyType.AES, bytes(range(0x40, 0x50)), alg), alg, encrypt=True)
        operation.set_lengths(8, 4)
        operation.set_nonce(bytes(range(0x10, 0x17)))
        operation.update_ad(bytes(range(8)))
        assert (operation.update(bytes(range(0x20, 0x24))) + operation.finish()[1]).hex() == "7162015b4dac255d"

    def test_the_order_is_kept(self) -> None:
        gcm = key(KeyType.AES, bytes(16), Algorithm.GCM)
        operation = engine.aead_setup(gcm, Algorithm.GCM, encrypt=True)
        for call in (lambda: operation.update(b"x"), lambda: operation.update_ad(b"x"), operation.finish):
            with refused(PsaStatus.BAD_STATE):
                call()
        assert len(operation.generate_nonce()) == 12
        operation.update(b"x")
        with refused(PsaStatus.BAD_STATE):
            operation.update_ad(b"x")
        with refused(PsaStatus.BAD_STATE):
            operation.verify(bytes(16))
        operation.finish()
        with refused(PsaStatus.BAD_STATE):
            operation.update(b"x")

    def test_lengths_are_kept_to(self) -> None:
        alg = Algorithm.CCM
        loaded = key(KeyType.AES, bytes(16), alg)
        without = engine.aead_setup(loaded, alg, encrypt=True)
        with refused(PsaStatus.BAD_STATE):
            without.set_nonce(bytes(12))
        operation = engine.aead_setup(loaded, alg, encrypt=True)
        operation.set_lengths(2, 3)
        operation.set_nonce(bytes(12))
        with refused(PsaStatus.INVALID_ARGUMENT):
            operation.update(b"x")  # before all of the additional data
        with refused(PsaStatus.INVALID_ARGUMENT):
            operation.update_ad(b"123")
        operation.update_ad(b"12")
        with refused(PsaStatus.INVALID_ARGUMENT):
            operation.update(b"1234")
        operation.update(b"12")
        with refused(PsaStatus.INVALID_ARGUMENT):
            operation.finish()


class TestKeyDerivation:
    def test_hkdf_of_rfc_5869(self) -> None:
        """Test case 1, its output taken in pieces."""
        operation = engine.key_derivation_setup(Algorithm.hkdf(Hash.SHA_256))
        assert operation.get_capacity() == 8160
        operation.input_bytes(0x0202, bytes(range(13)))
        operation.input_bytes(0x0101, b"\x0b" * 22)
        operation.input_bytes(0x0203, bytes(range(0xF0, 0xFA)))
        pieces = b"".join(operation.output_bytes(size) for size in (1, 10, 31))
        assert pieces.hex() == ("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
        assert operation.get_capacity() == 8160 - 42

    def test_tls12_prf(self) -> None:
        """The public test vector for P_SHA256 of the IETF's TLS working group."""
        operation = engine.key_derivation_setup(Algorithm.tls12_prf(Hash.SHA_256))
        operation.input_bytes(0x0204, bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"))
        operation.input_bytes(0x0101, bytes.fromhex("9bbe436ba940f017b17652849a71db35"))
        operation.input_bytes(0x0201, b"test label")
        assert operation.output_bytes(32).hex() == "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"

    def test_the_capacity_is_the_end(self) -> None:
        operation = self.ready()
        operation.set_capacity(10)
        with refused(PsaStatus.INVALID_ARGUMENT):
            operation.set_capacity(11)
        operation.output_bytes(8)
        with refused(PsaStatus.INSUFFICIENT_DATA):
            operation.output_bytes(3)
        with refused(PsaStatus.INSUFFICIENT_DATA):
            operation.output_bytes(1)

    def test_inputs_come_in_order(self) -> None:
        operation = engine.key_derivation_setup(Algorithm.hkdf(Hash.SHA_256))
        with refused(PsaStatus.BAD_STATE):
            operation.output_bytes(1)
        operation.input_bytes(0x0101, b"secret")
        with refused(PsaStatus.BAD_STATE):
            operation.input_bytes(0x0202, b"salt")
        with refused(PsaStatus.BAD_STATE):
            operation.output_bytes(1)
        with refused(PsaStatus.INVALID_ARGUMENT):
            engine.key_derivation_setup(Algorithm.hkdf(Hash.SHA_256)).input_bytes(0x0201, b"label")

    @pytest.mark.parametrize(
        ("key_type", "key_bits"),
        [
            (KeyType.AES, 256),
            (KeyType.HMAC, 160),
            (KeyType.DES, 192),
            (KeyType.ecc_key_pair(EccFamily.SECP_R1), 256),
            (KeyType.ecc_key_pair(EccFamily.SECP_R1), 521),
        ],
        ids=repr,
    )
    def test_keys_can_be_used(self, key_type: KeyType, key_bits: int) -> None:
        attributes = KeyAttributes(key_type, key_bits, UsageFlags.SIGN_HASH, Algorithm.NONE)
        material = self.ready().output_key(attributes)
        engine.load(attributes, material)
        assert self.ready().output_key(attributes) == material

    def test_keys_that_cannot_be_derived(self) -> None:
        for key_type, status in (
            (KeyType.RSA_KEY_PAIR, PsaStatus.NOT_SUPPORTED),
            (KeyType.RSA_PUBLIC_KEY, PsaStatus.INVALID_ARGUMENT),
            (KeyType.ecc_public_key(EccFamily.SECP_R1), PsaStatus.INVALID_ARGUMENT),
        ):
            with refused(status):
                self.ready().output_key(KeyAttributes(key_type, 256, UsageFlags.NONE, Algorithm.NONE))

    def test_no_scalar_is_searched_for_where_there_is_no_curve(self) -> None:
        operation = self.ready()
        with refused(PsaStatus.INVALID_ARGUMENT):
            key_type = KeyType.ecc_key_pair(EccFamily.SECP_R1)
            operation.output_key(KeyAttributes(key_type, 255, UsageFlags.NONE, Algorithm.NONE))
        assert operation.get_capacity() == 8160

    def ready(self) -> engine.KeyDerivationOperation:
        operation = engine.key_derivation_setup(Algorithm.hkdf(Hash.SHA_256))
        operation.input_bytes(0x0101, b"secret")
        operation.input_bytes(0x0203, b"info")
        return operation
