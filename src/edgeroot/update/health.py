"""Whether what boots on trial does its work: every partition is asked for something."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Protocol

from edgeroot.evidence import EvidenceError, read_token
from edgeroot.update.device import agent_errors
from edgeroot.update.errors import UnhealthyError, UpdateError

_OBJECT: Final = int.from_bytes(b"\xedupdate\0", "big")
"""The object that is stored and removed again, by a number that nobody else takes."""


class Partitions(Protocol):
    """What is used of :class:`edgeroot.tee.psa.PsaClient`."""

    def psa_crypto_init(self) -> None: ...
    def psa_generate_random(self, output_size: int) -> bytes: ...
    def psa_initial_attest_get_token(self, auth_challenge: bytes) -> bytes: ...
    def psa_ps_set(self, uid: int, data: bytes) -> None: ...
    def psa_ps_get(self, uid: int, data_offset: int, data_size: int) -> bytes: ...
    def psa_ps_remove(self, uid: int) -> None: ...


def check_health(partitions: Partitions) -> tuple[str, ...]:
    """The partitions that answered as they should. UnhealthyError names the first that did not."""
    checks: dict[str, Callable[[Partitions], bool]] = {"crypto": _random, "storage": _store, "attestation": _attest}
    for name, check in checks.items():
        try:
            with agent_errors(name):
                good = check(partitions)
        except (UpdateError, EvidenceError) as error:
            raise _unhealthy(name, str(error)) from error
        if not good:
            raise _unhealthy(name, "its answer is wrong")
    return tuple(checks)


def measured(token: bytes) -> dict[str, bytes]:
    """The digests of what runs, by the components' names; of a token from the device itself. EvidenceError."""
    found = read_token(token).claims.software_components
    return {one.measurement_type: one.measurement for one in found if one.measurement_type is not None}


def _random(partitions: Partitions) -> bool:
    partitions.psa_crypto_init()
    first, second = partitions.psa_generate_random(32), partitions.psa_generate_random(32)
    return len(first) == len(second) == 32 and first != second


def _store(partitions: Partitions) -> bool:
    data = os.urandom(64)
    partitions.psa_ps_set(_OBJECT, data)
    read = partitions.psa_ps_get(_OBJECT, 0, len(data))
    partitions.psa_ps_remove(_OBJECT)
    return read == data


def _attest(partitions: Partitions) -> bool:
    challenge = os.urandom(32)
    return read_token(partitions.psa_initial_attest_get_token(challenge)).claims.nonce == challenge


def _unhealthy(name: str, why: str) -> UnhealthyError:
    return UnhealthyError(
        f"the partition {name} does not work ({why}), so the update stays on trial: `edgeroot update reject` and a "
        "restart of the secure world bring the firmware before back"
    )
