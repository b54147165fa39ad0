"""What a partition is told at boot: complete on both sides, and its secrets in no text about it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields

from edgeroot.psa import Secret
from edgeroot.secure.boot.root_keys import KeySlot, RootKeys
from edgeroot.secure.runtime.boot import BootInformation
from edgeroot.secure.runtime.environment import Environment

SECRET, SEED = bytes(range(32)), bytes(range(100, 132))
BOOT = BootInformation(
    name="crypto",
    id=0x8002,
    module="some.where",
    controls=(7, 9),
    slow_contexts=2,
    memory_slots=16,
    max_shared_bytes=1 << 20,
    queue_depth=32,
    secret=Secret(SECRET),
    boot_seed=SEED,
    event_log=b"\0\xff",
    storage_folder="/storage",
    counters_folder="/counters",
    flash_folder="/flash",
    readable=("/usr/lib", "/opt/ä"),
    system_calls=b"\6\0",
    lifecycle=0x3000,
    root_keys=RootKeys((KeySlot(0, b"\xfe" * 32, is_revoked=True), KeySlot(1, b"\xfd" * 32))),
    signers={"manager": b"\xfd" * 32},
)


def test_a_partition_is_told_what_the_manager_says() -> None:
    decoded = BootInformation.decode(BOOT.encode())
    assert decoded == BOOT
    assert {field.name: type(getattr(decoded, field.name)) for field in fields(BOOT)} == {
        field.name: type(getattr(BOOT, field.name)) for field in fields(BOOT)
    }


def test_secrets_are_in_no_text() -> None:
    environment = Environment(
        name="crypto",
        id=0x8002,
        secret=Secret(SECRET),
        shared=memoryview(bytearray()),
        lock=nullcontext(),
        session=lambda _service: (_ for _ in ()).throw(AssertionError),
        boot_seed=SEED,
    )
    for text in (repr(BOOT), str(BOOT), repr(environment)):
        assert "crypto" in text
        for secret in (SECRET, SEED):
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text
