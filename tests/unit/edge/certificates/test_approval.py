"""A request is approved if everything is right, and refused for whatever is wrong, each thing by itself."""

from __future__ import annotations

from base64 import b64encode
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from edgeroot.edge.certificates.approval import NODE_NAME_EXTRA, RESULT_ANNOTATION, Judgement, Rules, judge
from edgeroot.edge.certificates.request import make_request
from edgeroot.edge.certificates.resource import read
from edgeroot.verifier.ear import ear_claims, sign_ear
from edgeroot.verifier.trust import APPROVED, CONTRAINDICATED, TrustVector
from edgeroot.verifier.verdict import Appraisal
from tests.unit.edge.certificates.support import NOW, public_bytes, resource

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
VERIFIER = ec.generate_private_key(ec.SECP256R1())
DEVICE = bytes.fromhex("01" + "08" * 32)
AGENT = "system:serviceaccount:edgeroot-system:edgeroot-certificates"
RULES = Rules(requester=AGENT, signers=frozenset({"example.com/workloads"}), verifier_key=VERIFIER.public_key())
NODE = {"spec": {"device": DEVICE.hex()}, "status": {"state": "Affirmed"}}
GOOD = TrustVector(instance_identity=APPROVED, configuration=APPROVED, executables=APPROVED, hardware=APPROVED)
WISH = resource()


def result(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = KEY,
    *,
    device: bytes = DEVICE,
    age: timedelta = timedelta(),
    signer: ec.EllipticCurvePrivateKey = VERIFIER,
    vector: TrustVector = GOOD,
) -> str:
    appraisal = Appraisal(vector=vector, device=device, attested_key=None if key is None else public_bytes(key))
    issued_at_s = int((NOW - age).timestamp())
    return sign_ear(ear_claims(appraisal, issued_at_s=issued_at_s, nonce=b"n" * 32, policy_id="p"), signer)


def request(
    pem: bytes | None = None, *, annotations: dict[str, str] | None = None, wish: dict[str, Any] = WISH, **spec: object
) -> dict[str, Any]:
    made = make_request(read(wish), KEY) if pem is None else pem
    return {
        "metadata": {"annotations": {RESULT_ANNOTATION: result()} if annotations is None else annotations},
        "spec": {
            "request": b64encode(made).decode(),
            "signerName": wish["spec"]["signerName"],
            "usages": ["client auth", "server auth", "digital signature"],
            "expirationSeconds": 90 * 86_400,
            "username": AGENT,
            "extra": {NODE_NAME_EXTRA: ["gateway-7"]},
            **spec,
        },
    }


def judged(
    sent: dict[str, Any],
    *,
    wish: dict[str, Any] | None = WISH,
    node: dict[str, Any] | None = NODE,
    rules: Rules = RULES,
) -> Judgement:
    return judge(sent, resource=wish, edge_node=node, rules=rules, now=NOW)


def test_what_is_right_is_approved() -> None:
    assert judged(request()) == Judgement(
        True, "EdgerootAttested", "the key was made in the hardware of a node in trust"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (result(None), "does not say that it has made this key"),
        (result(OTHER_KEY), "does not say that it has made this key"),
        (result(device=b"\1" * 33), "in another device"),
        (result(signer=OTHER_KEY), "not signed by the verifier"),
        (result(age=timedelta(minutes=11)), "660 s old"),
        (result(age=timedelta(minutes=-2)), "-120 s old"),
        (result(vector=TrustVector(instance_identity=CONTRAINDICATED)), "the verifier says contraindicated"),
        (result().rsplit(".", 1)[0] + ".", "not signed by the verifier"),
        ("x" * 300_000, "longer than 256 KiB"),
        ("", "lacks the annotation"),
    ],
    ids=["no key", "another key", "device", "signer", "old", "future", "status", "unsigned", "long", "none"],
)
def test_results_that_do_not_speak_for_the_key(given: str, words: str) -> None:
    verdict = judged(request(annotations={RESULT_ANNOTATION: given}))
    assert not verdict.approved
    assert words in verdict.message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"username": "system:node:gateway-7"}, "come from the nodes' agents"),
        ({"username": "eve"}, "come from the nodes' agents"),
        ({"extra": {NODE_NAME_EXTRA: ["gateway-8"]}}, "another one asks"),
        ({"extra": {NODE_NAME_EXTRA: ["gateway-7", "gateway-8"]}}, "another one asks"),
        ({"extra": {}}, "another one asks"),
        ({"signerName": "kubernetes.io/kube-apiserver-client"}, "names the signer example.com/workloads"),
        ({"usages": ["client auth"]}, "other usages"),
        ({"expirationSeconds": 91 * 86_400}, "another duration"),
        ({"expirationSeconds": None}, "another duration"),
        ({"request": "!"}, "not base64"),
        ({"request": b64encode(b"no request").decode()}, "cannot be read"),
    ],
)
def test_requests_that_are_not_what_was_wished_for(spec: dict[str, Any], words: str) -> None:
    verdict = judged(request(**spec))
    assert not verdict.approved
    assert words in verdict.message


