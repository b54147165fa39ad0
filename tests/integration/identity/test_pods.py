"""Pods and what they might try with tokens, against doubles of the API server (HTTPS) and of the kubelet (gRPC)."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.auth import AuthenticationError, TokenSettings
from edgeroot.identity.verifier import TokenVerifier
from tests.support.pod_resources import PodResourcesDouble, serving
from tests.support.token_reviews import KEY_SET_PATH, REVIEW_PATH, ApiServerDouble
from tests.support.tokens import Issuer

TILL = "spiffe://cluster.local/ns/shop/sa/till"
VAULT = "spiffe://cluster.local/ns/bank/sa/vault"
TILL_SLOT, VAULT_SLOT = 3, 4


class Clock:
    """The wall clock, which can be set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Node:
    """A node of a cluster with a till in slot 3 and a vault in slot 4."""

    folder: Path
    server: ApiServerDouble
    kubelet: PodResourcesDouble
    clock: Clock = field(default_factory=Clock)

    @property
    def issuer(self) -> Issuer:
        return self.server.issuer

    @contextmanager
    def verifier(self, *, audience: str = "parsec", **kubernetes: object) -> Iterator[TokenVerifier]:
        usual = {"pod_resources": self.folder / "kubelet.sock", "jwks_file": self.folder / "jwks.json"}
        changes: dict[str, Any] = {**usual, **kubernetes}
        settings = replace(self.server.settings(), **changes)
        verifier = TokenVerifier(TokenSettings(audience=audience, kubernetes=settings), clock=self.clock)
        try:
            yield verifier
        finally:
            verifier.close()

    def till(self, **token: object) -> bytes:
        return self._token("shop/till", {"pod": "till-0", **token})

    def vault(self, **token: object) -> bytes:
        return self._token("bank/vault", {"pod": "vault-0", **token})

    def _token(self, name: str, changes: dict[str, Any]) -> bytes:
        return self.issuer.service_account(name, **changes)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    kubelet = PodResourcesDouble()
    kubelet.holders = {TILL_SLOT: "shop/till-0", VAULT_SLOT: "bank/vault-0"}
    with ApiServerDouble(tmp_path, Issuer()) as server, serving(kubelet, tmp_path / "kubelet.sock"):
        yield Node(tmp_path, server, kubelet)


@pytest.fixture(params=["online", "offline", "away"])
def verifier(request: pytest.FixtureRequest, node: Node) -> Iterator[TokenVerifier]:
    """In each mode, and online with an API server that went away."""
    with node.verifier(review="offline" if request.param == "offline" else "online") as found:
        if request.param == "away":
            found.verify(node.till(), TILL_SLOT)
            node.server.stop()
        yield found


def refusal(verifier: TokenVerifier, token: bytes, slot: int | None) -> str:
    with pytest.raises(AuthenticationError) as refused:
        verifier.verify(token, slot)
    return str(refused.value)


def test_each_pod_is_its_service_account(node: Node, verifier: TokenVerifier) -> None:
    before_s = time.time()

    till = verifier.verify(node.till(), TILL_SLOT)
    vault = verifier.verify(node.vault(), VAULT_SLOT)

    assert (till.application, vault.application) == (TILL, VAULT)
    assert before_s < till.good_until_s <= time.time() + 1


def test_the_next_pod_of_an_account_has_the_same_name(node: Node, verifier: TokenVerifier) -> None:
    node.kubelet.holders[9] = "shop/till-7"

    assert verifier.verify(node.till(pod="till-7"), 9).application == TILL


def test_a_stolen_socket_is_of_no_use(node: Node, verifier: TokenVerifier) -> None:
    """The till's processes come through the vault's slot, with what they have."""
    assert "does not hold slot 4" in refusal(verifier, node.till(), VAULT_SLOT)


def test_a_stolen_token_is_of_no_use_while_its_pod_holds_its_slot(node: Node, verifier: TokenVerifier) -> None:
    stolen = node.vault()
    assert verifier.verify(stolen, VAULT_SLOT).application == VAULT

    assert "does not hold slot 3" in refusal(verifier, stolen, TILL_SLOT)
    assert verifier.verify(stolen, VAULT_SLOT).application == VAULT


def test_nor_when_its_pod_has_gone_and_the_slot_is_another_pods(node: Node, verifier: TokenVerifier) -> None:
    stolen = node.vault()
    verifier.verify(stolen, VAULT_SLOT)

    node.kubelet.holders = {VAULT_SLOT: "shop/till-0"}
    time.sleep(1.05)

    assert "does not hold slot 4" in refusal(verifier, stolen, VAULT_SLOT)


def test_a_pods_token_is_of_no_use_without_its_slot(node: Node, verifier: TokenVerifier) -> None:
    assert "only through the slot" in refusal(verifier, node.vault(), None)


