"""A token that goes away and comes back, a wrong PIN, no module at all, and a host that is killed under load."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from edgeroot.client import Client, templates
from edgeroot.client.errors import ServiceError
from edgeroot.psa import Hash
from edgeroot.wire.operations import CheckType
from edgeroot.wire.status import ResponseStatus
from tests.fault.test_kills import churn, kill_one
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.ledger import Ledger, check
from tests.support.service import READY, SOFTWARE_PROVIDER, Service, running_service
from tests.support.softhsm import LABEL, PIN, SoftHsm, softhsm, with_hsm

SOFTWARE = 1


@pytest.fixture
def hsm() -> Iterator[SoftHsm]:
    with softhsm() as made:
        yield made


@contextmanager
def out_of_reach() -> Iterator[None]:
    """The block has to end because there is no token to ask."""
    with pytest.raises(ServiceError) as raised:
        yield
    assert raised.value.status == ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE


def check_objects(hsm: SoftHsm, service: Service) -> None:
    """The token has the two objects of each key, and no others."""
    with service.client() as client:
        count = len(client.list_keys())
    ids = hsm.object_ids()
    assert ids[::2] == ids[1::2]
    assert len(ids) == 2 * count


def others_serve(service: Service) -> None:
    with service.client(provider=SOFTWARE) as client:
        client.generate_key("software", templates.ecdsa_p256())
        client.sign_hash("software", ECDSA, DIGEST)
        client.destroy_key("software")


def signs(client: Client) -> bool:
    try:
        client.sign_hash("key", ECDSA, DIGEST)
    except ServiceError:
        return False
    return True


def test_a_token_that_is_taken_away_and_put_back(hsm: SoftHsm) -> None:
    away = hsm.folder / "away"
    with running_service(provider=with_hsm(hsm) + SOFTWARE_PROVIDER) as service:
        (host,) = service.children("host")
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
            hsm.tokens.rename(away)
            for _ in range(3):
                with out_of_reach():
                    client.sign_hash("key", ECDSA, DIGEST)
            with out_of_reach():
                client.generate_key("other", templates.ecdsa_p256())
            others_serve(service)
            away.rename(hsm.tokens)
            wait_until(partial(signs, client), "the key is of use again")
            assert [key.name for key in client.list_keys()] == ["key"]
        assert service.children("host") == [host]
        check_objects(hsm, service)
        assert "provider 2 failed: PSA_ERROR_COMMUNICATION_FAILURE: the token answered C_" in service.log()
        assert "CKR_GENERAL_ERROR" in service.log()


def test_a_key_destroyed_while_its_token_is_away_is_gone_from_it_later(hsm: SoftHsm) -> None:
    away = hsm.folder / "away"
    with running_service(provider=with_hsm(hsm)) as service:
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
            hsm.tokens.rename(away)
            with out_of_reach():
                client.destroy_key("key")
        service.end()
        service.start()  # without the token: what has to be done in it waits
        service.end()
        away.rename(hsm.tokens)
        assert len(hsm.object_ids()) == 2
        service.start()
        check_objects(hsm, service)
        assert hsm.object_ids() == []


def test_another_token_in_its_place_is_not_taken_for_it(hsm: SoftHsm) -> None:
    with running_service(provider=with_hsm(hsm) + SOFTWARE_PROVIDER) as service:
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        service.end()
        shutil.rmtree(hsm.tokens)
        hsm.tokens.mkdir()
        hsm.make_token()
        service.start()
        with service.client() as client:
            with out_of_reach():
                client.generate_key("other", templates.ecdsa_p256())
            with out_of_reach():
                client.destroy_key("key")
        others_serve(service)
        assert 'or set serial_number = "' in service.log()
        serial_number = service.log().rpartition('set serial_number = "')[2].partition('"')[0]
        service.end()
        service.config_path.write_text(
            service.config_path.read_text().replace(f'token_label = "{LABEL}"', f'serial_number = "{serial_number}"')
        )
        service.start()
        with service.client() as client:
            client.generate_key("other", templates.ecdsa_p256())


def test_a_service_starts_without_the_module_and_finds_it_later(hsm: SoftHsm, tmp_path: Path) -> None:
    module = tmp_path / "libsofthsm2.so"
    provider = with_hsm(hsm).replace(str(hsm.module), str(module)) + SOFTWARE_PROVIDER
    with running_service(provider=provider) as service, service.client() as client:
        assert f"there is no PKCS#11 module {module}" in service.log()
        assert not client.can_do_crypto(CheckType.GENERATE, templates.ecdsa_p256())
        with out_of_reach():
            client.generate_key("key", templates.ecdsa_p256())
        others_serve(service)
        module.symlink_to(hsm.module)
        wait_until(partial(_generates, client), "the provider is there")
        assert signs(client)
        # The workers know by now what this token can do.
        assert client.can_do_crypto(CheckType.GENERATE, templates.ecdsa_p256())
        assert not client.can_do_crypto(CheckType.GENERATE, templates.rsa_oaep(hash_alg=Hash.SHA_256))


def _generates(client: Client) -> bool:
    try:
        client.generate_key("key", templates.ecdsa_p256())
    except ServiceError:
        return False
    return True


def test_a_service_starts_while_the_token_is_away_and_finds_it_later(hsm: SoftHsm) -> None:
    away = hsm.folder / "away"
    hsm.tokens.rename(away)
    with running_service(provider=with_hsm(hsm) + SOFTWARE_PROVIDER) as service, service.client() as client:
        assert ": not available: the token answered C_Initialize with CKR_GENERAL_ERROR" in service.log()
        others_serve(service)
        away.rename(hsm.tokens)
        wait_until(partial(_generates, client), "the provider is there")
        check_objects(hsm, service)


def test_a_wrong_pin_is_tried_once(hsm: SoftHsm) -> None:
    wrong = with_hsm(hsm, pin="4321-wrong") + SOFTWARE_PROVIDER
    with running_service(provider=wrong) as service:
        with service.client() as client:
            assert hsm.notes_a_wrong_pin()
            hsm.log_in()  # the right one, from elsewhere: from here on another try would show
            assert not hsm.notes_a_wrong_pin()
            for _ in range(5):
                with out_of_reach():
                    client.generate_key("key", templates.ecdsa_p256())
            kill_one(service, "host", random.Random(1))
            wait_until(lambda: len(service.children("host")) == 1, "another host runs")
            with out_of_reach():
                client.generate_key("key", templates.ecdsa_p256())
            others_serve(service)
        assert not hsm.notes_a_wrong_pin()
        assert "CKR_PIN_INCORRECT" in service.log()
        assert "correct user_pin" in service.log()
        assert "4321-wrong" not in service.log()
        at = (service.folder / "log").stat().st_size
        service.config_path.write_text(service.config_path.read_text().replace("4321-wrong", PIN))
        service.signal(signal.SIGHUP)
        service.wait_for_log(READY, after=at)
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())


@pytest.mark.timeout(600)
def test_a_host_killed_under_load_leaves_no_orphan_in_the_token(hsm: SoftHsm, rounds: int, rng: random.Random) -> None:
    ledger = Ledger()
    with running_service(provider=with_hsm(hsm)) as service:
        for number in range(max(3, rounds // 2)):
            fresh = churn(service, number, rng, lambda: kill_one(service, "host", rng))
            ledger.merge([fresh])
            wait_until(lambda: len(service.children("host")) == 1, "another host runs")
            service.end()
            service.start()
            check(service, ledger, fresh, unused_name=f"unused-{number}")
            check_objects(hsm, service)
        assert len(ledger.names) > 10


@pytest.mark.timeout(600)
def test_a_service_killed_under_load_leaves_no_orphan_in_the_token(
    hsm: SoftHsm, rounds: int, rng: random.Random
) -> None:
    ledger = Ledger()
    with running_service(provider=with_hsm(hsm)) as service:
        for number in range(max(3, rounds // 2)):
            fresh = churn(service, number, rng, service.kill)
            ledger.merge([fresh])
            service.start()
            check(service, ledger, fresh, unused_name=f"unused-{number}")
            check_objects(hsm, service)
        assert len(ledger.names) > 10
