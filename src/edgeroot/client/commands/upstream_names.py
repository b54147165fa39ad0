"""How upstream's tool spells providers, authenticators, key types and algorithms, for scripts that read its output."""

from __future__ import annotations

from typing import Final

from edgeroot.psa import Algorithm, Hash, KeyType
from edgeroot.wire.operations import AuthType, ProviderId

_PROVIDERS: Final[dict[int, str]] = {
    ProviderId.CORE: "Core provider",
    ProviderId.MBED_CRYPTO: "Mbed Crypto provider",
    ProviderId.PKCS11: "PKCS #11 provider",
    ProviderId.TPM: "TPM provider",
    ProviderId.TRUSTED_SERVICE: "Trusted Service provider",
    ProviderId.CRYPTO_AUTH_LIB: "CryptoAuthentication Library provider",
}
_AUTHENTICATORS: Final[dict[int, str]] = {
    AuthType.NO_AUTH: "No authentication",
    AuthType.DIRECT: "Direct authentication",
    AuthType.JWT: "JSON Web Tokens authentication",
    AuthType.UNIX_PEER_CREDENTIALS: "Unix Peer Credentials authentication",
    AuthType.JWT_SVID: "JWT SPIFFE Verifiable Identity Document authentication",
}
_SIGNATURES: Final = {
    0x06000200: "RsaPkcs1v15Sign",
    0x06000300: "RsaPss",
    0x06000600: "Ecdsa",
    0x06000700: "DeterministicEcdsa",
}
_DERIVATIONS: Final = {0x08000100: "Hkdf", 0x08000200: "Tls12Prf", 0x08000300: "Tls12PskToMs"}
_HASH_PART: Final = 0xFF


def provider_name(provider_id: int, name: str = "") -> str:
    return _PROVIDERS.get(provider_id) or (f"{name} provider" if name else f"Provider {provider_id}")


def authenticator_name(authenticator_id: int) -> str:
    return _AUTHENTICATORS.get(authenticator_id, f"Authenticator {authenticator_id}")


def key_type_debug(key_type: KeyType) -> str:
    """Such as ``RsaKeyPair`` and ``EccKeyPair { curve_family: SecpR1 }``."""
    if key_type.is_ecc:
        kind = "EccKeyPair" if key_type.is_key_pair else "EccPublicKey"
        return f"{kind} {{ curve_family: {_camel(key_type.ecc_family.name)} }}"
    if key_type.is_dh:
        kind = "DhKeyPair" if key_type.is_key_pair else "DhPublicKey"
        return f"{kind} {{ group_family: {_camel(key_type.dh_family.name)} }}"
    return _camel(repr(key_type))


def algorithm_debug(algorithm: Algorithm) -> str:
    """Such as ``AsymmetricSignature(Ecdsa { hash_alg: Specific(Sha256) })``."""
    if algorithm.is_mac:
        return f"Mac({_mac(algorithm)})"
    if algorithm.is_cipher:
        return f"Cipher({_camel(repr(algorithm))})"
    if algorithm.is_aead:
        base = _camel(repr(algorithm.aead_default))
        if algorithm == algorithm.aead_default:
            return f"Aead(AeadWithDefaultLengthTag({base}))"
        length = algorithm.tag_length_bytes
        return f"Aead(AeadWithShortenedTag {{ aead_alg: {base}, tag_length: {length} }})"
    if algorithm.is_sign:
        return f"AsymmetricSignature({_signature(algorithm)})"
    if algorithm.is_rsa_oaep and algorithm.hash is not None:
        return f"AsymmetricEncryption(RsaOaep {{ hash_alg: {_hash(algorithm.hash)} }})"
    if algorithm.is_asymmetric_encryption:
        return f"AsymmetricEncryption({_camel(repr(algorithm))})"
    if algorithm.is_key_agreement:
        agreement = _camel(repr(algorithm.raw_key_agreement))
        if algorithm.is_raw_key_agreement:
            return f"KeyAgreement(Raw({agreement}))"
        derivation = _derivation(algorithm.key_derivation)
        return f"KeyAgreement(WithKeyDerivation {{ ka_alg: {agreement}, kdf_alg: {derivation} }})"
    if algorithm.is_key_derivation:
        return f"KeyDerivation({_derivation(algorithm)})"
    if algorithm.is_hash and algorithm.hash is not None:
        return f"Hash({_hash(algorithm.hash)})"
    return _camel(repr(algorithm))


def _mac(algorithm: Algorithm) -> str:
    full = algorithm.full_length_mac
    name = f"Hmac {{ hash_alg: {_hash(full.hash)} }}" if full.is_hmac and full.hash else _camel(repr(full))
    if not algorithm.mac_length_bytes:
        return f"FullLength({name})"
    return f"Truncated {{ mac_alg: {name}, mac_length: {algorithm.mac_length_bytes} }}"


def _signature(algorithm: Algorithm) -> str:
    if algorithm in (Algorithm.ECDSA_ANY, Algorithm.RSA_PKCS1V15_SIGN_RAW) or algorithm.hash is None:
        return _camel(repr(algorithm))
    hash_name = "Any" if algorithm.hash is Hash.ANY else f"Specific({_hash(algorithm.hash)})"
    return f"{_SIGNATURES[algorithm & ~_HASH_PART]} {{ hash_alg: {hash_name} }}"


def _derivation(algorithm: Algorithm) -> str:
    name = _DERIVATIONS.get(algorithm & ~_HASH_PART)
    return f"{name} {{ hash_alg: {_hash(algorithm.hash)} }}" if name and algorithm.hash else repr(algorithm)


def _hash(hash_alg: Hash) -> str:
    """``Sha256``, but ``Sha512_256`` and ``Sha3_256``: two numbers are kept apart."""
    first, *rest = hash_alg.name.split("_")
    name = first.capitalize() + (rest[0] if rest else "")
    return "_".join([name, *rest[1:]]) if first[-1].isalpha() else "_".join([first.capitalize(), *rest])


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