def test_a_token_for_another_audience_is_refused(node: Node, verifier: TokenVerifier) -> None:
    api = "https://kubernetes.default.svc"
    assert "for others" in refusal(verifier, node.till(aud=[api]), TILL_SLOT)
    assert "for others" in refusal(verifier, node.till(aud=api), TILL_SLOT)


def test_an_expired_token_is_refused(node: Node, verifier: TokenVerifier) -> None:
    token = node.till(since_s=time.time() - 601, life_s=600)
    assert verifier.verify(token, TILL_SLOT).good_until_s < time.time() + 5  # the clocks may differ a little

    node.clock.ahead_s = 5
    assert "expired" in refusal(verifier, token, TILL_SLOT)


def test_a_verdict_ends_with_its_token(node: Node, verifier: TokenVerifier) -> None:
    token = node.till(life_s=60)
    expires_s = json.loads(_decode(token.split(b".")[1]))["exp"]
    node.clock.ahead_s = expires_s + 4.5 - time.time()

    assert verifier.verify(token, TILL_SLOT).good_until_s == expires_s + 5


def test_a_token_that_lives_too_long_is_refused(node: Node, verifier: TokenVerifier) -> None:
    assert "longer than max_token_life" in refusal(verifier, node.till(life_s=3600), TILL_SLOT)


def test_a_token_that_names_no_pod_is_refused(node: Node, verifier: TokenVerifier) -> None:
    token = node.till(pod=None)

    assert "bound to no pod" in refusal(verifier, token, TILL_SLOT)
    assert "bound to no pod" in refusal(verifier, token, None)


def test_another_clusters_token_is_refused(node: Node, verifier: TokenVerifier) -> None:
    stranger = Issuer(issuer="https://kubernetes.default.svc.other.example")

    assert "not trusted" in refusal(verifier, stranger.service_account(), TILL_SLOT)


def test_a_forged_token_is_refused_whatever_key_it_names(node: Node, verifier: TokenVerifier) -> None:
    forger = Issuer()

    assert "signature is wrong" in refusal(verifier, forger.service_account(), TILL_SLOT)
    forger.rotate()
    assert "has no key 'key-1'" in refusal(verifier, forger.service_account(), TILL_SLOT)


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c"])
def test_a_forger_cannot_bring_his_key_set_along(node: Node, verifier: TokenVerifier, header: str) -> None:
    forger = Issuer()
    brought: object = {
        "jwk": forger.key_set()["keys"][0],
        "jku": f"{node.server.url}/forged",
        "x5u": f"{node.server.url}/forged",
        "x5c": ["MIIB"],
    }[header]
    token = forger.sign(forger.service_account_claims(), **{header: brought})

    assert header in refusal(verifier, token, TILL_SLOT)
    assert not any("forged" in path for path in node.server.questions)


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "HS256", "HS512"])
def test_no_signature_and_shared_keys_are_refused(node: Node, verifier: TokenVerifier, algorithm: str) -> None:
    """With the cluster's public key, which everybody knows, as the shared one."""
    key, _ = node.issuer.keys["key-0"]
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = b".".join(
        _encode(json.dumps(part).encode())
        for part in ({"alg": algorithm, "kid": "key-0"}, node.issuer.service_account_claims())
    )

    for signature in (b"", _encode(hmac.digest(public, body, sha256)), node.till().rpartition(b".")[2]):
        assert refusal(verifier, body + b"." + signature, TILL_SLOT)


def test_a_signature_of_another_kind_of_key_is_refused(node: Node, verifier: TokenVerifier) -> None:
    """An RSA signature under the id of an elliptic key, and the other way round."""
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forger = Issuer(rsa_key, algorithm="RS256")

    assert "not one for RS256" in refusal(verifier, forger.service_account(), TILL_SLOT)


def test_claims_of_one_token_with_the_signature_of_another_are_refused(node: Node, verifier: TokenVerifier) -> None:
    header, _, signature = node.till().split(b".")
    _, payload, _ = node.vault().split(b".")

    assert "signature is wrong" in refusal(verifier, b".".join((header, payload, signature)), VAULT_SLOT)


def test_garbage_is_refused_without_asking_anybody(node: Node, verifier: TokenVerifier) -> None:
    asked, listed = len(node.server.questions), node.kubelet.questions

    for token in (b"", b"x", b"a.b.c", b"\x00" * 100, b"a" * 20_000, node.till()[:-1], b"." * 500):
        refusal(verifier, token, TILL_SLOT)

    assert len(node.server.questions) <= asked + 1  # whose key it might have been
    assert node.kubelet.questions == listed


