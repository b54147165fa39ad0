"""Both fronts against upstream's own service, which knows nothing of kept connections or of extensions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from edgeroot.client import AsyncClient, Client, errors, templates
from edgeroot.client.keys import EcServiceKey, RsaServiceKey
from edgeroot.psa import Algorithm, Hash, KeyAttributes
from edgeroot.wire.operations import AuthType, CheckType
from peers import UpstreamService

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
SHA256 = hashes.SHA256()
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
PSS = padding.PSS(padding.MGF1(SHA256), padding.PSS.DIGEST_LENGTH)


@pytest.fixture
def client(upstream_service: UpstreamService) -> Iterator[Client]:
    with Client(f"unix:{upstream_service.socket_path}") as client:
        yield client
        for key in client.list_keys():
            client.destroy_key(key.name)


def test_discovery(client: Client) -> None:
    assert client.ping() == (1, 0)
    assert [provider.id for provider in client.list_providers()] == [1, 0]
    assert [listed.id for listed in client.list_authenticators()] == [AuthType.UNIX_PEER_CREDENTIALS]
    assert client.provider_id() == 1
    assert {0x01, 0x1A} <= client.list_opcodes(0)
    assert 0x02 in client.list_opcodes()
    assert client.with_provider("1c1139dc-ad7c-47dc-ad6b-db6fdb466552").provider_id() == 1


def test_life_of_a_key(client: Client) -> None:
    attributes = templates.ecdsa_p256(exportable=True)
    client.generate_key("k", attributes)
    with pytest.raises(errors.AlreadyExistsError):
        client.generate_key("k", attributes)
    assert client.key_attributes("k") == attributes
    material = client.export_key("k")
    client.import_key("copy", attributes, material)
    assert client.export_public_key("copy") == client.export_public_key("k")
    for name in ("k", "copy"):
        client.destroy_key(name)
    assert client.list_keys() == ()
    with pytest.raises(errors.DoesNotExistError):
        client.destroy_key("k")


def test_signatures(client: Client) -> None:
    client.generate_key("k", templates.ecdsa_p256())
    signature = client.sign_hash("k", ECDSA, bytes(32))
    client.verify_hash("k", ECDSA, bytes(32), signature)
    with pytest.raises(errors.InvalidSignatureError):
        client.verify_hash("k", ECDSA, b"\1" * 32, signature)
    with pytest.raises(errors.NotPermittedError):
        client.sign_hash("k", Algorithm.ecdsa(Hash.SHA_512), bytes(64))
    with pytest.raises(errors.NotPermittedError):
        client.export_key("k")


def test_encryption(client: Client) -> None:
    client.generate_key("aes", templates.aes_gcm())
    sealed = client.aead_encrypt("aes", Algorithm.GCM, bytes(12), b"header", b"secret")
    assert client.aead_decrypt("aes", Algorithm.GCM, bytes(12), b"header", sealed) == b"secret"
    with pytest.raises(errors.InvalidSignatureError):
        client.aead_decrypt("aes", Algorithm.GCM, bytes(12), b"other", sealed)
    client.generate_key("rsa", templates.rsa_oaep(1024))
    oaep = Algorithm.rsa_oaep(Hash.SHA_256)
    ciphertext = client.asymmetric_encrypt("rsa", oaep, b"secret", b"label")
    assert client.asymmetric_decrypt("rsa", oaep, ciphertext, b"label") == b"secret"


def test_hashes_random_and_questions(client: Client) -> None:
    digest = client.hash_compute(Hash.SHA_256, b"abc")
    assert digest.hex().startswith("ba7816bf")
    client.hash_compare(Hash.SHA_256, b"abc", digest)
    assert len(client.generate_random(100)) == 100
    assert client.can_do_crypto(CheckType.GENERATE, templates.ecdsa_p256())
    assert not client.can_do_crypto(CheckType.GENERATE, templates.hmac())
    with pytest.raises(errors.AdminOperationError):
        client.list_clients()
    with pytest.raises(errors.NotSupportedError, match="list_opcodes"):
        client.mac_compute("k", Algorithm.CMAC, b"")
    with pytest.raises(errors.ProviderNotRegisteredError):
        client.with_provider(3).generate_random(1)


@pytest.mark.parametrize(
    ("attributes", "rsa_padding"),
    [(templates.ecdsa_p256(), None), (templates.rsa_signing(2048), None), (templates.rsa_pss(2048), PSS)],
)
def test_a_certificate_request_by_a_key_that_stays_there(
    client: Client, attributes: KeyAttributes, rsa_padding: padding.PSS | None
) -> None:
    client.generate_key("k", attributes)
    key = client.private_key("k")
    assert isinstance(key, EcServiceKey | RsaServiceKey)
    builder = x509.CertificateSigningRequestBuilder().subject_name(NAME)
    assert builder.sign(key, SHA256, rsa_padding=rsa_padding).is_signature_valid


def test_key_objects_agree_and_decrypt(client: Client) -> None:
    client.generate_key("ec", templates.ecdh())
    key, peer = client.private_key("ec"), ec.generate_private_key(ec.SECP256R1())
    assert isinstance(key, EcServiceKey)
    assert key.exchange(ec.ECDH(), peer.public_key()) == peer.exchange(ec.ECDH(), key.public_key())
    client.generate_key("rsa", templates.rsa_oaep(1024))
    oaep = padding.OAEP(padding.MGF1(SHA256), SHA256, None)
    decrypting, public = client.private_key("rsa"), client.public_key("rsa")
    assert isinstance(decrypting, RsaServiceKey)
    assert isinstance(public, rsa.RSAPublicKey)
    assert decrypting.decrypt(public.encrypt(b"secret", oaep), oaep) == b"secret"


def test_threads_share_a_client(client: Client) -> None:
    client.generate_key("k", templates.ecdsa_p256())
    with ThreadPoolExecutor(8) as pool:
        signatures = set(pool.map(lambda number: client.sign_hash("k", ECDSA, bytes([number] * 32)), range(80)))
    assert len(signatures) == 80


def test_tasks_share_a_client(upstream_service: UpstreamService, client: Client) -> None:
    client.generate_key("k", templates.ecdsa_p256())

    async def main() -> list[bytes]:
        async with AsyncClient(f"unix:{upstream_service.socket_path}") as awaited:
            return await asyncio.gather(*(awaited.sign_hash("k", ECDSA, bytes([number] * 32)) for number in range(80)))

    for number, signature in enumerate(asyncio.run(main())):
        client.verify_hash("k", ECDSA, bytes([number] * 32), signature)


def test_a_body_over_the_limit(client: Client) -> None:
    with pytest.raises((errors.BodySizeExceedsLimitError, errors.TransportError)):
        client.hash_compute(Hash.SHA_256, bytes(2 << 20))
    assert client.ping() == (1, 0)
