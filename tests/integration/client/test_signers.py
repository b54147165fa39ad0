"""Others' libraries sign with keys of the service, and their own verification believes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, Signer
from tuf.api.metadata import Metadata, Root

from edgeroot.client import Client, templates
from edgeroot.client.jose import signing_key
from edgeroot.client.signer import ServiceSigner
from tests.support.service import Service

KEYS = {
    "ES256": templates.ecdsa_p256(),
    "ES384": templates.ecdsa_p384(),
    "RS256": templates.rsa_signing(),
    "PS256": templates.rsa_pss(),
}


@pytest.fixture
def client(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", service.endpoint)
    with service.client() as made:
        yield made
        for one in made.list_keys():
            made.destroy_key(one.name)


@pytest.mark.parametrize("algorithm", KEYS)
def test_tokens(client: Client, algorithm: str) -> None:
    client.generate_key("token", KEYS[algorithm])
    held = client.private_key("token")
    assert isinstance(held, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    key = signing_key(held)
    key.ensure_kid()
    assert "d" not in key.as_dict()
    token = jwt.encode({"alg": algorithm, "kid": key.kid}, {"sub": "gateway-17"}, key, algorithms=[algorithm])
    other = ECKey if algorithm.startswith("E") else RSAKey
    read = jwt.decode(token, other.import_key(key.as_dict()), algorithms=[algorithm])
    assert read.claims == {"sub": "gateway-17"}
    assert other.import_key(key.as_dict()).thumbprint() == key.kid


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256"])
def test_tuf_metadata(client: Client, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client.generate_key("root key/1", KEYS[algorithm])
    uri, public_key = ServiceSigner.import_(client, "root key/1")
    assert uri == "edgeroot:root%20key%2F1"
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, ServiceSigner.SCHEME, ServiceSigner)
    signer = Signer.from_priv_key_uri(uri, public_key)
    root = Metadata(Root())
    root.signed.add_key(public_key, "root")
    root.sign(signer)
    root.verify_delegate("root", root)
    root.signed.version += 1
    with pytest.raises(Exception, match="root was signed by 0/1 keys"):
        root.verify_delegate("root", root)


def test_envelopes(client: Client) -> None:
    client.generate_key("release", KEYS["ES256"])
    signer = ServiceSigner(client, "release")
    envelope = Envelope(b"{}", "application/vnd.in-toto+json", {})
    envelope.sign(signer)
    envelope.verify([signer.public_key], 1)
    envelope.payload = b"{ }"
    with pytest.raises(VerificationError):
        envelope.verify([signer.public_key], 1)


def test_keys_that_do_not_sign(client: Client) -> None:
    client.generate_key("agree", templates.x25519())
    with pytest.raises(ValueError, match="it takes an RSA key"):
        ServiceSigner(client, "agree")
    client.generate_key("one", KEYS["ES256"])
    client.generate_key("other", KEYS["ES256"])
    _, public_key = ServiceSigner.import_(client, "other")
    with pytest.raises(ValueError, match="does not match"):
        ServiceSigner(client, "one", public_key)
    for wrong in ("edgeroot:", "file:one"):
        with pytest.raises(ValueError, match="no key of a service"):
            ServiceSigner.from_priv_key_uri(wrong, public_key)