def test_without_the_kubelet_no_pod_is_believed(node: Node) -> None:
    with node.verifier(pod_resources=node.folder / "nobody.sock") as verifier:
        assert "does not answer" in refusal(verifier, node.till(), TILL_SLOT)
    with node.verifier(pod_resources=None) as verifier:
        assert "set kubernetes.pod_resources" in refusal(verifier, node.till(), TILL_SLOT)


def test_settings_may_take_tokens_without_a_pod_and_pods_without_a_slot(node: Node) -> None:
    with node.verifier(require_pod=False) as verifier:
        assert verifier.verify(node.till(pod=None), None).application == TILL
        assert verifier.verify(node.till(pod=None), VAULT_SLOT).application == TILL
        assert "does not hold slot 4" in refusal(verifier, node.till(), VAULT_SLOT)
    with node.verifier(pods_without_slot=True) as verifier:
        assert verifier.verify(node.till(), None).application == TILL
        assert "does not hold slot 4" in refusal(verifier, node.till(), VAULT_SLOT)
        assert "bound to no pod" in refusal(verifier, node.till(pod=None), None)
    with node.verifier(accounts_without_slot=True) as verifier:
        assert verifier.verify(node.till(pod=None), None).application == TILL
        assert "bound to no pod" in refusal(verifier, node.till(pod=None), VAULT_SLOT)
        assert "only through the slot" in refusal(verifier, node.till(), None)


def test_the_trust_domain_and_the_audience_are_the_settings(node: Node) -> None:
    with node.verifier(trust_domain="edge.example", audience="keys") as verifier:
        token = node.till(aud=["keys"])
        assert verifier.verify(token, TILL_SLOT).application == "spiffe://edge.example/ns/shop/sa/till"
        assert "for others" in refusal(verifier, node.till(), TILL_SLOT)


def test_a_deleted_account_is_refused_within_the_interval(node: Node) -> None:
    token = node.till()
    with node.verifier() as verifier:
        verdict = verifier.verify(token, TILL_SLOT)
        node.server.deleted.add("system:serviceaccount:shop:till")

        assert verdict.good_until_s <= time.time() + 1
        time.sleep(max(0.0, verdict.good_until_s - time.time()))

        assert "does not stand by the token" in refusal(verifier, token, TILL_SLOT)
        assert verifier.verify(node.vault(), VAULT_SLOT).application == VAULT


def test_an_account_that_was_made_anew_under_the_old_name_is_another(node: Node) -> None:
    with node.verifier() as verifier:
        node.server.uids["system:serviceaccount:shop:till"] = "another-uid"
        assert "another account's" in refusal(verifier, node.till(), TILL_SLOT)


def test_a_review_that_says_nothing_of_the_audience_is_no_proof(node: Node) -> None:
    node.server.audience_aware = False
    with node.verifier() as verifier:
        assert "does not say that the token is for 'parsec'" in refusal(verifier, node.till(), TILL_SLOT)


def test_within_the_interval_the_api_server_is_asked_once(node: Node) -> None:
    token = node.till()
    with node.verifier(review_interval_s=60.0) as verifier:
        verdicts = [verifier.verify(token, TILL_SLOT) for _ in range(20)]

    assert node.server.asked(REVIEW_PATH) == 1
    assert node.server.asked(KEY_SET_PATH) == 1
    # However often it is asked for, the proof does not get any younger.
    assert verdicts[-1].good_until_s == pytest.approx(verdicts[0].good_until_s, abs=0.5)


def test_offline_a_deleted_account_ends_with_its_token(node: Node) -> None:
    token = node.till()
    with node.verifier(review="offline") as verifier:
        node.server.deleted.add("system:serviceaccount:shop:till")

        assert verifier.verify(token, TILL_SLOT).application == TILL
        node.clock.ahead_s = 606
        assert "expired" in refusal(verifier, token, TILL_SLOT)
    assert node.server.asked(REVIEW_PATH) == 0


def test_the_services_own_rights_are_not_an_outage(node: Node) -> None:
    """Otherwise a wrong role would quietly turn the review off."""
    with node.verifier() as verifier:
        verifier.verify(node.vault(), VAULT_SLOT)
        node.server.status = 403

        assert "cannot be reviewed" in refusal(verifier, node.till(), TILL_SLOT)


def test_neither_tokens_nor_the_credential_are_told_of(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    told = []
    with node.verifier() as verifier:
        token = node.till()
        told.append(repr(verifier.verify(token, TILL_SLOT)))
        told.append(refusal(verifier, token, VAULT_SLOT))
        node.server.stop()
        told.append(refusal(verifier, token[:-10] + b"A" * 10, TILL_SLOT))

    text = "\n".join([*told, caplog.text])
    for part in token.decode().split("."):
        assert part not in text
    assert node.server.token_file.read_text().strip() not in text


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
