"""JSON Web Signatures and Tokens by joserfc, with a key that stays in the service (RFC 7515, RFC 7519)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey, KeyParameters, RSAKey


def signing_key(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, parameters: KeyParameters | None = None
) -> ECKey | RSAKey:
    """What ``joserfc.jwt.encode`` and ``joserfc.jws`` take, of what ``client.private_key`` gave.

    Its JWK is that of the public key, so that it can be written down and has a thumbprint (RFC 7638). ``parameters``
    are members of the JWK, such as ``kid``. The key's policy has to permit the token's algorithm: ES256 is ECDSA with
    SHA-256, RS256 RSASSA-PKCS1-v1_5, PS256 RSASSA-PSS.
    """
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECKey(key, ECKey.import_key(key.public_key()).as_dict(), parameters)
    return RSAKey(key, RSAKey.import_key(key.public_key()).as_dict(), parameters)
