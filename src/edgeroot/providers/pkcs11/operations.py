"""Cryptographic operations in a session, with PSA's formats on the outside and PKCS#11's within.

The statuses here are those of the arguments' shapes; what the token answers comes as CkrError, and :func:`meaning` says
what that means of the data.
"""

from __future__ import annotations

from typing import Final

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import BROKEN, DATA_IS_WRONG, POINT_IS_STRANGE, CkrError
from edgeroot.providers.pkcs11.material import framed_point, width_bytes
from edgeroot.providers.pkcs11.mechanisms import (
    HASHES,
    EcdhParameters,
    GcmParameters,
    Mechanism,
    cipher,
    mac,
    oaep,
    pss,
)
from edgeroot.providers.pkcs11.native import Session
from edgeroot.psa import Algorithm, Hash, KeyAttributes, PsaError, PsaStatus, Secret

_BLOCK_BYTES: Final = 16
_PKCS1_OVERHEAD_BYTES: Final = 11
_WHOLE_BLOCKS: Final = (Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING)
# The DER of DigestInfo up to the hash itself (RFC 8017, §9.2, note 1).
_DIGEST_INFO: Final[dict[Hash, bytes]] = {
    Hash.SHA_1: bytes.fromhex("3021300906052b0e03021a05000414"),
    Hash.SHA_224: bytes.fromhex("302d300d06096086480165030402040500041c"),
    Hash.SHA_256: bytes.fromhex("3031300d060960864801650304020105000420"),
    Hash.SHA_384: bytes.fromhex("3041300d060960864801650304020205000430"),
    Hash.SHA_512: bytes.fromhex("3051300d060960864801650304020305000440"),
}


def meaning(error: CkrError, status: PsaStatus) -> PsaError:
    """What an error of the call itself says: ``status`` if the data was at fault, the error as it is if not."""
    if error.code in DATA_IS_WRONG or (error.code in BROKEN and error.is_of_data):
        return PsaError(status)
    return error


def signature_input(attributes: KeyAttributes, alg: Algorithm, hash_value: bytes) -> tuple[Mechanism, bytes]:
    """The mechanism, and what it signs or verifies. INVALID_ARGUMENT for a hash of a wrong length."""
    hash_alg = alg.hash
    if hash_alg is not None and len(hash_value) != hash_alg.length_bytes:
        raise _invalid(f"{alg!r} takes a hash of {hash_alg.length_bytes} bytes, not {len(hash_value)}")
    if alg.is_ecdsa:
        if not hash_value:
            raise _invalid("the hash is empty")
        # The token itself cuts a hash that is longer than the curve (v3.0 §2.3.6).
        return Mechanism(ck.CKM_ECDSA), hash_value
    if alg.is_rsa_pss:
        assert hash_alg is not None
        return pss(hash_alg), hash_value
    data = hash_value if hash_alg is None else _DIGEST_INFO[hash_alg] + hash_value
    if not 0 < len(data) <= attributes.key_bits // 8 - _PKCS1_OVERHEAD_BYTES:
        raise _invalid("the input is empty or too long for the key")
    return Mechanism(ck.CKM_RSA_PKCS), data


def signature_bytes(attributes: KeyAttributes) -> int:
    """How long a signature with this key is."""
    return 2 * width_bytes(attributes.key_bits) if attributes.key_type.is_ecc else attributes.key_bits // 8


def encryption(attributes: KeyAttributes, alg: Algorithm, label: bytes) -> tuple[Mechanism, int]:
    """The mechanism, and how long a plaintext may be. INVALID_ARGUMENT for a label where there is none."""
    modulus_bytes = attributes.key_bits // 8
    if alg.is_rsa_oaep:
        assert alg.hash is not None
        return oaep(alg.hash, label), modulus_bytes - 2 * alg.hash.length_bytes - 2
    if label:
        raise _invalid("RSA PKCS#1 v1.5 encryption has no label")
    return Mechanism(ck.CKM_RSA_PKCS), modulus_bytes - _PKCS1_OVERHEAD_BYTES


def check_plaintext(plaintext: bytes, most_bytes: int) -> None:
    """INVALID_ARGUMENT if there is too much of it."""
    if len(plaintext) > most_bytes:
        raise _invalid(f"the plaintext is longer than {most_bytes} bytes")


