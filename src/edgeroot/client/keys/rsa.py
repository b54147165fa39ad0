"""RSA key pairs."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
)

from edgeroot.client.keys.service_key import ServiceKey, hash_algorithm, psa_hash
from edgeroot.psa import Algorithm, UsageFlags


class RsaServiceKey(ServiceKey, rsa.RSAPrivateKey):
    """An ``rsa.RSAPrivateKey`` in the service."""

    @property
    def key_size(self) -> int:
        return self.public_key().key_size

    def public_key(self) -> rsa.RSAPublicKey:
        key = self._load_public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        return key

    def sign(
        self,
        data: bytes,
        padding: paddings.AsymmetricPadding,
        algorithm: Prehashed | hashes.HashAlgorithm | NoDigestInfo,
    ) -> bytes:
        """PKCS#1 v1.5, or PSS with a salt as long as the hash; KeyPolicyError if the key's policy is another."""
        if isinstance(algorithm, NoDigestInfo):
            if not isinstance(padding, paddings.PKCS1v15):
                raise TypeError("NoDigestInfo goes with the padding PKCS1v15 only")
            alg = self._require(UsageFlags.SIGN_HASH, [Algorithm.RSA_PKCS1V15_SIGN_RAW])
            return self._client.sign_hash(self.key_name, alg, data)
        if isinstance(padding, paddings.PKCS1v15):
            return self._sign([Algorithm.rsa_pkcs1v15_sign(psa_hash(algorithm))], data, algorithm)
        if isinstance(padding, paddings.PSS):
            _check_pss(padding, hash_algorithm(algorithm))
            return self._sign([Algorithm.rsa_pss(psa_hash(algorithm))], data, algorithm)
        raise UnsupportedAlgorithm(f"Parsec has no RSA signature with the padding {padding.name}: use PKCS1v15 or PSS")

    def decrypt(self, ciphertext: bytes, padding: paddings.AsymmetricPadding) -> bytes:
        """OAEP with one hash for both its uses, or PKCS#1 v1.5."""
        if isinstance(padding, paddings.PKCS1v15):
            alg = self._require(UsageFlags.DECRYPT, [Algorithm.RSA_PKCS1V15_CRYPT])
            return bytes(self._client.asymmetric_decrypt(self.key_name, alg, ciphertext))
        if isinstance(padding, paddings.OAEP):
            if not _is_mgf1(padding.mgf, padding.algorithm):
                raise UnsupportedAlgorithm("Parsec's OAEP has one hash: pass the same to OAEP and to its MGF1")
            alg = self._require(UsageFlags.DECRYPT, [Algorithm.rsa_oaep(psa_hash(padding.algorithm))])
            label = padding._label or b""  # OAEP has no public way to its label
            return bytes(self._client.asymmetric_decrypt(self.key_name, alg, ciphertext, label))
        raise UnsupportedAlgorithm(f"Parsec has no RSA decryption with the padding {padding.name}: use OAEP")

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        """NotExportableError unless the key may be exported."""
        return self._exported().private_numbers()

    def _exported(self) -> rsa.RSAPrivateKey:
        key = load_der_private_key(self._export(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError(f"{self.key_name!r} was exported as a {type(key).__name__}")
        return key


def _check_pss(padding: paddings.PSS, algorithm: hashes.HashAlgorithm) -> None:
    """PSA's PSS has one hash, and a salt of its length (PSA_ALG_RSA_PSS)."""
    # The padding tells its salt to nobody but the package itself.
    salt_fits = padding._salt_length in (paddings.PSS.DIGEST_LENGTH, algorithm.digest_size)
    if not salt_fits or not _is_mgf1(padding.mgf, algorithm):
        raise UnsupportedAlgorithm(
            "Parsec's PSS has a salt as long as the hash, and the same hash in MGF1: pass "
            "PSS(MGF1(hash), PSS.DIGEST_LENGTH)"
        )


def _is_mgf1(mgf: paddings.MGF, algorithm: hashes.HashAlgorithm) -> bool:
    return isinstance(mgf, paddings.MGF1) and mgf._algorithm.name == algorithm.name