@pytest.mark.parametrize(
    "changes",
    [
        {"commonName": "admin"},
        {"organizations": ["system-admins"]},
        {"dnsNames": ["till.shop.svc", "bank.example"]},
        {"dnsNames": []},
        {"ipAddresses": ["192.0.2.8"]},
        {"uris": ["spiffe://cluster.local/ns/shop/sa/admin"]},
    ],
)
def test_requests_for_other_names(changes: dict[str, Any]) -> None:
    pem = make_request(read(resource(**changes)), KEY)
    verdict = judged(request(pem))
    assert not verdict.approved
    assert "not the one that was wished for" in verdict.message


def test_requests_that_ask_for_more() -> None:
    good = x509.load_pem_x509_csr(make_request(read(WISH), KEY))
    builder = x509.CertificateSigningRequestBuilder().subject_name(good.subject)
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    verdict = judged(request(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)))
    assert "asks for the extension 2.5.29.19" in verdict.message


def test_requests_that_the_key_did_not_sign() -> None:
    good = x509.load_pem_x509_csr(make_request(read(WISH), KEY)).public_bytes(Encoding.DER)
    bad = x509.load_der_x509_csr(good[:-1] + bytes([good[-1] ^ 1])).public_bytes(Encoding.PEM)
    assert not judged(request(bad)).approved


def test_requests_for_a_key_of_another_kind() -> None:
    pem = make_request(read(WISH), ec.generate_private_key(ec.SECP384R1()))
    assert "another kind than ECDSA-P256" in judged(request(pem)).message


@pytest.mark.parametrize(("bits", "approved"), [(2048, True), (3072, False)])
def test_keys_of_rsa_have_the_size_that_was_wished_for(bits: int, approved: bool) -> None:
    key, wish = rsa.generate_private_key(65537, bits), resource(keyAlgorithm="RSA-2048")
    annotations = {RESULT_ANNOTATION: result(key)}
    verdict = judged(request(make_request(read(wish), key), annotations=annotations, wish=wish), wish=wish)
    assert verdict.approved is approved


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (None, "no EdgeNode gateway-7"),
        ({"spec": {"device": DEVICE.hex()}}, "is Unattested"),
        ({"spec": {"device": DEVICE.hex()}, "status": {"state": "Contraindicated"}}, "is Contraindicated"),
        ({"spec": {"device": "00"}, "status": {"state": "Affirmed"}}, "in another device"),
        ({"status": {"state": "Affirmed"}}, "in another device"),
    ],
)
def test_nodes_that_are_not_in_trust(node: dict[str, Any] | None, words: str) -> None:
    verdict = judged(request(), node=node)
    assert not verdict.approved
    assert words in verdict.message


def test_no_resource_no_certificate() -> None:
    assert judged(request(), wish=None).message == "there is no such HardwareCertificate"


def test_a_resource_that_is_no_good() -> None:
    bad = deepcopy(WISH)
    bad["spec"]["organizations"] = ["system:masters"]
    assert "the cluster's own" in judged(request(), wish=bad).message


def test_signers_have_to_be_allowed() -> None:
    verdict = judged(request(), rules=replace(RULES, signers=frozenset()))
    assert "no requests to the signer example.com/workloads are approved here" in verdict.message


@pytest.mark.parametrize(
    ("spec", "approved"),
    [
        ({"commonName": "edgeroot:shop:till"}, True),
        ({"commonName": "edgeroot:shop:admin"}, False),
        ({"commonName": "admin"}, False),
        ({"commonName": "edgeroot:shop:till", "organizations": ["admins"]}, False),
    ],
)
def test_a_credential_for_the_api_server_is_the_workloads_own(spec: dict[str, Any], approved: bool) -> None:
    wish = resource(signerName="kubernetes.io/kube-apiserver-client", **spec)
    rules = replace(RULES, signers=frozenset({"kubernetes.io/kube-apiserver-client"}))
    assert judged(request(wish=wish), wish=wish, rules=rules).approved is approved
