"""What evidence commits to, which node a device may be, and what a kubelet may ask a certificate for."""

from __future__ import annotations

from itertools import combinations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edgeroot.edge.enrolment.admission import KnownNode, Rules, admit
from edgeroot.edge.enrolment.binding import challenge_of, derived_name, is_node_name
from edgeroot.edge.enrolment.errors import RefusedError
from edgeroot.edge.enrolment.request import are_kubelets_usages, key_digest, make_request, read_request

SEED = bytes(range(32))
DEVICE = "01" + "ab" * 32
OTHER = "01" + "cd" * 32
GATE = KnownNode(name="gate-1", device=DEVICE)
OPEN = Rules(admit_affirmed=True)


def test_the_challenge_commits_to_each_part() -> None:
    digest = b"\1" * 32
    challenges = [
        challenge_of(SEED, node_name="a", key_digest=digest),
        challenge_of(SEED[::-1], node_name="a", key_digest=digest),
        challenge_of(SEED, node_name="b", key_digest=digest),
        challenge_of(SEED, node_name="", key_digest=digest),
        challenge_of(SEED, node_name="a", key_digest=b"\2" * 32),
        challenge_of(SEED, node_name="a", key_digest=b""),
        # The same bytes, parted otherwise.
        challenge_of(SEED, node_name="\1" * 32 + "a", key_digest=b""),
    ]
    assert all(one != other for one, other in combinations(challenges, 2))
    assert {len(one) for one in challenges} == {32}
    with pytest.raises(ValueError, match="32 bytes"):
        challenge_of(SEED, node_name="a", key_digest=b"short")


@pytest.mark.parametrize("name", ["a", "edge-7", "edge.7", "0", "a" * 63])
def test_names_of_nodes(name: str) -> None:
    assert is_node_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a..b", "a b", "a/b", "a\n", "ä", "a" * 64])
def test_what_is_no_name(name: str) -> None:
    assert not is_node_name(name)


def test_derived_names() -> None:
    assert derived_name(DEVICE).startswith("edge-")
    assert is_node_name(derived_name(DEVICE))
    assert derived_name(DEVICE) != derived_name(OTHER)


@pytest.mark.parametrize("wanted", ["", "gate-1"])
@pytest.mark.parametrize("rules", [Rules(), OPEN])
def test_an_operators_node(wanted: str, rules: Rules) -> None:
    admission = admit(DEVICE, wanted, of_device=[GATE], of_name=GATE if wanted else None, rules=rules)
    assert (admission.name, admission.known) == ("gate-1", GATE)


def test_a_device_that_is_found_by_its_nodes_name_only() -> None:
    assert admit(DEVICE, "gate-1", of_device=[], of_name=GATE, rules=Rules()).known == GATE


@pytest.mark.parametrize("rules", [Rules(), OPEN])
@pytest.mark.parametrize(
    ("device", "wanted", "of_device", "of_name", "words"),
    [
        (OTHER, "gate-1", [], GATE, "belongs to another device"),
        (DEVICE, "gate-1", [], KnownNode(name="gate-1", device=""), "belongs to another device"),
        (DEVICE, "gate-2", [GATE], None, "is the node gate-1"),
        (DEVICE, "", [GATE, KnownNode(name="gate-2", device=DEVICE)], None, "gate-1, gate-2"),
        (DEVICE, "gate-1", [GATE, KnownNode(name="gate-2", device=DEVICE)], GATE, "delete all but one"),
    ],
)
def test_who_is_never_admitted(
    device: str, wanted: str, of_device: list[KnownNode], of_name: KnownNode | None, words: str, rules: Rules
) -> None:
    with pytest.raises(RefusedError, match=words):
        admit(device, wanted, of_device=of_device, of_name=of_name, rules=rules)


def test_a_device_that_nobody_has_listed() -> None:
    with pytest.raises(RefusedError, match=f"nobody has admitted device {DEVICE}"):
        admit(DEVICE, "edge-1", of_device=[], of_name=None, rules=Rules())
    assert admit(DEVICE, "edge-1", of_device=[], of_name=None, rules=OPEN).name == "edge-1"
    assert admit(DEVICE, "", of_device=[], of_name=None, rules=OPEN).name == derived_name(DEVICE)
    for name in ("control-plane-1", "edge-\n", "edge-A"):
        with pytest.raises(RefusedError, match="names like edge-"):
            admit(DEVICE, name, of_device=[], of_name=None, rules=OPEN)


def _subject(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.CertificateSigningRequestBuilder:
    return x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(oid, value) for oid, value in parts]))


KEY = ec.generate_private_key(ec.SECP256R1())
NODES = (NameOID.ORGANIZATION_NAME, "system:nodes")
NODE = (NameOID.COMMON_NAME, "system:node:gate-1")


def test_a_kubelets_request() -> None:
    read = read_request(make_request("gate-1", KEY))
    assert (read.node_name, read.key_digest) == ("gate-1", key_digest(KEY.public_key()))


def test_a_request_with_an_rsa_key() -> None:
    pem = _subject(NODES, NODE).sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()).public_bytes(Encoding.PEM)
    assert read_request(pem).node_name == "gate-1"


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        (_subject(NODE), "nothing else"),
        (_subject(NODES), "nothing else"),
        (_subject(NODES, NODE, (NameOID.ORGANIZATION_NAME, "system:masters")), "nothing else"),
        (_subject((NameOID.ORGANIZATION_NAME, "system:masters"), NODE), "nothing else"),
        (_subject(NODES, NODE, NODE), "nothing else"),
        (_subject(NODES, (NameOID.COMMON_NAME, "admin")), "no node"),
        (
            _subject(NODES, NODE).add_extension(x509.SubjectAlternativeName([x509.DNSName("api")]), critical=False),
            "nothing else",
        ),
    ],
)
def test_what_is_no_kubelets_request(builder: x509.CertificateSigningRequestBuilder, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        read_request(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM))


def test_a_request_that_its_key_has_not_signed() -> None:
    request = x509.load_pem_x509_csr(make_request("gate-1", KEY))
    der = bytearray(request.public_bytes(Encoding.DER))
    point = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    at = der.index(point)
    der[at : at + len(point)] = other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    with pytest.raises(RefusedError, match="not signed by its own key"):
        read_request(forged)


@pytest.mark.parametrize(
    "pem", [b"", b"none", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
def test_what_is_no_request(pem: bytes) -> None:
    with pytest.raises(RefusedError, match="no certificate request"):
        read_request(pem)


def test_usages() -> None:
    assert are_kubelets_usages(frozenset({"client auth", "digital signature"}))
    assert are_kubelets_usages(frozenset({"client auth", "digital signature", "key encipherment"}))
    assert not are_kubelets_usages(frozenset({"client auth"}))
    assert not are_kubelets_usages(frozenset({"client auth", "digital signature", "server auth"}))
