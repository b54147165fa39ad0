"""Several clients at one name, and one name in several providers."""

from __future__ import annotations

import random
import time
from multiprocessing import get_context

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from edgeroot.client import templates
from edgeroot.client.errors import AlreadyExistsError, DoesNotExistError, InvalidSignatureError
from edgeroot.wire import operations as ops
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import DIGEST, ECDSA, ask, clients_of_every_worker, each, forked
from tests.support.ledger import rows
from tests.support.service import Service, running_service

RACERS = 8
SECOND = '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "kim"\nname = "second"\n'
SECOND_ID = 16
ADMIN = '[authenticator]\nauth_type = "UnixPeerCredentials"\nadmins = [{ name = "0" }]\n'


def test_of_racing_creations_one_succeeds_and_its_key_is_good(service: Service, rounds: int) -> None:
    barrier = get_context("fork").Barrier(RACERS)

    def race() -> list[bool]:
        won = []
        with service.client() as client:
            client.ping()
            for number in range(rounds):
                barrier.wait(30)
                try:
                    client.generate_key(f"race-{number}", templates.ecdsa_p256())
                    won.append(True)
                except AlreadyExistsError:
                    won.append(False)
                # Whoever lost uses the winner's key as well.
                client.sign_hash(f"race-{number}", ECDSA, DIGEST)
        return won

    with forked(*[race] * RACERS) as racers:
        results = each(racers)

    assert [sum(round_) for round_ in zip(*results, strict=True)] == [1] * rounds
    with clients_of_every_worker(service) as clients:
        for number in range(rounds):
            name = f"race-{number}"
            signature = clients[0].sign_hash(name, ECDSA, DIGEST)
            for client in clients[1:]:
                client.verify_hash(name, ECDSA, DIGEST, signature)
        everything = len(clients[0].list_keys())
    assert rows(service) == (everything, 0)


def test_racing_destructions_of_one_key(service: Service, rounds: int) -> None:
    barrier = get_context("fork").Barrier(RACERS)

    def race() -> list[bool]:
        destroyed = []
        with service.client() as client:
            for number in range(rounds):
                if barrier.wait(30) == 0:
                    client.generate_key(f"doomed-{number}", templates.ecdsa_p256())
                barrier.wait(30)
                try:
                    client.destroy_key(f"doomed-{number}")
                    destroyed.append(True)
                except DoesNotExistError:
                    destroyed.append(False)
        return destroyed

    with forked(*[race] * RACERS) as racers:
        results = each(racers)

    assert [sum(round_) for round_ in zip(*results, strict=True)] == [1] * rounds


def test_a_destruction_sent_to_the_wrong_provider_changes_nothing() -> None:
    with running_service(extra=SECOND) as service:
        first, second = service.client(provider=1), service.client(provider=SECOND_ID)
        first.generate_key("only-first", templates.ecdsa_p256())
        first.generate_key("both", templates.ecdsa_p256())
        second.generate_key("both", templates.ecdsa_p256())
        before = first.list_keys()
        public = first.export_public_key("both")
        assert second.export_public_key("both") != public

        with pytest.raises(DoesNotExistError):
            second.destroy_key("only-first")
        # Without the extension bit nobody reaches provider 16, and provider 2 is not there.
        assert ask(service, ops.PsaDestroyKey("only-first"), provider=2).status == (
            ResponseStatus.PROVIDER_NOT_REGISTERED
        )
        assert first.list_keys() == before
        first.sign_hash("only-first", ECDSA, DIGEST)

        second.destroy_key("both")
        assert first.export_public_key("both") == public
        with pytest.raises(DoesNotExistError):
            second.sign_hash("both", ECDSA, DIGEST)
        first.close()
        second.close()


def test_after_an_acknowledged_change_no_worker_uses_the_old_key(rounds: int) -> None:
    with (
        running_service(core="thread_pool_size = 3", authenticator=ADMIN) as service,
        clients_of_every_worker(service) as clients,
    ):
        for number in range(rounds):
            changing = clients[number % len(clients)]
            changing.generate_key("A", templates.ecdsa_p256())
            for client in clients:  # now every worker has the key in its cache
                client.verify_hash("A", ECDSA, DIGEST, client.sign_hash("A", ECDSA, DIGEST))
            old = changing.sign_hash("A", ECDSA, DIGEST)
            if number % 3 == 2:
                changing.delete_client("0")
            else:
                changing.destroy_key("A")
            if number % 2:
                for client in clients:
                    with pytest.raises(DoesNotExistError):
                        client.sign_hash("A", ECDSA, DIGEST)
            changing.generate_key("A", templates.ecdsa_p256())
            public = changing.public_key("A")
            for client in clients:
                _assert_signed_by(public, client.sign_hash("A", ECDSA, DIGEST))
                with pytest.raises(InvalidSignatureError):
                    client.verify_hash("A", ECDSA, DIGEST, old)
            changing.destroy_key("A")


def test_while_a_key_is_replaced_over_and_over_every_signature_is_of_the_key_of_its_time(rng: random.Random) -> None:
    """Each signature is by a key that lived between the signature's request and its answer."""
    with running_service(core="thread_pool_size = 3") as service:
        end_s = time.monotonic() + 2.0

        def replace() -> list[tuple[float, float, bytes]]:
            lives = []
            with service.client() as client:
                while time.monotonic() < end_s:
                    begun_s = time.monotonic()
                    client.generate_key("A", templates.ecdsa_p256())
                    public = client.export_public_key("A")
                    client.destroy_key("A")
                    lives.append((begun_s, time.monotonic(), public))
            return lives

        def sign() -> list[tuple[float, float, bytes]]:
            signatures = []
            with service.client() as client:
                while time.monotonic() < end_s:
                    begun_s = time.monotonic()
                    try:
                        signature = client.sign_hash("A", ECDSA, DIGEST)
                    except DoesNotExistError:
                        continue
                    signatures.append((begun_s, time.monotonic(), signature))
            return signatures

        with forked(replace, *[sign] * 6) as running:
            lives, *signed = each(running)

    samples = [one for signatures in signed for one in signatures]
    assert samples
    for begun_s, ended_s, signature in rng.sample(samples, min(500, len(samples))):
        possible = [public for born_s, died_s, public in lives if born_s < ended_s and begun_s < died_s]
        assert any(_is_signed_by(_point(public), signature) for public in possible)


def _point(public: bytes) -> EllipticCurvePublicKey:
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)


def _is_signed_by(public: EllipticCurvePublicKey, signature: bytes) -> bool:
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    try:
        public.verify(der, DIGEST, ec.ECDSA(Prehashed(SHA256())))
    except InvalidSignature:
        return False
    return True


def _assert_signed_by(public: object, signature: bytes) -> None:
    assert isinstance(public, EllipticCurvePublicKey)
    assert _is_signed_by(public, signature)
