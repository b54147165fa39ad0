"""Algorithms of the contract (Parsec book, "Operations": psa_algorithm) and their PSA encodings.

Decoding raises WireError INVALID_ENCODING for what is absent, unknown or "none", and PSA_ERROR_INVALID_ARGUMENT for a
MAC or tag length that PSA cannot encode. Encoding raises SERIALIZING_BODY_FAILED for what the contract does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from edgeroot.psa import Algorithm, Hash
from edgeroot.wire.contract.generated import attributes_pb2 as pb
from edgeroot.wire.convert.table import EnumTable, Table, not_in_contract
from edgeroot.wire.status import ResponseStatus, WireError

HASHES: Final = EnumTable(
    "Hash",
    {
        pb.HASH_MD2: Hash.MD2,
        pb.HASH_MD4: Hash.MD4,
        pb.HASH_MD5: Hash.MD5,
        pb.HASH_RIPEMD160: Hash.RIPEMD160,
        pb.HASH_SHA_1: Hash.SHA_1,
        pb.HASH_SHA_224: Hash.SHA_224,
        pb.HASH_SHA_256: Hash.SHA_256,
        pb.HASH_SHA_384: Hash.SHA_384,
        pb.HASH_SHA_512: Hash.SHA_512,
        pb.HASH_SHA_512_224: Hash.SHA_512_224,
        pb.HASH_SHA_512_256: Hash.SHA_512_256,
        pb.HASH_SHA3_224: Hash.SHA3_224,
        pb.HASH_SHA3_256: Hash.SHA3_256,
        pb.HASH_SHA3_384: Hash.SHA3_384,
        pb.HASH_SHA3_512: Hash.SHA3_512,
    },
)
CIPHERS: Final = EnumTable(
    "Cipher",
    {
        pb.CIPHER_STREAM_CIPHER: Algorithm.STREAM_CIPHER,
        pb.CIPHER_CTR: Algorithm.CTR,
        pb.CIPHER_CFB: Algorithm.CFB,
        pb.CIPHER_OFB: Algorithm.OFB,
        pb.CIPHER_XTS: Algorithm.XTS,
        pb.CIPHER_ECB_NO_PADDING: Algorithm.ECB_NO_PADDING,
        pb.CIPHER_CBC_NO_PADDING: Algorithm.CBC_NO_PADDING,
        pb.CIPHER_CBC_PKCS7: Algorithm.CBC_PKCS7,
    },
)
RAW_KEY_AGREEMENTS: Final = EnumTable(
    "RawKeyAgreement",
    {pb.RAW_KEY_AGREEMENT_FFDH: Algorithm.FFDH, pb.RAW_KEY_AGREEMENT_ECDH: Algorithm.ECDH},
)
_AEADS: Final = EnumTable(
    "AeadWithDefaultLengthTag",
    {
        pb.AEAD_CCM: Algorithm.CCM,
        pb.AEAD_GCM: Algorithm.GCM,
        pb.AEAD_CHACHA20_POLY1305: Algorithm.CHACHA20_POLY1305,
    },
)


def _signatures() -> Iterator[tuple[Algorithm, pb.AsymmetricSignature]]:
    signature = pb.AsymmetricSignature
    yield Algorithm.RSA_PKCS1V15_SIGN_RAW, signature(rsa_pkcs1v15_sign_raw=signature.RsaPkcs1v15SignRaw())
    yield Algorithm.ECDSA_ANY, signature(ecdsa_any=signature.EcdsaAny())
    hashes = [(hash_alg, pb.SignHash(specific=number)) for number, hash_alg in HASHES.rows()]
    for hash_alg, message in [*hashes, (Hash.ANY, pb.SignHash(any=pb.SignHash.Any()))]:
        yield (
            Algorithm.rsa_pkcs1v15_sign(hash_alg),
            signature(rsa_pkcs1v15_sign=signature.RsaPkcs1v15Sign(hash_alg=message)),
        )
        yield Algorithm.rsa_pss(hash_alg), signature(rsa_pss=signature.RsaPss(hash_alg=message))
        yield Algorithm.ecdsa(hash_alg), signature(ecdsa=signature.Ecdsa(hash_alg=message))
        yield (
            Algorithm.deterministic_ecdsa(hash_alg),
            signature(deterministic_ecdsa=signature.DeterministicEcdsa(hash_alg=message)),
        )


def _encryptions() -> Iterator[tuple[Algorithm, pb.AsymmetricEncryption]]:
    encryption = pb.AsymmetricEncryption
    yield Algorithm.RSA_PKCS1V15_CRYPT, encryption(rsa_pkcs1v15_crypt=encryption.RsaPkcs1v15Crypt())
    for number, hash_alg in HASHES.rows():
        yield Algorithm.rsa_oaep(hash_alg), encryption(rsa_oaep=encryption.RsaOaep(hash_alg=number))


def _full_length_macs() -> Iterator[tuple[Algorithm, pb.FullLengthMac]]:
    mac = pb.FullLengthMac
    yield Algorithm.CBC_MAC, mac(cbc_mac=mac.CbcMac())
    yield Algorithm.CMAC, mac(cmac=mac.Cmac())
    for number, hash_alg in HASHES.rows():
        yield Algorithm.hmac(hash_alg), mac(hmac=mac.Hmac(hash_alg=number))


def _derivations() -> Iterator[tuple[Algorithm, pb.KeyDerivation]]:
    derivation = pb.KeyDerivation
    for number, hash_alg in HASHES.rows():
        yield Algorithm.hkdf(hash_alg), derivation(hkdf=derivation.Hkdf(hash_alg=number))
        yield Algorithm.tls12_prf(hash_alg), derivation(tls12_prf=derivation.Tls12Prf(hash_alg=number))
        yield Algorithm.tls12_psk_to_ms(hash_alg), derivation(tls12_psk_to_ms=derivation.Tls12PskToMs(hash_alg=number))


def _agreements() -> Iterator[tuple[Algorithm, pb.KeyAgreement]]:
    agreement = pb.KeyAgreement
    for number, raw in RAW_KEY_AGREEMENTS.rows():
        yield raw, agreement(raw=number)
        for derivation, message in _derivations():
            yield (
                Algorithm.key_agreement(raw, derivation),
                agreement(with_key_derivation=agreement.WithKeyDerivation(ka_alg=number, kdf_alg=message)),
            )


SIGNATURES: Final = Table(_signatures())
ENCRYPTIONS: Final = Table(_encryptions())
_FULL_LENGTH_MACS: Final = Table(_full_length_macs())


def _without_lengths() -> Iterator[tuple[Algorithm, pb.Algorithm]]:
    """Every algorithm but truncated MACs and AEADs with shortened tags."""
    yield Algorithm.NONE, pb.Algorithm(none=pb.Algorithm.NoAlgorithm())
    for number, hash_alg in HASHES.rows():
        yield Algorithm.from_hash(hash_alg), pb.Algorithm(hash=number)
    for mac, full_length in _FULL_LENGTH_MACS.rows():
        yield mac, pb.Algorithm(mac=pb.Mac(full_length=full_length))
    for cipher_number, cipher in CIPHERS.rows():
        yield cipher, pb.Algorithm(cipher=cipher_number)
    for aead_number, aead in _AEADS.rows():
        yield aead, pb.Algorithm(aead=pb.Aead(aead_with_default_length_tag=aead_number))
    for signature, signature_message in SIGNATURES.rows():
        yield signature, pb.Algorithm(asymmetric_signature=signature_message)
    for encryption, encryption_message in ENCRYPTIONS.rows():
        yield encryption, pb.Algorithm(asymmetric_encryption=encryption_message)
    for agreement, agreement_message in _agreements():
        yield agreement, pb.Algorithm(key_agreement=agreement_message)
    for derivation, derivation_message in _derivations():
        yield derivation, pb.Algorithm(key_derivation=derivation_message)


_ALGORITHMS: Final = Table(_without_lengths())


def decode_algorithm(message: pb.Algorithm) -> Algorithm:
    """The algorithm of a key's policy, ``none`` included."""
    algorithm = _ALGORITHMS.get(message)
    if algorithm is not None:
        return algorithm
    match message.WhichOneof("variant"):
        case "mac":
            return decode_mac(message.mac)
        case "aead":
            return decode_aead(message.aead)
    raise WireError(ResponseStatus.INVALID_ENCODING, "no valid Algorithm")


