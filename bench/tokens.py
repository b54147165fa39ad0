"""The row about tokens: what it costs to be known by one, beside being known by the kernel."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from bench.errors import BenchError
from bench.generator import Load, LoadResult
from bench.measure import Bench, Outcome
from bench.services import Running

OVERHEAD_LIMIT_US: Final = 30.0
_STORE: Final = "tokens"
_ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
_LIFE_S: Final = 86_400
_ACCOUNT: Final = {"namespace": "bench", "serviceaccount": {"name": "bench", "uid": "5e2f3c0a"}}
_AUTHENTICATOR: Final = """
[[authenticator]]
auth_type = "JwtSvid"
[authenticator.kubernetes]
issuer = "{issuer}"
review = "offline"
jwks_file = "{keys}"
require_pod = false
max_token_life = {life_ms}
"""


def _issue(keys: Path) -> str:
    """A service account's token; ``keys`` becomes the file with the key set of its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys.write_text(json.dumps({"keys": [{**public, "kid": "bench", "alg": "ES256", "use": "sig"}]}))
    keys.chmod(0o644)
    now_s = int(time.time())
    claims = {
        "iss": _ISSUER,
        "aud": ["parsec"],
        "sub": "system:serviceaccount:bench:bench",
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + _LIFE_S,
        "kubernetes.io": _ACCOUNT,
    }
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "bench"})


@contextmanager
def _service(bench: Bench) -> Iterator[tuple[Running, str]]:
    """A service that takes tokens as well, and one of them."""
    if bench.edgeroot is None:
        raise BenchError("edgeroot is not there to be measured")
    keys = bench.folder / "issuer.json"
    token = _issue(keys)
    bench.edgeroot.discard(_STORE)
    tables = _AUTHENTICATOR.format(issuer=_ISSUER, keys=keys, life_ms=_LIFE_S * 1000)
    with bench.edgeroot(_STORE, providers=tables) as service:
        yield service, token


def overhead(bench: Bench) -> Outcome:
    """Microseconds that a token adds to a lone client's median signature, against the limit.

    The token is judged anew each second, as it is by default; all other requests meet the verdict.
    """
    plain = Load("sign", clients=1)
    pairs: list[tuple[LoadResult, LoadResult]] = []
    with _service(bench) as (service, token):
        by_token = replace(plain, auth=f"token:{token}")
        for number in range(bench.rounds):
            loads = (by_token, plain) if number % 2 else (plain, by_token)
            results = {load.auth: bench.run(load, service) for load in loads}
            pairs.append((results[by_token.auth], results[plain.auth]))
            bench.say(
                f"round {number + 1}/{bench.rounds}: token {pairs[-1][0].p50_us:,.0f} µs, "
                f"user {pairs[-1][1].p50_us:,.0f} µs"
            )
    added = [case.p50_us - reference.p50_us for case, reference in pairs]
    errors = [dict(result.errors) for pair in pairs for result in pair if result.errors or not result.ok]
    return Outcome(
        ours=median(added),
        reference=OVERHEAD_LIMIT_US,
        reference_name="limit",
        ratio=median(added) / OVERHEAD_LIMIT_US,
        rounds=[{"token": asdict(case), "user": asdict(reference)} for case, reference in pairs],
        notes=(f"a token of {len(token)} bytes",),
        faults=(f"edgeroot: errors {errors}",) if errors else (),
    )
