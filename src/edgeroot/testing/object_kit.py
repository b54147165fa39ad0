"""What providers that offer protected storage and tokens must do, checked through their own interface."""

from __future__ import annotations

from typing import Final

from edgeroot.providers.api import OBJECT_ATTRIBUTES, Function, Provider
from edgeroot.psa import PsaStatus, Secret
from edgeroot.testing.refusals import refused

_WRITE_ONCE: Final = 1
_UNKNOWN_FLAG: Final = 1 << 31


def check_beyond_crypto(making: Provider, using: Provider) -> None:
    """Two instances over the same settings, which leave a write-once object behind. AssertionError where they fail."""
    offered = making.capabilities().offered
    if Function.PS_SET in offered:
        _check_life(making, using)
        _check_flags(making, using)
    if Function.INITIAL_ATTEST_GET_TOKEN in offered:
        _check_tokens(making)


def _check_life(making: Provider, using: Provider) -> None:
    reference = making.plan_object()
    assert reference != making.plan_object(), "two objects would get one place"
    assert not using.exists(reference), "an object that is only planned exists"
    key = using.load(reference, OBJECT_ATTRIBUTES)
    with refused(PsaStatus.DOES_NOT_EXIST):
        using.get_object(key, 0, 0)
    with refused(PsaStatus.DOES_NOT_EXIST):
        using.get_object_info(key)
    for data in (b"secret", b"", bytes(range(256)) * 16):
        making.set_object(reference, Secret(data), 0)
        assert using.exists(reference), "an object that was stored does not exist"
        assert using.get_object(key, 0, 0) == data
        assert using.get_object(key, 0, len(data) + 1) == data
        assert using.get_object(key, len(data), 0) == b""
        assert using.get_object(key, len(data) // 2, 2) == data[len(data) // 2 :][:2]
        assert using.get_object_info(key) == (len(data), len(data), 0)
        with refused(PsaStatus.INVALID_ARGUMENT):
            using.get_object(key, len(data) + 1, 0)
    making.destroy(reference)
    making.destroy(reference)
    assert not using.exists(reference), "an object that was removed exists"


def _check_flags(making: Provider, using: Provider) -> None:
    reference = making.plan_object()
    with refused(PsaStatus.NOT_SUPPORTED):
        making.set_object(reference, Secret(b"data"), _UNKNOWN_FLAG)
    assert not using.exists(reference), "an object with unknown flags was stored"
    making.set_object(reference, Secret(b"first"), _WRITE_ONCE)
    with refused(PsaStatus.NOT_PERMITTED):
        using.set_object(reference, Secret(b"second"), 0)
    with refused(PsaStatus.NOT_PERMITTED):
        using.destroy(reference)
    key = using.load(reference, OBJECT_ATTRIBUTES)
    assert using.get_object(key, 0, 0) == b"first"
    assert using.get_object_info(key).flags == _WRITE_ONCE


def _check_tokens(provider: Provider) -> None:
    for length in (32, 48, 64):
        challenge = bytes((length,)) * length
        assert challenge in provider.attestation_token(challenge), "a token is without its challenge"
    for length in (0, 31, 33, 65):
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.attestation_token(bytes(length))
