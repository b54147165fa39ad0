"""Key pairs on elliptic curves in Weierstrass form."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from cryptography.utils import Buffer

from edgeroot.client.keys.public import curve_of
from edgeroot.client.keys.service_key import ServiceKey, psa_hash
from edgeroot.psa import Algorithm, UsageFlags


class EcServiceKey(ServiceKey, ec.EllipticCurvePrivateKey):
    """An ``ec.EllipticCurvePrivateKey`` in the service."""

    @property
    def curve(self) -> ec.EllipticCurve:
        return curve_of(self.attributes)

    @property
    def key_size(self) -> int:
        return self.attributes.key_bits

    def public_key(self) -> ec.EllipticCurvePublicKey:
        key = self._load_public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return key

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """The signature in DER (Ecdsa-Sig-Value). KeyPolicyError if the policy does not permit the hash.

        Whether signing is randomised or deterministic (RFC 6979) is the key's policy; to ask for a deterministic
        signature of a key that makes randomised ones is an error, the reverse is not.
        """
        if not isinstance(signature_algorithm, ec.ECDSA):
            raise UnsupportedAlgorithm("EC keys sign with ECDSA only")
        hash_alg = psa_hash(signature_algorithm.algorithm)
        candidates = [Algorithm.deterministic_ecdsa(hash_alg)]
        if not signature_algorithm.deterministic_signing:
            candidates = [Algorithm.ecdsa(hash_alg), *candidates, Algorithm.ECDSA_ANY]
        raw = self._sign(candidates, data, signature_algorithm.algorithm)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """The shared secret; ValueError if the peer's key is on another curve."""
        if peer_public_key.curve.name != self.curve.name:
            raise ValueError(f"the peer's key is on {peer_public_key.curve.name}, this one on {self.curve.name}")
        alg = self._require(UsageFlags.DERIVE, [Algorithm.ECDH])
        point = peer_public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return bytes(self._client.raw_key_agreement(alg, self.key_name, point))

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """NotExportableError unless the key may be exported."""
        return self._exported().private_numbers()

    def _exported(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(self._export()), self.curve)
