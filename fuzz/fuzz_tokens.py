"""Coverage-guided fuzzing of what anybody may send as a token, and of what issuers send as keys and reviews.

The first byte chooses the target. An input is taken, and then what came of it keeps some promises; or it is refused
with the one error that there is for it. Run ``python fuzz/fuzz_tokens.py fuzz/corpus/tokens -max_total_time=60`` from
the root with the root and ``src`` on the path; it needs atheris. The test suite replays the corpus without it.
``python fuzz/fuzz_tokens.py --seeds`` writes the seeds anew.
"""

from __future__ import annotations

import importlib
import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from edgeroot.auth import AuthenticationError, KubernetesSettings, TokenSettings
from edgeroot.auth.claims import judge_service_account, judge_workload
from edgeroot.auth.jws import ALGORITHMS, read_token
from edgeroot.auth.key_set import KeySetError, check_signature, read_key_set, trust
from edgeroot.auth.spiffe_id import read_spiffe_id
from edgeroot.identity.api_server import ApiServerError, read_review

CORPUS: Final = Path(__file__).parent / "corpus" / "tokens"
ISSUER: Final = "https://kubernetes.default.svc"
NOW_S: Final = 1_800_000_000
SETTINGS: Final = TokenSettings(kubernetes=KubernetesSettings(issuer=ISSUER, require_pod=False))
KEY: Final = ec.derive_private_key(7, ec.SECP256R1())  # everybody's: nothing but this file trusts it
TRUSTED: Final = trust(KEY.public_key())


def _token(data: bytes) -> None:
    token = read_token(data)
    assert token.compact.encode() == data
    assert token.algorithm in ALGORITHMS


def _signed(data: bytes) -> None:
    """Nothing but what the seed says is signed; whatever else is taken has been forged."""
    token = read_token(data)
    assert TRUSTED is not None
    check_signature(token, TRUSTED)
    assert data.rpartition(b".")[0] == seed_token().rpartition(b".")[0]


def _claims(data: bytes) -> dict[str, Any]:
    token = _encoded({"alg": "ES256", "kid": "key-0"}) + b"." + _base64(data) + b".AAAA"
    return read_token(token).claims


def _service_account(data: bytes) -> None:
    account = judge_service_account(_claims(data), SETTINGS, NOW_S)
    name = account.application("cluster.local")
    assert str(read_spiffe_id(name)) == name
    assert name.count("/") == 6
    assert NOW_S < account.expires_at_s + SETTINGS.clock_skew_s <= NOW_S + 600 + 2 * SETTINGS.clock_skew_s


def _workload(data: bytes) -> None:
    workload = judge_workload(_claims(data), SETTINGS, NOW_S)
    assert str(read_spiffe_id(str(workload.spiffe_id))) == str(workload.spiffe_id)
    assert workload.expires_at_s + SETTINGS.clock_skew_s > NOW_S


def _key_set(data: bytes) -> None:
    keys = read_key_set(data)
    assert keys
    assert all(key.algorithms and key.algorithms <= ALGORITHMS for key in keys.values())


def _review(data: bytes) -> None:
    review = read_review(data)
    assert len(review.words) <= 200


TARGETS: Final[tuple[Callable[[bytes], None], ...]] = (
    _token,
    _signed,
    _service_account,
    _workload,
    _key_set,
    _review,
)


def exercise(data: bytes) -> str:
    """Run one input; what came of it."""
    if not data:
        return "empty"
    target = TARGETS[data[0] % len(TARGETS)]
    name = target.__name__.removeprefix("_")
    try:
        target(data[1:])
    except (AuthenticationError, KeySetError, ApiServerError):
        return f"{name} refused"
    return name


def seed_token() -> bytes:
    """The same each time, with a signature that is right."""
    body = _encoded({"alg": "ES256", "kid": "key-0"}) + b"." + _encoded(_service_account_claims())
    signature = KEY.sign(body, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(signature)
    return body + b"." + _base64(r.to_bytes(32) + s.to_bytes(32))


def seeds() -> dict[str, bytes]:
    """Every seed by its file name: for each target what is taken, and the same cut short."""
    numbers = KEY.public_key().public_numbers()
    key = {"kty": "EC", "crv": "P-256", "kid": "key-0", "use": "sig", "alg": "ES256"}
    key |= {"x": _base64(numbers.x.to_bytes(32)).decode(), "y": _base64(numbers.y.to_bytes(32)).decode()}
    modulus = _base64(((1 << 2047) + 9).to_bytes(256)).decode()
    rsa_key = {"kty": "RSA", "kid": "key-1", "n": modulus, "e": "AQAB"}
    user = {"username": "system:serviceaccount:shop:till", "uid": "u"}
    taken: dict[str, list[object]] = {
        "token": [seed_token()],
        "signed": [seed_token()],
        "service-account": [_service_account_claims(), _service_account_claims(pod={"name": "till-0", "uid": "p"})],
        "workload": [{"sub": "spiffe://example.org/till", "aud": ["parsec"], "exp": NOW_S + 60}],
        "key-set": [{"keys": [key]}, {"keys": [key, rsa_key, {"kty": "OKP", "kid": "key-2"}]}],
        "review": [
            {"status": {"authenticated": True, "user": user, "audiences": ["parsec"]}},
            {"status": {"error": "e"}},
        ],
    }
    found: dict[str, bytes] = {}
    for number, target in enumerate(TARGETS):
        name = target.__name__.removeprefix("_").replace("_", "-")
        for which, one in enumerate(taken[name]):
            data = one if isinstance(one, bytes) else json.dumps(one).encode()
            found[f"{name}-{which}"] = bytes((number,)) + data
            found[f"{name}-{which}-cut"] = bytes((number,)) + data[:-1]
    return found


def _service_account_claims(**bound: object) -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "aud": ["parsec"],
        "sub": "system:serviceaccount:shop:till",
        "iat": NOW_S,
        "exp": NOW_S + 600,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "till", "uid": "u"}, **bound},
    }


def _encoded(value: object) -> bytes:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def main() -> None:
    if sys.argv[1:] == ["--seeds"]:
        CORPUS.mkdir(parents=True, exist_ok=True)
        for name, content in seeds().items():
            (CORPUS / name).write_bytes(content)
        return
    atheris = importlib.import_module("atheris")  # neither typed nor needed by whoever only replays the corpus
    atheris.instrument_all()

    def target(data: bytes) -> None:
        exercise(data)

    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