def check_ciphertext(attributes: KeyAttributes, ciphertext: bytes) -> None:
    """INVALID_ARGUMENT if it is not as long as the key."""
    if len(ciphertext) * 8 != attributes.key_bits:
        raise _invalid("the ciphertext is not as long as the key")


def gcm(alg: Algorithm, nonce: bytes, additional_data: bytes) -> Mechanism:
    """AES-GCM; ciphertext and tag are one string in PKCS#11 as they are in PSA (v3.0 §2.12.3)."""
    if not nonce:
        raise _invalid("the nonce is empty")
    return Mechanism(ck.CKM_AES_GCM, GcmParameters(nonce, additional_data, 8 * alg.tag_length_bytes))


def check_sealed(alg: Algorithm, ciphertext: bytes) -> None:
    """INVALID_ARGUMENT if it has no room for a tag."""
    if len(ciphertext) < alg.tag_length_bytes:
        raise _invalid("the ciphertext is shorter than its tag")


def cipher_encrypt(session: Session, key: int, alg: Algorithm, plaintext: bytes) -> bytes:
    """The IV and the ciphertext."""
    _check_blocks(alg, plaintext)
    iv = b"" if alg == Algorithm.ECB_NO_PADDING else bytes(session.random(_BLOCK_BYTES))
    return iv + session.encrypt(cipher(alg, iv), key, plaintext)


def cipher_decrypt(session: Session, key: int, alg: Algorithm, ciphertext: bytes) -> Secret:
    """The plaintext."""
    iv_bytes = 0 if alg == Algorithm.ECB_NO_PADDING else _BLOCK_BYTES
    if len(ciphertext) < iv_bytes:
        raise _invalid("the ciphertext is shorter than its IV")
    iv, rest = ciphertext[:iv_bytes], ciphertext[iv_bytes:]
    _check_blocks(alg, rest)
    if alg == Algorithm.CBC_PKCS7 and (not rest or len(rest) % _BLOCK_BYTES):
        raise _invalid("the ciphertext is not in whole blocks")
    return session.decrypt(cipher(alg, iv), key, rest)


def mac_mechanism(alg: Algorithm) -> Mechanism:
    """The mechanism of a MAC that the capabilities have."""
    found = mac(alg)
    assert found is not None
    return found


def mac_bytes(alg: Algorithm) -> int:
    """How long the MAC is."""
    return _BLOCK_BYTES if alg.hash is None else alg.hash.length_bytes


def agree(session: Session, key: int, attributes: KeyAttributes, peer: bytes) -> Secret:
    """The shared secret, which is in the session for as long as it takes to read it."""
    template = {
        ck.CKA_CLASS: ck.CKO_SECRET_KEY,
        ck.CKA_KEY_TYPE: ck.CKK_GENERIC_SECRET,
        ck.CKA_TOKEN: False,
        ck.CKA_SENSITIVE: False,
        ck.CKA_EXTRACTABLE: True,
        ck.CKA_VALUE_LEN: width_bytes(attributes.key_bits),
    }
    try:
        derived = session.derive(_ecdh(peer), key, template)
    except CkrError as error:
        if error.code not in POINT_IS_STRANGE:
            raise
        # A point may be given as it is or framed (v3.0 §2.3.17). A module that takes both takes one in 256 points for
        # framed, because 04 is a point's first byte as well as the frame's, and finds nonsense inside.
        derived = session.derive(_ecdh(framed_point(peer)), key, template)
    try:
        return session.attributes(derived, (ck.CKA_VALUE,))[0]
    finally:
        session.destroy(derived)


def _ecdh(point: bytes) -> Mechanism:
    return Mechanism(ck.CKM_ECDH1_DERIVE, EcdhParameters(point))


def digest(session: Session, alg: Hash, data: bytes) -> bytes:
    return session.digest(Mechanism(HASHES[alg].digest), data)


def _check_blocks(alg: Algorithm, data: bytes) -> None:
    if alg in _WHOLE_BLOCKS and len(data) % _BLOCK_BYTES:
        raise _invalid(f"{alg!r} works on whole blocks")


def _invalid(detail: str) -> PsaError:
    return PsaError(PsaStatus.INVALID_ARGUMENT, detail)
