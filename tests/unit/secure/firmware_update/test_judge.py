"""Whose images are installed: the makers', each by a key that is not revoked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.fwu import FwuStatus
from edgeroot.secure.boot.encryption import ImagePublicKey
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.partitions.firmware_update.judge import RootKeyJudge, UnfitError
from tests.support.small_images import FIRST, NEXT, key_hash, small_image

KEYS = RootKeys.of(key_hash(FIRST), key_hash(NEXT))
IN_THE_CLEAR, ENCRYPTED = None, x25519.X25519PrivateKey.generate().public_key()


@pytest.mark.parametrize("encrypt_to", [IN_THE_CLEAR, ENCRYPTED])
def test_an_image_by_any_key_is_installed_until_that_is_revoked(
    caplog: pytest.LogCaptureFixture, encrypt_to: ImagePublicKey | None
) -> None:
    def image(key: ed25519.Ed25519PrivateKey) -> bytes:
        return small_image("crypto", key, encrypt_to=encrypt_to)

    for key in (FIRST, NEXT):
        RootKeyJudge(KEYS, least_counter=1).judge(IMAGE_TYPES["crypto"], image(key))

    for number, (revoked, other) in enumerate(((FIRST, NEXT), (NEXT, FIRST))):
        judge = RootKeyJudge(KEYS.without(number), least_counter=1)
        judge.judge(IMAGE_TYPES["crypto"], image(other))
        said = f"it is signed by a revoked key, root key {number} of this device"
        with pytest.raises(UnfitError, match=said) as caught:
            judge.judge(IMAGE_TYPES["crypto"], image(revoked))
        assert caught.value.status is FwuStatus.AUTH_FAIL
        assert caplog.messages[-1] == f"the image crypto is refused: {said}"


@pytest.mark.parametrize(
    ("make", "status", "why"),
    [
        (
            lambda: small_image("crypto", ed25519.Ed25519PrivateKey.generate()),
            FwuStatus.AUTH_FAIL,
            "not this device's root key",
        ),
        (lambda: small_image("crypto", NEXT, counter=0), FwuStatus.NO_PERMISSION, "0 is below the device's, 1"),
        (lambda: small_image("storage", NEXT), FwuStatus.UNKNOWN, "image of the partition storage"),
    ],
)
def test_each_other_reason_has_its_status(make: Callable[[], bytes], status: FwuStatus, why: str) -> None:
    with pytest.raises(UnfitError, match=why) as caught:
        RootKeyJudge(KEYS, least_counter=1).judge(IMAGE_TYPES["crypto"], make())

    assert caught.value.status is status
