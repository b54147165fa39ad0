"""The element by Microchip's genuine library, over an emulated part."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.element.element import Key
from edgeroot.element.errors import AtcaError
from edgeroot.element.native.library import LibraryElement, i2c
from edgeroot.psa import PsaStatus, Secret
from edgeroot.testing.atecc import Atecc, Bus, Model
from tests.support.secure_element import ACCESS_KEY, ACCESS_SLOT, element, on_a_bus, personalised, settings_for

KEY = Key(ACCESS_SLOT, ACCESS_KEY)
DIGEST = bytes(range(32))


@pytest.fixture(params=list(Model), ids=lambda model: model.name)
def part(request: pytest.FixtureRequest) -> Atecc:
    model: Model = request.param
    return personalised(model)


@pytest.fixture
def bus(part: Atecc) -> Iterator[Bus]:
    with on_a_bus(part) as made:
        yield made


@pytest.fixture
def se(part: Atecc, bus: Bus) -> Iterator[LibraryElement]:
    opened = element(part.model)
    yield opened
    opened.close()


def test_it_says_who_it_is(part: Atecc, se: LibraryElement) -> None:
    assert se.revision() == part.model.revision
    config = se.config()
    assert config == part.zones.config
    assert config[:4] + config[8:13] == bytes.fromhex("0123456789abcdefee")


@pytest.mark.parametrize("baud", [100_000, 400_000, 1_000_000])
def test_it_is_woken_whatever_the_buss_rate(part: Atecc, bus: Bus, baud: int) -> None:
    """At more than 100,000 baud the library would change the rate first, which Linux does not let it."""
    del bus
    opened = LibraryElement(i2c(replace(settings_for(part.model), baud=baud)))
    assert opened.revision() == part.model.revision
    opened.close()


def test_random_bytes_differ(se: LibraryElement) -> None:
    assert len({se.random() for _ in range(8)}) == 8


def test_it_signs_and_verifies(se: LibraryElement) -> None:
    point = se.generate(2)
    assert se.public_key(2) == point
    signature = se.sign(2, DIGEST)
    assert se.verify(point, DIGEST, signature)
    assert not se.verify(point, DIGEST[::-1], signature)
    assert not se.verify(se.generate(3), DIGEST, signature)


def test_both_sides_agree(se: LibraryElement) -> None:
    one, other = se.generate(2), se.generate(3)
    assert se.agree(2, other) == se.agree(3, one)


def test_a_private_key_is_written_encrypted_on_the_bus(se: LibraryElement, bus: Bus) -> None:
    private = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
    secret = Secret((0x1234567890ABCDEF).to_bytes(32, "big"))
    seen: list[bytes] = []

    def listen(data: bytes) -> bytes:
        seen.append(data)
        return data

    bus.on_write = listen
    se.write_private(5, secret, KEY)
    numbers = private.public_key().public_numbers()
    assert se.public_key(5) == numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    assert seen
    assert not any(secret[24:] in data for data in seen)


def test_a_public_key_comes_back_as_it_was_written(se: LibraryElement) -> None:
    point = se.generate(2)
    se.write(11, bytes(4) + point[:32] + bytes(4) + point[32:] + bytes(24), None)
    assert se.read_public(11) == point


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize(("slot", "key"), [(9, None), (10, KEY)])
def test_hmac_is_the_standard_one(se: LibraryElement, slot: int, key: Key | None, size: int) -> None:
    se.write(slot, b"k" * 32, key)
    assert se.hmac(slot, bytes(size)) == hmac.digest(b"k" * 32, bytes(size), "sha256")


def test_a_wrong_access_key_is_named(se: LibraryElement) -> None:
    with pytest.raises(AtcaError, match="access key in access_key_file_name is not the one") as raised:
        se.write(10, bytes(32), Key(ACCESS_SLOT, Secret(bytes(32))))
    assert raised.value.status is PsaStatus.NOT_PERMITTED


def test_what_the_configuration_forbids_is_not_permitted(se: LibraryElement) -> None:
    for attempt in (
        lambda: se.generate(0),
        lambda: se.generate(9),
        lambda: se.sign(5, DIGEST),
        lambda: se.write(15, bytes(96), None),
        lambda: se.write(7, bytes(32), None),
    ):
        with pytest.raises(AtcaError, match=r"ATCA_EXECUTION_ERROR \(-12\)") as raised:
            attempt()
        assert raised.value.status is PsaStatus.NOT_PERMITTED


def test_an_answer_lost_now_and_then_is_asked_for_again(se: LibraryElement, bus: Bus) -> None:
    answers = 0

    def every_third_is_wrong(data: bytes) -> bytes:
        nonlocal answers
        answers += len(data) > 4
        return data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 4 and answers % 3 == 1 else data

    bus.on_read = every_third_is_wrong
    point = se.generate(2)
    bus.on_read = lambda data: data
    assert answers == 2
    assert se.public_key(2) == point


def test_a_wrong_crc_every_time_is_a_hardware_failure(se: LibraryElement, bus: Bus, part: Atecc) -> None:
    se.revision()
    part.opcodes.clear()
    bus.on_read = lambda data: data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 4 else data
    with pytest.raises(AtcaError, match=r"ATCA_BAD_CRC.*bus, slave_address and baud") as raised:
        se.random()
    assert raised.value.status is PsaStatus.HARDWARE_FAILURE
    assert len(part.opcodes) == 3, "the attempts are not bounded as they should be"


def test_an_element_that_is_not_there_is_a_hardware_failure(se: LibraryElement, bus: Bus) -> None:
    bus.on_write = lambda _data: None
    with pytest.raises(AtcaError) as raised:
        se.random()
    assert raised.value.status is PsaStatus.HARDWARE_FAILURE
    bus.on_write = lambda data: data
    assert len(se.random()) == 32, "it does not recover when the element is back"


def test_an_element_that_never_answers_is_a_hardware_failure(se: LibraryElement, bus: Bus) -> None:
    bus.on_read = lambda _data: b""
    with pytest.raises(AtcaError) as raised:
        se.random()
    assert raised.value.status is PsaStatus.HARDWARE_FAILURE


def test_garbage_is_a_hardware_failure(se: LibraryElement, bus: Bus) -> None:
    bus.on_read = lambda data: b"\xaa" * len(data)
    with pytest.raises(AtcaError) as raised:
        se.random()
    assert raised.value.status is PsaStatus.HARDWARE_FAILURE


def test_a_508_has_no_aes() -> None:
    part = personalised(Model.ATECC508A)
    with on_a_bus(part), pytest.raises(AtcaError) as raised:
        element(part.model).ecb_encrypt(6, bytes(16))
    assert raised.value.status is PsaStatus.NOT_SUPPORTED
