"""JWT-SVIDs by the trust bundles of a SPIFFE agent: a double of it, over a Unix socket, for SPIRE has no package."""

from __future__ import annotations

import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from edgeroot.auth import AuthenticationError, KubernetesSettings, TokenSettings
from edgeroot.identity import trust_bundles
from edgeroot.identity.verifier import TokenVerifier
from tests.support.tokens import ISSUER, Issuer
from tests.support.workload_api import WorkloadApiDouble, serving_bundles

TILL = "spiffe://example.org/till"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def agent(issuer: Issuer, tmp_path: Path) -> Iterator[WorkloadApiDouble]:
    with serving_bundles(WorkloadApiDouble(example_org=issuer), tmp_path / "agent.sock") as double:
        yield double


@pytest.fixture
def settings(tmp_path: Path) -> TokenSettings:
    return TokenSettings(workload_endpoint=f"unix://{tmp_path}/agent.sock")


@pytest.fixture
def verifier(settings: TokenSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenVerifier]:
    monkeypatch.setattr(trust_bundles, "_RETRY_S", 0.05)
    monkeypatch.setattr(trust_bundles, "_FIRST_BUNDLE_TIMEOUT_S", 1.0)
    found = TokenVerifier(settings)
    yield found
    found.close()


def refusal(verifier: TokenVerifier, token: bytes, slot: int | None = None) -> str:
    with pytest.raises(AuthenticationError) as refused:
        verifier.verify(token, slot)
    return str(refused.value)


def is_taken(verifier: TokenVerifier, token: bytes) -> bool:
    try:
        verifier.verify(token, None)
    except AuthenticationError:
        return False
    return True


def becomes_true(condition: Callable[[], bool], within_s: float = 10) -> bool:
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("slot", [None, 3])
def test_a_workload_is_its_spiffe_id(
    issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier, slot: int | None
) -> None:
    verdict = verifier.verify(issuer.svid(TILL), slot)

    assert verdict.application == TILL
    assert time.time() < verdict.good_until_s < time.time() + 10


@pytest.mark.parametrize("algorithm", ["RS256", "PS384"])
def test_rsa_keys_are_as_good(agent: WorkloadApiDouble, verifier: TokenVerifier, algorithm: str) -> None:
    issuer = Issuer(rsa.generate_private_key(public_exponent=65537, key_size=2048), algorithm=algorithm)
    agent.tell({"example.org": issuer})

    assert becomes_true(lambda: is_taken(verifier, issuer.svid(TILL)))


def test_what_the_standard_refuses_is_refused(
    issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier
) -> None:
    now_s = time.time()
    assert "for others" in refusal(verifier, issuer.svid(TILL, aud=["api"]))
    assert "expired" in refusal(verifier, issuer.svid(TILL, since_s=now_s - 400))
    assert "does not say when it expires" in refusal(verifier, issuer.sign({"sub": TILL, "aud": ["parsec"]}))
    assert "no SPIFFE ID" in refusal(verifier, issuer.svid("till"))
    assert "no SPIFFE ID" in refusal(verifier, issuer.svid("spiffe://EXAMPLE.org/till"))
    assert "neither JWT nor JOSE" in refusal(
        verifier, issuer.sign({"sub": TILL, "aud": ["parsec"], "exp": now_s + 60}, typ="at+jwt")
    )


def test_a_trust_domain_speaks_for_its_own_names_alone(
    issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier
) -> None:
    partner = Issuer()
    agent.tell({"example.org": issuer, "partner.example": partner})

    assert becomes_true(lambda: is_taken(verifier, partner.svid("spiffe://partner.example/till")))
    assert "signature is wrong" in refusal(verifier, partner.svid(TILL))
    assert "is not trusted" in refusal(verifier, issuer.svid("spiffe://elsewhere.example/till"))
    assert is_taken(verifier, issuer.svid(TILL))


def test_none_and_shared_keys_are_refused(issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier) -> None:
    public = json.dumps(issuer.key_set()["keys"][0]).encode()
    for algorithm in ("none", "HS256"):
        body = b".".join(
            urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
            for part in (
                {"alg": algorithm, "kid": "key-0"},
                {"sub": TILL, "aud": ["parsec"], "exp": time.time() + 60},
            )
        )
        signature = urlsafe_b64encode(hmac.digest(public, body, sha256)).rstrip(b"=")
        assert "are not taken" in refusal(verifier, body + b"." + signature)


def test_rotated_keys_are_trusted_as_soon_as_the_agent_tells_of_them(
    issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier
) -> None:
    old = issuer.svid(TILL)
    assert is_taken(verifier, old)
    issuer.rotate()
    new = issuer.svid(TILL)
    assert "has no key 'key-1'" in refusal(verifier, new)

    agent.tell({"example.org": issuer})
    assert becomes_true(lambda: is_taken(verifier, new))
    assert is_taken(verifier, old)

    del issuer.keys["key-0"]
    agent.tell({"example.org": issuer})
    assert becomes_true(lambda: not is_taken(verifier, old))
    assert is_taken(verifier, new)


def test_a_trust_domain_that_is_told_of_no_longer_is_trusted_no_longer(
    issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier
) -> None:
    assert is_taken(verifier, issuer.svid(TILL))

    agent.tell({})

    assert becomes_true(lambda: not is_taken(verifier, issuer.svid(TILL)))


