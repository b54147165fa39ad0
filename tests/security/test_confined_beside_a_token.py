"""A service that confines itself, for a secure world of its own user is beside it, and files that it needs.

Those of a PKCS#11 token have to be listed; those by which it judges the tokens of service accounts are in reach anyway.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from edgeroot.client import templates
from edgeroot.client.errors import ServiceError
from tests.support.clients import as_user
from tests.support.requirements import require_root
from tests.support.service import running_service
from tests.support.softhsm import softhsm, with_hsm
from tests.support.token_service import running_token_service
from tests.support.world import running_world, with_world

TOKEN = 2
SOMEONE = 60340


def key_in_token(*, listed: bool) -> str:
    """How making a key in the token ends for a user who runs everything."""
    with softhsm() as hsm, running_world() as world:
        core = f'write_paths = ["{hsm.folder}"]' if listed else ""
        with (
            running_service(provider=with_world(world) + with_hsm(hsm), core=core) as service,
            service.client(provider=TOKEN) as client,
        ):
            try:
                client.generate_key("key", templates.ecdsa_p256())
                client.destroy_key("key")
            except ServiceError as error:
                return error.status.name
            return "made"


@pytest.mark.parametrize("listed", [True, False])
def test_a_tokens_files_are_in_reach_if_the_configuration_lists_them(*, listed: bool) -> None:
    require_root("to be another user")
    expected = "made" if listed else "PSA_ERROR_COMMUNICATION_FAILURE"
    assert as_user(SOMEONE, lambda: key_in_token(listed=listed)) == expected


def key_by_token(folder: str) -> str:
    """How making a key in the secure world by a token ends for a user who runs everything."""
    keys = Path(folder) / "keys.json"
    with (
        running_world() as world,
        running_token_service(
            provider=with_world(world), kubernetes="require_pod = false", kubelet=False, start=False
        ) as tokens,
    ):
        tokens.configure(f"{tokens.service.folder}/issuer/keys.json", str(keys))
        tokens.issuer.write_key_set(keys)
        tokens.service.start()
        for renewed in (False, True):
            if renewed:  # another file in the place of the first
                tokens.issuer.rotate()
                tokens.issuer.write_key_set(keys.with_name("next")).rename(keys)
            with tokens.client(tokens.issuer.service_account(pod=None), 0) as client:
                client.generate_key("key", templates.ecdsa_p256())
                client.destroy_key("key")
    return "made"


def test_the_keys_of_a_tokens_issuer_are_in_reach() -> None:
    require_root("to be another user")
    with tempfile.TemporaryDirectory(prefix="edgeroot-issuer-") as folder:
        os.chown(folder, SOMEONE, SOMEONE)
        assert as_user(SOMEONE, lambda: key_by_token(folder)) == "made"
