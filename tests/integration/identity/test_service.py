"""The real service with doubles of API server, kubelet and SPIFFE agent: pods are let in, and put out again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeroot.client import Client, errors, templates
from tests.support.token_reviews import ApiServerDouble
from tests.support.token_service import TokenService, running_token_service
from tests.support.tokens import Issuer
from tests.support.workload_api import WorkloadApiDouble, serving_bundles

TILL_ACCOUNT = "system:serviceaccount:shop:till"
P256 = templates.ecdsa_p256()


@dataclass
class Site:
    tokens: TokenService
    server: ApiServerDouble
    agent: Issuer
    key_set: Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Online, with a new verdict every 0.3 s, and with a trust domain of SPIFFE's."""
    with ExitStack() as stack:
        tokens = stack.enter_context(running_token_service(review_interval_ms=300, start=False))
        server = stack.enter_context(ApiServerDouble(tmp_path, tokens.issuer))
        agent = Issuer()
        endpoint = tokens.service.folder / "agent.sock"
        stack.enter_context(serving_bundles(WorkloadApiDouble(example_org=agent), endpoint))
        key_set = tokens.service.folder / "issuer/learnt.json"
        tokens.configure(
            'review = "offline"',
            f'review = "online"\napi_server = "{server.url}"\nca_file = "{server.ca_file}"\n'
            f'token_file = "{server.token_file}"',
        )
        tokens.configure("/keys.json", f"/{key_set.name}")
        tokens.configure('auth_type = "JwtSvid"\n', f'auth_type = "JwtSvid"\nworkload_endpoint = "unix://{endpoint}"\n')
        tokens.service.start()
        yield Site(tokens, server, agent, key_set)


def is_refused(client: Client) -> bool:
    try:
        client.list_keys()
    except errors.ServiceError:
        return True
    return False


def becomes_true(condition: Callable[[], bool], within_s: float = 10) -> bool:
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def test_a_deleted_account_is_put_out_and_others_stay(site: Site) -> None:
    with (
        site.tokens.client(site.tokens.till_token(), 0, name="till") as till,
        site.tokens.client(site.tokens.camera_token(), 1, name="camera") as camera,
    ):
        till.generate_key("key", P256)
        assert not camera.list_keys()
        site.server.deleted.add(TILL_ACCOUNT)

        assert becomes_true(lambda: is_refused(till), within_s=3)
        assert not is_refused(camera)


def test_without_the_api_server_pods_go_on_also_after_a_restart(site: Site) -> None:
    with site.tokens.client(site.tokens.till_token(), 0) as till:
        till.generate_key("key", P256)
        site.server.stop()
        time.sleep(0.4)

        assert [key.name for key in till.list_keys()] == ["key"]
    assert json.loads(site.key_set.read_bytes()) == site.tokens.issuer.key_set()
    site.tokens.service.stop()
    site.tokens.service.start()

    with site.tokens.client(site.tokens.till_token(), 0) as till:
        assert [key.name for key in till.list_keys()] == ["key"]
        site.server.deleted.add(TILL_ACCOUNT)
        site.server.start()
        assert becomes_true(lambda: is_refused(till))


def test_a_slot_that_became_another_pods_lets_the_old_one_in_no_longer(site: Site) -> None:
    with site.tokens.client(site.tokens.till_token(), 0) as till:
        assert not till.list_keys()
        site.tokens.pods.holders = {0: "yard/camera-0"}

        assert becomes_true(lambda: is_refused(till), within_s=4)


def test_workloads_of_spiffe_have_keys_of_their_own(site: Site) -> None:
    with (
        site.tokens.client(site.agent.svid("spiffe://example.org/till"), 0, name="one") as one,
        site.tokens.client(site.agent.svid("spiffe://example.org/lamp"), 0, name="two") as two,
        site.tokens.client(site.tokens.till_token(), 0, name="till") as till,
    ):
        one.generate_key("key", P256)

        assert [key.name for key in one.list_keys()] == ["key"]
        assert not two.list_keys()
        assert not till.list_keys()