def test_the_last_bundles_hold_while_the_agent_is_away_and_it_is_found_again(
    issuer: Issuer, settings: TokenSettings, tmp_path: Path, verifier: TokenVerifier
) -> None:
    with serving_bundles(WorkloadApiDouble(example_org=issuer), tmp_path / "agent.sock"):
        assert is_taken(verifier, issuer.svid(TILL))
    time.sleep(0.3)
    assert is_taken(verifier, issuer.svid(TILL))

    renewed = Issuer()
    with serving_bundles(WorkloadApiDouble(example_org=renewed), tmp_path / "agent.sock"):
        assert becomes_true(lambda: is_taken(verifier, renewed.svid(TILL)))
        assert not is_taken(verifier, issuer.svid(TILL))


@pytest.mark.parametrize(
    "raw", [{"spiffe://example.org": b"no key set"}, {"spiffe://example.org": b""}, {"spiffe://EXAMPLE!": b"{}"}]
)
def test_what_cannot_be_read_does_not_replace_what_could(
    issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier, raw: dict[str, bytes]
) -> None:
    assert is_taken(verifier, issuer.svid(TILL))
    asked = agent.questions

    agent.tell_raw(raw)

    assert becomes_true(lambda: agent.questions > asked + 1)
    assert is_taken(verifier, issuer.svid(TILL))
    agent.tell({"example.org": issuer, "partner.example": issuer})
    assert becomes_true(lambda: is_taken(verifier, issuer.svid("spiffe://partner.example/till")))


def test_a_private_or_shared_key_in_a_bundle_checks_nothing(
    issuer: Issuer, agent: WorkloadApiDouble, verifier: TokenVerifier
) -> None:
    shared = {"kty": "oct", "kid": "key-0", "alg": "HS256", "k": urlsafe_b64encode(bytes(32)).decode().rstrip("=")}
    agent.tell_raw({"spiffe://example.org": json.dumps({"keys": [shared]}).encode()})

    assert becomes_true(lambda: not is_taken(verifier, issuer.svid(TILL)))
    assert "has no key" in refusal(verifier, issuer.svid(TILL))


def test_without_an_agent_the_refusal_says_so_and_later_it_is_found(
    issuer: Issuer, tmp_path: Path, verifier: TokenVerifier
) -> None:
    assert "no trust bundle" in refusal(verifier, issuer.svid(TILL))
    began_s = time.monotonic()
    for _ in range(5):
        refusal(verifier, issuer.svid(TILL))
    assert time.monotonic() - began_s < 0.5  # only the first one waited

    with serving_bundles(WorkloadApiDouble(example_org=issuer), tmp_path / "agent.sock"):
        assert becomes_true(lambda: is_taken(verifier, issuer.svid(TILL)))


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT])
def test_an_agent_that_refuses_us_is_asked_again(
    issuer: Issuer, tmp_path: Path, verifier: TokenVerifier, code: grpc.StatusCode
) -> None:
    double = WorkloadApiDouble(example_org=issuer)
    double.refusal = code
    with serving_bundles(double, tmp_path / "agent.sock"):
        assert becomes_true(lambda: double.questions > 2)
        assert code.name in refusal(verifier, issuer.svid(TILL))

        double.refusal = None

        assert becomes_true(lambda: is_taken(verifier, issuer.svid(TILL)))


def test_the_names_of_the_cluster_are_the_clusters_to_give(
    issuer: Issuer, agent: WorkloadApiDouble, settings: TokenSettings, tmp_path: Path
) -> None:
    """Else whoever federates a trust domain of that name would own the keys of the cluster's pods."""
    agent.tell({"example.org": issuer, "cluster.local": issuer})
    kubernetes = KubernetesSettings(
        issuer=ISSUER, review="offline", jwks_file=Issuer().write_key_set(tmp_path / "jwks"), pods_without_slot=True
    )
    verifier = TokenVerifier(replace(settings, kubernetes=kubernetes))

    assert is_taken(verifier, issuer.svid(TILL))
    assert "are the cluster's to give" in refusal(verifier, issuer.svid("spiffe://cluster.local/ns/shop/sa/till"))
    verifier.close()


def test_the_issuer_alone_decides_by_which_rules_a_token_is_judged(
    issuer: Issuer, agent: WorkloadApiDouble, settings: TokenSettings, tmp_path: Path
) -> None:
    """Neither a JWT-SVID by the cluster's keys nor a service account by the trust domain's."""
    cluster = Issuer()
    kubernetes = KubernetesSettings(
        issuer=ISSUER, review="offline", jwks_file=cluster.write_key_set(tmp_path / "jwks"), pods_without_slot=True
    )
    verifier = TokenVerifier(replace(settings, kubernetes=kubernetes))

    assert is_taken(verifier, cluster.service_account())
    assert "signature is wrong" in refusal(verifier, issuer.service_account())
    assert "no SPIFFE ID" in refusal(verifier, issuer.service_account(iss="https://spire.example.org"))
    assert "signature is wrong" in refusal(verifier, cluster.svid(TILL))
    assert not is_taken(verifier, cluster.svid(TILL, iss=ISSUER))
    verifier.close()


def test_no_thread_is_left_behind(issuer: Issuer, agent: WorkloadApiDouble, settings: TokenSettings) -> None:
    verifier = TokenVerifier(settings)
    assert is_taken(verifier, issuer.svid(TILL))
    names = {thread.name for thread in threading.enumerate()}
    assert "workload-api" in names

    verifier.close()

    assert "workload-api" not in {thread.name for thread in threading.enumerate()}
    assert becomes_true(lambda: not any("watch_target" in thread.name for thread in threading.enumerate()))
