"""The made-up fleet is one that the verifier finds good, and that always is the same."""

from __future__ import annotations

import os
from pathlib import Path

from bench.fleet import COMPONENTS, PLAYED_DEVICES, device_key, device_token, endorse, endorsements, instance_id
from edgeroot.evidence import read_token
from edgeroot.verifier.appraisal import appraise
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.store import open_store
from edgeroot.verifier.trust import Status


def test_a_store_with_the_fleet_finds_its_tokens_good(tmp_path: Path) -> None:
    endorse(tmp_path / "fleet.db", 10)
    with open_store(tmp_path / "fleet.db") as storage:
        for number, expected in [(0, Status.AFFIRMING), (9, Status.AFFIRMING), (10, Status.CONTRAINDICATED)]:
            nonce = os.urandom(32)
            data = device_token(number, nonce)
            assert appraise(data, nonce=nonce, endorsements=storage, policy=Policy()).status is expected


def test_a_token_lists_all_components() -> None:
    claims = read_token(device_token(3, bytes(32))).claims
    assert [one.measurement_type for one in claims.software_components] == list(COMPONENTS)


def test_a_device_is_the_same_in_every_process() -> None:
    scalar = device_key(3).private_numbers().private_value
    device_key.cache_clear()
    assert device_key(3).private_numbers().private_value == scalar
    assert scalar != device_key(4).private_numbers().private_value


def test_all_are_endorsed_once_and_only_those_played_have_a_key_of_their_own() -> None:
    parts = list(endorsements(5003))
    assert [len(one.keys) for one in parts] == [5000, 3]
    keys = {instance: known.key for part in parts for instance, known in part.keys.items()}
    assert len(keys) == 5003
    points = {key.public_numbers() for key in keys.values()}
    assert len(points) == PLAYED_DEVICES + 1
    assert keys[instance_id(5002)] == keys[instance_id(PLAYED_DEVICES)]