def encode_algorithm(algorithm: Algorithm) -> pb.Algorithm:
    """The reverse of :func:`decode_algorithm`."""
    if algorithm.is_mac:
        return pb.Algorithm(mac=encode_mac(algorithm))
    if algorithm.is_aead:
        return pb.Algorithm(aead=encode_aead(algorithm))
    return _ALGORITHMS.encode(algorithm)


def decode_mac(message: pb.Mac) -> Algorithm:
    """A MAC of full or shortened length."""
    if message.WhichOneof("variant") != "truncated":
        return _FULL_LENGTH_MACS.decode(message.full_length)
    mac = _FULL_LENGTH_MACS.decode(message.truncated.mac_alg)
    return _with_length(mac.truncated_mac, message.truncated.mac_length)


def encode_mac(algorithm: Algorithm) -> pb.Mac:
    """The reverse of :func:`decode_mac`."""
    full_length = _FULL_LENGTH_MACS.encode(algorithm.full_length_mac)
    if not algorithm.mac_length_bytes:
        return pb.Mac(full_length=full_length)
    return pb.Mac(truncated=pb.Mac.Truncated(mac_alg=full_length, mac_length=algorithm.mac_length_bytes))


def decode_aead(message: pb.Aead) -> Algorithm:
    """An AEAD with a tag of default or shortened length; a "shortened" tag of the default length is the default."""
    if message.WhichOneof("variant") != "aead_with_shortened_tag":
        return _AEADS.decode(message.aead_with_default_length_tag)
    aead = _AEADS.decode(message.aead_with_shortened_tag.aead_alg)
    return _with_length(aead.with_tag_length, message.aead_with_shortened_tag.tag_length)


def encode_aead(algorithm: Algorithm) -> pb.Aead:
    """The reverse of :func:`decode_aead`."""
    if not algorithm.is_aead or not algorithm.tag_length_bytes:
        raise not_in_contract(algorithm)
    number = _AEADS.encode(algorithm.aead_default)
    if algorithm == algorithm.aead_default:
        return pb.Aead(aead_with_default_length_tag=number)
    shortened = pb.Aead.AeadWithShortenedTag(aead_alg=number, tag_length=algorithm.tag_length_bytes)
    return pb.Aead(aead_with_shortened_tag=shortened)


def _with_length(shorten: Callable[[int], Algorithm], length_bytes: int) -> Algorithm:
    try:
        return shorten(length_bytes)
    except ValueError as error:
        raise WireError(ResponseStatus.PSA_ERROR_INVALID_ARGUMENT, str(error)) from error
