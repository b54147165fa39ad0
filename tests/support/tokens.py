"""An issuer of tokens: a cluster, a SPIFFE trust domain, or somebody who pretends to be one."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "parsec"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issuer:
    """Signs whatever it is asked to, with one key after another."""

    def __init__(self, key: PrivateKey | None = None, *, algorithm: str = "ES256", issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self.keys: dict[str, tuple[PrivateKey, str]] = {}
        self.rotate(key, algorithm=algorithm)

    def rotate(self, key: PrivateKey | None = None, *, algorithm: str = "ES256") -> str:
        """Sign with a new key from now on; its id."""
        self.current = f"key-{len(self.keys)}"
        self.keys[self.current] = (key or ec.generate_private_key(ec.SECP256R1()), algorithm)
        return self.current

    def key_set(self) -> dict[str, Any]:
        return {"keys": [public_jwk(key, key_id, algorithm) for key_id, (key, algorithm) in self.keys.items()]}

    def write_key_set(self, path: Path) -> Path:
        path.write_text(json.dumps(self.key_set()))
        path.chmod(0o644)
        return path

    def sign(self, claims: dict[str, Any], **headers: object) -> bytes:
        """A token with just these claims; headers on top of what is usual."""
        key, algorithm = self.keys[self.current]
        everything = {"kid": self.current, "typ": None, **headers}
        return jwt.encode(claims, key, algorithm=algorithm, headers=everything).encode()

    def service_account(
        self,
        name: str = "shop/till",
        *,
        pod: str | None = "till-0",
        life_s: float = 600,
        since_s: float | None = None,
        **claims: object,
    ) -> bytes:
        """The token of a service account, ``namespace/name``, as the API server writes it."""
        return self.sign({**self.service_account_claims(name, pod=pod, life_s=life_s, since_s=since_s), **claims})

    def service_account_claims(
        self, name: str = "shop/till", *, pod: str | None = "till-0", life_s: float = 600, since_s: float | None = None
    ) -> dict[str, Any]:
        namespace, _, account = name.partition("/")
        now_s = int(time.time() if since_s is None else since_s)
        bound: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": account, "uid": f"uid-of-{name}"}}
        if pod is not None:
            bound["pod"] = {"name": pod, "uid": f"uid-of-{pod}"}
        return {
            "iss": self.issuer,
            "aud": [AUDIENCE],
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + int(life_s),
            "jti": f"{namespace}-{account}-{now_s}",
            "kubernetes.io": bound,
        }

    def svid(self, spiffe_id: str, *, life_s: float = 300, since_s: float | None = None, **claims: object) -> bytes:
        """A JWT-SVID."""
        now_s = int(time.time() if since_s is None else since_s)
        usual = {"sub": spiffe_id, "aud": [AUDIENCE], "iat": now_s, "exp": now_s + int(life_s)}
        return self.sign({**usual, **claims}, typ="JWT")


def public_jwk(key: PrivateKey, key_id: str, algorithm: str) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        found = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        found = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    found.pop("key_ops", None)
    return {**found, "kid": key_id, "use": "sig", "alg": algorithm}
